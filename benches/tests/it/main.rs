//! What an inference is made of, against committed counts: a change of these is a change of its cost.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::sync::Arc;

use aegis::Model;
use aegis_benches::inference::{Recording, Stage};
use aegis_ckks::{N16_B13_S40, Params};
use aegis_models::Bert;
use aegis_testing::TinyBert;
use expect_test::expect_file;

/// The calibration of the real model, whose constants decide the counts; it names the weights that it is for.
const CALIBRATION: &str = include_str!("../../../crates/models/calibration/minilm.json");
const WEIGHTS: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

/// Random weights in the shape of all-MiniLM-L6-v2: counts do not depend on values, and tests have no network.
fn minilm_of_shapes(slots: usize, tokens: usize) -> Model {
    let dir = tempfile::tempdir().expect("a folder");
    TinyBert::of_minilm_size().write(dir.path()).expect("the folder can be written");
    let bert = Bert::load(dir.path()).expect("loads");
    let file = dir.path().join("calibration.json");
    std::fs::write(&file, CALIBRATION.replace(WEIGHTS, bert.identity())).expect("the folder can be written");
    let calibration = bert.calibration_from(file).expect("the calibration fits the shape");
    let layout = bert.layout(slots, tokens).expect("a layout");
    Model::with_calibration(Arc::new(bert), layout, &calibration).expect("a model")
}

const COLUMNS: [&str; 11] = [
    "times",
    "bootstraps",
    "launches",
    "bytes touched",
    "NTT rows",
    "multiply-adds",
    "gathers",
    "rows gathered",
    "uploads",
    "bytes uploaded",
    "peak bytes",
];

fn line(text: &mut String, name: &str, stage: &Stage) {
    let c = &stage.counts;
    let counts: [u64; COLUMNS.len()] = [
        stage.times,
        stage.bootstraps,
        c.launches,
        c.bytes_touched,
        c.ntt_rows,
        c.multiply_adds,
        c.gathers,
        c.gathered_rows,
        c.uploads,
        c.upload_bytes,
        c.peak_bytes,
    ];
    let counts: String = counts.iter().map(|count| format!(" {count} |")).collect();
    writeln!(text, "| {name} |{counts}").expect("a string");
}

#[test]
fn counts_of_minilm_at_64_tokens() {
    let params = Params::try_from(N16_B13_S40).expect("a preset");
    let model = minilm_of_shapes(params.slots(), 64);
    let recording = Recording::new(&params, &model, "the cat sat on the mat .").expect("a recording");
    let mut text =
        String::from("# An encrypted inference of all-MiniLM-L6-v2 at 64 tokens, on the recorder\n\n");
    writeln!(text, "| stage | {} |", COLUMNS.join(" | ")).expect("a string");
    writeln!(text, "|---|{}", "---|".repeat(COLUMNS.len())).expect("a string");
    recording.stages.iter().for_each(|(name, stage)| line(&mut text, name, stage));
    line(&mut text, "all", &recording.all());
    writeln!(text, "\nEvaluation keys: {} bytes of the peak.", recording.key_bytes).expect("a string");
    expect_file!["../../counts/minilm-64-tokens.md"].assert_eq(&text);
}
