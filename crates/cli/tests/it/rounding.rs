//! Embeddings that may be shown to others.

use std::process::Output;

use crate::client::Client;
use crate::{aegis, refused, text};

fn embedding(output: &Output) -> Vec<f64> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    serde_json::from_value(report["embedding"].clone()).expect("numbers")
}

/// docs/security.md demanded it, and nothing did it.
#[test]
fn a_rounded_embedding_is_what_decrypt_prints() {
    let client = Client::new();
    let (keys, result) = (client.keys(), client.path("result.ct"));
    let expected = client.result(&result);
    let decrypt = ["decrypt", "--keys", text(&keys), "--in", text(&result)];
    let exact = embedding(&aegis(&[&decrypt[..], &["--json"]].concat()));
    let near = |a: &[f64], b: &[f64], tolerance| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
    };
    assert!(near(&exact, &expected, 1e-4));
    for bits in [1, 4, 10] {
        let round = ["--round", &bits.to_string(), "--json"];
        let rounded = embedding(&aegis(&[&decrypt[..], &round].concat()));
        let grid = f64::from(bits).exp2();
        assert!(rounded.iter().all(|v| (v * grid).fract() == 0.0), "{bits} bits: {rounded:?}");
        assert!(rounded != exact && near(&rounded, &exact, 0.5 / grid), "{bits} bits: {rounded:?}");
    }
    let shown = aegis(&[&decrypt[..], &["--round", "2"]].concat()).stdout;
    let shown = String::from_utf8(shown).expect("UTF-8");
    let values = shown.split_whitespace().map(|v| v.parse::<f64>().expect("a number"));
    assert!(values.into_iter().all(|v| (4.0 * v).fract() == 0.0), "{shown}");
}

/// Each embedding of a shared result stands on a line of its own, in the order of the texts.
#[test]
fn every_text_of_a_result_is_decrypted() {
    let client = Client::new();
    let (keys, result) = (client.long_keys(), client.path("result.ct"));
    let expected = client.shared_result(&result, &["cat", "the dogs sat.", "a dog ran"]);
    let decrypt = ["decrypt", "--keys", text(&keys), "--in", text(&result)];
    let output = aegis(&[&decrypt[..], &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let reports: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(reports.iter().map(|r| &r["tokens"]).collect::<Vec<_>>(), [3, 7, 5]);
    for (report, expected) in reports.iter().zip(&expected) {
        let got: Vec<f64> = serde_json::from_value(report["embedding"].clone()).expect("numbers");
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-4), "{got:?}, not {expected:?}");
    }
    let shown = String::from_utf8(aegis(&[&decrypt[..], &["--round", "4"]].concat()).stdout).expect("UTF-8");
    assert_eq!(shown.lines().count(), 3, "{shown}");
}

#[test]
fn rounding_that_would_do_nothing_is_refused() {
    for bits in ["0", "11", "53", "-1", "x"] {
        let bits = format!("--round={bits}");
        refused(2, "--round", &["decrypt", "--keys", "k", "--in", "r", &bits]);
        refused(2, "--round", &["embed", "--model", "m", "--text", "cat", &bits]);
    }
    let help = String::from_utf8(aegis(&["decrypt", "--help"]).stdout).expect("UTF-8");
    assert!(help.contains("2^-BITS"), "{help}");
}
