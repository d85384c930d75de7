//! Tests of the CPU backend.
mod bounds;
mod conformance;
mod determinism;
mod limit;
mod memory;
