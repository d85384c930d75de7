//! BERT-family sentence encoders.
#![forbid(unsafe_code)]

mod bert;
mod embedding;
mod error;
mod files;
pub mod testing;

pub use bert::{Bert, Config, Embeddings, LayerWeights, Linear, Norm, Tokenizer, Tokens};
pub use embedding::{cosine, normalise, rank};
pub use error::{Error, Result};
