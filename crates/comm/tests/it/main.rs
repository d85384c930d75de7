//! Ranks of one process, through the public interface.

mod conformance;
mod faults;
mod ledger;
mod local;
mod stress;
