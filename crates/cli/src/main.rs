//! The `aegis` command. The only crate that names a concrete device, prints, and ends the process.
//!
//! ```text
//! aegis keygen  --model models/minilm --out keys/
//! aegis encrypt --keys keys/ --model models/minilm --text "Where does it hurt?" --out query.ct
//! aegis eval    --eval-keys keys/eval.keys --model models/minilm --in query.ct --out result.ct
//! aegis decrypt --keys keys/ --in result.ct --json
//! ```
//!
//! Exit codes: 0, 2 for usage and input, 1 for any other failure. Outputs are complete or absent.
//!
//! # Non-goals
//! A network service, storage of keys beyond files, fetching or calibrating models.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod embed;
mod fault;
mod files;
mod keys;
mod memory;
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
