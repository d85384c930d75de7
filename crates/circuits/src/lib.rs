//! Circuits over CKKS: linear transforms, polynomials, inverses, bootstrapping.
//!
//! Each circuit is a description that knows its depth and declares its keys, and a function of ciphertexts:
//!
//! | circuit | levels | what it is |
//! |---|---|---|
//! | [`LinearTransform`] | 1 | block matrices by diagonals: baby and giant steps, both over QP; columns of inputs |
//! | [`Polynomial`] | `ceil(log2(degree + 1))` | Chebyshev basis, Paterson-Stockmeyer, classes of slots, powers shared |
//! | [`goldschmidt::inverse`] | 1 a step | `1 / b` with a relaxation schedule; of packed values, unpacked on the way |
//! | [`Bootstrapper`] | ends at the fresh level | full and sparse slots, complex, real, pairs; its error is a [`Budget`] |
//!
//! ```
//! use std::sync::Arc;
//! use aegis_circuits::{Bootstrapper, Polynomial};
//! use aegis_ckks::{
//!     Context, Evaluator, KeyGenerator, Params, Plaintext, Seed, insecure_bootstrap_spec,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A small ring without any security; `Params::try_from(N16_B13_S40)?` is the real one.
//! let params = Params::insecure(insecure_bootstrap_spec(9))?;
//! let device = Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 2)?);
//! let ctx = Context::new(params, device)?;
//! let params = ctx.params();
//!
//! // Circuits declare their keys, and the level they use them at.
//! let bootstrapper = Bootstrapper::new(&ctx, 4)?; // vectors of 4 values
//! let sigmoid = Polynomial::interpolate(|x| 1.0 / (1.0 + (-x).exp()), 15, (-1.0, 1.0))?;
//! let request = bootstrapper.keys().merge(&sigmoid.keys(params, params.fresh_level()));
//! let generator = KeyGenerator::new(&ctx, Seed::new([1; 32]));
//! let secret = generator.secret_key();
//! let ev = Evaluator::new(&ctx, Arc::new(generator.evaluation_keys(&secret, &request)?));
//!
//! // A ciphertext that has nearly no levels left, refreshed and computed on.
//! let low = params.base_level();
//! let x = Plaintext::encode_real(&ctx, &[-1.0, -0.25, 0.5, 1.0], params.scale(low), low)?;
//! let x = secret.encrypt(&ctx, &x, &Seed::new([2; 32]))?;
//! let fresh = bootstrapper.bootstrap_real(&ev, &x, 1.0)?;
//! let y = sigmoid.evaluate(&ev, &fresh)?;
//!
//! assert_eq!(y.level().0, params.fresh_level().0 - sigmoid.depth());
//! let slots = secret.decrypt(&ctx, &y)?;
//! assert!((slots[2].re - 1.0 / (1.0 + (-0.5f64).exp())).abs() < 1e-6);
//! # Ok(()) }
//! ```
//!
//! # Non-goals
//! Layers and packings of networks (`aegis-nn`); fitting of approximations beyond interpolation in Chebyshev nodes;
//! choosing where to bootstrap; functional bootstrapping; matrices whose weights are secret.
#![forbid(unsafe_code)]
mod bootstrap;
mod budget;
pub mod chebyshev;
mod dft;
mod error;
mod eval_mod;
pub mod goldschmidt;
mod linear_transform;
mod polynomial;
mod slots;
mod sum;

pub use aegis_ckks::ErrorKind;
pub use bootstrap::Bootstrapper;
pub use budget::Budget;
pub use dft::{DiagonalMatrix, coeffs_to_slots, slots_to_coeffs};
pub use error::{Error, InvalidCircuit, Result};
pub use eval_mod::EvalMod;
pub use linear_transform::{Diagonals, EncodedDiagonals, LinearTransform};
pub use polynomial::{Polynomial, PolynomialCost};
