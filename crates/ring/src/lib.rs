//! RNS arithmetic for rings `Z_Q[X]/(X^N + 1)`.
mod basis;
mod error;
mod galois;
mod modulus;
pub mod primes;
mod rns;

pub use basis::{Basis, LimbId};
pub use error::Error;
pub use galois::Galois;
pub use modulus::{MAX_PRIME, Modulus};
pub use rns::Rns;
