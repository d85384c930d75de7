//! The house rules that a program can check.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::cargo::{output, packages, root};
use crate::source::{functions, mask};

/// Which crates a crate may depend on; docs/architecture.md says why. Any other arrow is refused.
const ARROWS: [(&str, &[&str]); 12] = [
    ("ring", &[]),
    ("hal", &["ring"]),
    ("cpu", &["hal", "ring"]),
    ("comm", &["hal"]),
    ("shard", &["comm", "hal", "ring"]),
    ("ckks", &["hal", "ring"]),
    ("testing", &["ring", "hal", "cpu", "ckks"]),
    ("circuits", &["ckks"]),
    ("nn", &["circuits", "ckks"]),
    ("models", &["nn"]),
    ("aegis", &["ring", "hal", "comm", "shard", "ckks", "circuits", "nn", "models"]),
    ("cli", &["ring", "hal", "cpu", "comm", "shard", "ckks", "circuits", "nn", "models", "aegis"]),
];
/// Tests of any crate may run on the CPU, on several of them and on the recorder of `hal`, and share what is in `testing`.
const FOR_TESTS: [&str; 6] = ["cpu", "comm", "hal", "ring", "shard", "testing"];

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 80;
/// Columns of a line of a document. Tables and code may be wider: they cannot be wrapped.
const MAX_DOCUMENT_COLUMNS: usize = 120;
/// Functions that may be longer: path, name, reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// The sources that may hold unsafe code: what computes with SIMD, and what calls a C library.
const UNSAFE: [&str; 2] = ["crates/cpu/", "crates/comm/src/mpi"];

/// What a library must not do, for it returns errors, and a test neither, for it asserts: what is printed nobody
/// compares.
const PRINTS: [&str; 5] = ["println!", "eprintln!", "print!(", "eprint!(", "dbg!"];
/// What a library must not do besides: its caller exits.
const EXITS: [&str; 2] = ["process::exit", "process::abort"];

