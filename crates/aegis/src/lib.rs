//! Encrypted inference for programs that serve or use it: what the `aegis` command is made of, without its
//! files, device and terminal.
//!
//! [`message`] is what a client and a server send each other; [`keyset`] is what a client notes about its keys.
//! Both come from elsewhere, and nothing in them is trusted: whatever the bytes are, reading them gives a value
//! or an [`Error`] that one can match, in bounded memory.
//!
//! ```
//! use std::sync::Arc;
//! use aegis::message::{self, Header, Kind};
//! use aegis_ckks::{Context, KeyGenerator, Params, Plaintext, Seed, insecure_levelled_spec};
//! use aegis_models::{Bert, testing::TinyBert};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A random model on a small ring without security.
//! let dir = tempfile::tempdir()?;
//! TinyBert::default().write(dir.path())?;
//! let bert = Bert::load(dir.path())?;
//! let params = Params::insecure(insecure_levelled_spec(9, 3))?;
//! let device = aegis_cpu::Cpu::new(params.rns().clone(), 1)?;
//! let ctx = Context::new(params.clone(), Arc::new(device))?;
//!
//! // Client: a text, encrypted, as bytes.
//! let query = bert.query(&bert.layout(params.slots(), 16)?, "the cat sat")?;
//! let secret = KeyGenerator::new(&ctx, Seed::from_os()?).secret_key();
//! let (level, scale) = (params.fresh_level(), params.scale(params.fresh_level()));
//! let slots = Plaintext::encode_real(&ctx, &query.slots[0], scale, level)?;
//! let block = secret.encrypt(&ctx, &slots, &Seed::from_os()?)?;
//! let header = Header { kind: Kind::Query, model: bert.identity().to_owned(), shape: query.shape };
//! let bytes = message::encode(&ctx, &header, &[block])?;
//!
//! // Server: what everybody may read comes first, ciphertexts once there is a context for them.
//! let public = message::header(&bytes, Kind::Query)?;
//! assert_eq!((public.shape.tokens(), &public.model[..]), (5, bert.identity()));
//! let (_, blocks) = message::decode(&ctx, &bytes, Kind::Query)?;
//! assert_eq!(blocks.len(), 1);
//! assert!(matches!(message::header(&bytes, Kind::Result), Err(aegis::Error::OtherKind { .. })));
//! # Ok(()) }
//! ```
//!
//! # Non-goals
//! Files and folders, devices, a network protocol, progress, and the encrypted computation itself (`aegis-models`, `aegis-nn`).
#![forbid(unsafe_code)]

mod error;
pub mod keyset;
pub mod message;

pub use error::{Error, Result};

/// Whether `text` is what prints an identity of `bytes` bytes: lower-case hexadecimal digits and nothing else, so that
/// a message with it can be shown on a terminal.
fn is_identity(text: &str, bytes: usize) -> bool {
    text.len() == 2 * bytes && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
