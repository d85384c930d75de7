//! The command as users meet it: exit codes, messages, and no file left behind. Nothing here evaluates a model.
#![forbid(unsafe_code)]

mod calibrate;
mod checkpoints;
mod client;
mod outputs;
mod plan;
mod rounding;
#[cfg(unix)]
mod signals;
mod texts;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use aegis::keyset::Keyset;
use aegis_ckks::{KeyGenerator, Seed, insecure_levelled_spec};
use aegis_models::{Bert, CALIBRATION_FILE, calibration_file};
use aegis_testing::TinyBert;
use tempfile::{TempDir, tempdir};

fn aegis(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aegis")).args(args).output().expect("the command starts")
}

/// Runs, expects this exit code and a message that contains `words`, and never a panic.
fn refused(code: i32, words: &str, args: &[&str]) {
    let output = aegis(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(stderr.contains(words), "{args:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?}");
}

fn model() -> TempDir {
    let dir = tempdir().expect("a folder");
    TinyBert::default().write(dir.path()).expect("a writable folder");
    dir
}

/// A description of keys for some other model.
fn description(key_id: String) -> Vec<u8> {
    let (preset, model) = ("N16_B13_S40".to_owned(), "0".repeat(64));
    Keyset { key_id, preset, model, padded_tokens: 64 }.to_bytes()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a readable path")
}

#[test]
fn usage_errors_are_code_2() {
    refused(2, "Usage", &["embed"]);
    refused(2, "unexpected argument", &["decrypt", "--nonsense"]);
    refused(2, "invalid value", &["embed", "--model", "m", "--text", "a", "--threads", "0"]);
}

#[test]
fn texts_that_cannot_be_embedded() {
    let dir = model();
    let model = text(dir.path());
    refused(2, "empty", &["embed", "--model", model, "--text", ""]);
    refused(2, "empty", &["embed", "--model", model, "--text", " \t\n"]);
    refused(2, "unknown", &["embed", "--model", model, "--text", "zzz qqq"]);
    let long = "cat ".repeat(40);
    refused(2, "42 tokens", &["embed", "--model", model, "--text", &long]);
    let file = dir.path().join("texts");
    fs::write(&file, b"cat\n\xff\xfe\n").expect("writable");
    refused(2, "not UTF-8", &["embed", "--model", model, "--text-file", text(&file)]);
    fs::write(&file, b"").expect("writable");
    refused(2, "no text", &["embed", "--model", model, "--text-file", text(&file)]);
}

#[cfg(unix)]
#[test]
fn a_text_that_is_not_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let bad = std::ffi::OsStr::from_bytes(b"\xff");
    let output = Command::new(env!("CARGO_BIN_EXE_aegis"))
        .args(["embed", "--model", "m", "--text"])
        .arg(bad)
        .output()
        .expect("the command starts");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn models_that_cannot_be_used() {
    let embed =
        |dir: &Path, words: &str| refused(2, words, &["embed", "--model", text(dir), "--text", "cat"]);
    embed(Path::new("no/such/model"), "cannot read");
    let dir = model();
    embed(dir.path(), "calibration");
    fs::write(dir.path().join("model.safetensors"), b"short").expect("writable");
    embed(dir.path(), "safetensors");
    fs::write(dir.path().join("config.json"), b"{").expect("writable");
    embed(dir.path(), "config.json");
}

#[test]
fn presets_that_cannot_be_used() {
    let dir = model();
    let keygen = |preset: &str, words: &str| {
        let out = dir.path().join("keys");
        refused(2, words, &["keygen", "--preset", preset, "--model", text(dir.path()), "--out", text(&out)]);
    };
    keygen("N12", "no preset is called N12");
    // The model has no calibration: refused before any key is made.
    keygen("N16_B13_S40", "calibration");
}

#[test]
fn devices_that_cannot_be_opened() {
    let client = client::Client::new();
    let embed = |words: &str, option: &[&str]| {
        let model = client.model();
        let args = ["embed", "--model", text(&model), "--text", client::TEXT];
        refused(2, words, &[&args[..], option].concat());
    };
    embed("1 to 64 are possible", &["--devices", "65"]);
    embed("invalid value", &["--devices", "0"]);
    embed("mpirun", &["--comm", "mpi"]);
}

#[test]
fn existing_keys_are_kept() {
    let dir = model();
    let path = dir.path().join("secret.key");
    fs::write(&path, b"precious").expect("writable");
    refused(2, "--force", &["keygen", "--model", text(dir.path()), "--out", text(dir.path())]);
    assert_eq!(fs::read(&path).expect("still there"), b"precious");
}

#[test]
fn outputs_that_cannot_be_written() {
    let dir = model();
    let missing = dir.path().join("no/such/folder/query.ct");
    let common = ["--model", text(dir.path()), "--out", text(&missing)];
    refused(1, "cannot write", &[&["encrypt", "--keys", "k", "--text", "cat"], &common[..]].concat());
    refused(1, "cannot write", &[&["eval", "--eval-keys", "k", "--in", "q"], &common[..]].concat());
    let file = dir.path().join("config.json");
    refused(1, "cannot create", &["keygen", "--model", text(dir.path()), "--out", text(&file)]);
}

#[test]
fn files_that_are_no_keys_or_messages() {
    let dir = model();
    let at = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("writable");
        path
    };
    let (empty, noise) = (at("empty", b""), at("noise", &[0x5a; 4096]));
    let out = dir.path().join("result.ct");
    for input in [&empty, &noise] {
        let args = ["eval", "--eval-keys", text(&noise), "--model", text(dir.path()), "--in", text(input)];
        refused(2, "cannot be used", &[&args[..], &["--out", text(&out)]].concat());
    }
    refused(2, "cannot read", &["decrypt", "--keys", text(dir.path()), "--in", text(&noise)]);
    refused(2, "cannot read", &["decrypt", "--keys", text(dir.path()), "--in", text(&noise), "--json"]);
    at("keyset.json", b"{\"key_id\":1}");
    refused(2, "keyset.json", &["decrypt", "--keys", text(dir.path()), "--in", text(&noise)]);
    at("keyset.json", &description("0".repeat(32)));
    let encrypt =
        ["encrypt", "--keys", text(dir.path()), "--model", text(dir.path()), "--text", "cat", "--out"];
    refused(2, "made for the model", &[&encrypt[..], &[text(&out)]].concat());
    assert!(!out.exists(), "a refused command wrote its output");
}

