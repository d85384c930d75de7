//! `aegis calibrate`, and the lengths that a calibration covers.

use std::fs;
use std::path::Path;

use aegis_models::{Bert, CALIBRATION_FILE};

use crate::{aegis, model, refused, text};

const TEXTS: &str = "cat\nthe dog ran.\na cat sat on the mat.\ndogs ran on the road . the cats sat\n";

/// Writes the texts and makes a calibration of them for this length.
fn calibrate(dir: &Path, max_tokens: &str, out: &Path) -> std::process::Output {
    let file = dir.join("texts");
    fs::write(&file, TEXTS).expect("writable");
    let (model, file) = (text(dir), text(&file));
    aegis(&[
        "calibrate",
        "--model",
        model,
        "--text-file",
        file,
        "--max-tokens",
        max_tokens,
        "--out",
        text(out),
    ])
}

#[test]
fn a_calibration_is_made_and_replaces_nothing_but_an_older_one() {
    let dir = model();
    let out = dir.path().join(CALIBRATION_FILE);
    let first = calibrate(dir.path(), "16", &out);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let bytes = fs::read(&out).expect("a file");
    let calibration = Bert::load(dir.path()).expect("a model").calibration().expect("a calibration");
    assert_eq!(calibration.tokens, 16);
    assert!(calibrate(dir.path(), "16", &out).status.success(), "an older one is replaced");
    assert!(fs::read(&out).expect("a file") == bytes, "equal texts give another calibration");
    let config = dir.path().join("config.json");
    let kept = calibrate(dir.path(), "16", &config);
    assert_eq!(kept.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&kept.stderr).contains("the calibration of a model must not replace"));
}

#[test]
fn texts_and_keys_longer_than_the_calibration_are_refused() {
    let dir = model();
    assert!(calibrate(dir.path(), "8", &dir.path().join(CALIBRATION_FILE)).status.success());
    let (model, keys) = (text(dir.path()), dir.path().join("keys"));
    let long = "cat cat cat cat cat cat cat";
    for part in ["9 tokens", "the 8 ", "aegis calibrate"] {
        refused(2, part, &["embed", "--model", model, "--text", long]);
    }
    refused(2, "the 8 ", &["keygen", "--model", model, "--max-tokens", "9", "--out", text(&keys)]);
    assert!(!keys.exists(), "a refused command left a folder");
}

#[test]
fn texts_that_no_calibration_can_be_made_from() {
    let dir = model();
    let (path, out) = (dir.path().join("texts"), dir.path().join("out"));
    let args = ["calibrate", "--model", text(dir.path()), "--text-file", text(&path), "--out", text(&out)];
    for (content, words) in [("", "no text"), ("cat\n\ncat\n", "line 2"), ("cat\nzzz\n", "unknown")] {
        fs::write(&path, content).expect("writable");
        refused(2, words, &args);
    }
    fs::write(&path, "cat\n").expect("writable");
    refused(2, "at most 16", &[&args[..], &["--max-tokens", "17"]].concat());
    assert!(!out.exists(), "a refused command left its output");
}
