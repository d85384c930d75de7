//! `config.json`; what is accepted is loaded with the rest of the model, for one input of four.

use std::ops::Range;

use aegis_models::{Bert, Config};

use crate::model::{ModelFolder, embed};
use crate::{Outcome, Target};

struct ConfigFile(ModelFolder);

pub(super) fn open() -> Box<dyn Target> {
    Box::new(ConfigFile(ModelFolder::new()))
}

impl Target for ConfigFile {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let full = br#"{"model_type":"bert","hidden_act":"gelu","position_embedding_type":"absolute","is_decoder":false,
            "hidden_size":8,"num_hidden_layers":1,"num_attention_heads":2,"intermediate_size":16,"vocab_size":16,
            "max_position_embeddings":16,"type_vocab_size":2,"layer_norm_eps":1e-12,"architectures":["BertModel"]}"#;
        vec![self.0.read("config.json"), full.to_vec()]
    }

    fn run(&self, input: &[u8]) -> Outcome {
        self.0.write("config.json", input);
        let Ok(config) = Config::load(self.0.path()) else { return Outcome::Refused };
        assert!(config.head_size() * config.heads == config.width);
        if input.len().is_multiple_of(4)
            && let Ok(bert) = Bert::load(self.0.path())
        {
            embed(&bert);
        }
        Outcome::Accepted
    }

    fn bound(&self) -> usize {
        1 << 18
    }

    fn json(&self, input: &[u8]) -> Option<Range<usize>> {
        Some(0..input.len())
    }
}
