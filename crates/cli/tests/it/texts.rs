//! Texts: where they come from, and which are refused.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::client::{Client, NARROW, OUTSIDE, TEXT};
use crate::{aegis, refused, text};

/// Runs with these bytes on standard input.
fn aegis_with(stdin: &[u8], args: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aegis"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut pipe = child.stdin.take().expect("piped");
    // The command may have refused before all is written.
    let _ = pipe.write_all(stdin);
    drop(pipe);
    child.wait_with_output().expect("the command ends")
}

/// What `encrypt --json` prints of the ciphertext, with seed 1.
fn sha256(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["ciphertext_sha256"].as_str().expect("a digest").to_owned()
}

/// A text on the command line stands in the list of processes.
#[test]
fn a_text_need_not_stand_on_the_command_line() {
    let client = Client::new();
    let (keys, model, out) = (client.keys(), client.model(), client.path("query.ct"));
    let encrypt = [
        "encrypt",
        "--keys",
        text(&keys),
        "--model",
        text(&model),
        "--out",
        text(&out),
        "--json",
        "--seed",
        "1",
    ];
    let file = client.path("question");
    let with = |more: &[&'static str]| [&encrypt[..], more].concat();
    let with_file = [&encrypt[..], &["--text-file", text(&file)]].concat();
    let expected = sha256(&aegis(&with(&["--text", TEXT])));
    for ending in ["", "\n", "\r\n"] {
        let bytes = format!("{TEXT}{ending}");
        assert_eq!(sha256(&aegis_with(bytes.as_bytes(), &with(&["--text", "-"]))), expected, "{ending:?}");
        fs::write(&file, bytes).expect("writable");
        assert_eq!(sha256(&aegis(&with_file)), expected, "{ending:?}");
    }
    refused(2, "cannot be used with", &[&with_file[..], &["--text", "cat"]].concat());
    refused(2, "--text", &encrypt);
    fs::remove_file(&out).expect("there");
    for (stdin, words) in [
        (&b"cat\xff"[..], "not UTF-8"),
        (b"c\0a\0t\0", "UTF-16"),
        (b"", "empty"),
        (&vec![b'a'; (1 << 20) + 1], "more than 1048576 bytes"),
    ] {
        for command in [with(&["--text", "-"]), vec!["embed", "--model", text(&model), "--text", "-"]] {
            let output = aegis_with(stdin, &command);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(2) && stderr.contains(words), "{words}: {stderr}");
        }
    }
    assert!(!out.exists(), "a refused command wrote its output");
    let help = String::from_utf8(aegis(&["encrypt", "--help"]).stdout).expect("UTF-8");
    assert!(help.contains("list of processes"), "{help}");
}

/// Short texts share a query; more than one holds are refused before anything is encrypted.
#[test]
fn several_texts_are_encrypted_together() {
    let client = Client::new();
    let (keys, model, out, file) =
        (client.long_keys(), client.long_model(), client.path("query.ct"), client.path("texts"));
    let encrypt =
        ["encrypt", "--keys", text(&keys), "--model", text(&model), "--out", text(&out), "--seed", "1"];
    let with_file = [&encrypt[..], &["--text-file", text(&file), "--json"]].concat();
    fs::write(&file, "cat\nthe dogs sat.\r\na dog ran\n").expect("writable");
    let output = aegis(&with_file);
    let expected = sha256(&output);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&report["texts"], &report["tokens"], &report["ciphertexts"]),
        (&3.into(), &15.into(), &1.into())
    );
    let texts = ["--text", "cat", "--text", "the dogs sat.", "--text", "a dog ran"];
    assert_eq!(sha256(&aegis(&[&encrypt[..], &texts, &["--json"]].concat())), expected);
    let shown = String::from_utf8(aegis(&[&encrypt[..], &texts].concat()).stdout).expect("UTF-8");
    assert!(shown.contains("texts of 3, 7, 5 tokens"), "{shown}");

    fs::remove_file(&out).expect("there");
    fs::write(&file, "cat\n".repeat(5)).expect("writable");
    refused(2, "take 2 queries", &with_file);
    fs::write(&file, "cat\n\ncat").expect("writable");
    refused(2, "text 2 cannot", &with_file);
    assert!(!out.exists(), "a refused command wrote its output");
}

/// `encrypt` took them, and NaN came back.
#[test]
fn texts_that_the_calibration_does_not_cover_are_refused() {
    let client = Client::new();
    let (keys, model, out) = (client.keys(), client.narrow_model(), client.path("query.ct"));
    let encrypt = ["encrypt", "--keys", text(&keys), "--model", text(&model), "--out", text(&out), "--text"];
    refused(2, "outside [", &[&encrypt[..], &[OUTSIDE]].concat());
    assert!(!out.exists(), "a refused command wrote its output");
    assert!(aegis(&[&encrypt[..], &[NARROW]].concat()).status.success(), "a covered text is encrypted");

    // All texts are checked before any key is made, which would take minutes here.
    for command in ["embed", "demo"] {
        let args = [command, "--model", text(&model), "--text", OUTSIDE];
        refused(2, "outside [", &args);
        let stderr = aegis(&args).stderr;
        assert!(!String::from_utf8_lossy(&stderr).contains("making keys"), "{command}");
    }
    refused(2, "outside [", &["embed", "--model", text(&model), "--text", NARROW, "--text", OUTSIDE]);
}
