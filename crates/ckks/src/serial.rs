//! Files and messages: versioned, checked, and nothing in them trusted.
//!
//! Every object is: magic, kind, version, parameter set, digest of the parameters, key set, body, BLAKE3 of all before.
//! Residues take as many bytes as their prime needs. Uniform halves of keys are stored as the seed they expand from.

mod frame;
mod objects;

pub use frame::{FileKind, file_kind};
pub use objects::read_spec;
