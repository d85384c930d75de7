//! Encrypted inference for programs that serve or use it: what the `aegis` command is made of, without its
//! files, device and terminal.
//!
//! A [`Model`] is what both sides agree on. A [`Server`] plans it and says which keys it needs; a [`Client`] makes them,
//! encrypts texts, several short ones together ([`Query::share`](aegis_models::Query::share)), and decrypts embeddings.
//! What they send each other is bytes ([`message`]), and nothing in those is trusted: whatever they are, reading them
//! gives a value or an [`Error`] that one can match, in bounded memory. [`keyset`] is what a client notes about its keys.
//! A run that takes long can be written down and gone on with ([`checkpoint`]); several devices run it as one ([`limbs`]), or
//! divide its ciphertexts ([`lanes`]).
//!
//! ```
//! use std::sync::Arc;
//! use aegis::{Client, Model, Server};
//! use aegis_ckks::{Context, Params, Seed, insecure_bootstrap_spec};
//! # use aegis_testing::TinyBert;
//! # use aegis_models::{Bert, CALIBRATION_FILE, calibration_file, cosine};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # TinyBert::default().write(dir.path())?;
//! # let tiny = Bert::load(dir.path())?;
//! # let constants = tiny.calibrate("example", &[tiny.tokenize("the cat sat on the mat.")?])?;
//! # std::fs::write(dir.path().join(CALIBRATION_FILE), calibration_file(&constants, tiny.identity())?)?;
//! # let directory = dir.path();
//! // A small ring without any security; `Params::try_from(N16_B13_S40)?` is the real one.
//! let params = Params::insecure(insecure_bootstrap_spec(9))?;
//! let ctx = Context::new(params.clone(), Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 2)?))?;
//! let model = Model::new(Arc::new(Bert::load(directory)?), params.slots(), 16)?;
//!
//! // The server plans first, so that the client makes the keys that are used and no others.
//! let server = Server::new(&ctx, model.clone())?;
//! let (client, keys) = Client::generate(&ctx, Seed::from_os()?, &server.request())?;
//!
//! let query = client.query(&model, &model.query("the cat sat on the mat.")?, &Seed::from_os()?)?;
//! let answer = server.answer(&Arc::new(keys), &query, &mut ())?;
//! let (_, embeddings) = client.result(&answer)?;
//! # assert!(cosine(&embeddings[0], &model.bert().embed_plain("the cat sat on the mat.")?)? > 0.999);
//! # Ok(()) }
//! ```
//!
//! # Non-goals
//! Files and folders, concrete devices, a network protocol, the display of progress.
#![forbid(unsafe_code)]

pub mod checkpoint;
mod client;
mod error;
mod evaluation;
mod identity;
pub mod keyset;
pub mod lanes;
pub mod limbs;
pub mod message;
mod model;
mod server;

pub use aegis_ckks::ErrorKind;
pub use client::Client;
pub use error::{CheckpointDamage, Error, KeysetDamage, LaneFault, MessageDamage, Result, kind_of};
pub use evaluation::Evaluation;
pub use model::Model;
pub use server::Server;

/// Whether `text` is what prints an identity of `bytes` bytes: lower-case hexadecimal digits and nothing else, so that
/// a message with it can be shown on a terminal.
fn is_identity(text: &str, bytes: usize) -> bool {
    text.len() == 2 * bytes && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
