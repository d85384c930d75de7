//! BERT-family sentence encoders on encrypted text: files, tokens, exact and approximated meaning,
//! calibration.
//!
//! A directory in Hugging Face layout (`config.json`, `model.safetensors`, `tokenizer.json`) becomes a
//! [`Bert`]; together with a calibration file (the constants of the approximations, tied to the SHA-256 of
//! the weights) it becomes a [`Network`](aegis_nn::Network) that runs on ciphertexts. Three parties, three
//! calls:
//!
//! - the client calls [`Bert::query`], for several texts also [`Query::share`], encrypts the slots, and sends them
//!   with the [`QueryShape`], which says how many tokens each text has and nothing else about it;
//! - the server calls [`Bert::network`] and runs it on the ciphertexts; it needs neither tokenizer nor key;
//! - the client decrypts and calls [`QueryShape::finish`], which needs no model.
//!
//! ```
//! use aegis_models::{Bert, calibration_file, cosine};
//! use aegis_testing::TinyBert;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A directory with a model: here a small random one, and its calibration on two sentences.
//! let dir = tempfile::tempdir()?;
//! TinyBert::default().write(dir.path())?;
//! let bert = Bert::load(dir.path())?;
//! let texts = [bert.tokenize("The cat sat on the mat.")?, bert.tokenize("the dog ran")?];
//! let constants = bert.calibrate("two sentences", &texts)?;
//! let file = calibration_file(&constants, bert.identity())?;
//! std::fs::write(dir.path().join("aegis-calibration.json"), file)?;
//!
//! // Client: a text as values to encrypt. 256 slots a ciphertext, texts of up to 16 tokens.
//! let layout = bert.layout(256, 16)?;
//! let query = bert.query(&layout, "The cat sat on the mat.")?;
//! assert_eq!((query.shape.tokens(), query.hidden.rows()), (9, 9));
//!
//! // Server: `network.run(...)` on ciphertexts. Here its plain twin, which computes the same without noise.
//! let network = bert.network(&layout, &bert.calibration()?)?;
//! for (embedding, outside) in bert.embed_approximated(&network, &query)? {
//!     assert!(outside.is_empty(), "the text is covered by the calibration");
//!     assert!(cosine(&embedding, &bert.embed_plain("The cat sat on the mat.")?)? > 0.999);
//! }
//! # Ok(()) }
//! ```
//!
//! # What is refused
//! Texts that are empty, too long or wholly unknown; directories whose files are missing, damaged,
//! contradicting or not finite; calibrations of other weights or with constants that approximate nothing.
//! Each is one [`Error`] naming cause and remedy.
//!
//! # Calibration of all-MiniLM-L6-v2
//! The repository carries two sets for the weights of sha256 53aa5117...: `calibration/minilm.json`, made by
//! `aegis calibrate` for texts of up to 512 tokens (cosine at least 0.99996 with the exact embedding on texts and random
//! word pieces that it was not made from), and `calibration/minilm-shallow.json` (0.9997 on texts of 1 to 126 words; a
//! level less in each activation). How to make one and how to renew these: `docs/calibrate.md`.
//!
//! # Non-goals
//! Training and fine-tuning, decoders, pooling other than the mean, fetching models, encryption itself
//! (`aegis-ckks`, through `aegis-nn`), and the choice of parameters or devices.
#![forbid(unsafe_code)]

mod bert;
mod embedding;
mod error;
mod hf;
mod stand_in;

pub use aegis_nn::ErrorKind;
pub use bert::{
    Bert, CALIBRATION_FILE, Calibration, Config, Embeddings, Query, QueryShape, Shared, calibration_file,
    is_calibration,
};
pub use embedding::{MAX_ROUND_BITS, cosine, normalize, rank, round};
pub use error::{BadConfig, BadTokenizer, BadTokens, Error, NoEmbedding, Result};
pub use hf::tokenizer::{Tokenizer, Tokens};
pub use stand_in::stand_in;
