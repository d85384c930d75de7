//! The CKKS scheme.
#![forbid(unsafe_code)]
mod ciphertext;
mod context;
mod encoder;
mod error;
mod evaluator;
mod key_switch;
mod keys;
mod params;
mod sampling;
mod secret;
pub mod security;
mod serial;
mod spec;

pub use ciphertext::Ciphertext;
pub use context::Context;
pub use encoder::{Encoder, Plaintext};
pub use error::{Error, KeyPurpose, Result};
pub use evaluator::{Evaluator, OpCounts, Product};
pub use key_switch::Hoisted;
pub use keys::{EncapsulationKeys, EvaluationKeys, KeyGenerator, KeyRequest, PublicKey, SwitchingKey};
pub use params::{Level, Params, ParamsError};
pub use sampling::Seed;
pub use secret::SecretKey;
pub use serial::read_spec;
pub use spec::{
    BootstrapSpec, Levels, N14_L6_S40, N16_B13_S40, N16_L24_S49, PRESETS, ParamsSpec,
    insecure_bootstrap_spec, insecure_levelled_spec,
};

/// Identity of a secret key and all that was made from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct KeyId(pub [u8; 16]);

impl std::fmt::Debug for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
