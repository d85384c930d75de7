//! Tests of the crate as its users see it: small models made on the spot, and the real one where it has been fetched.

mod hostile;
mod loading;
mod minilm;
mod text;
