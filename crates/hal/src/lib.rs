//! Operations on RNS polynomials as data, and the one trait that every machine implements.
#![forbid(unsafe_code)]

mod backend;
pub mod conformance;
mod error;
mod kernel;
mod poly;
pub mod trace;

pub use backend::{Backend, Device, Host};
pub use error::{Error, Result};
pub use kernel::{Kernel, Scalars};
pub use poly::{Poly, Shape, View, ViewMut};
pub use trace::Trace;
