//! Fuzzing: the deterministic runner on stable Rust, or libFuzzer on nightly. docs/fuzzing.md tells more.

use std::process::Command;

use anyhow::{Result, bail};

use crate::cargo::{cargo, root, run};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct FuzzArgs {
    /// The target; all of them when none is named
    target: Option<String>,
    /// Minutes for all targets together, one without --inputs
    #[arg(long)]
    minutes: Option<f64>,
    /// Inputs for each target
    #[arg(long)]
    inputs: Option<u64>,
    /// Seed of the inputs
    #[arg(long)]
    seed: Option<u64>,
    /// First input: with `--inputs 1`, the one of a finding
    #[arg(long)]
    from: Option<u64>,
    /// Run what was found before and is kept in fuzz/regressions
    #[arg(long)]
    replay: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Run the target under libFuzzer, which follows coverage; needs nightly
    #[arg(long, requires = "target", conflicts_with_all = ["inputs", "seed", "from", "replay", "json"])]
    libfuzzer: bool,
}

/// Runs the targets as asked; fails on a finding.
pub(crate) fn fuzz(args: &FuzzArgs) -> Result<()> {
    match &args.target {
        Some(target) if args.libfuzzer => libfuzzer(target, args.minutes.unwrap_or(1.0)),
        _ => run(runner().args(options(args))),
    }
}

fn runner() -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", "aegis-fuzz", "--bin", "aegis-fuzz", "--"]);
    command
}

fn options(args: &FuzzArgs) -> Vec<String> {
    let mut list: Vec<String> = args.target.iter().cloned().collect();
    let mut push = |name: &str, value: Option<String>| {
        list.extend(value.into_iter().flat_map(|v| [name.to_owned(), v]));
    };
    push("--minutes", args.minutes.map(|v| v.to_string()));
    push("--inputs", args.inputs.map(|v| v.to_string()));
    push("--seed", args.seed.map(|v| v.to_string()));
    push("--from", args.from.map(|v| v.to_string()));
    for (name, set) in [("--replay", args.replay), ("--json", args.json)] {
        list.extend(set.then(|| name.to_owned()));
    }
    list
}

/// Counters of coverage and of compared values, as libFuzzer reads them.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Zsanitizer=address",
];

/// Builds with nightly and runs for some minutes, beginning with the seeds and what was found before.
fn libfuzzer(target: &str, minutes: f64) -> Result<()> {
    let nightly = Command::new("rustup").args(["run", "nightly", "rustc", "-vV"]).output();
    let Some(version) = nightly.ok().filter(|o| o.status.success()) else {
        bail!(
            "libFuzzer needs nightly Rust: `rustup toolchain install nightly`; without it, `cargo xtask fuzz {target}` \
             runs the same target"
        );
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    // A named target keeps the flags from build scripts and macros, which must run without a sanitizer.
    let Some(host) = version.lines().find_map(|line| line.strip_prefix("host: ")) else {
        bail!("`rustc -vV` names no host");
    };
    let corpus = root().join("target/fuzz-corpus").join(target);
    run(runner().arg(target).arg("--seeds-to").arg(&corpus))?;
    let mut command = Command::new("rustup");
    command.current_dir(root()).args(["run", "nightly", "cargo", "run", "--release", "--target", host]);
    command.args(["--target-dir", "target/libfuzzer", "--package", "aegis-fuzz", "--features", "libfuzzer"]);
    command.args(["--bin", "aegis-libfuzzer", "--"]).arg(&corpus);
    command.arg(format!("-max_total_time={}", (minutes * 60.0).ceil()));
    command.args(["-timeout=10", "-rss_limit_mb=4096", "-max_len=65536", "-print_final_stats=1"]);
    command.arg(format!("-artifact_prefix={}/", corpus.display()));
    command.env("RUSTFLAGS", COVERAGE.join(" ")).env("AEGIS_FUZZ_TARGET", target);
    // The toolchain that runs this would win over the one asked for.
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    run(&mut command)
}
