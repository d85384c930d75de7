//! `aegis calibrate`: the constants of a model's approximations, fitted to texts.

use std::time::Instant;

use aegis_models::{Bert, Tokens, calibration_file};
use anyhow::{Context, Result};
use serde_json::json;

use crate::args::Calibrate;
use crate::content::Content;
use crate::files::Output;
use crate::{memory, output, session, text};

/// Makes a calibration file.
pub(crate) fn calibrate(args: &Calibrate) -> Result<()> {
    let start = Instant::now();
    let out = Output::reserve(&args.out, Content::Calibration)?;
    session::limit_threads(args.run.threads);
    let bert = session::load_model(&args.model)?;
    let texts = tokens(&bert, &text::many(&[], Some(&args.text_file))?)?;
    let longest = args.max_tokens.unwrap_or(bert.config().positions);
    let inputs = bert
        .calibration_inputs(&texts, longest)
        .with_context(|| format!("no calibration for {longest} tokens can be made"))?;
    let count: usize = inputs.iter().map(Tokens::len).sum();
    output::note(&format!(
        "fitting to {} inputs of {count} tokens made from {} texts",
        inputs.len(),
        texts.len()
    ));
    let calibration = bert.calibrate(&args.name, &inputs)?;
    let file = calibration_file(&calibration, bert.identity())?;
    let staged = out.fill(|out| Ok(out.write_all(file.as_bytes())?))?;
    let (path, bytes) = (staged.path().to_path_buf(), staged.bytes);
    staged.publish()?;
    let seconds = start.elapsed().as_secs_f64();
    if args.run.json {
        let line = json!({
            "path": path,
            "tokens": calibration.tokens,
            "texts": texts.len(),
            "inputs": inputs.len(),
            "bytes": bytes,
            "seconds": seconds,
            "peak_rss_bytes": memory::peak_rss_bytes(),
        });
        return output::line(&line.to_string());
    }
    output::line(&format!(
        "{}: covers texts of up to {} tokens, {seconds:.1} s",
        path.display(),
        calibration.tokens
    ))
}

/// The tokens of each text; one that has none is named by its line.
fn tokens(bert: &Bert, texts: &[String]) -> Result<Vec<Tokens>> {
    let one = |(i, text): (usize, &String)| bert.tokenize(text).with_context(|| format!("line {}", i + 1));
    texts.iter().enumerate().map(one).collect()
}
