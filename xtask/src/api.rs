//! The public API of each library as a text beside it, `crates/*/api.txt`: what a change does to those who depend on
//! a crate shows in its diff.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use public_api::Builder;

use crate::cargo::{cargo, libraries, output, root};

/// Set for a run of this program in the place of rustdoc: the path of the real one.
const REAL_RUSTDOC: &str = "AEGIS_XTASK_RUSTDOC";

/// Compares the API of every library with its text.
pub(crate) fn check() -> Result<()> {
    let mut changed = Vec::new();
    for (name, path) in texts()? {
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        let now = api(&name)?;
        if now != committed {
            let (now, committed): (Vec<&str>, Vec<&str>) =
                (now.lines().collect(), committed.lines().collect());
            let added = now.iter().filter(|line| !committed.contains(line)).map(|line| format!("+ {line}"));
            let removed = committed.iter().filter(|line| !now.contains(line)).map(|line| format!("- {line}"));
            added.chain(removed).for_each(|line| eprintln!("{name}: {line}"));
            changed.push(name);
        }
    }
    if !changed.is_empty() {
        bail!(
            "the API of {} changed: if that was meant, run `cargo xtask bless` and commit it",
            changed.join(", ")
        );
    }
    Ok(())
}

/// Writes the text of every library.
pub(crate) fn bless() -> Result<()> {
    for (name, path) in texts()? {
        std::fs::write(&path, api(&name)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The libraries that are published, and where their texts are.
fn texts() -> Result<Vec<(String, PathBuf)>> {
    let text = |package: &serde_json::Value| {
        let (name, manifest) = (package["name"].as_str(), package["manifest_path"].as_str());
        let (name, manifest) = name.zip(manifest).context("a package without a name or a manifest")?;
        Ok((name.to_owned(), PathBuf::from(manifest).with_file_name("api.txt")))
    };
    libraries()?.iter().map(text).collect()
}

/// Every public item of a library, one a line.
fn api(package: &str) -> Result<String> {
    let program = std::env::current_exe().context("this program has no path")?;
    let mut command = cargo();
    command.args(["rustdoc", "--quiet", "--package", package, "--lib", "--all-features", "--"]);
    command.args(["-Zunstable-options", "--output-format=json", "--cap-lints=allow"]);
    let real = output(Command::new("rustup").current_dir(root()).args(["which", "rustdoc"]));
    let real = real.map_or_else(|_| "rustdoc".to_owned(), |path| path.trim().to_owned());
    output(command.env("RUSTDOC", program).env(REAL_RUSTDOC, real))?;
    let file = root().join("target/doc").join(package.replace('-', "_")).with_extension("json");
    let items = Builder::from_rustdoc_json(&file)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .with_context(|| format!("cannot read {}", file.display()))?;
    Ok(items.to_string())
}

/// The exit code of rustdoc, when cargo has started this program in its place; else `None`.
///
/// A stable rustdoc writes JSON only with RUSTC_BOOTSTRAP. Were the variable set for cargo, build scripts of
/// dependencies would see it and everything would be built again, with features of nightly.
pub(crate) fn stand_in() -> Option<ExitCode> {
    let real = std::env::var_os(REAL_RUSTDOC)?;
    let status = Command::new(real).args(std::env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1").status();
    Some(if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
