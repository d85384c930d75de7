//! A BERT encoder as a sentence embedder: its files, its plain meaning, and the client's and the server's
//! part of an encrypted run.

mod calibration;
mod config;
mod embeddings;
pub(crate) mod encoder;
mod query;
mod share;
mod weights;

use std::path::{Path, PathBuf};

use aegis_nn::{EncoderWeights, LayerWeights};
use sha2::{Digest, Sha256};

pub use calibration::{CALIBRATION_FILE, Calibration, calibration_file, is_calibration};
pub use config::Config;
pub use embeddings::Embeddings;
pub use query::{Query, QueryShape};
pub use share::Shared;

use crate::error::Result;
use crate::hf::files;
use crate::hf::safetensors::Tensors;
use crate::hf::tokenizer::{Tokenizer, Tokens};

/// A BERT encoder read from a directory in Hugging Face layout.
pub struct Bert {
    directory: PathBuf,
    config: Config,
    tokenizer: Tokenizer,
    embeddings: Embeddings,
    weights: EncoderWeights,
    identity: String,
}

impl Bert {
    /// Reads `config.json`, `tokenizer.json` and `model.safetensors` in `dir`.
    ///
    /// Tensor names may carry the prefix `bert.`; LayerNorm parameters may be called `weight`/`bias` or
    /// `gamma`/`beta`; formats are F32, F16 and BF16; `pooler` and `cls` are ignored.
    ///
    /// # Errors
    /// A missing, damaged or contradicting file, or a weight that is not finite: see [`Error`](crate::Error).
    pub fn load(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let config = Config::load(dir)?;
        let tokenizer = Tokenizer::load(dir, &config)?;
        let path = dir.join("model.safetensors");
        let bytes = files::read(&path, files::WEIGHTS)?;
        let tensors = Tensors::parse(&bytes, &path)?;
        Ok(Bert {
            embeddings: Embeddings::read(&tensors, &config)?,
            weights: EncoderWeights { layers: weights::read_layers(&tensors, &config)? },
            identity: format!("{:x}", Sha256::digest(&bytes)),
            directory: dir.to_owned(),
            config,
            tokenizer,
        })
    }

    /// The checked `config.json`.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// SHA-256 of `model.safetensors`, 64 lower-case hexadecimal digits: what a calibration is made for.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Where the model was read.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The embedding layer, which runs in plain on the client.
    pub fn embeddings(&self) -> &Embeddings {
        &self.embeddings
    }

    /// The encoder layers in order.
    pub fn layers(&self) -> &[LayerWeights] {
        &self.weights.layers
    }

    /// The tokens of `text`, `[CLS]` and `[SEP]` included.
    ///
    /// # Errors
    /// An empty, too long or entirely unknown text.
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        self.tokenizer.encode(text)
    }

    /// The exact embedding in `f64`: encoder, mean over the tokens, unit length.
    ///
    /// # Errors
    /// Those of [`tokenize`](Self::tokenize).
    pub fn embed_plain(&self, text: &str) -> Result<Vec<f64>> {
        self.embed_tokens(&self.tokenize(text)?)
    }

    /// As [`embed_plain`](Self::embed_plain) for tokens.
    ///
    /// # Errors
    /// [`Error::Tokens`](crate::Error::Tokens) for tokens of another model.
    pub fn embed_tokens(&self, tokens: &Tokens) -> Result<Vec<f64>> {
        let hidden = encoder::encode(&self.config, self.layers(), self.embeddings.forward(tokens)?);
        crate::embedding::pool(&hidden)
    }
}
