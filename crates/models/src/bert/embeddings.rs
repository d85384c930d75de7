//! The embedding layer, which the client computes in plain before it encrypts.

use aegis_nn::{Norm, Tensor};

use super::config::Config;
use super::encoder;
use super::weights::read_norm;
use crate::error::{BadTokens, Error, Result};
use crate::hf::safetensors::Tensors;
use crate::hf::tokenizer::Tokens;

/// Word, position and token type tables and their LayerNorm.
///
/// The tables stay `f32`, which holds F32, F16 and BF16 weights exactly: half of the parameters of a small
/// model are words.
pub struct Embeddings {
    width: usize,
    word: Vec<f32>,
    position: Vec<f32>,
    token_type: Vec<f32>,
    norm: Norm,
    eps: f64,
}

impl Embeddings {
    pub(crate) fn read(tensors: &Tensors<'_>, config: &Config) -> Result<Self> {
        let d = config.width;
        let table =
            |name: &str, rows| tensors.f32(&format!("embeddings.{name}_embeddings.weight"), &[rows, d]);
        Ok(Embeddings {
            width: d,
            word: table("word", config.vocabulary)?,
            position: table("position", config.positions)?,
            token_type: table("token_type", config.token_types)?,
            norm: read_norm(tensors, "embeddings", d)?,
            eps: config.layer_norm_eps,
        })
    }

    /// Hidden states that enter the first layer, tokens x width.
    ///
    /// `LayerNorm(word[id] + position[i] + token_type[type])` for token `i`.
    ///
    /// # Errors
    /// [`Error::Tokens`] for tokens of another model, which reach outside the tables.
    pub fn forward(&self, tokens: &Tokens) -> Result<Tensor> {
        let mut sums = Vec::with_capacity(tokens.len() * self.width);
        for (i, (&id, &kind)) in tokens.ids().iter().zip(tokens.types()).enumerate() {
            let word = self.row(&self.word, id as usize, "word")?;
            let position = self.row(&self.position, i, "position")?;
            let kind = self.row(&self.token_type, kind as usize, "token type")?;
            let sum = |((&w, &p), &t): ((&f32, &f32), &f32)| f64::from(w) + f64::from(p) + f64::from(t);
            sums.extend(word.iter().zip(position).zip(kind).map(sum));
        }
        Ok(encoder::norm(&self.norm, &Tensor::new(tokens.len(), self.width, sums)?, self.eps))
    }

    fn row<'a>(&self, table: &'a [f32], index: usize, name: &'static str) -> Result<&'a [f32]> {
        let rows = table.len() / self.width;
        table.chunks_exact(self.width).nth(index).ok_or(Error::Tokens(BadTokens::Row {
            table: name,
            index,
            rows,
        }))
    }
}
