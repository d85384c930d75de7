//! Ranks that exchange words: one transport trait, and the collectives above it.
//!
//! A [`Communicator`] carries [`Message`]s between ranks, as parcels that are promised now and come later
//! ([`aegis_hal::Parcel`]); it owns time, so that every promise is kept within its [`Limits`]. [`Local`] is the one for
//! ranks of one process, [`Mpi`] the one for processes that `mpirun` starts, on one machine or many. A [`Group`] of ranks does collectives over any communicator, and a [`Ledger`] counts to the byte
//! what each rank received, and what for. [`conformance`] is the suite that every communicator passes, [`faulty`]
//! breaks messages on purpose.
//!
//! Two ranks on threads of their own tell each other what they have:
//!
//! ```
//! use std::sync::Arc;
//! use std::thread;
//!
//! use aegis_comm::{Group, Local};
//! use aegis_hal::Parcel;
//!
//! fn greet(comm: Local) -> aegis_hal::Result<()> {
//!     let group = Group::of_all(Arc::new(comm), 0);
//!     let gathered = group.all_gather("greetings", |_| 2, |rank| Parcel::ready(vec![rank as u64; 2]))?;
//!     let words = gathered[0].iter().map(|parcel| Ok(parcel.wait()?.to_vec()));
//!     assert_eq!(words.collect::<aegis_hal::Result<Vec<_>>>()?, [[0, 0], [1, 1]]);
//!
//!     let here = group.communicator().local()[0];
//!     assert_eq!(group.communicator().ledger().snapshot().bytes(here), 16);
//!     Ok(())
//! }
//!
//! let threads: Vec<_> = Local::split(2).into_iter().map(|comm| thread::spawn(|| greet(comm))).collect();
//! threads.into_iter().try_for_each(|rank| rank.join().unwrap())?;
//! # Ok::<(), aegis_hal::Error>(())
//! ```
//!
//! # Non-goals
//! Where limbs and ciphertexts live; recovery from a lost rank, which is a new run from a checkpoint; ranks that come
//! later; secrecy or authenticity between ranks, which all belong to one server.
// Not forbidden: the module that calls libmpi allows it for itself, which `cargo xtask tidy` keeps to that one.
#![deny(unsafe_code)]

mod communicator;
pub mod conformance;
mod error;
pub mod faulty;
mod group;
mod ledger;
mod limits;
mod local;
mod mailbox;
#[cfg(unix)]
mod mpi;
mod sync;

pub use communicator::{Communicator, Message, Tag};
pub use error::{Error, RankFault, Result};
pub use faulty::Faulty;
pub use group::{AGREEMENT, Group};
pub use ledger::{Count, Ledger, Traffic};
pub use limits::Limits;
pub use local::Local;
#[cfg(unix)]
pub use mpi::{Mpi, MpiFault};
