//! A short run of every target, what was found before, and the runner itself. docs/fuzzing.md tells how to run longer.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Command;

use aegis_fuzz::targets::TARGETS;
use serde_json::Value;

/// Runs the command; its exit code, and what it printed for each target.
fn fuzz(args: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = Command::new(env!("CARGO_BIN_EXE_aegis-fuzz")).arg("--json").args(args).output();
    let output = output.expect("the command starts");
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{errors}");
    (output.status.code(), lines)
}

/// Fails with the findings of every target.
fn expect_none(args: &[&str]) -> Vec<Value> {
    let (code, lines) = fuzz(args);
    let found = |line: &&Value| line["findings"].as_array().is_some_and(|f| !f.is_empty());
    let findings: Vec<&Value> = lines.iter().filter(found).collect();
    assert!(findings.is_empty(), "{findings:#?}");
    assert_eq!((code, lines.len()), (Some(0), TARGETS.len()));
    lines
}

#[test]
fn a_short_run_finds_nothing() {
    for line in expect_none(&["--inputs", "1500", "--seed", "20261121"]) {
        assert_eq!(line["inputs"], 1500, "{line}");
        // A target that refuses everything, or nothing, tests nothing.
        assert!(line["accepted"].as_u64() > Some(1) && line["refused"].as_u64() > Some(15), "{line}");
    }
}

#[test]
fn what_was_found_before_stays_mended() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    for line in expect_none(&["--replay"]) {
        let name = line["target"].as_str().expect("a name");
        let files = std::fs::read_dir(kept.join(name)).map_or(0, Iterator::count);
        assert_eq!(line["inputs"], files, "{line}");
    }
}

/// Each way in which an input can end a process is found, told apart, kept and found again.
#[test]
fn faults_of_every_kind_are_attributed() {
    let kept = tempfile::tempdir().expect("a folder");
    let folder = kept.path().to_str().expect("a readable path");
    let args = ["selftest", "--inputs", "7", "--hang-seconds", "1", "--regressions", folder];
    let (code, lines) = fuzz(&args);
    assert_eq!(code, Some(1));
    let expect = ["panic", "memory", "stack", "abort", "hang"];
    let words = ["on purpose", "memory allocation of", "stack", "SIGABRT", "no answer"];
    let findings = lines[0]["findings"].as_array().expect("findings");
    assert_eq!(findings.len(), expect.len(), "{findings:#?}");
    for (i, finding) in findings.iter().enumerate() {
        assert_eq!(finding["index"], i + 1, "the seeds stand in this order: {finding}");
        let file = finding["file"].as_str().expect("a path");
        assert_eq!(std::fs::read(file).expect("kept"), expect[i].as_bytes());
        let message = finding["message"].as_str().expect("text");
        assert!(message.contains(words[i]) || cfg!(not(unix)), "{finding}");
    }
    let (code, lines) = fuzz(&[&args[..], &["--replay"]].concat());
    let again = lines[0]["findings"].as_array().map(Vec::len);
    assert_eq!((code, again), (Some(1), Some(expect.len())));
}

/// The same number names the same input in every process, whoever runs it.
#[test]
fn inputs_depend_on_target_seed_and_index_alone() {
    for (name, open) in TARGETS {
        let (a, b) = (open(), open());
        let [a, b] = [&a, &b].map(|t| aegis_fuzz::Inputs::new(name, &**t, 7));
        for index in [0, 1, 1000, 1 << 40] {
            assert!(a.get(index) == b.get(index), "{name}, input {index}");
        }
        assert!(a.get(1000) != a.get(1001), "{name}");
    }
}
