//! Ranks of one process, through the public interface.

mod conformance;
mod faults;
mod ledger;
mod local;
#[cfg(unix)]
mod mpi;
mod stress;
