//! Checks by other interpreters of the same code: loom tries every order of events, Miri looks for undefined
//! behaviour.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::cargo::{cargo, root, run};

/// Runs the models of queues and mailboxes under loom, in a target folder of their own: the flag would rebuild
/// everything.
pub(crate) fn loom() -> Result<()> {
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    for (package, models) in [("aegis-cpu", "executor::models"), ("aegis-comm", "models")] {
        run(cargo()
            .args(["test", "--release", "--package", package, "--lib", models])
            .env("RUSTFLAGS", format!("{flags} --cfg aegis_loom"))
            .env("CARGO_TARGET_DIR", root().join("target-loom"))
            // Orders with more switches away from a thread that could run on are left out: there are too many.
            .env("LOOM_MAX_PREEMPTIONS", "3"))?;
    }
    Ok(())
}

/// Runs under Miri what computes addresses: shapes and views, spans and buffers, and launches on a tiny ring.
pub(crate) fn miri() -> Result<()> {
    let found = Command::new("cargo")
        .args(["+nightly", "miri", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !found.is_ok_and(|status| status.success()) {
        bail!("no Miri; install it: rustup toolchain install nightly --component miri");
    }
    for (package, tests) in [
        ("aegis-hal", &["--lib", "poly"][..]),
        ("aegis-cpu", &["--lib", "memory"]),
        ("aegis-cpu", &["--test", "it", "tiny"]),
    ] {
        // The toolchain of this process must not stand in for the one named.
        run(Command::new("cargo")
            .current_dir(root())
            .env_remove("RUSTUP_TOOLCHAIN")
            .args(["+nightly", "miri", "test", "--package", package])
            .args(tests)
            // Proptest asks for the current folder.
            .env("MIRIFLAGS", "-Zmiri-disable-isolation"))?;
    }
    Ok(())
}
