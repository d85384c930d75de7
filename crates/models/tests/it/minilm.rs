//! The real all-MiniLM-L6-v2, where `models/minilm` has been fetched, against an independent implementation.

use std::path::PathBuf;

use aegis_models::{Bert, Error, cosine};
use aegis_nn::{Layout, Network};
use serde::Deserialize;

/// Figures of an independent implementation; see `made_by` in the file.
#[derive(Deserialize)]
struct Reference {
    texts: Vec<Text>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
    exact: Figures,
    #[serde(rename = "D")]
    shallow: Approximated,
}

#[derive(Deserialize)]
struct Figures {
    first: Vec<f64>,
    /// `sum_j embedding[j] cos(j + 1)`: one number that every component enters.
    probe: f64,
}

#[derive(Deserialize)]
struct Approximated {
    #[serde(flatten)]
    figures: Figures,
    /// With the exact embedding.
    cosine: f64,
}

impl Figures {
    fn distance(&self, e: &[f64]) -> f64 {
        let probe: f64 = e.iter().enumerate().map(|(j, v)| v * (j as f64 + 1.0).cos()).sum();
        self.first.iter().zip(e).map(|(a, b)| (a - b).abs()).fold((probe - self.probe).abs(), f64::max)
    }
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../data/minilm.json")).unwrap()
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/minilm")
}

fn calibration(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("calibration").join(file)
}

#[test]
#[ignore = "needs models/minilm, which `cargo xtask model` fetches"]
fn the_exact_twin_equals_the_reference() {
    let bert = Bert::load(directory()).unwrap();
    assert_eq!(bert.identity(), "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db");
    for text in reference().texts {
        let tokens = bert.tokenize(&text.text).unwrap();
        assert_eq!(tokens.ids(), text.ids, "{}", text.text);
        let distance = text.exact.distance(&bert.embed_tokens(&tokens).unwrap());
        assert!(distance < 1e-9, "{distance:e} for {}", text.text);
    }
}

/// The two layouts of up to 128 tokens.
fn networks(bert: &Bert, file: &str) -> [(Layout, Network); 2] {
    let constants = bert.calibration_from(calibration(file)).unwrap();
    [64, 128].map(|tokens| {
        let layout = bert.layout(1 << 15, tokens).unwrap();
        let network = bert.network(&layout, &constants).unwrap();
        (layout, network)
    })
}

/// The embedding of the approximated twin, which must stay inside all ranges, and its cosine with the exact one.
fn inside(bert: &Bert, networks: &[(Layout, Network); 2], text: &str) -> (Vec<f64>, f64) {
    let (layout, network) = &networks[usize::from(bert.tokenize(text).unwrap().len() > 64)];
    let query = bert.query(layout, text).unwrap();
    let (embedding, excursions) = bert.embed_approximated(network, &query).unwrap().remove(0);
    assert!(excursions.is_empty(), "{text}: {excursions:?}");
    let magnitudes = network.plain(&query.hidden).unwrap().magnitudes;
    let beyond: Vec<_> = magnitudes.into_iter().filter(|(_, m, b)| m > b).collect();
    assert!(beyond.is_empty(), "{text}: {beyond:?}");
    let c = cosine(&embedding, &bert.embed_plain(text).unwrap()).unwrap();
    (embedding, c)
}

#[test]
#[ignore = "needs models/minilm, which `cargo xtask model` fetches"]
fn the_approximated_twin_equals_the_reference() {
    let bert = Bert::load(directory()).unwrap();
    let networks = networks(&bert, "minilm-shallow.json");
    for text in reference().texts {
        let (embedding, c) = inside(&bert, &networks, &text.text);
        let distance = text.shallow.figures.distance(&embedding);
        let same = distance < 1e-10 && (c - text.shallow.cosine).abs() < 1e-9;
        assert!(same && c >= 0.9997, "{}: {distance:e}, cosine {c}", text.text);
    }
}

#[test]
#[ignore = "needs models/minilm, which `cargo xtask model` fetches"]
fn the_shipped_calibration_is_accurate() {
    let bert = Bert::load(directory()).unwrap();
    let networks = networks(&bert, "minilm.json");
    for text in reference().texts {
        let (_, c) = inside(&bert, &networks, &text.text);
        assert!(c >= 0.9999, "{}: cosine {c}", text.text);
    }
}

/// Texts with the model's own marks in them diverge, ten of ten: the client refuses them. Ordinary ones, the shipped ones
/// among them, pass.
#[test]
#[ignore = "needs models/minilm, which `cargo xtask model` fetches"]
fn texts_that_must_diverge_are_refused_and_ordinary_ones_are_not() {
    let bert = Bert::load(directory()).unwrap();
    let constants = bert.calibration_from(calibration("minilm.json")).unwrap();
    let covered = |text: &str| {
        let tokens = bert.tokenize(text).unwrap().len();
        let layout = bert.layout(1 << 15, tokens.max(64)).unwrap();
        let network = bert.network(&layout, &constants).unwrap();
        bert.check_covered(&network, &bert.query(&layout, text).unwrap())
    };
    for text in [
        "[MASK]",
        "The capital of France is [MASK].",
        "[MASK] [MASK] [MASK]",
        "A [MASK] day in June",
        "[CLS] hello",
        "hello [CLS]",
        "one sentence [CLS] another sentence",
        "[PAD]",
        "wait [PAD] [PAD] for it",
        "[CLS] [PAD] [MASK]",
    ] {
        let refused = covered(text);
        assert!(matches!(refused, Err(Error::NotCovered(_))), "{text}: {refused:?}");
    }
    let shipped =
        [include_str!("../../../../benches/texts.txt"), include_str!("../../../../benches/long.txt")];
    let reference = reference();
    let others = reference.texts.iter().map(|t| t.text.as_str());
    for text in shipped.iter().flat_map(|file| file.lines()).chain(others) {
        assert!(covered(text).is_ok(), "{text}: {:?}", covered(text));
    }
}
