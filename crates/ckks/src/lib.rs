//! The CKKS scheme.
#![forbid(unsafe_code)]
mod error;
mod params;
pub mod security;
mod spec;

pub use error::{Error, KeyPurpose, Result};
pub use params::{Level, Params, ParamsError};
pub use spec::{
    BootstrapSpec, Levels, N14_L6_S40, N16_B13_S40, N16_L24_S49, PRESETS, ParamsSpec, insecure_bootstrap_spec,
    insecure_levelled_spec,
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
