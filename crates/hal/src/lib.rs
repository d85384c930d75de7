//! Operations on RNS polynomials as data, and the one trait that every machine implements.
mod backend;
mod error;
mod kernel;
mod poly;

pub use backend::{Backend, Device, Host};
pub use error::{Error, Result};
pub use kernel::{Kernel, Scalars};
pub use poly::{Poly, Shape, View, ViewMut};
