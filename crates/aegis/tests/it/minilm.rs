//! The schedule of the real all-MiniLM-L6-v2, where `models/minilm` has been fetched.

use std::path::PathBuf;

use aegis_ckks::{N16_B13_S40, Params};
use aegis_models::Bert;
use aegis_nn::Catalog;

/// Calibration, padded tokens, bootstraps. A golden count: bootstraps are most of a run's time.
const BOOTSTRAPS: [(&str, usize, u64); 6] = [
    ("minilm.json", 64, 30),
    ("minilm.json", 128, 37),
    ("minilm.json", 256, 53),
    ("minilm.json", 512, 86),
    ("minilm-shallow.json", 64, 30),
    ("minilm-shallow.json", 128, 37),
];

#[test]
#[ignore = "needs models/minilm, which `cargo xtask model` fetches"]
fn the_schedule_has_a_golden_number_of_bootstraps() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let bert = Bert::load(root.join("../../models/minilm")).expect("a model");
    let params = Params::try_from(N16_B13_S40).expect("a preset");
    let mut catalog = Catalog::new(&params).expect("a catalog");
    let now = BOOTSTRAPS.map(|(file, tokens, _)| {
        let calibration = root.join("../models/calibration").join(file);
        let constants = bert.calibration_from(calibration).expect("constants");
        let layout = bert.layout(params.slots(), tokens).expect("a layout");
        let network = bert.network(&layout, &constants).expect("a network");
        (file, tokens, network.levels(&mut catalog).expect("levels").bootstraps)
    });
    assert_eq!(now, BOOTSTRAPS);
}
