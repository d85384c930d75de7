//! Transforms on AVX-512 IFMA.

use aegis_ring::{Factor, NttTable};

use super::tile::{Columns, Ifma};
use crate::simd::{Ahead, Prime, passes};

/// Primes up to here need no reduction between the stages of a forward transform: 17 stages add at most 2q each.
const LAZY_BITS: u32 = 46;

pub(crate) type Table = passes::Table<Factor, Columns>;

/// The twiddle factors of at least 128 words.
pub(crate) fn table(t: &NttTable) -> Table {
    Table::new(t.n(), 8, |i| t.twiddle(i), |tile| Columns::new(t, tile))
}

fn is_wide(p: &Prime) -> bool {
    p.q >> LAZY_BITS != 0
}

/// Forward transform. In and out: `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn ntt(p: &Prime, t: &Table, x: &mut [u64], ahead: Ahead) {
    if is_wide(p) {
        passes::forward(Ifma::<true>::new(p), t, x, ahead);
    } else {
        passes::forward(Ifma::<false>::new(p), t, x, ahead);
    }
}

/// Inverse transform times `n * scale`. In and out: `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn intt(p: &Prime, t: &Table, x: &mut [u64], scale: Factor) {
    if is_wide(p) {
        passes::inverse(Ifma::<true>::new(p), t, x, scale);
    } else {
        passes::inverse(Ifma::<false>::new(p), t, x, scale);
    }
}
