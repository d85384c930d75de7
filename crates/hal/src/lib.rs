//! Operations on RNS polynomials as data, and the one trait that every machine implements.
//!
//! A [`Poly`] is an opaque buffer of `{batch, limbs, n}` residues on a [`Device`]; a [`Kernel`] is an operation on such
//! buffers, as a value; a [`Backend`] enqueues kernels. Fused kernels are optional for a backend and have a lowering
//! to primitive ones ([`Kernel::lower`]). [`conformance`] is the suite that every backend passes, lowerings included;
//! its oracle is a slow exact reference of every kernel. [`Trace`] is a backend that only records, and counts what a
//! circuit costs without its data:
//!
//! ```
//! use std::sync::Arc;
//! use aegis_hal::{Backend, Kernel, Shape, Trace};
//! use aegis_ring::{Basis, LimbId, Rns, primes};
//!
//! let prime = primes::nearest_ntt_prime(2f64.powi(40), 1 << 39..1 << 41, 10, &[])?;
//! let dev = Trace::new(Arc::new(Rns::new(10, &[prime])?));
//! let basis = Basis::new([LimbId(0)]);
//! let mut x = dev.alloc(Shape::new(2, basis.clone(), 1024))?;
//! let y = dev.alloc(Shape::new(1, basis.clone(), 1024))?;
//! dev.launch(&Kernel::Ntt, &basis, x.view_mut(), &[])?;
//! dev.launch(&Kernel::Mul, &basis, x.slice_mut(1, 1), &[y.view()])?;
//! assert_eq!(dev.text(), "ntt {0} %0[0..2]x1024\nmul {0} %0[1..2]x1024 <- %1[0..1]x1024\n");
//! assert_eq!(dev.counts()["ntt"].rows, 2);
//! assert_eq!(dev.totals().bytes_touched, (2 + 2 + 1 + 1 + 1) * 8192); // ntt in place, then mul in place
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Non-goals
//! Ciphertexts, levels and scales (`aegis-ckks`); placement and communication; a generic backend parameter: a device
//! is a value behind `dyn Backend`, because a dynamic call costs nanoseconds and a kernel microseconds.
#![forbid(unsafe_code)]

mod backend;
pub mod conformance;
mod error;
mod kernel;
mod parcel;
mod poly;
pub mod trace;

pub use aegis_ring::ErrorKind;
pub use backend::{Backend, Device, HostData, Memory};
pub use error::{Error, Misfit, PeerFault, Result};
pub use kernel::{Facts, Kernel, Scalars};
pub use parcel::{Parcel, Promise, Words};
pub use poly::{Poly, Shape, View, ViewMut};
pub use trace::Trace;
