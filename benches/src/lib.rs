//! Timing and reporting shared by the benches.
//!
//! Every line carries its identity (commit, processor, threads, preset): a figure without one cannot be compared.
#![forbid(unsafe_code)]

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub mod inference;

use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use aegis::limbs::{self, KeySwitching};
use aegis_ckks::Params;
use aegis_cpu::{Cpu, CpuOptions};
use aegis_hal::Device;
use clap::Parser;
use serde_json::{Value, json};

/// Named values of one line, in the order printed.
pub type Fields = Vec<(&'static str, Value)>;

/// What every bench binary takes.
#[derive(Parser, Clone, Debug)]
pub struct Options {
    /// Worker threads of the device
    #[arg(long, default_value = "1")]
    pub threads: NonZeroUsize,
    /// Devices that share the limbs of every ciphertext, each with so many workers
    #[arg(long, default_value = "1")]
    pub devices: NonZeroUsize,
    /// On several devices: hold the special limbs of keys on each, instead of dividing them too
    #[arg(long)]
    pub input_broadcast: bool,
    /// Only the operations whose name contains this
    #[arg(long)]
    pub only: Option<String>,
    /// One JSON object a line instead of a table
    #[arg(long)]
    pub json: bool,
    /// Smoke run: small insecure rings, one measurement each; the figures mean nothing
    #[arg(long)]
    pub test: bool,
}

impl Options {
    /// The device that was asked for: a CPU, or several as one.
    pub fn device(&self, params: &Params) -> anyhow::Result<Device> {
        let several = self.devices.get() > 1;
        let options = CpuOptions { threads: self.threads.get(), queue: several, ..CpuOptions::default() };
        let cpu = || Cpu::with_options(params.rns().clone(), options);
        if !several {
            return Ok(Arc::new(cpu()?));
        }
        let mode = if self.input_broadcast { KeySwitching::InputBroadcast } else { KeySwitching::Basic };
        let cpus = (0..self.devices.get()).map(|_| Ok(Arc::new(cpu()?) as Device));
        Ok(Arc::new(limbs::sharded(params, cpus.collect::<anyhow::Result<_>>()?, mode)?))
    }
}

/// Measures operations and prints one line for each.
#[derive(Debug)]
pub struct Bench {
    layer: &'static str,
    options: Options,
    preset: String,
    identity: Fields,
}

impl Bench {
    /// A bench of `layer` for operations with the parameters of this name.
    pub fn new(layer: &'static str, options: &Options, preset: &str) -> Self {
        // What runs on the process's own pool (expansion of keys) keeps to the same number of threads.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(options.threads.get()).build_global();
        Self { layer, options: options.clone(), preset: preset.to_owned(), identity: identity() }
    }

    /// True when the operation was asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.options.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// Times `runs` calls of `f` after one that warms up, divides by `per` (operations a call) and prints the line.
    pub fn measure(
        &self,
        name: &str,
        runs: usize,
        per: usize,
        f: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.measure_with(name, runs, per, f, || Ok(Fields::new()))
    }

    /// As [`Bench::measure`], with further fields, taken once after the runs.
    pub fn measure_with(
        &self,
        name: &str,
        runs: usize,
        per: usize,
        mut f: impl FnMut() -> anyhow::Result<()>,
        fields: impl FnOnce() -> anyhow::Result<Fields>,
    ) -> anyhow::Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let runs = if self.options.test { 1 } else { runs };
        if !self.options.test {
            f()?;
        }
        let mut times = Vec::with_capacity(runs);
        for _ in 0..runs {
            let start = Instant::now();
            f()?;
            times.push(start.elapsed().as_secs_f64() * 1e3 / per as f64);
        }
        times.sort_by(f64::total_cmp);
        self.print(name, &times, fields()?)
    }

    fn print(&self, name: &str, sorted_ms: &[f64], fields: Fields) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        let (min, median, max) =
            (sorted_ms[0], sorted_ms[sorted_ms.len() / 2], sorted_ms[sorted_ms.len() - 1]);
        if !self.options.json {
            let more: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
            writeln!(
                out,
                "{name:24} {:20} {}x{} threads  median {median:11.4} ms  min {min:11.4}  max {max:11.4}  runs {}  {}",
                self.preset,
                self.options.devices,
                self.options.threads,
                sorted_ms.len(),
                more.join(" ")
            )?;
            return Ok(());
        }
        let mut line: Fields = vec![
            ("name", json!(name)),
            ("preset", json!(self.preset)),
            ("threads", json!(self.options.threads)),
            ("devices", json!(self.options.devices)),
            ("median_ms", json!(median)),
            ("min_ms", json!(min)),
            ("max_ms", json!(max)),
            ("runs", json!(sorted_ms.len())),
        ];
        line.extend(fields);
        line.push(("layer", json!(self.layer)));
        line.extend(self.identity.iter().cloned());
        let members: Vec<String> = line.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        writeln!(out, "{{{}}}", members.join(","))?;
        Ok(())
    }
}

/// Commit, state of the tree and processor. The first two come from `cargo xtask bench`.
fn identity() -> Fields {
    let env = |name: &str| std::env::var(name).ok();
    vec![
        ("sha", json!(env("AEGIS_BENCH_SHA"))),
        ("dirty", json!(env("AEGIS_BENCH_DIRTY").map(|d| d == "true"))),
        ("cpu", json!(cpu_name())),
    ]
}

fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Peak resident memory of this process since the last [`reset_peak_rss`], in bytes; `None` where unknown.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Starts [`peak_rss_bytes`] anew, where the system allows it.
pub fn reset_peak_rss() {
    // Without the permission the figure covers the whole process, which can only make it larger.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
