//! What every package of the lock file must keep: the licences, sources and bans of deny.toml. The file is cargo-deny's
//! and means the same to it; docs/decisions/0010 says why this does not run cargo-deny.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::cargo::{cargo, output, root};

/// The part of deny.toml that is read here.
#[derive(Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
}

const CRATES_IO: [&str; 2] =
    ["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"];

/// Checks every package and reports all violations at once.
pub(crate) fn run() -> Result<()> {
    let text = std::fs::read_to_string(root().join("deny.toml")).context("cannot read deny.toml")?;
    let policy: Policy = basic_toml::from_str(&text).context("deny.toml")?;
    let packages = all_packages()?;
    let faults: Vec<String> = packages.iter().flat_map(|package| faults(package, &policy)).collect();
    for fault in &faults {
        eprintln!("deny: {fault}");
    }
    if !faults.is_empty() {
        bail!("{} packages against deny.toml", faults.len());
    }
    let twice = duplicates(&packages);
    eprintln!("{} packages; in more than one version: {}", packages.len(), twice.join(", "));
    Ok(())
}

/// Every package of the lock file; without those of other systems where they cannot be fetched.
fn all_packages() -> Result<Vec<Value>> {
    let metadata = |filter: &[&str]| {
        let mut command = cargo();
        command.args(["metadata", "--locked", "--all-features", "--format-version", "1"]).args(filter);
        serde_json::from_str::<Value>(&output(&mut command)?).context("cargo metadata")
    };
    let metadata_of_all = metadata(&[]).or_else(|error| {
        eprintln!("note: {error:#}; packages of other systems are not checked");
        let version = output(std::process::Command::new("rustc").arg("-vV"))?;
        let host =
            version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
        metadata(&["--offline", "--filter-platform", host])
    })?;
    Ok(metadata_of_all["packages"].as_array().cloned().unwrap_or_default())
}

fn faults(package: &Value, policy: &Policy) -> Vec<String> {
    let text = |key: &str| package[key].as_str();
    let name = format!("{} {}", text("name").unwrap_or_default(), text("version").unwrap_or_default());
    let mut faults = Vec::new();
    match text("license") {
        None => faults.push(format!("{name} states no licence")),
        Some(licence) if !allowed(licence, &policy.licenses.allow) => {
            faults.push(format!("{name}: the licence {licence} is not allowed"));
        }
        Some(_) => {}
    }
    if policy.bans.deny.iter().any(|ban| text("name") == Some(ban.name.as_str())) {
        faults.push(format!("{name} is banned"));
    }
    match text("source") {
        Some(source) if !CRATES_IO.contains(&source) => faults.push(format!("{name} comes from {source}")),
        Some(_) => {}
        None => {
            let wildcards = package["dependencies"].as_array().into_iter().flatten();
            for dependency in wildcards.filter(|d| d["req"] == "*" && d["path"].is_null()) {
                faults.push(format!("{name} takes any version of {}", dependency["name"]));
            }
        }
    }
    faults
}

/// Whether an SPDX expression leaves a choice of allowed licences: `OR` (formerly `/`) of `AND`s of names and
/// parentheses.
fn allowed(expression: &str, allow: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest, allow) && rest.is_empty()
}

fn any_of(words: &mut &[&str], allow: &[String]) -> bool {
    let mut found = all_of(words, allow);
    while let Some(rest) = words.strip_prefix(&["OR"]) {
        *words = rest;
        found |= all_of(words, allow);
    }
    found
}

fn all_of(words: &mut &[&str], allow: &[String]) -> bool {
    let mut found = one(words, allow);
    while let Some(rest) = words.strip_prefix(&["AND"]) {
        *words = rest;
        found &= one(words, allow);
    }
    found
}

fn one(words: &mut &[&str], allow: &[String]) -> bool {
    match **words {
        ["(", ref rest @ ..] => {
            *words = rest;
            let found = any_of(words, allow);
            let closed = words.strip_prefix(&[")"]);
            *words = closed.unwrap_or(words);
            found && closed.is_some()
        }
        [name, "WITH", exception, ref rest @ ..] => {
            *words = rest;
            allow.iter().any(|a| a.split_once(" WITH ") == Some((name, exception)))
        }
        [name, ref rest @ ..] => {
            *words = rest;
            allow.iter().any(|a| a == name)
        }
        [] => false,
    }
}

/// Names that stand in the lock file more than once.
fn duplicates(packages: &[Value]) -> Vec<String> {
    let mut versions: BTreeMap<&str, u32> = BTreeMap::new();
    for name in packages.iter().filter_map(|package| package["name"].as_str()) {
        *versions.entry(name).or_default() += 1;
    }
    versions.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_of_licences() {
        let allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"].map(str::to_owned);
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(allowed(good, &allow), "{good}");
        }
        for bad in
            ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT MIT", "GPL-3.0 WITH LLVM-exception", "OR MIT"]
        {
            assert!(!allowed(bad, &allow), "{bad}");
        }
    }

    #[test]
    fn packages_against_the_policy() {
        let policy: Policy =
            basic_toml::from_str("[licenses]\nallow = ['MIT']\n[bans]\ndeny = [{ crate = 'bad' }]")
                .expect("a policy");
        let package = |name: &str, licence: &str, source: Value| {
            serde_json::json!({"name": name, "version": "1.0.0", "license": licence, "source": source,
                "dependencies": [{"name": "any", "req": "*"}, {"name": "near", "req": "*", "path": "near"}]})
        };
        let crates_io = || Value::from(CRATES_IO[0]);
        assert!(faults(&package("good", "MIT", crates_io()), &policy).is_empty());
        for (package, fault) in [
            (package("bad", "MIT", crates_io()), "bad 1.0.0 is banned"),
            (package("good", "GPL-3.0", crates_io()), "good 1.0.0: the licence GPL-3.0 is not allowed"),
            (
                package("good", "MIT", "git+https://example.org".into()),
                "good 1.0.0 comes from git+https://example.org",
            ),
            (package("good", "MIT", Value::Null), "good 1.0.0 takes any version of \"any\""),
        ] {
            assert_eq!(faults(&package, &policy), [fault]);
        }
    }
}
