//! What an inference takes, said without keys; and runs that do not fit their memory.

use aegis_testing::TinyBert;
use serde_json::Value;
use tempfile::tempdir;

use crate::client::{TEXT, calibrated};
use crate::{aegis, refused, text};

fn planned(args: &[&str]) -> Value {
    let output = aegis(&[&["plan", "--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("{name} is no number in {value}"))
}

/// The names are an interface, and the parts are those of the sums.
#[test]
fn a_plan_adds_up() {
    let dir = tempdir().expect("a folder");
    let model = dir.path().join("model");
    calibrated(&TinyBert::default(), &model, &[TEXT]);
    let plan = planned(&["--model", text(&model), "--tokens", "16"]);
    let peak = ["key_bytes", "matrix_bytes", "working_bytes"].map(|part| number(&plan, part));
    assert_eq!(peak.iter().sum::<f64>(), number(&plan, "predicted_peak_device_bytes"));
    assert_eq!([number(&plan, "padded_tokens"), number(&plan, "token_blocks")], [16.0, 1.0]);
    assert!(
        plan.get("stand_in").is_none() && plan["peak_stage"].as_str().is_some_and(|s| s.contains("layer"))
    );
    for field in ["tasks", "launches", "bytes_touched", "gathers", "gathered_rows", "uploads", "upload_bytes"]
    {
        for parts in ["stages", "sections"] {
            let parts = plan[parts].as_array().expect("lines");
            let sum: f64 = parts.iter().map(|line| number(line, field)).sum();
            assert_eq!(sum, number(&plan["all"], field), "{field}");
        }
    }
    let stage = |name: &str| plan["stages"].as_array().into_iter().flatten().find(|s| s["name"] == name);
    let bootstraps = stage("bootstrap").map_or(0.0, |stage| number(stage, "uploads"));
    assert!(number(&plan, "bootstraps") <= bootstraps, "{bootstraps}");
    assert!(stage("attend").is_some() && stage("gelu").is_some());
}

/// The shape of BERT-Base needs no files, and says that its constants are made up.
#[test]
fn bert_base_is_planned_by_its_shape() {
    let plan = planned(&["--model", "bert-base", "--tokens", "100"]);
    assert!(plan["stand_in"].as_str().is_some_and(|words| words.contains("stand-in")));
    assert_eq!([number(&plan, "tokens"), number(&plan, "padded_tokens")], [100.0, 128.0]);
    let output = aegis(&["plan", "--model", "bert-base", "--tokens", "64"]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("stand-in") && shown.contains("peak on the device"), "{shown}");
    refused(2, "4097 tokens", &["plan", "--model", "bert-base", "--tokens", "4097"]);
}

/// Before any key is made, and with what is needed.
#[test]
fn runs_that_do_not_fit_their_memory_are_refused() {
    let dir = tempdir().expect("a folder");
    let model = dir.path().join("model");
    calibrated(&TinyBert::default(), &model, &[TEXT]);
    let embed = ["embed", "--model", text(&model), "--text", TEXT];
    refused(1, "tokens need", &[&embed[..], &["--memory", "1MiB"]].concat());
    refused(2, "12GiB", &[&embed[..], &["--memory", "much"]].concat());
    let output = aegis(&["plan", "--model", "bert-base", "--tokens", "64", "--memory", "1GiB"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("need"), "{said}");
    assert!(!output.stdout.is_empty(), "a plan is printed even where the device is too small for it");
}
