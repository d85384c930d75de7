//! The calibration file: made, read back, refused.

use std::fs;
use std::path::PathBuf;

use aegis_models::{Bert, CALIBRATION_FILE, Error, ErrorKind, Tokens, calibration_file};
use aegis_nn::Calibration;
use aegis_testing::TinyBert;
use tempfile::{TempDir, tempdir};

const TEXTS: [&str; 6] = [
    "cat",
    "the dog ran.",
    "a cat sat on the mat.",
    "dogs ran on the road . the cats sat",
    "zebra road",
    "mat mat mat",
];

struct Case {
    dir: TempDir,
    bert: Bert,
    constants: Calibration,
}

impl Case {
    fn new() -> Self {
        let dir = tempdir().unwrap();
        TinyBert::default().write(dir.path()).unwrap();
        let bert = Bert::load(dir.path()).unwrap();
        let tokens: Vec<Tokens> = TEXTS.iter().map(|t| bert.tokenize(t).unwrap()).collect();
        let constants = bert.calibrate("test", &tokens).unwrap();
        Case { dir, bert, constants }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(CALIBRATION_FILE)
    }

    fn text(&self) -> String {
        calibration_file(&self.constants, self.bert.identity()).unwrap()
    }

    /// The refusal of a file with this text.
    fn refusal(&self, text: impl AsRef<[u8]>) -> Error {
        fs::write(self.path(), text).unwrap();
        self.bert.calibration().unwrap_err()
    }

    /// The refusal of a well-formed file whose constants were changed.
    fn refusal_of(&self, change: impl FnOnce(&mut Calibration)) -> Error {
        let mut constants = self.constants.clone();
        change(&mut constants);
        self.refusal(calibration_file(&constants, self.bert.identity()).unwrap())
    }
}

#[test]
fn constants_survive_their_file_exactly() {
    let case = Case::new();
    fs::write(case.path(), case.text()).unwrap();
    assert!(case.bert.calibration().unwrap() == case.constants);
}

#[test]
fn a_missing_file_is_named() {
    let case = Case::new();
    let error = case.bert.calibration().unwrap_err();
    assert!(matches!(&error, Error::MissingCalibration { path } if *path == case.path()), "{error}");
}

#[test]
fn a_calibration_of_other_weights_is_refused() {
    let (case, other) = (Case::new(), tempdir().unwrap());
    TinyBert { seed: 2, ..TinyBert::default() }.write(other.path()).unwrap();
    fs::write(other.path().join(CALIBRATION_FILE), case.text()).unwrap();
    let error = Bert::load(other.path()).unwrap().calibration().unwrap_err();
    assert!(
        matches!(&error, Error::OtherModel { expected, .. } if expected == case.bert.identity()),
        "{error}"
    );
}

#[test]
fn truncated_and_altered_files_are_refused() {
    let case = Case::new();
    let text = case.text();
    for length in (0..text.len()).step_by(997) {
        assert!(matches!(case.refusal(&text[..length]), Error::Json { .. }), "{length} bytes");
    }
    // One digit of one constant: in range, and still found.
    let at = text.rfind("\"row_constant\"").unwrap() + 20;
    let at = at + text[at..].find(|c: char| c.is_ascii_digit()).unwrap();
    let mut altered = text.clone().into_bytes();
    altered[at] = if altered[at] == b'1' { b'2' } else { b'1' };
    let error = case.refusal(altered);
    assert!(matches!(error, Error::CalibrationChecksum { .. }), "{error}");
    let version = text.replace("aegis-calibration/1", "aegis-calibration/2");
    let newer = case.refusal(version);
    assert!(
        matches!(&newer, Error::CalibrationVersion { have, .. } if have == "aegis-calibration/2"),
        "{newer}"
    );
    assert_eq!(newer.kind(), ErrorKind::Unsupported);
    assert!(matches!(case.refusal([0xff, 0xfe]), Error::Json { .. }));
    assert!(matches!(case.refusal("[".repeat(100_000)), Error::Json { .. }));
}

#[test]
fn every_flipped_bit_is_found() {
    let case = Case::new();
    let text = case.text().into_bytes();
    for (i, bit) in (0..400).chain((400..text.len()).step_by(61)).zip((0..8).cycle()) {
        let mut damaged = text.clone();
        damaged[i] ^= 1 << bit;
        let error = case.refusal(damaged);
        assert!(
            matches!(
                error,
                Error::Json { .. }
                    | Error::CalibrationVersion { .. }
                    | Error::CalibrationChecksum { .. }
                    | Error::OtherModel { .. }
            ),
            "byte {i}: {error}"
        );
    }
}

#[test]
fn constants_that_are_not_finite_never_reach_a_file() {
    let case = Case::new();
    for bad in [f64::NAN, f64::INFINITY] {
        let mut constants = case.constants.clone();
        constants.layers[0].gelu.cheb[1] = bad;
        let error = calibration_file(&constants, case.bert.identity()).unwrap_err();
        assert!(matches!(error, Error::CalibrationNotFinite(_)), "{error}");
    }
}

#[test]
fn constants_out_of_range_or_without_meaning_are_refused() {
    type Change = fn(&mut Calibration);
    let changes: [(&str, Change); 14] = [
        ("a layer less", |c| drop(c.layers.pop())),
        ("layers exchanged", |c| c.layers.swap(0, 1)),
        ("a head less", |c| c.layers[1].softmax.row_constant.truncate(1)),
        ("another head size", |c| c.layers[1].softmax.key_bias_offset_delta[0].push(0.0)),
        ("a huge shift", |c| c.layers[1].softmax.key_bias_offset_delta[0][0] = 1e300),
        ("a diverging schedule", |c| c.layers[0].softmax.inv0.schedule[0] = 2.5),
        ("a schedule of other sums", |c| c.layers[0].softmax.inv0.schedule = vec![1.01]),
        ("no later schedule", |c| {
            c.layers[0].softmax.inv_next.insert(8, vec![]);
        }),
        ("an inverted range", |c| c.layers[0].gelu.range = (1.0, -1.0)),
        ("a negative variance", |c| c.layers[0].ln2.var_range.0 = -1.0),
        ("another polynomial", |c| c.layers[1].ln1.cheb = c.layers[1].gelu.cheb.clone()),
        ("no polynomial", |c| c.layers[1].softmax.exp_poly.cheb.clear()),
        ("a polynomial on another range", |c| c.layers[1].gelu.token0.range = (-40.0, 40.0)),
        ("no bound", |c| c.layers[1].bounds.input = 0.0),
    ];
    let case = Case::new();
    for (what, change) in changes {
        let error = case.refusal_of(change);
        assert!(matches!(error, Error::Nn(aegis_nn::Error::Calibration { .. })), "{what}: {error}");
        assert_eq!(error.kind(), ErrorKind::Input, "{what}");
    }
}

#[test]
fn a_calibration_needs_texts() {
    assert!(matches!(Case::new().bert.calibrate("none", &[]), Err(Error::NoTexts)));
}
