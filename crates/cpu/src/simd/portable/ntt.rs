//! Transforms in scalar code: those of the table itself.

use aegis_ring::{Factor, NttTable};

pub(crate) type Table = NttTable;

/// Forward transform. In and out: `[0, q)`.
pub(crate) fn ntt(t: &Table, x: &mut [u64]) {
    t.forward(x);
}

/// Inverse transform times `n * scale`. In and out: `[0, q)`.
pub(crate) fn intt(t: &Table, x: &mut [u64], scale: Factor) {
    t.inverse_scaled(x, scale);
}
