//! Tests of the crate as its users see it: small models made on the spot, the real one where it is there.

mod calibration;
mod hostile;
mod loading;
mod minilm;
mod query;
mod text;
