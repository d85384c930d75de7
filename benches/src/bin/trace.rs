//! What an encrypted inference is made of: launches, bytes, gathers, uploads, memory and the host's time, by stage, counted
//! on the device that only records. No weight is multiplied and no key made.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis::{Client, Model, Server};
use aegis_ckks::{Context, EvaluationKeys, KeyGenerator, N16_B13_S40, OpCounts, Params, Seed};
use aegis_hal::Trace;
use aegis_hal::trace::Totals;
use aegis_models::Bert;
use aegis_nn::{Observer, StageInfo};
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

/// One kind of stage, over all layers.
#[derive(Default)]
struct Row {
    stages: u64,
    bootstraps: u64,
    counts: Totals,
    peak_bytes: u64,
    host: Duration,
}

struct Recorder {
    trace: Arc<Trace>,
    before: Totals,
    start: Instant,
    rows: BTreeMap<String, Row>,
    peak_bytes: u64,
}

impl Observer for Recorder {
    fn begin(&mut self, _stage: &StageInfo) {
        self.trace.reset_peak();
        self.before = self.trace.totals();
        self.start = Instant::now();
    }

    fn end(&mut self, stage: &StageInfo, _counts: &OpCounts) {
        let host = self.start.elapsed();
        let counts = self.trace.totals() - self.before;
        let row = self.rows.entry(stage.name.clone()).or_default();
        row.stages += 1;
        row.bootstraps += stage.bootstraps;
        row.peak_bytes = row.peak_bytes.max(counts.peak_bytes);
        row.host += host;
        row.counts += counts;
        self.peak_bytes = self.peak_bytes.max(counts.peak_bytes);
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let params = Params::try_from(N16_B13_S40)?;
    let trace = Arc::new(Trace::counting(params.rns().clone()));
    let ctx = Context::new(params.clone(), trace.clone())?;
    let model = Model::new(Arc::new(Bert::load(&args.model)?), params.slots(), args.tokens)?;
    let server = Server::new(&ctx, model.clone())?;
    let secret = KeyGenerator::new(&ctx, Seed::new([1; 32])).secret_key();
    let keys = Arc::new(EvaluationKeys::shapes(&ctx, &server.request(), secret.id())?);
    let query = model.query("Where does it hurt?")?;
    let x = Client::new(&ctx, secret).encrypt(&model, &query, &Seed::new([2; 32]))?;

    let (rows, before, start) = (BTreeMap::new(), trace.totals(), Instant::now());
    let mut recorder = Recorder { trace, before, start, rows, peak_bytes: 0 };
    drop(server.evaluate(&keys, &x, &mut recorder)?);
    print(&recorder, keys.bytes());
    Ok(())
}

fn print(recorder: &Recorder, key_bytes: u64) {
    println!(
        "| stage | times | bootstraps | launches | GB touched | NTT rows | multiply-adds, G | gathers | rows gathered | \
         uploads, MB | peak GiB | host s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut all = Row::default();
    let mut rows: Vec<_> = recorder.rows.iter().collect();
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.counts.bytes_touched));
    for (name, row) in rows {
        line(name, row);
        all.stages += row.stages;
        all.bootstraps += row.bootstraps;
        all.host += row.host;
        all.counts += row.counts;
        all.peak_bytes = all.peak_bytes.max(row.peak_bytes);
    }
    line("all", &all);
    println!("\nEvaluation keys: {:.2} GiB of the peak.", gib(key_bytes));
}

fn line(name: &str, row: &Row) {
    let c = &row.counts;
    println!(
        "| {name} | {} | {} | {} | {:.1} | {} | {:.1} | {} | {} | {:.1} | {:.2} | {:.2} |",
        row.stages,
        row.bootstraps,
        c.launches,
        c.bytes_touched as f64 / 1e9,
        c.ntt_rows,
        c.multiply_adds as f64 / 1e9,
        c.gathers,
        c.gathered_rows,
        c.upload_bytes as f64 / 1e6,
        gib(row.peak_bytes),
        row.host.as_secs_f64(),
    );
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}
