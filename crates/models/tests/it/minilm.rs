//! The real all-MiniLM-L6-v2 against an independent float64 implementation, where `models/minilm` has been fetched.

use std::path::PathBuf;

use aegis_models::Bert;
use serde::Deserialize;

/// Figures of an independent implementation; see `made_by` in the file.
#[derive(Deserialize)]
struct Golden {
    texts: Vec<Text>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
    exact: Figures,
}

#[derive(Deserialize)]
struct Figures {
    first: Vec<f64>,
    /// `sum_j embedding[j] cos(j + 1)`: one number that every component enters.
    probe: f64,
}

impl Figures {
    fn distance(&self, e: &[f64]) -> f64 {
        let probe: f64 = e.iter().enumerate().map(|(j, v)| v * (j as f64 + 1.0).cos()).sum();
        self.first.iter().zip(e).map(|(a, b)| (a - b).abs()).fold((probe - self.probe).abs(), f64::max)
    }
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../data/minilm.json")).unwrap()
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/minilm")
}

#[test]
#[ignore = "needs models/minilm, which `cargo xtask model` fetches"]
fn the_exact_twin_equals_the_reference() {
    let bert = Bert::load(directory()).unwrap();
    assert_eq!(bert.identity(), "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db");
    for golden in golden().texts {
        let tokens = bert.tokenize(&golden.text).unwrap();
        assert_eq!(tokens.ids(), golden.ids, "{}", golden.text);
        let distance = golden.exact.distance(&bert.embed_tokens(&tokens).unwrap());
        assert!(distance < 1e-9, "{distance:e} for {}", golden.text);
    }
}
