//! Circuits over CKKS.
#![forbid(unsafe_code)]
mod bootstrap;
mod budget;
mod dft;
mod error;
mod eval_mod;
mod inverse;
mod linear_transform;
mod polynomial;
mod sum;

pub use bootstrap::Bootstrapper;
pub use budget::Budget;
pub use dft::{DiagonalMatrix, coeffs_to_slots, slots_to_coeffs};
pub use error::{Error, Result};
pub use eval_mod::EvalMod;
pub use inverse::goldschmidt_inverse;
pub use linear_transform::{Diagonals, Encoded, LinearTransform};
pub use polynomial::{Polynomial, PolynomialCost};
