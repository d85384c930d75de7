//! What the tests of several crates share: contexts on the CPU and on the recorder, a [`Setup`] with keys,
//! [`Numbers`] from a seed, a small model, [`TinyBert`], and the MPI [`Launcher`]s of this machine.
//!
//! ```
//! use aegis_ckks::insecure_levelled_spec;
//! use aegis_testing::{Setup, insecure, uniform_complex};
//!
//! let t = Setup::with_keys(insecure(insecure_levelled_spec(6, 2)), |keys, p| keys.rotation(1, p.fresh_level()));
//! let x = uniform_complex(t.ctx.params().slots(), 1);
//! let rotated = t.ev.rotate(&t.encrypt(&x), 1).unwrap();
//! let want: Vec<_> = (0..x.len()).map(|j| x[(j + 1) % x.len()]).collect();
//! t.expect("rotated", &rotated, &want, 1e-6);
//! ```
//!
//! Functions panic where a test would: nothing here is for programs.
//!
//! # Non-goals
//! What one crate alone needs, and tests of this crate's own dependencies from inside (`src`): there its types
//! are those of another build.
#![forbid(unsafe_code)]

mod context;
mod launcher;
mod numbers;
mod setup;
mod tiny_bert;

pub use context::{insecure, on_cpu, recorded};
pub use launcher::Launcher;
pub use numbers::{Numbers, complex, distance, uniform, uniform_complex};
pub use setup::Setup;
pub use tiny_bert::{Stored, TinyBert, write_tensors};
