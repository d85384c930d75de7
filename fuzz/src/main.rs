//! `aegis-fuzz`: runs targets, replays regressions; `cargo xtask fuzz` calls it. docs/fuzzing.md tells how.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use aegis_fuzz::campaign::{self, Options, Summary};
use aegis_fuzz::report;
use aegis_fuzz::targets::{self, TARGETS};
use aegis_fuzz::worker::{self, Work};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    /// Runs inputs in this process: what campaigns start
    #[command(hide = true)]
    Worker(Work),
}

#[derive(clap::Args)]
struct Run {
    /// The target; all of them when none is named
    target: Option<String>,
    /// Minutes for all targets together, one without --inputs
    #[arg(long)]
    minutes: Option<f64>,
    /// Inputs for each target
    #[arg(long)]
    inputs: Option<u64>,
    /// Seed of the inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// First input
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Processes at a time; without a number, one a core
    #[arg(long)]
    jobs: Option<u64>,
    /// An input without an answer for so long hangs
    #[arg(long, default_value_t = 10.0)]
    hang_seconds: f64,
    /// Where findings are kept
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions"))]
    regressions: PathBuf,
    /// Run what is kept there, and nothing else
    #[arg(long)]
    replay: bool,
    /// Write the seeds of the target to this folder, and run nothing
    #[arg(long, requires = "target")]
    seeds_to: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match &args.command {
        Some(Command::Worker(work)) => worker::run(work).map(|()| true),
        None => run(&args.run),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// True when nothing was found.
fn run(args: &Run) -> Result<bool> {
    let names: Vec<&str> = match &args.target {
        Some(name) => vec![name],
        None => TARGETS.iter().map(|(name, _)| *name).collect(),
    };
    if let (Some(folder), [name]) = (&args.seeds_to, &names[..]) {
        return write_seeds(folder, name).map(|()| true);
    }
    let minutes = args.minutes.or(args.inputs.is_none().then_some(1.0)).unwrap_or(f64::INFINITY);
    let time = Duration::try_from_secs_f64(minutes * 60.0 / names.len() as f64).unwrap_or(Duration::MAX);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let options = Options {
        seed: args.seed,
        from: args.from,
        inputs: args.inputs.unwrap_or(u64::MAX),
        time,
        jobs: args.jobs.unwrap_or(cores),
        hang: Duration::try_from_secs_f64(args.hang_seconds).context("--hang-seconds")?,
        regressions: args.regressions.clone(),
    };
    let mut clean = true;
    for name in names {
        let summary = if args.replay { campaign::replay(name, &options)? } else { watched(name, &options)? };
        clean &= summary.findings.is_empty();
        println!("{}", if args.json { report::json(&summary)? } else { report::line(&summary) });
    }
    Ok(clean)
}

/// With a bar where somebody looks.
fn watched(name: &str, options: &Options) -> Result<Summary> {
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{prefix:<16} {human_pos} inputs  {per_sec}  {elapsed}")?);
    bar.set_prefix(name.to_owned());
    let summary = campaign::run(name, options, &mut |done| bar.set_position(done));
    bar.finish_and_clear();
    summary
}

fn write_seeds(folder: &Path, name: &str) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (i, seed) in targets::open(name)?.seeds().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{i}")), seed)?;
    }
    Ok(())
}
