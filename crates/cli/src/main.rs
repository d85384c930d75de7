//! The `aegis` command. The only crate that names a concrete device, prints, and ends the process.
//!
//! ```text
//! aegis keygen  --model models/minilm --out keys/
//! aegis encrypt --keys keys/ --model models/minilm --text - --out query.ct < question.txt
//! aegis eval    --eval-keys keys/eval.keys --model models/minilm --in query.ct --out result.ct --checkpoint run/
//! aegis decrypt --keys keys/ --in result.ct --json
//! aegis plan    --model models/minilm --tokens 512
//! ```
//!
//! Exit codes: 0; 2 for what other arguments, files or keys mend (the kinds input, key set and unsupported of
//! [`aegis::ErrorKind`]); 1 for any other failure (memory, device, disk, a bug, an embedding that `--check` finds wrong);
//! 128 + n for the signal n. Outputs are complete or absent, and replace nothing but an older output of the same command.
//!
//! # Non-goals
//! A network service, storage of keys beyond files, fetching models.
#![forbid(unsafe_code)]

mod args;
mod calibrate;
mod checkpoint;
mod commands;
mod content;
mod devices;
mod embed;
mod fault;
mod files;
mod keys;
mod memory;
mod output;
mod plan;
mod presets;
mod progress;
mod session;
mod temporary;
mod text;

use std::process::ExitCode;

use clap::Parser;

use args::{Aegis, Command};

fn main() -> ExitCode {
    let command = Aegis::parse().command;
    if let Err(error) = temporary::remove_on_signals() {
        output::note(&format!("warning: a signal will leave temporary files behind: {error}"));
    }
    let outcome = match command {
        Command::Params => presets::table().and_then(|table| output::line(&table)),
        Command::Keygen(args) => commands::keygen(&args),
        Command::Encrypt(args) => commands::encrypt(&args),
        Command::Eval(args) => commands::eval(&args),
        Command::Decrypt(args) => commands::decrypt(&args),
        Command::Embed(args) => embed::embed(&args),
        Command::Demo(args) => embed::demo(&args),
        Command::Calibrate(args) => calibrate::calibrate(&args),
        Command::Plan(args) => plan::plan(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("error: {error:#}"));
            fault::exit_code(&error)
        }
    }
}