/// A ring for tests, written to a file as if it were a preset: no command takes it.
#[test]
fn keys_below_128_bits_are_refused() {
    let dir = model();
    let ctx = aegis_testing::insecure(insecure_levelled_spec(13, 8));
    let secret = KeyGenerator::new(&ctx, Seed::new([1; 32])).secret_key();
    let key = fs::File::create(dir.path().join("secret.key")).expect("writable");
    secret.write(&ctx, key).expect("writable");
    fs::write(dir.path().join("keyset.json"), description(secret.id().to_string())).expect("writable");
    let input = dir.path().join("result.ct");
    fs::write(&input, b"").expect("writable");
    let decrypt = ["decrypt", "--keys", text(dir.path()), "--in", text(&input)];
    refused(2, "not those of a preset", &decrypt);
    refused(2, "128 bits of security", &[&decrypt[..], &["--allow-custom-parameters"]].concat());
}

#[test]
fn presets_that_cannot_carry_the_model_are_refused() {
    let dir = model();
    let bert = Bert::load(dir.path()).expect("a model");
    let texts = ["the cat sat on the mat.", "a dog ran"].map(|t| bert.tokenize(t).expect("tokens"));
    let constants = bert.calibrate("test", &texts).expect("constants");
    let file = calibration_file(&constants, bert.identity()).expect("a file");
    fs::write(dir.path().join(CALIBRATION_FILE), file).expect("writable");
    let out = dir.path().join("keys");
    let args = ["--model", text(dir.path()), "--out", text(&out)];
    refused(2, "does not carry", &[&["keygen", "--preset", "N14_L6_S40"], &args[..]].concat());
    assert!(!out.exists(), "a refused command left its folder behind");
    // Constants of other weights.
    let other = dir.path().join("other");
    fs::create_dir(&other).expect("writable");
    TinyBert { seed: 99, ..TinyBert::default() }.write(&other).expect("writable");
    fs::copy(dir.path().join(CALIBRATION_FILE), other.join(CALIBRATION_FILE)).expect("writable");
    refused(2, "calibration", &["keygen", "--model", text(&other), "--out", text(&out)]);
}

/// A full disk behind either stream is a failure with a code, not a panic.
#[cfg(target_os = "linux")]
#[test]
fn full_output_streams() {
    let full = || fs::File::options().write(true).open("/dev/full").expect("the device of full disks");
    let mut command = Command::new(env!("CARGO_BIN_EXE_aegis"));
    let status = command.arg("params").stdout(full()).output().expect("the command starts").status;
    assert_eq!(status.code(), Some(1), "standard output");
    let mut command = Command::new(env!("CARGO_BIN_EXE_aegis"));
    command.args(["decrypt", "--keys", "no/such/folder", "--in", "x"]);
    let status = command.stderr(full()).status().expect("the command starts");
    assert_eq!(status.code(), Some(2), "standard error");
}

#[test]
fn presets_are_listed_with_their_security() {
    let output = aegis(&["params"]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    assert!(table.contains("N16_B13_S40") && table.contains("security bits"), "{table}");
}
