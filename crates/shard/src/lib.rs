//! Devices as one device: each limb of a polynomial lives on the members of a group that a [`Placement`] names, and
//! kernels that couple limbs gather them first.
//!
//! Everything above a [`Device`](aegis_hal::Device) runs on a [`Sharded`] one unchanged, with the same bits:
//!
//! ```
//! use std::sync::Arc;
//! use aegis_comm::{Group, Local};
//! use aegis_hal::{Backend, Device, HostData, Kernel, Shape, Trace};
//! use aegis_ring::{Basis, LimbId, Rns, primes};
//! use aegis_shard::{Placement, Sharded};
//!
//! let mut taken = vec![];
//! for _ in 0..3 {
//!     taken.push(primes::nearest_ntt_prime(2f64.powi(40), 1 << 39..1 << 41, 10, &taken)?);
//! }
//! let rns = Arc::new(Rns::new(10, &taken)?);
//! let devices: Vec<Device> = (0..2).map(|_| Arc::new(Trace::new(Arc::clone(&rns))) as Device).collect();
//! let group = Group::of_all(Arc::new(Local::new(2)), 0);
//! let placement = Placement::deal(2, 3, &Basis::new([]))?;
//! let dev = Sharded::new(group, devices, placement)?;
//!
//! let (from, to) = (Basis::new([LimbId(0), LimbId(1)]), Basis::new([LimbId(2)]));
//! let x = dev.alloc(Shape::new(1, from.clone(), 1024))?;
//! let mut y = dev.alloc(Shape::new(1, to.clone(), 1024))?;
//! dev.run(&Kernel::ModUp { from }, &to, y.view_mut(), &[x.view()])?;
//! // Limb 2 lives on member 0, which has limb 0 and receives limb 1.
//! let traffic = dev.group().communicator().ledger().snapshot();
//! assert_eq!((traffic.bytes(0), traffic.bytes(1)), (8192, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Non-goals
//! Which placement is best (`aegis-plan`); ciphertexts, keys and levels: a placement knows limbs alone.
#![forbid(unsafe_code)]

mod error;
mod placement;
mod sharded;

pub use error::Error;
pub use placement::Placement;
pub use sharded::Sharded;
