//! Client and server in one process: `embed`, and the demonstration built on it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use aegis::message::{self, Header, Kind};
use aegis_ckks::{Context, EvaluationKeys, KeyGenerator, SecretKey, Seed};
use aegis_models::{Bert, Query};
use aegis_nn::{Layout, largest};
use anyhow::{Result, bail};
use serde::Serialize;

use crate::args::{Demo, Embed};
use crate::fault::{BlameInput, input};
use crate::progress::{StageRow, table};
use crate::session::{self, Server};
use crate::{files, keys, memory, output, presets};

/// Five plain documents for the demonstration.
const DOCUMENTS: [&str; 5] = [
    "Encryption lets a patient ask a health service for advice without revealing the question.",
    "The bakery on the corner sells fresh bread every morning.",
    "A doctor must keep what patients say confidential.",
    "The football match ended in a draw after extra time.",
    "Cloud computers can be asked questions through a web page.",
];

/// What an encrypted embedding and the plain one agree to, at least: below, something is broken.
const MIN_COSINE: f64 = 0.9995;

/// Larger than any list of texts that one run can embed.
const MAX_TEXT_FILE_BYTES: u64 = 1 << 20;

/// Everything `embed --check --json` prints for one text.
#[derive(Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    cosine: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_abs_error: Option<f64>,
    /// Encryption, evaluation and decryption.
    seconds: f64,
    /// Making the keys, once for all texts.
    keygen_seconds: f64,
    tokens: usize,
    padded_tokens: usize,
    bootstraps: u64,
    rotations: u64,
    ct_mults: u64,
    pt_mults: u64,
    peak_rss_bytes: Option<u64>,
    log2_qp: f64,
    security_bits: Option<f64>,
    bootstrap_failure_log2: Option<f64>,
    /// Of the encrypted result as the server would send it: equal for equal seed and text, whatever the threads.
    ciphertext_sha256: String,
    preset: String,
    threads: usize,
    key_bytes: u64,
    /// Stages in which the plain network, with the same approximations, leaves a calibrated range.
    #[serde(skip_serializing_if = "Option::is_none")]
    out_of_range: Option<Vec<String>>,
    embedding: Vec<f64>,
    stages: Vec<StageRow>,
}

impl Report {
    /// Fails where a comparison was made and the embedding is not the plain model's.
    fn verdict(&self) -> Result<()> {
        // Written so that NaN fails.
        if self.cosine.is_none_or(|cosine| cosine >= MIN_COSINE) {
            return Ok(());
        }
        let cosine = self.cosine.unwrap_or(f64::NAN);
        bail!(
            "the cosine with the plain model is {cosine:.6}, below {MIN_COSINE}; is an activation out of its range?"
        )
    }
}

/// Keys, client and server for one model and parameter set.
struct Local {
    bert: Bert,
    ctx: Context,
    layout: Layout,
    server: Server,
    secret: SecretKey,
    evaluation_keys: Arc<EvaluationKeys>,
    seed: Seed,
    threads: usize,
    keygen_seconds: f64,
}

impl Local {
    /// `tokens` is the length of the longest text.
    fn new(
        preset: &str,
        bert: Bert,
        tokens: usize,
        threads: Option<NonZeroUsize>,
        seed: Seed,
    ) -> Result<Self> {
        let start = Instant::now();
        let params = presets::find(preset)?;
        let layout = session::layout(&params, &bert, tokens)?;
        let ctx = session::context(params, threads)?;
        let server = Server::new(&ctx, &bert, &layout)?;
        let generator = KeyGenerator::new(&ctx, seed.derive("keys", &[]));
        let secret = generator.secret_key();
        let request = server.request();
        output::note(&format!("making keys: {:.2} GiB", gib(request.bytes(ctx.params()))));
        let evaluation_keys = Arc::new(generator.evaluation_keys(&secret, &request)?);
        ctx.device().sync()?;
        let (threads, keygen_seconds) = (session::thread_count(threads), start.elapsed().as_secs_f64());
        Ok(Self { bert, ctx, layout, server, secret, evaluation_keys, seed, threads, keygen_seconds })
    }

