//! A calibration file; what is accepted makes a network, which runs in plain for one input of eight and is placed on the
//! levels of a preset for one of 64.

use std::ops::Range;

use aegis_ckks::{Params, insecure_bootstrap_spec};
use aegis_models::{Bert, CALIBRATION_FILE, Query, calibration_file};
use aegis_nn::{Catalog, Layout, Plan};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::model::{ModelFolder, TEXTS};
use crate::{Outcome, Target};

struct CalibrationFile {
    folder: ModelFolder,
    bert: Bert,
    layout: Layout,
    query: Query,
    params: Params,
}

pub(super) fn open() -> Box<dyn Target> {
    let folder = ModelFolder::new();
    let bert = folder.bert();
    let params = Params::insecure(insecure_bootstrap_spec(9)).expect("a ring");
    let layout = bert.layout(params.slots(), 16).expect("a layout");
    let query = bert.query(&layout, TEXTS[0]).expect("a query");
    Box::new(CalibrationFile { folder, bert, layout, query, params })
}

impl Target for CalibrationFile {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let texts = [TEXTS[0], "the dog ran"].map(|text| self.bert.tokenize(text).expect("tokens"));
        let constants = self.bert.calibrate("seed", &texts).expect("constants");
        vec![calibration_file(&constants, self.bert.identity()).expect("a file").into_bytes()]
    }

    fn run(&self, input: &[u8]) -> Outcome {
        self.folder.write(CALIBRATION_FILE, input);
        let Ok(constants) = self.bert.calibration_from(self.folder.file(CALIBRATION_FILE)) else {
            return Outcome::Refused;
        };
        let text = calibration_file(&constants, self.bert.identity()).expect("finite constants");
        self.folder.write(CALIBRATION_FILE, text.as_bytes());
        let again = self.bert.calibration_from(self.folder.file(CALIBRATION_FILE));
        assert!(again.expect("what was read can be read again") == constants, "constants change");
        let Ok(network) = self.bert.network(&self.layout, &constants) else { return Outcome::Accepted };
        let coin = Sha256::digest(input)[0];
        if coin % 8 == 0 {
            let _ = self.bert.embed_approximated(&network, &self.query);
        }
        if coin % 64 == 0 {
            let _ = Plan::new(&network, &mut Catalog::new(&self.params).expect("a catalog"));
        }
        Outcome::Accepted
    }

    fn bound(&self) -> usize {
        1 << 21
    }

    /// The digest of the constants, and the identity of the weights, become right.
    fn repair(&self, input: &mut Vec<u8>) {
        #[derive(serde::Deserialize, serde::Serialize)]
        struct File<'a> {
            format: String,
            weights_sha256: String,
            constants_sha256: String,
            #[serde(borrow)]
            constants: &'a RawValue,
        }
        let Ok(mut file) = serde_json::from_slice::<File<'_>>(input) else { return };
        file.weights_sha256 = self.bert.identity().to_owned();
        let digest = Sha256::digest(file.constants.get());
        file.constants_sha256 = digest.iter().map(|b| format!("{b:02x}")).collect();
        if let Ok(text) = serde_json::to_vec(&file) {
            *input = text;
        }
    }

    fn json(&self, input: &[u8]) -> Option<Range<usize>> {
        Some(0..input.len())
    }
}
