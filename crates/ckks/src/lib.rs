//! The CKKS scheme: approximate arithmetic on encrypted complex vectors.
//!
//! RNS-CKKS (Cheon, Han, Kim, Kim, Song 2018) with hybrid key switching, hoisting, canonical scales, sets of limbs as
//! levels, and the pieces a bootstrap needs. Parameters are checked when they are made: 128 bits of security, the
//! modulus of the encapsulation key, the failure probability of a bootstrap. Everything is computed by kernels on a
//! [`Device`](aegis_hal::Device), so the same program runs on any backend.
//!
//! ```
//! use std::sync::Arc;
//! use aegis_ckks::{Context, Evaluator, KeyGenerator, KeyRequest, N14_L6_S40, Params, Plaintext, Seed};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let params = Params::try_from(N14_L6_S40)?; // refused below 128 bits
//! let device = Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 2)?);
//! let ctx = Context::new(params, device)?;
//! let top = ctx.params().fresh_level();
//!
//! // The client: keys, and an encrypted vector.
//! let generator = KeyGenerator::new(&ctx, Seed::from_os()?);
//! let secret = generator.secret_key();
//! let request = KeyRequest::new(ctx.params().n()).relinearize(top).rotation(1, top);
//! let keys = generator.evaluation_keys(&secret, &request)?;
//! let x = Plaintext::encode_real(&ctx, &[0.5, -0.25, 2.0, 1.0], ctx.params().scale(top), top)?;
//! let x = generator.public_key(&secret)?.encrypt(&ctx, &x, &Seed::from_os()?)?;
//!
//! // The server: no secret.
//! let ev = Evaluator::new(&ctx, Arc::new(keys));
//! let y = ev.mul_rescale(&x, &ev.rotate(&x, 1)?)?;
//!
//! let slots = secret.decrypt(&ctx, &y)?;
//! assert!((slots[0].re - 0.5 * -0.25).abs() < 1e-5);
//! # Ok(()) }
//! ```
//!
//! # Revealing results
//! A decrypted CKKS vector contains the noise, and the noise depends on the key (Li, Micciancio 2021). While only the
//! owner of the key sees results, IND-CPA suffices. Whoever passes results on uses [`SecretKey::decrypt_rounded`], and
//! never returns exact decryptions to the server.
//!
//! # Non-goals
//! Circuits (linear transforms, polynomials, bootstrapping: `aegis-circuits`), exact integer schemes, threshold
//! decryption, and any knowledge of where limbs live.
#![forbid(unsafe_code)]
mod ciphertext;
mod context;
mod embedding;
mod encoder;
mod error;
mod evaluator;
mod excerpt;
mod extended;
mod key_switch;
mod keys;
mod level;
mod params;
mod recorder;
mod rounding;
mod sampling;
mod secret;
pub mod security;
mod serial;
mod spec;

pub use aegis_hal::ErrorKind;
/// Words between two devices, from [`aegis_hal`]: what a ciphertext travels as.
pub use aegis_hal::Parcel;
/// What a [`Recorder`] counts, and what it costs, from [`aegis_hal`].
pub use aegis_hal::trace::{KernelCosts, Totals};
/// The maps that rotations and conjugation are made of, from [`aegis_ring`].
pub use aegis_ring::Galois;
pub use ciphertext::Ciphertext;
pub use context::Context;
pub use encoder::{Encoder, Plaintext};
pub use error::{Damage, Error, InvalidFile, KeyPurpose, Result, Unencodable};
pub use evaluator::{Evaluator, OpCounts, Product, same_scale};
pub use excerpt::Excerpt;
pub use extended::{Extended, Weights};
pub use key_switch::Hoisted;
pub use keys::{EncapsulationKeys, EvaluationKeys, KeyGenerator, KeyRequest, PublicKey, SwitchingKey};
pub use level::Level;
pub use params::{Contradiction, Params, ParamsError};
pub use recorder::Recorder;
pub use sampling::Seed;
pub use secret::SecretKey;
pub use serial::{FileKind, file_kind, read_spec};
pub use spec::{
    BootstrapSpec, Levels, N14_L6_S40, N16_B13_S40, N16_L24_S49, PRESETS, ParamsSpec,
    insecure_bootstrap_spec, insecure_levelled_spec,
};

/// Identity of a secret key under its parameters, and of all that was made from it. Public.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct KeyId(pub [u8; 16]);

impl KeyId {
    /// The first half of a derived seed, which is used for nothing else.
    pub(crate) fn of(seed: &Seed) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&seed.bytes()[..16]);
        Self(id)
    }
}

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
