//! Tests of the CPU backend.
mod conformance;
mod determinism;
mod memory;
