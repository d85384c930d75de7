//! The calibration file: made, read back, refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use aegis_models::{Bert, CALIBRATION_FILE, Calibration, Error, ErrorKind, Tokens, calibration_file, cosine};
use aegis_testing::TinyBert;
use sha2::{Digest, Sha256};
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
    calibration: Calibration,
}

impl Case {
    fn new() -> Self {
        let dir = tempdir().unwrap();
        TinyBert::default().write(dir.path()).unwrap();
        let bert = Bert::load(dir.path()).unwrap();
        let tokens: Vec<Tokens> = TEXTS.iter().map(|t| bert.tokenize(t).unwrap()).collect();
        let calibration = bert.calibrate("test", &tokens).unwrap();
        Case { dir, bert, calibration }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(CALIBRATION_FILE)
    }

    fn text(&self) -> String {
        calibration_file(&self.calibration, self.bert.identity()).unwrap()
    }

    /// The refusal of a file with this text.
    fn refusal(&self, text: impl AsRef<[u8]>) -> Error {
        fs::write(self.path(), text).unwrap();
        self.bert.calibration().unwrap_err()
    }

    /// The refusal of a well-formed file whose constants were changed.
    fn refusal_of(&self, change: impl FnOnce(&mut aegis_nn::Calibration)) -> Error {
        let mut calibration = self.calibration.clone();
        change(&mut calibration.constants);
        self.refusal(calibration_file(&calibration, self.bert.identity()).unwrap())
    }
}

#[test]
fn constants_survive_their_file_exactly() {
    let case = Case::new();
    fs::write(case.path(), case.text()).unwrap();
    assert!(case.bert.calibration().unwrap() == case.calibration);
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
        let mut calibration = case.calibration.clone();
        calibration.constants.layers[0].gelu.cheb[1] = bad;
        let error = calibration_file(&calibration, case.bert.identity()).unwrap_err();
        assert!(matches!(error, Error::CalibrationNotFinite(_)), "{error}");
    }
}

#[test]
fn constants_out_of_range_or_without_meaning_are_refused() {
    type Change = fn(&mut aegis_nn::Calibration);
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

/// A file that says nothing of lengths, as those of before, covers what its schedules serve; all others what they say.
#[test]
fn lengths_are_in_the_file() {
    let mut case = Case::new();
    assert_eq!(case.calibration.tokens, 13, "tokens of the longest text");
    let text = case.text();
    fs::write(case.path(), &text).unwrap();
    assert_eq!(case.bert.calibration().unwrap().tokens, 13);
    let digest =
        |constants: &str| Sha256::digest(constants).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let at = text.find("\"constants\":").unwrap() + "\"constants\":".len();
    let constants = &text[at..text.len() - 1];
    let old = constants.replacen("\"tokens\":13,", "", 1);
    fs::write(case.path(), text.replace(constants, &old).replace(&digest(constants), &digest(&old))).unwrap();
    assert_eq!(case.bert.calibration().unwrap().tokens, case.bert.config().positions);
    for tokens in [0, case.bert.config().positions + 1] {
        case.calibration.tokens = tokens;
        let error = case.refusal(case.text());
        assert!(matches!(error, Error::Nn(aegis_nn::Error::Calibration { .. })), "{tokens}: {error}");
    }
}

#[test]
fn a_text_longer_than_the_calibration_is_refused() {
    let case = Case::new();
    case.calibration.check_length(13).unwrap();
    let error = case.calibration.check_length(14).unwrap_err();
    assert!(matches!(error, Error::LongerThanCalibration { tokens: 14, max: 13 }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Input);
    let message = error.to_string();
    assert!(
        ["14 tokens", "the 13 ", "aegis calibrate"].iter().all(|part| message.contains(part)),
        "{message}"
    );
}

#[test]
fn inputs_are_of_all_lengths_up_to_the_longest() {
    let Case { bert, .. } = Case::new();
    let texts = TEXTS.map(|text| bert.tokenize(text).unwrap());
    for longest in [16, 12, 3] {
        let inputs = bert.calibration_inputs(&texts, longest).unwrap();
        let lengths: BTreeSet<usize> = inputs.iter().map(Tokens::len).collect();
        assert!(lengths.last() == Some(&longest) && lengths.len() > longest / 2, "{longest}: {lengths:?}");
        for input in &inputs {
            let ids = input.ids();
            assert_eq!((ids[0], ids[ids.len() - 1]), (texts[0].ids()[0], texts[0].ids()[texts[0].len() - 1]));
        }
        assert_eq!(bert.calibrate("all lengths", &inputs).unwrap().tokens, longest);
    }
    let error = bert.calibration_inputs(&texts, 17).unwrap_err();
    assert!(matches!(error, Error::TextTooLong { tokens: 17, max: 16 }), "{error}");
    let marks = Tokens::from_ids(vec![2, 3], bert.config()).unwrap();
    for none in [&[][..], &[marks]] {
        assert!(matches!(bert.calibration_inputs(none, 16), Err(Error::NoTexts)));
    }
}

#[test]
fn equal_texts_give_equal_constants_on_any_number_of_threads() {
    let Case { bert, .. } = Case::new();
    let texts = TEXTS.map(|text| bert.tokenize(text).unwrap());
    let [one, three] = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let made = || bert.calibrate("test", &bert.calibration_inputs(&texts, 16).unwrap()).unwrap();
        calibration_file(&pool.install(made), bert.identity()).unwrap()
    });
    assert!(one == three);
}

/// What a calibration of the longest lengths is for: texts and word pieces that it was not made from stay inside.
#[test]
fn other_texts_of_all_lengths_are_covered() {
    let Case { bert, .. } = Case::new();
    // Each text changed in four ways.
    let texts = TEXTS.repeat(4).into_iter().map(|text| bert.tokenize(text).unwrap()).collect::<Vec<_>>();
    let calibration = bert.calibrate("test", &bert.calibration_inputs(&texts, 16).unwrap()).unwrap();
    let layout = bert.layout(256, 16).unwrap();
    let network = bert.network(&layout, &calibration).unwrap();
    let words = bert.tokenize("zebra sat ran mat the cats . dogs on a").unwrap();
    for length in [3, 5, 8, 13, 16] {
        let ids = words.ids().iter().copied().take(length).collect();
        let tokens = Tokens::from_ids(ids, bert.config()).unwrap();
        let query = bert.query_tokens(&layout, &tokens).unwrap();
        let (embedding, outside) = bert.embed_approximated(&network, &query).unwrap().remove(0);
        let c = cosine(&embedding, &bert.embed_tokens(&tokens).unwrap()).unwrap();
        assert!(c > 0.9999 && outside.is_empty(), "{length} tokens: cosine {c}, {outside:?}");
    }
}