    /// Embeds one text under encryption.
    fn embed(&self, text: &str, check: bool) -> Result<Report> {
        let start = Instant::now();
        let query = session::query(&self.bert, &self.layout, text)?;
        let encrypted = session::encrypt(&self.ctx, &self.secret, &self.layout, &query, &self.seed)?;
        let mut progress = self.server.progress();
        let result = self.server.evaluate(&self.evaluation_keys, &encrypted, &mut progress)?;
        let (blocks, stages) = (result.blocks(), progress.into_rows());
        let header =
            Header { kind: Kind::Result, model: self.bert.identity().to_owned(), shape: query.shape.clone() };
        let message = message::encode(&self.ctx, &header, blocks)?;
        let embedding = session::decrypt(&self.ctx, &self.secret, &query.shape, blocks)?;
        let seconds = start.elapsed().as_secs_f64();
        let params = self.ctx.params();
        let mut report = Report {
            cosine: None,
            max_abs_error: None,
            seconds,
            keygen_seconds: self.keygen_seconds,
            tokens: query.shape.tokens(),
            padded_tokens: query.shape.padded_tokens(),
            bootstraps: stages.iter().map(|row| row.bootstraps).sum(),
            rotations: stages.iter().map(|row| row.rotations).sum(),
            ct_mults: stages.iter().map(|row| row.products).sum(),
            pt_mults: stages.iter().map(|row| row.plain_products).sum(),
            peak_rss_bytes: memory::peak_rss_bytes(),
            log2_qp: params.log2_qp(),
            security_bits: params.security_bits(),
            bootstrap_failure_log2: params.bootstrap_failure_log2(),
            ciphertext_sha256: files::sha256(&message),
            preset: params.name().to_owned(),
            threads: self.threads,
            key_bytes: self.evaluation_keys.bytes(),
            out_of_range: None,
            embedding,
            stages,
        };
        if check {
            self.compare(text, &query, &mut report)?;
        }
        Ok(report)
    }

    /// Compares with the plain model, and looks for activations outside their ranges.
    fn compare(&self, text: &str, query: &Query, report: &mut Report) -> Result<()> {
        let plain = self.bert.embed_plain(text)?;
        report.cosine = Some(aegis_models::cosine(&report.embedding, &plain)?);
        report.max_abs_error = Some(largest(report.embedding.iter().zip(&plain).map(|(a, b)| a - b)));
        report.out_of_range = Some(self.server.excursions(&self.bert, query)?);
        Ok(())
    }
}

/// Number of tokens of a text; one that cannot be embedded is an error of input.
fn token_count(bert: &Bert, text: &str) -> Result<usize> {
    Ok(bert.tokenize(text).map_err(input)?.len())
}

/// `aegis embed`.
pub(crate) fn embed(args: &Embed) -> Result<()> {
    let bert = session::load_model(&args.model)?;
    let mut texts = args.text.clone();
    if let Some(path) = &args.text_file {
        let bytes = files::read(path, MAX_TEXT_FILE_BYTES)?;
        let lines = String::from_utf8(bytes).blame_input(format!("{} is not UTF-8", path.display()))?;
        texts.extend(lines.lines().map(str::to_owned));
    }
    if texts.is_empty() {
        return Err(input("there is no text; give --text or a --text-file with one text a line"));
    }
    let lengths = texts.iter().map(|text| token_count(&bert, text)).collect::<Result<Vec<_>>>()?;
    let longest = lengths.into_iter().max().unwrap_or(1);
    let seed = keys::seed(args.seed)?;
    let local = Local::new(&args.preset, bert, longest, args.run.threads, seed)?;
    let mut verdict = Ok(());
    for text in &texts {
        let report = local.embed(text, args.check)?;
        if args.run.json {
            output::line(&serde_json::to_string(&report)?)?;
        } else {
            output::line(&summary(&report))?;
            let shown: Vec<String> = report.embedding.iter().map(|v| format!("{v:.6}")).collect();
            output::line(&shown.join(" "))?;
        }
        for stage in report.out_of_range.iter().flatten() {
            output::note(&format!("warning: out of its calibrated range, the result may be wrong: {stage}"));
        }
        verdict = verdict.and(report.verdict());
    }
    verdict
}

