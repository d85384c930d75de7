//! Every operation of the scheme against plain complex arithmetic.

mod common;
mod encryption;
mod evaluator;
mod faults;
mod misuse;
mod serial;
mod traces;
