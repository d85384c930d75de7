//! Development commands: `cargo xtask <command>`. The same ones run by hand and in continuous integration.
#![forbid(unsafe_code)]

mod api;
mod bench;
mod bless;
mod cargo;
mod check;
mod ci;
mod deny;
mod fuzz;
mod model;
mod mpi;
mod params;
mod python;
mod site;
mod source;
mod tidy;
mod typos;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development commands of aegis", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole test suite: unit, integration and documentation tests of every crate
    Test(ci::TestArgs),
    /// Everything a change must pass: formatting, house rules, licences, spelling, clippy, documentation, public APIs,
    /// presets, a smoke run of the benches, tests
    Ci(ci::CiArgs),
    /// Renews what tests and checks compare with; read the difference before you commit it
    Bless(bless::BlessArgs),
    /// House rules: arrows between crates, sizes, no prints in libraries and tests, no unsafe code but in `cpu`
    Tidy,
    /// Builds target/doc/index.html: the documentation of the crates and the pages of the repository
    Docs,
    /// Fetches all-MiniLM-L6-v2 into models/minilm and verifies it
    Model,
    /// Fetches Open MPI and MPICH into target/tools, without root, and says how to run under them
    Mpi,
    /// Prints the table of parameter presets and checks their security limits
    Params(params::ParamsArgs),
    /// Runs the benches of one layer
    Bench(bench::BenchArgs),
    /// Tries every order of events in the queue of the CPU backend
    Loom,
    /// Looks for undefined behaviour in address arithmetic and buffers (needs a nightly toolchain with Miri)
    Miri,
    /// Runs the fuzz targets; fails on a finding
    Fuzz(fuzz::FuzzArgs),
    /// Embeds one sentence under encryption with a real model and compares with the plain one
    Demo(ci::DemoArgs),
}

fn main() -> ExitCode {
    if let Some(code) = api::stand_in() {
        return code;
    }
    let outcome = match Args::parse().command {
        Command::Test(args) => ci::test(&args),
        Command::Ci(args) => ci::ci(&args),
        Command::Bless(args) => bless::bless(&args),
        Command::Tidy => tidy::run(),
        Command::Docs => site::build(),
        Command::Model => model::fetch().map(|_| ()),
        Command::Mpi => mpi::fetch(),
        Command::Params(args) => params::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Loom => check::loom(),
        Command::Miri => check::miri(),
        Command::Fuzz(args) => fuzz::fuzz(&args),
        Command::Demo(args) => ci::demo(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