/// Checks every rule and reports all violations at once.
pub(crate) fn run() -> Result<()> {
    let mut faults = arrows()?;
    faults.extend(kernel_rows()?);
    for path in tracked_files()? {
        let full = root().join(&path);
        let Ok(text) = std::fs::read_to_string(&full) else { continue };
        faults.extend(machine_paths(&path, &text));
        if path.ends_with(".md") {
            faults.extend(long_lines(&path, &text));
        }
        if path.ends_with(".rs") {
            faults.extend(sizes(&path, &text));
            faults.extend(library_rules(&path, &text));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    for fault in &faults {
        eprintln!("tidy: {fault}");
    }
    bail!("{} house rules broken", faults.len())
}

/// Compares the dependencies between crates with [`ARROWS`].
fn arrows() -> Result<Vec<String>> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut faults = Vec::new();
    for package in packages()? {
        let name = package["name"].as_str().context("a package without a name")?;
        let Some(folder) = folder_of(name).filter(|f| !matches!(*f, "benches" | "fuzz")) else { continue };
        let Some(may) = allowed.get(folder) else {
            faults.push(format!("crate {folder} stands in no arrow of the architecture"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let Some(to) = dependency["name"].as_str().and_then(folder_of) else { continue };
            let for_tests = dependency["kind"] == "dev";
            if !(may.contains(&to) || (for_tests && FOR_TESTS.contains(&to))) {
                faults.push(format!("crate {folder} must not depend on {to}"));
            }
        }
    }
    Ok(faults)
}

/// The folder of a crate of ours: `aegis` and `aegis-<folder>`.
fn folder_of(package: &str) -> Option<&str> {
    if package == "aegis" { Some(package) } else { package.strip_prefix("aegis-") }
}

/// Every kernel in the table of facts has a row in docs/kernels.md; a test of `hal` compares what the rows say.
fn kernel_rows() -> Result<Vec<String>> {
    let read = |path: &str| {
        std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
    };
    let (source, page) = (read("crates/hal/src/kernel/facts.rs")?, read("docs/kernels.md")?);
    let names = source.lines().filter_map(|line| line.split_once("(\"")?.1.split_once("\", "));
    let missing = names.map(|(name, _)| name).filter(|name| !page.contains(&format!("| `{name}` |")));
    Ok(missing.map(|name| format!("docs/kernels.md has no row for the kernel {name}")).collect())
}

/// Every file of the repository that git does not ignore.
pub(crate) fn tracked_files() -> Result<Vec<String>> {
    let mut git = std::process::Command::new("git");
    git.current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    Ok(output(&mut git)?.lines().map(str::to_owned).collect())
}

fn machine_paths(path: &str, text: &str) -> Vec<String> {
    // Written apart so that this file passes its own rule.
    let roots = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/tm", "p/")];
    if path == "Cargo.lock" {
        return Vec::new();
    }
    let names_one = |line: &str| roots.iter().any(|r| line.contains(r));
    let lines = text.lines().enumerate().filter(|(_, line)| names_one(line));
    lines.map(|(i, _)| format!("{path}:{}: a path of one machine", i + 1)).collect()
}

/// Lines of prose that are too long in a document. Records are kept as they were written.
fn long_lines(path: &str, text: &str) -> Vec<String> {
    if path.starts_with("benches/records/") {
        return Vec::new();
    }
    let (mut faults, mut in_code) = (Vec::new(), false);
    for (i, line) in text.lines().enumerate() {
        let start = line.trim_start();
        in_code ^= start.starts_with("```");
        // A line of one word, such as an address, has no place to break.
        let prose = !in_code && !start.starts_with('|') && start.contains(' ');
        if prose && line.chars().count() > MAX_DOCUMENT_COLUMNS {
            faults.push(format!("{path}:{}: more than {MAX_DOCUMENT_COLUMNS} columns; wrap the text", i + 1));
        }
    }
    faults
}

fn sizes(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_FILE_LINES {
        faults.push(format!("{path}: {lines} lines, at most {MAX_FILE_LINES}: one file, one idea"));
    }
    for function in functions(&mask(text)) {
        let excused = LONG_FUNCTIONS.iter().any(|(p, f, _)| *p == path && *f == function.name);
        if function.lines > MAX_FUNCTION_LINES && !excused {
            faults.push(format!(
                "{path}:{}: fn {} has {} lines, at most {MAX_FUNCTION_LINES}",
                function.line, function.name, function.lines
            ));
        }
    }
    faults
}

/// Rules for crate roots and for the sources of libraries.
fn library_rules(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let in_source_root =
        path.contains("/src/lib.rs") || path.contains("/src/main.rs") || path.contains("/src/bin/");
    if in_source_root {
        faults.extend(unsafe_rule(path, text));
    }
    let excused = UNSAFE.iter().any(|may| path.starts_with(may));
    if !excused && ["allow(unsafe_code", "expect(unsafe_code"].iter().any(|lint| mask(text).contains(lint)) {
        faults.push(format!("{path}: only {UNSAFE:?} may hold unsafe code"));
    }
    let front_page =
        path.starts_with("crates/") && (path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs"));
    let page = || text.lines().map_while(|line| line.strip_prefix("//!"));
    if front_page && page().filter(|line| line.starts_with(" # ")).last() != Some(" # Non-goals") {
        faults.push(format!("{path}: the crate's front page does not end with `# Non-goals`"));
    }
    if front_page && !page().any(|line| line.starts_with(" ```")) {
        faults.push(format!("{path}: the crate's front page has no example"));
    }
    faults.extend(prints_and_exits(path, text));
    faults
}

/// A crate root forbids unsafe code; one above a module that may hold some denies it everywhere else.
fn unsafe_rule(path: &str, text: &str) -> Option<String> {
    let folder = path.rsplit_once('/').map_or(path, |(folder, _)| folder);
    let lint = match UNSAFE.iter().find(|may| may.starts_with(folder) || path.starts_with(**may)) {
        Some(may) if path.starts_with(may) => return None,
        Some(_) => "#![deny(unsafe_code)]",
        None => "#![forbid(unsafe_code)]",
    };
    let missing = !text.contains(lint);
    missing.then(|| format!("{path}: `{lint}` is missing; only {UNSAFE:?} may hold unsafe code"))
}

fn prints_and_exits(path: &str, text: &str) -> Vec<String> {
    let library = path.starts_with("crates/") && path.contains("/src/") && !path.starts_with("crates/cli/");
    let test = path.contains("/tests/");
    let refused = PRINTS.iter().filter(|_| library || test).chain(EXITS.iter().filter(|_| library));
    let refused: Vec<&str> = refused.copied().collect();
    let mut faults = Vec::new();
    for (i, line) in mask(text).lines().enumerate() {
        let calls = |what: &&&str| line.contains(**what);
        faults.extend(
            refused.iter().find(calls).map(|what| {
                format!("{path}:{}: {what} in a {}", i + 1, if test { "test" } else { "library" })
            }),
        );
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_wrapped_and_tables_and_code_are_not() {
        let long = "word ".repeat(30);
        let text = format!("{long}\n| {long}|\n```text\n{long}\n```\n  {long}\n{}\n", "x".repeat(200));
        let lines: Vec<String> = long_lines("docs/page.md", &text);
        let found: Vec<&str> = lines.iter().filter_map(|fault| fault.split(':').nth(1)).collect();
        assert_eq!(found, ["1", "6"], "{lines:?}");
        assert!(long_lines("benches/records/run.md", &text).is_empty());
    }

    #[test]
    fn unsafe_code_stands_in_two_places() {
        let faults = |path: &str, text: &str| {
            let rules = library_rules(path, text);
            rules.iter().filter(|fault| fault.contains("hold unsafe code")).count()
        };
        let (forbid, deny, allow) =
            ("#![forbid(unsafe_code)]", "#![deny(unsafe_code)]", "#![allow(unsafe_code)]");
        assert_eq!(["", deny, forbid].map(|text| faults("crates/hal/src/lib.rs", text)), [1, 1, 0]);
        assert_eq!(["", deny, forbid].map(|text| faults("crates/comm/src/lib.rs", text)), [1, 0, 1]);
        assert_eq!((faults("crates/cpu/src/lib.rs", ""), faults("crates/cpu/src/memory.rs", allow)), (0, 0));
        assert_eq!(
            ["mpi.rs", "mpi/calls.rs", "group.rs"].map(|f| faults(&format!("crates/comm/src/{f}"), allow)),
            [0, 0, 1]
        );
    }

    #[test]
    fn tests_and_libraries_do_not_print() {
        let text = "fn f() { println!(\"{}\", 1); }\n// println!\nfn g() { std::process::exit(1) }\n";
        let lines = |path: &str| prints_and_exits(path, text).len();
        assert_eq!(lines("crates/nn/src/tensor.rs"), 2);
        assert_eq!(lines("crates/cli/tests/it/main.rs"), 1);
        assert_eq!((lines("crates/cli/src/main.rs"), lines("crates/nn/examples/own_layer.rs")), (0, 0));
    }
}
