//! Circuits against the same functions in `f64`.
mod bootstrap;
mod linear;
mod polynomials;
mod trace;
