//! Tests of the CPU backend.
mod conformance;
