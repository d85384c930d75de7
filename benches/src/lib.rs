//! Timing and reporting shared by the benches.
#![forbid(unsafe_code)]
