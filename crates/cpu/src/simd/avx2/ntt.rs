//! Transforms on AVX2 and FMA.

use aegis_ring::{Factor, NttTable};

use super::tile::{Avx2, Columns};
use super::vector::centred;
use crate::simd::{Ahead, Prime, passes};

/// Factors are centred: `|w| <= q/2`.
pub(crate) type Table = passes::Table<f64, Columns>;

/// The twiddle factors of at least 32 words.
pub(crate) fn table(t: &NttTable) -> Table {
    let value = |i: usize| centred(t.values()[i], t.modulus());
    Table::new(t.n(), 4, value, |tile| Columns::new(t, tile))
}

/// Forward transform. In and out: `[0, q)`.
#[target_feature(enable = "avx2,fma")]
pub(crate) fn ntt(p: &Prime, t: &Table, x: &mut [u64], ahead: Ahead) {
    passes::forward(Avx2::new(p), t, x, ahead);
}

/// Inverse transform times `n * scale`. In and out: `[0, q)`.
#[target_feature(enable = "avx2,fma")]
pub(crate) fn intt(p: &Prime, t: &Table, x: &mut [u64], scale: Factor) {
    passes::inverse(Avx2::new(p), t, x, centred(scale.value, &p.modulus));
}
