//! Tests, the full check of a change, and the demonstration.

use std::io::IsTerminal;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::cargo::{cargo, run};
use crate::{api, deny, model, mpi, params, site, tidy, typos};

/// Options of `cargo xtask test`.
#[derive(clap::Args, Default)]
pub(crate) struct TestArgs {
    /// Do not fetch the model, and leave out the tests that need its weights
    #[arg(long)]
    offline: bool,
    /// Passed to `cargo test`, e.g. `-p aegis-ring ntt`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Options of `cargo xtask ci`.
#[derive(clap::Args)]
pub(crate) struct CiArgs {
    /// Only these steps, e.g. `typos` or `"public API"`; all of them when none is named
    only: Vec<String>,
}

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct DemoArgs {
    /// Passed to `aegis demo`, e.g. `--text "…" --threads 1`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// The whole suite. Ends with the test runner's own closing lines.
pub(crate) fn test(args: &TestArgs) -> Result<()> {
    if !args.rest.is_empty() {
        return run(cargo().arg("test").args(&args.rest));
    }
    let model = if args.offline { None } else { Some(model::fetch()) };
    match model {
        // First, so that the suite's closing lines are the last ones.
        Some(Ok(_)) => {
            run(cargo().args([
                "test",
                "--package",
                "aegis-models",
                "--package",
                "aegis",
                "--test",
                "it",
                "minilm",
                "--",
                "--ignored",
            ]))?;
        }
        Some(Err(error)) => {
            eprintln!("note: no model ({error:#}); the tests that need its weights are not run")
        }
        None => eprintln!("note: --offline; the tests that need the model's weights are not run"),
    }
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    match if args.offline { None } else { Some(mpi::fetch()) } {
        // From now on a test that finds none has failed.
        Some(Ok(())) => drop(tests.env("REQUIRE_MPI", "1")),
        Some(Err(error)) => {
            eprintln!("note: {error:#}; ranks in processes are tested with the system's MPI, if any")
        }
        None => {}
    }
    run(&mut tests)
}

/// Everything a change must pass, cheap steps first.
pub(crate) fn ci(args: &CiArgs) -> Result<()> {
    type Step = (&'static str, fn() -> Result<()>);
    let steps: [Step; 10] = [
        ("format", || run(cargo().args(["fmt", "--all", "--check"]))),
        ("tidy", tidy::run),
        ("deny", deny::run),
        ("typos", typos::run_or_note),
        ("clippy", || {
            run(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
        }),
        ("documentation", site::build),
        ("public API", api::check),
        ("parameters", || params::run(&params::ParamsArgs { check: true })),
        ("bench smoke", crate::bench::smoke),
        // Last, so that the suite's closing lines are the last ones. A short run of the fuzz targets is among
        // them, and so are the counts of an inference.
        ("tests", || test(&TestArgs::default())),
    ];
    if let Some(unknown) = args.only.iter().find(|only| steps.iter().all(|(name, _)| name != only)) {
        bail!("no step {unknown:?}; there are {}", steps.map(|(name, _)| name).join(", "));
    }
    for (i, (name, step)) in steps.iter().enumerate() {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == name) {
            continue;
        }
        let start = Instant::now();
        eprintln!("[{}/{}] {name}", i + 1, steps.len());
        step()?;
        eprintln!("[{}/{}] {name}: passed in {:.0} s", i + 1, steps.len(), start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Fetches the model if absent and runs `aegis demo` on it.
pub(crate) fn demo(args: &DemoArgs) -> Result<()> {
    let model = model::fetch()?;
    let mut command = cargo();
    command.args(["run", "--release", "--package", "aegis-cli", "--bin", "aegis"]);
    if !std::io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    run(command.args(["--", "demo", "--model"]).arg(model).args(&args.rest))
}