/// `aegis demo`.
pub(crate) fn demo(args: &Demo) -> Result<()> {
    let bert = session::load_model(&args.model)?;
    let tokens = token_count(&bert, &args.text)?;
    let documents = DOCUMENTS.iter().map(|text| bert.embed_plain(text)).collect::<Result<Vec<_>, _>>()?;
    let plain = bert.embed_plain(&args.text)?;
    output::line(&format!("sentence: {} ({} tokens)", args.text, tokens))?;
    let local = Local::new(&args.preset, bert, tokens, args.threads, keys::seed(args.seed)?)?;
    let report = local.embed(&args.text, true)?;
    output::line(&table(&report.stages))?;
    output::line("")?;
    let encrypted_ranking = aegis_models::rank(&report.embedding, &documents)?;
    let plain_ranking = aegis_models::rank(&plain, &documents)?;
    output::line("similarity to five documents: encrypted, plain")?;
    for ((document, similarity), (_, expected)) in encrypted_ranking.iter().zip(&plain_ranking) {
        output::line(&format!("  {similarity:.4}  {expected:.4}  {}", DOCUMENTS[*document]))?;
    }
    let order = |ranking: &[(usize, f64)]| ranking.iter().map(|r| r.0).collect::<Vec<_>>();
    let same = order(&encrypted_ranking) == order(&plain_ranking);
    output::line(if same { "the rankings agree" } else { "THE RANKINGS DIFFER" })?;
    output::line("")?;
    output::line(&summary(&report))?;
    for stage in report.out_of_range.iter().flatten() {
        output::line(&format!("out of its calibrated range: {stage}"))?;
    }
    if !same {
        bail!("the encrypted ranking differs from the plain one");
    }
    report.verdict()
}

/// The figures of one text, one a line.
fn summary(r: &Report) -> String {
    let or_unknown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let lines = [
        ("cosine with the plain model", or_unknown(r.cosine.map(|c| format!("{c:.6}")))),
        ("largest error", or_unknown(r.max_abs_error.map(|e| format!("{e:.2e}")))),
        ("tokens, padded", format!("{}, {}", r.tokens, r.padded_tokens)),
        ("bootstraps", r.bootstraps.to_string()),
        ("seconds, of them keys before", format!("{:.1}, {:.1}", r.seconds, r.keygen_seconds)),
        ("peak memory", or_unknown(r.peak_rss_bytes.map(|b| format!("{:.2} GiB", gib(b))))),
        ("evaluation keys", format!("{:.2} GiB", gib(r.key_bytes))),
        ("log2 QP", format!("{:.1}", r.log2_qp)),
        ("security bits", or_unknown(r.security_bits.map(|b| format!("{b:.1}")))),
        ("failure of one bootstrap", or_unknown(r.bootstrap_failure_log2.map(|f| format!("2^{f:.1}")))),
        ("SHA-256 of the encrypted result", r.ciphertext_sha256.clone()),
    ];
    lines.iter().map(|(name, value)| format!("{name:32} {value}")).collect::<Vec<_>>().join("\n")
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cosine: Option<f64>) -> Report {
        Report {
            cosine,
            max_abs_error: cosine.map(|_| 1e-3),
            seconds: 1.0,
            keygen_seconds: 1.0,
            tokens: 3,
            padded_tokens: 64,
            bootstraps: 31,
            rotations: 1,
            ct_mults: 1,
            pt_mults: 1,
            peak_rss_bytes: Some(1),
            log2_qp: 1684.0,
            security_bits: Some(132.0),
            bootstrap_failure_log2: Some(-138.0),
            ciphertext_sha256: "00".into(),
            preset: presets::DEFAULT.into(),
            threads: 2,
            key_bytes: 1,
            out_of_range: cosine.map(|_| vec![]),
            embedding: vec![1.0],
            stages: vec![],
        }
    }

    /// The names are an interface: programs read them.
    #[test]
    fn the_report_keeps_its_names() {
        let json = serde_json::to_value(report(Some(1.0))).expect("JSON");
        for name in [
            "cosine",
            "max_abs_error",
            "seconds",
            "tokens",
            "padded_tokens",
            "bootstraps",
            "rotations",
            "ct_mults",
            "pt_mults",
            "peak_rss_bytes",
            "log2_qp",
            "security_bits",
            "bootstrap_failure_log2",
            "ciphertext_sha256",
            "embedding",
        ] {
            assert!(json.get(name).is_some(), "{name} is missing in {json}");
        }
        let unchecked = serde_json::to_value(report(None)).expect("JSON");
        assert!(unchecked.get("cosine").is_none(), "a comparison that was not made is not reported");
    }

    #[test]
    fn a_wrong_embedding_is_a_failure() {
        for (cosine, fails) in
            [(None, false), (Some(0.9996), false), (Some(0.9994), true), (Some(f64::NAN), true)]
        {
            assert_eq!(report(cosine).verdict().is_err(), fails, "{cosine:?}");
        }
    }
}
