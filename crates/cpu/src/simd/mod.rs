//! Arithmetic on rows of residues, one module an instruction set, all with the same functions and the same bits.

use aegis_ring::{Factor, Modulus};

pub(crate) mod portable;

/// A prime with the constants that every path uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prime {
    pub(crate) modulus: Modulus,
    pub(crate) q: u64,
    /// `1` as a factor: reduces words below 2^52.
    pub(crate) one: Factor,
    /// `2^52` as a factor: folds the high half of a sum of products.
    pub(crate) high: Factor,
}

impl Prime {
    pub(crate) fn new(modulus: &Modulus) -> Self {
        let q = modulus.value();
        Self {
            modulus: *modulus,
            q,
            one: Factor::new(1, modulus),
            high: Factor::new(modulus.reduce(1 << 52), modulus),
        }
    }
}
