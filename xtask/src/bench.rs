//! Running the benches, one binary a layer.

use anyhow::Result;

use crate::cargo;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    /// The layer to measure
    #[arg(long, value_enum)]
    layer: Layer,
    /// Worker threads of the device
    #[arg(long)]
    threads: Option<usize>,
    /// Devices that share the limbs of every ciphertext (ckks and nn), each with so many workers
    #[arg(long)]
    devices: Option<usize>,
    /// On several devices: hold the special limbs of keys on each
    #[arg(long)]
    input_broadcast: bool,
    /// Only the operations whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// One JSON object a line on standard output (a table otherwise)
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Layer {
    Ring,
    Hal,
    Ckks,
    Nn,
}

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Hal => "hal",
            Self::Ckks => "ckks",
            Self::Nn => "nn",
        }
    }
}

/// Builds and runs the bench of one layer.
fn run_layer(layer: &str, args: &[String]) -> Result<()> {
    let mut command = cargo::cargo();
    command.args(["run", "--quiet", "--release", "--package", "aegis-benches", "--bin", layer, "--"]);
    for (key, value) in identity() {
        command.env(key, value);
    }
    cargo::run(command.args(args))
}

fn options(args: &BenchArgs) -> Vec<String> {
    let mut list = Vec::new();
    if let Some(threads) = args.threads {
        list.extend(["--threads".to_owned(), threads.to_string()]);
    }
    if let Some(devices) = args.devices {
        list.extend(["--devices".to_owned(), devices.to_string()]);
    }
    if args.input_broadcast {
        list.push("--input-broadcast".to_owned());
    }
    if let Some(only) = &args.only {
        list.extend(["--only".to_owned(), only.clone()]);
    }
    if args.json {
        list.push("--json".to_owned());
    }
    list
}

/// Runs the benches of one layer as asked.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    run_layer(args.layer.name(), &options(args))
}

/// Every bench once on a small ring, so that none rots.
pub(crate) fn smoke() -> Result<()> {
    ["ring", "hal", "ckks", "nn"].iter().try_for_each(|layer| run_layer(layer, &["--test".to_owned()]))?;
    cargo::run(cargo::cargo().args([
        "bench",
        "--quiet",
        "--package",
        "aegis-benches",
        "--bench",
        "micro",
        "--",
        "--test",
    ]))
}

/// Which source a figure belongs to.
fn identity() -> Vec<(&'static str, String)> {
    let git = |args: &[&str]| {
        cargo::output(std::process::Command::new("git").current_dir(cargo::root()).args(args))
            .unwrap_or_default()
    };
    let dirty = !git(&["status", "--porcelain", "--untracked-files=no"]).trim().is_empty();
    vec![
        ("AEGIS_BENCH_SHA", git(&["rev-parse", "HEAD"]).trim().to_owned()),
        ("AEGIS_BENCH_DIRTY", dirty.to_string()),
    ]
}
