//! `config.json`: the shape of a BERT encoder, checked before anything is allocated from it.

use std::path::Path;

use aegis_nn::Layout;
use serde::Deserialize;

use crate::error::{BadConfig, Error, Result};
use crate::hf::files;

/// Largest dimension accepted, so that products of two stay far from overflow. BERT-large has 4096 and a
/// vocabulary of 30 522, multilingual ones 250 000.
const MAX_DIMENSION: usize = 1 << 20;
const MAX_LAYERS: usize = 256;

/// The shape of a BERT encoder, as in `config.json`; every value has been checked.
///
/// `heads` divides `width`; all sizes are at least 1; `layer_norm_eps` is positive and below 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Features of a token between layers.
    pub width: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Features between the two linear maps of the feed-forward part.
    pub intermediate: usize,
    /// Rows of the word table.
    pub vocabulary: usize,
    /// Rows of the position table: the largest number of tokens.
    pub positions: usize,
    /// Rows of the token type table.
    pub token_types: usize,
    /// Added to the variance before the root.
    pub layer_norm_eps: f64,
}

/// The fields of `config.json` that matter here; all others are ignored.
#[derive(Deserialize)]
struct Raw {
    model_type: Option<String>,
    hidden_act: Option<String>,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "two")]
    type_vocab_size: usize,
    #[serde(default = "bert_eps")]
    layer_norm_eps: f64,
}

/// Default of the published BERT configuration.
fn two() -> usize {
    2
}

/// Default of the published BERT configuration.
fn bert_eps() -> f64 {
    1e-12
}

impl Config {
    /// BERT-Base, uncased, with a position table of 4096 instead of 512 rows: longer texts cost what they would.
    pub const BERT_BASE: Self = Self {
        width: 768,
        layers: 12,
        heads: 12,
        intermediate: 3072,
        vocabulary: 30_522,
        positions: 4096,
        token_types: 2,
        layer_norm_eps: 1e-12,
    };

    /// Reads and checks `config.json` in `dir`.
    ///
    /// # Errors
    /// [`Error::Read`] without the file, [`Error::Json`] and [`Error::Config`] for anything but a BERT encoder with erf GELU and
    /// absolute positions.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let text = files::read(&path, files::SMALL)?;
        let config = Self::parse(&text, &path)?;
        check_pooling(dir)?;
        Ok(config)
    }

    /// Checks the text of a `config.json`; `path` is named in the error.
    fn parse(text: &[u8], path: &Path) -> Result<Self> {
        let refuse = |fault| Error::Config { path: path.to_owned(), fault };
        let raw: Raw = serde_json::from_slice(text).map_err(Error::json(path, "a BERT configuration"))?;
        raw.check_kind().map_err(refuse)?;
        let config = Config {
            width: raw.hidden_size,
            layers: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            intermediate: raw.intermediate_size,
            vocabulary: raw.vocab_size,
            positions: raw.max_position_embeddings,
            token_types: raw.type_vocab_size,
            layer_norm_eps: raw.layer_norm_eps,
        };
        config.check().map_err(refuse)?;
        Ok(config)
    }

    fn check(&self) -> std::result::Result<(), BadConfig> {
        let sizes = [
            ("hidden_size", self.width, MAX_DIMENSION),
            ("num_hidden_layers", self.layers, MAX_LAYERS),
            ("num_attention_heads", self.heads, MAX_DIMENSION),
            ("intermediate_size", self.intermediate, MAX_DIMENSION),
            ("vocab_size", self.vocabulary, MAX_DIMENSION),
            ("max_position_embeddings", self.positions, MAX_DIMENSION),
            ("type_vocab_size", self.token_types, MAX_DIMENSION),
        ];
        for (field, value, max) in sizes {
            if value == 0 || value > max {
                return Err(BadConfig::Size { field, value, max });
            }
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(BadConfig::Heads { heads: self.heads, width: self.width });
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            return Err(BadConfig::Epsilon(self.layer_norm_eps));
        }
        Ok(())
    }

    /// Features of one head.
    pub fn head_size(&self) -> usize {
        self.width / self.heads
    }

    /// The packing for texts of up to `max_tokens` tokens in ciphertexts of `slots` slots; the tokens are padded to a power
    /// of two, at least the dimension of a head, or to whole token blocks.
    ///
    /// # Errors
    /// [`Error::TextTooLong`] beyond the position table; [`Error::Nn`] if a ciphertext has too few slots.
    pub fn layout(&self, slots: usize, max_tokens: usize) -> Result<Layout> {
        if max_tokens > self.positions {
            return Err(Error::TextTooLong { tokens: max_tokens, max: self.positions });
        }
        let fill = Layout::fill(slots, self.width, self.heads)?;
        let padded = if max_tokens <= fill {
            max_tokens.next_power_of_two().max(self.head_size())
        } else {
            max_tokens.next_multiple_of(fill)
        };
        Ok(Layout::new(slots, padded, self.width, self.heads, self.intermediate)?)
    }
}

