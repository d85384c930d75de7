//! Running cargo and reading what it knows.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    // Cargo sets the variable for `cargo xtask`; the current directory may be any folder of the repository.
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("xtask"), PathBuf::from);
    manifest.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The cargo that runs this, in the root of the repository.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Prints the command, runs it with its output passed through, and fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("+ {}", shown(command));
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// What the command prints, or an error with what it wrote to standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", shown(command), output.status, stderr.trim());
    }
    String::from_utf8(output.stdout).context("output is not UTF-8")
}

/// The packages of this workspace as `cargo metadata` lists them.
pub(crate) fn packages() -> Result<Vec<Value>> {
    let text = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    Ok(metadata["packages"].as_array().cloned().unwrap_or_default())
}

/// The libraries among them that are published.
pub(crate) fn libraries() -> Result<Vec<Value>> {
    let is_library = |target: &Value| target["kind"][0] == "lib";
    let mut packages = packages()?;
    // `publish` is null for anywhere and empty for nowhere.
    packages.retain(|package| {
        let targets = package["targets"].as_array();
        package["publish"].is_null() && targets.is_some_and(|targets| targets.iter().any(is_library))
    });
    Ok(packages)
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let args = command.get_args().map(|a| a.to_string_lossy().into_owned());
    std::iter::once(program.to_string_lossy().into_owned()).chain(args).collect::<Vec<_>>().join(" ")
}
