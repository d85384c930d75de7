//! Spelling, by `typos`: a verified binary, since building it takes minutes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::{root, run};
use crate::python;

const VERSION: &str = "1.52.0";
/// SHA-256 of its wheels: Linux and macOS on two processors, Windows.
const SHA256: [&str; 5] = [
    "418fd85f7fc11dec14e5482e747f6e916af56da96207cde0cdd69540a4b389f6",
    "5e870133c7e9cace94183e4d638697004a1473e79abcd01b8f75e362049a9b5c",
    "791d8778c4cb07f7a3f759ac65db09f6285aa480598bff42cfca2a32b0953200",
    "257324274303a459fef79978cae942568419d2e8b18519e5f66b93a7e2df2ba1",
    "b7ef28f4503bd5d25ba987d33af0c6acf5a7e63d5c2ff1c025ae7fa6ae56c07c",
];

/// Checks the spelling of everything that is committed; with a note and nothing else where the tool cannot be fetched.
pub(crate) fn run_or_note() -> Result<()> {
    match fetch() {
        Ok(program) => run(Command::new(program).current_dir(root()).args(["--format", "brief"])),
        Err(error) => {
            eprintln!("note: no typos {VERSION} ({error:#}); spelling is not checked");
            Ok(())
        }
    }
}

/// The program in target/tools; downloads it when it is absent.
fn fetch() -> Result<PathBuf> {
    let folder = root().join("target/tools").join(format!("typos-{VERSION}"));
    let program = folder.join("bin").join(format!("typos{}", std::env::consts::EXE_SUFFIX));
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let wheel = python::requirement(&folder, "typos", VERSION, &SHA256)?;
    // pip compares the wheel with the hashes before it unpacks anything.
    let mut pip = python::pip("install")?;
    pip.args(["--require-hashes", "--no-warn-script-location", "--upgrade", "--target"]).arg(&folder);
    python::run(pip.arg("--requirement").arg(wheel), "is this machine offline?")?;
    if !program.exists() {
        bail!("pip reported success but left no {}", program.display());
    }
    Ok(program)
}