/// Refuses a directory of sentence-transformers whose embedding is not the mean over the tokens: it would
/// load and mean something else.
fn check_pooling(dir: &Path) -> Result<()> {
    let path = dir.join("1_Pooling/config.json");
    if !path.exists() {
        return Ok(());
    }
    let text = files::read(&path, files::SMALL)?;
    let modes: serde_json::Value =
        serde_json::from_slice(&text).map_err(Error::json(&path, "a pooling configuration"))?;
    let on = |mode: &str| {
        modes.get(format!("pooling_mode_{mode}")).and_then(serde_json::Value::as_bool).unwrap_or(false)
    };
    let other = ["cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"];
    match other.into_iter().find(|mode| on(mode)) {
        Some(mode) => Err(Error::Config { path, fault: BadConfig::Pooling(mode) }),
        None => Ok(()),
    }
}

impl Raw {
    /// Refuses what would load but mean another function.
    fn check_kind(&self) -> std::result::Result<(), BadConfig> {
        let expect = |field, have: &Option<String>, want, if_absent: bool| match have {
            Some(v) if v == want => Ok(()),
            None if if_absent => Ok(()),
            other => Err(BadConfig::Kind { field, have: other.clone(), want }),
        };
        expect("model_type", &self.model_type, "bert", false)?;
        expect("hidden_act", &self.hidden_act, "gelu", true)?;
        expect("position_embedding_type", &self.position_embedding_type, "absolute", true)?;
        if self.is_decoder {
            return Err(BadConfig::Decoder);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"model_type":"bert","hidden_act":"gelu","hidden_size":8,"num_hidden_layers":2,
        "num_attention_heads":2,"intermediate_size":16,"vocab_size":30,"max_position_embeddings":32,
        "type_vocab_size":2,
        "layer_norm_eps":1e-12,"x":[1]}"#;

    #[test]
    fn a_good_configuration_is_read() {
        let c = Config::parse(GOOD.as_bytes(), Path::new("config.json")).unwrap();
        assert_eq!((c.width, c.layers, c.head_size(), c.token_types), (8, 2, 4, 2));
    }

    #[test]
    fn each_wrong_field_is_named() {
        let cases = [
            ("\"bert\"", "\"roberta\"", "model_type"),
            ("\"gelu\"", "\"gelu_new\"", "hidden_act"),
            ("\"num_attention_heads\":2", "\"num_attention_heads\":3", "does not divide"),
            ("\"num_attention_heads\":2", "\"num_attention_heads\":0", "num_attention_heads is 0"),
            ("\"hidden_size\":8", "\"hidden_size\":-8", "is not a BERT configuration"),
            ("\"hidden_size\":8", "\"hidden_size\":18446744073709551615", "hidden_size is"),
            ("\"hidden_size\":8,", "", "is not a BERT configuration"),
            ("1e-12", "0.0", "layer_norm_eps"),
            ("1e-12", "1e999", "is not a BERT configuration"),
            ("\"x\":[1]", "\"position_embedding_type\":\"relative_key\"", "position_embedding_type"),
            ("\"x\":[1]", "\"is_decoder\":true", "is_decoder"),
            ("{", "", "is not a BERT configuration"),
        ];
        for (from, to, expect) in cases {
            let path = Path::new("config.json");
            let refused = Config::parse(GOOD.replacen(from, to, 1).as_bytes(), path).unwrap_err();
            assert!(refused.to_string().contains(expect), "{from} -> {to}: {refused}");
        }
    }
}
