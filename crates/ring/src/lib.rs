//! RNS arithmetic for rings `Z_Q[X]/(X^N + 1)`, `Q` a product of primes below `2^50`.
//!
//! What the backends of `aegis` share: [`Modulus`] and [`primes`], [`Rns`] (degree and primes), [`Basis`] (a set of
//! limbs), [`Galois`] maps, the tables [`NttTable`] and [`BaseConv`], and [`exact`], a slow reference on big integers
//! against which every fast path is tested.
//!
//! ```
//! use aegis_ring::{Modulus, NttTable, exact, primes};
//!
//! let prime = primes::nearest_ntt_prime(2f64.powi(40), 1 << 39..1 << 41, 4, &[])?;
//! let q = Modulus::new(prime)?;
//! let table = NttTable::new(&q, 4)?;
//! let (a, b) = (vec![3; 16], (0..16).collect::<Vec<u64>>());
//!
//! let (mut fa, mut fb) = (a.clone(), b.clone());
//! table.forward(&mut fa);
//! table.forward(&mut fb);
//! let mut product: Vec<u64> = fa.iter().zip(&fb).map(|(&x, &y)| q.mul(x, y)).collect();
//! table.inverse(&mut product);
//! assert_eq!(product, exact::negacyclic_product(&a, &b, &q));
//! # Ok::<(), aegis_ring::Error>(())
//! ```
//!
//! # Non-goals
//! Primes of 50 bits or more, rings that are not powers of two, constant-time arithmetic on secret data, speed: the
//! fast transforms live in the backends.
#![forbid(unsafe_code)]

mod base_conv;
mod basis;
mod error;
pub mod exact;
mod galois;
mod modulus;
mod ntt;
pub mod primes;
mod rns;

pub use base_conv::BaseConv;
pub use basis::{Basis, LimbId};
pub use error::{Error, ErrorKind};
pub use galois::Galois;
pub use modulus::{MAX_PRIME, Modulus};
pub use ntt::{Factor, NttTable, SHOUP_BITS, bit_reverse};
pub use rns::Rns;
