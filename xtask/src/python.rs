//! Wheels, by the pip of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A Python that has pip.
pub(crate) fn python() -> Result<&'static str> {
    let with_pip = |name: &&str| {
        let mut command = Command::new(name);
        command.args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = ["python3", "python"].into_iter().find(with_pip);
    found.context("no python with pip found: install python3 and pip")
}

/// `pip COMMAND` for one wheel and nothing else. An index that serves sources would have them built, and run, before
/// anything is verified.
pub(crate) fn pip(command: &str) -> Result<Command> {
    let mut pip = Command::new(python()?);
    pip.args(["-m", "pip", command, "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--only-binary", ":all:", "--retries", "1", "--timeout", "20"]);
    Ok(pip)
}

/// A file for `pip --requirement` that names the version and what may be unpacked.
pub(crate) fn requirement(folder: &Path, package: &str, version: &str, sha256: &[&str]) -> Result<PathBuf> {
    let path = folder.join("requirement.txt");
    let hashes: String = sha256.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect();
    fs::write(&path, format!("{package}=={version}{hashes}\n"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Runs it silently; the error is its last line and the remedy.
pub(crate) fn run(command: &mut Command, remedy: &str) -> Result<()> {
    let output = command.output().context("cannot start python")?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{}; {remedy}", stderr.lines().last().unwrap_or("python failed").trim());
    }
    Ok(())
}
