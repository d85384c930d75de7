//! What a calibration is worth: cosines of the approximated twin with the exact encoder on texts that it was not made
//! from, and the bootstraps that it costs. Plain arithmetic only; one JSON line for the texts of a kind and a length.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use aegis_ckks::{N16_B13_S40, Params};
use aegis_models::{Bert, Calibration, Tokens, cosine};
use aegis_nn::{Catalog, Network};
use anyhow::{Context, Result};
use clap::Parser;
use rayon::prelude::*;
use serde_json::json;

#[derive(Parser)]
struct Options {
    /// Model directory
    #[arg(long)]
    model: PathBuf,
    /// Calibration file [default: the model's]
    #[arg(long)]
    calibration: Option<PathBuf>,
    /// Texts, one a line: measured as they are, and in a row, cut to each of the lengths
    #[arg(long)]
    text_file: PathBuf,
    /// Tokens of texts in a row and of random word pieces, both ends included
    #[arg(long, value_delimiter = ',', default_value = "14,64,128,256,512")]
    lengths: Vec<usize>,
    /// Texts in a row at each length
    #[arg(long, default_value_t = 4)]
    rows: usize,
    /// Texts of random word pieces at each length
    #[arg(long, default_value_t = 4)]
    random: usize,
    /// Of the random word pieces
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print instead the bootstraps of 64, 128, 256 and 512 tokens
    #[arg(long)]
    bootstraps: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let bert = Bert::load(&options.model)?;
    let calibration = match &options.calibration {
        Some(path) => bert.calibration_from(path)?,
        None => bert.calibration()?,
    };
    let params = Params::try_from(N16_B13_S40)?;
    if options.bootstraps {
        for tokens in [64, 128, 256, 512] {
            let network = network(&bert, &calibration, &params, tokens)?;
            let bootstraps = network.levels(&mut Catalog::new(&params)?)?.bootstraps;
            println!("{}", json!({"tokens": tokens, "bootstraps": bootstraps}));
        }
        return Ok(());
    }
    for ((kind, length), texts) in held_out(&bert, &options)? {
        let network = network(&bert, &calibration, &params, length)?;
        let all: Vec<Outcome> =
            texts.par_iter().map(|t| Outcome::of(&bert, &network, t)).collect::<Result<_>>()?;
        let least = all.iter().map(|o| o.cosine).fold(1.0, f64::min);
        let outside: Vec<&String> = all.iter().flat_map(|o| &o.outside).collect();
        let beyond: Vec<&String> = all.iter().flat_map(|o| &o.beyond).collect();
        let line = json!({
            "kind": kind,
            "tokens": length,
            "texts": all.len(),
            "least_cosine": least,
            "outside_ranges": outside,
            "beyond_bounds": beyond,
        });
        println!("{line}");
    }
    Ok(())
}

/// The network for texts of so many tokens.
fn network(bert: &Bert, calibration: &Calibration, params: &Params, tokens: usize) -> Result<Network> {
    let layout = bert.layout(params.slots(), tokens.max(64))?;
    Ok(bert.network(&layout, calibration)?)
}

/// Texts by kind and length: as they are, in a row, and of random word pieces.
fn held_out(bert: &Bert, options: &Options) -> Result<BTreeMap<(&'static str, usize), Vec<Tokens>>> {
    let path = &options.text_file;
    let file = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let texts = file.lines().map(|text| bert.tokenize(text)).collect::<Result<Vec<_>, _>>()?;
    let mut all = BTreeMap::<_, Vec<Tokens>>::new();
    for tokens in &texts {
        all.entry(("text", tokens.len())).or_default().push(tokens.clone());
    }
    let content = |text: &Tokens| text.ids()[1..text.len() - 1].to_vec();
    let (first, last) = (texts[0].ids()[0], texts[0].ids()[texts[0].len() - 1]);
    let mut state = options.seed;
    for &length in &options.lengths {
        let mut push = |kind, pieces: &mut dyn Iterator<Item = u32>| {
            let ids = std::iter::once(first).chain(pieces.take(length - 2)).chain([last]).collect();
            all.entry((kind, length)).or_default().push(Tokens::from_ids(ids, bert.config())?);
            anyhow::Ok(())
        };
        for i in 0..options.rows {
            let start = i * texts.len() / options.rows;
            push("texts in a row", &mut texts.iter().cycle().skip(start).flat_map(content))?;
        }
        for _ in 0..options.random {
            push("random word pieces", &mut std::iter::repeat_with(|| random_piece(&mut state, bert)))?;
        }
    }
    Ok(all)
}

/// A word piece after BERT's marks and unused entries, which end at 999 in the vocabulary of the uncased models.
fn random_piece(state: &mut u64, bert: &Bert) -> u32 {
    // Knuth's generator; its high bits are good enough to choose words.
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let pieces = bert.config().vocabulary as u64 - 999;
    999 + ((*state >> 33) % pieces) as u32
}

/// What became of one text.
struct Outcome {
    /// With the exact embedding; zero where the approximations have overflowed.
    cosine: f64,
    outside: Vec<String>,
    beyond: Vec<String>,
}

impl Outcome {
    fn of(bert: &Bert, network: &Network, tokens: &Tokens) -> Result<Self> {
        let run = network.plain(&bert.query_tokens(network.layout(), tokens)?.hidden)?;
        let cosine = cosine(run.output.row(0), &bert.embed_tokens(tokens)?).unwrap_or(0.0);
        let outside =
            run.excursions.iter().map(|e| format!("{}: {:.3e} of {:.4?}", e.stage, e.value, e.range));
        let beyond = run.magnitudes.iter().filter(|(_, value, bound)| value > bound);
        let beyond = beyond.map(|(name, value, bound)| format!("{name}: {value:.3e} of {bound:.3}"));
        Ok(Self { cosine, outside: outside.collect(), beyond: beyond.collect() })
    }
}
