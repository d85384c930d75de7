//! Every operation of the scheme against plain complex arithmetic.

mod encryption;
mod evaluator;
mod faults;
mod misuse;
mod serial;
mod traces;
mod transfers;

/// Seed of the numbers.
const SEED: u64 = 20_261_120;
