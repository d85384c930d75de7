//! What an encrypted inference is made of: launches, bytes, gathers, uploads, memory and the host's time, by stage, counted
//! on the device that only records. No weight is multiplied and no key made.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;

use aegis::Model;
use aegis_benches::inference::{Recording, Stage};
use aegis_ckks::{N16_B13_S40, Params};
use aegis_models::Bert;
use clap::Parser;

/// Counts an encrypted inference without data; a Markdown table.
#[derive(Parser)]
struct Args {
    /// Model directory
    #[arg(long, default_value = "models/minilm")]
    model: PathBuf,
    /// Padded tokens
    #[arg(long, default_value_t = 64)]
    tokens: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let params = Params::try_from(N16_B13_S40)?;
    let model = Model::new(Arc::new(Bert::load(&args.model)?), params.slots(), args.tokens)?;
    print(&Recording::new(&params, &model, "Where does it hurt?")?);
    Ok(())
}

fn print(recording: &Recording) {
    println!(
        "| stage | times | bootstraps | launches | GB touched | NTT rows | multiply-adds, G | gathers | rows gathered | \
         uploads, MB | peak GiB | host s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut stages: Vec<_> = recording.stages.iter().collect();
    stages.sort_by_key(|(_, stage)| std::cmp::Reverse(stage.counts.bytes_touched));
    stages.iter().for_each(|(name, stage)| line(name, stage));
    line("all", &recording.all());
    println!("\nEvaluation keys: {:.2} GiB of the peak.", gib(recording.key_bytes));
}

fn line(name: &str, stage: &Stage) {
    let c = &stage.counts;
    println!(
        "| {name} | {} | {} | {} | {:.1} | {} | {:.1} | {} | {} | {:.1} | {:.2} | {:.2} |",
        stage.times,
        stage.bootstraps,
        c.launches,
        c.bytes_touched as f64 / 1e9,
        c.ntt_rows,
        c.multiply_adds as f64 / 1e9,
        c.gathers,
        c.gathered_rows,
        c.upload_bytes as f64 / 1e6,
        gib(c.peak_bytes),
        stage.host.as_secs_f64(),
    );
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}
