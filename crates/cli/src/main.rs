//! The `aegis` command. The only crate that names a concrete device, prints, and ends the process.
#![forbid(unsafe_code)]

mod args;
mod fault;
mod files;
mod memory;
mod output;
mod presets;

use std::process::ExitCode;

use clap::Parser;

use args::{Aegis, Command};

fn main() -> ExitCode {
    let outcome = match Aegis::parse().command {
        Command::Params => presets::table().and_then(|table| output::line(&table)),
        _ => Err(anyhow::anyhow!("not built yet")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            fault::exit_code(&error)
        }
    }
}
