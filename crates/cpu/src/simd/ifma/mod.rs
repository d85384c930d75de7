//! AVX-512 IFMA: 52-bit multiplications, eight at a time.

pub(crate) mod ntt;
mod vector;

pub(crate) use ntt::{Table, intt, ntt};
