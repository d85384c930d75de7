//! The `aegis` command. The only crate that names a concrete device, prints, and ends the process.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod embed;
mod fault;
mod files;
mod keys;
mod memory;
mod message;
mod output;
mod presets;
mod progress;
mod session;

use std::process::ExitCode;

use clap::Parser;

use args::{Aegis, Command};

fn main() -> ExitCode {
    let outcome = match Aegis::parse().command {
        Command::Params => presets::table().and_then(|table| output::line(&table)),
        Command::Keygen(args) => commands::keygen(&args),
        Command::Encrypt(args) => commands::encrypt(&args),
        Command::Eval(args) => commands::eval(&args),
        Command::Decrypt(args) => commands::decrypt(&args),
        Command::Embed(args) => embed::embed(&args),
        Command::Demo(args) => embed::demo(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("error: {error:#}"));
            fault::exit_code(&error)
        }
    }
}
