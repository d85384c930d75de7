//! Eight lanes of 52-bit arithmetic.
//!
//! A lane holds its value in bits 0..52; the bits above are unspecified unless said (*clean*): multiplications read
//! the low 52 bits only, additions and subtractions are right modulo 2^52, so that no masking is needed until a
//! comparison or the end. Values are always below 2^52.
//!
//! Functions that take less than any value assert it. What the others give is not asserted for each vector: that made
//! transforms of debug builds 2.3 times as slow, and where a value ends as a residue it is asserted to be one.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_cmplt_epu64_mask, _mm512_loadu_si512,
    _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_min_epu64, _mm512_permutex2var_epi64,
    _mm512_set_epi64, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_sllv_epi64,
    _mm512_storeu_si512, _mm512_sub_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

use aegis_ring::Factor;

use crate::simd::Prime;

pub(super) type V = __m512i;

/// Low 52 bits of a word.
pub(super) const MASK: u64 = (1 << 52) - 1;

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(x: &[u64; 8]) -> V {
    // SAFETY: eight words are readable behind the reference; the load needs no alignment.
    unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(x: &mut [u64; 8], v: V) {
    // SAFETY: eight words are writable behind the reference; the store needs no alignment.
    unsafe { _mm512_storeu_si512(x.as_mut_ptr().cast(), v) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn splat(x: u64) -> V {
    _mm512_set1_epi64(x.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add(a: V, b: V) -> V {
    _mm512_add_epi64(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn sub(a: V, b: V) -> V {
    _mm512_sub_epi64(a, b)
}

/// `acc + low 52 bits of a * b`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn lo(acc: V, a: V, b: V) -> V {
    _mm512_madd52lo_epu64(acc, a, b)
}

/// `acc + (a * b >> 52)`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn hi(acc: V, a: V, b: V) -> V {
    _mm512_madd52hi_epu64(acc, a, b)
}

/// `a * b >> 52`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn hi0(a: V, b: V) -> V {
    hi(_mm512_setzero_si512(), a, b)
}

/// `x * 2^log2`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn double(x: V, log2: u32) -> V {
    _mm512_sllv_epi64(x, splat(u64::from(log2)))
}

/// True when every lane of `x` is below that of `bound`: for assertions.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn are_below(x: V, bound: V) -> bool {
    _mm512_cmplt_epu64_mask(x, bound) == u8::MAX
}

/// `x` if `x < bound`, else `x - bound`. In: clean, below `2 bound`. Out: below `bound`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn reduce_once(x: V, bound: V) -> V {
    debug_assert!(are_below(x, add(bound, bound)), "one subtraction is not enough");
    _mm512_min_epu64(x, _mm512_sub_epi64(x, bound))
}

/// Clears the bits above 52.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn clean(x: V) -> V {
    _mm512_and_si512(x, splat(MASK))
}

/// A constant factor with its Shoup quotient, in every lane or one a lane.
#[derive(Clone, Copy)]
pub(super) struct W {
    pub(super) value: V,
    pub(super) quotient: V,
}

impl W {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn splat(f: Factor) -> Self {
        Self { value: splat(f.value), quotient: splat(f.quotient) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn load(value: &[u64; 8], quotient: &[u64; 8]) -> Self {
        Self { value: load(value), quotient: load(quotient) }
    }
}

/// Constants of one prime, in every lane.
#[derive(Clone, Copy)]
pub(super) struct Q {
    pub(super) q: V,
    pub(super) q2: V,
    /// `2^52 - q`: adding `k * neg` subtracts `k * q` modulo 2^52.
    pub(super) neg: V,
    /// `floor(2^52 / q)`.
    pub(super) one: V,
    pub(super) two: V,
}

impl Q {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(p: &Prime) -> Self {
        Self {
            q: splat(p.q),
            q2: splat(2 * p.q),
            neg: splat((1 << 52) - p.q),
            one: splat(p.one.quotient),
            two: splat(2),
        }
    }

    /// `acc + x * w`, less a multiple of q. In: any `x`. The product adds less than `2q`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_acc(&self, acc: V, x: V, w: W) -> V {
        lo(lo(acc, x, w.value), hi0(x, w.quotient), self.neg)
    }

    /// `x * w` in `[0, 2q)`. In: any `x`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul(&self, x: V, w: W) -> V {
        self.mul_acc(_mm512_setzero_si512(), x, w)
    }

    /// `x` modulo q in `[0, 2q)`. In: any `x`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce(&self, x: V) -> V {
        lo(x, hi0(x, self.one), self.neg)
    }

    /// `x` modulo q, clean and in `[0, q)`. In: below `2q`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn finish(&self, x: V) -> V {
        reduce_once(clean(x), self.q)
    }
}

/// Transposes eight rows of eight words. Bits are moved as they are.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(r: [V; 8]) -> [V; 8] {
    // Pairs of words, then pairs of pairs, then halves.
    let a: [V; 8] = [
        _mm512_unpacklo_epi64(r[0], r[1]),
        _mm512_unpackhi_epi64(r[0], r[1]),
        _mm512_unpacklo_epi64(r[2], r[3]),
        _mm512_unpackhi_epi64(r[2], r[3]),
        _mm512_unpacklo_epi64(r[4], r[5]),
        _mm512_unpackhi_epi64(r[4], r[5]),
        _mm512_unpacklo_epi64(r[6], r[7]),
        _mm512_unpackhi_epi64(r[6], r[7]),
    ];
    // a[0] = r0[0] r1[0] | r0[2] r1[2] | r0[4] r1[4] | r0[6] r1[6], a[2] the same of rows 2 and 3, ..
    let low = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0);
    let high = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
    let b: [V; 8] = [
        _mm512_permutex2var_epi64(a[0], low, a[2]), // words 0 and 4 of rows 0..4
        _mm512_permutex2var_epi64(a[1], low, a[3]), // words 1 and 5
        _mm512_permutex2var_epi64(a[0], high, a[2]), // words 2 and 6
        _mm512_permutex2var_epi64(a[1], high, a[3]), // words 3 and 7
        _mm512_permutex2var_epi64(a[4], low, a[6]),
        _mm512_permutex2var_epi64(a[5], low, a[7]),
        _mm512_permutex2var_epi64(a[4], high, a[6]),
        _mm512_permutex2var_epi64(a[5], high, a[7]),
    ];
    [
        _mm512_shuffle_i64x2::<0x44>(b[0], b[4]),
        _mm512_shuffle_i64x2::<0x44>(b[1], b[5]),
        _mm512_shuffle_i64x2::<0x44>(b[2], b[6]),
        _mm512_shuffle_i64x2::<0x44>(b[3], b[7]),
        _mm512_shuffle_i64x2::<0xee>(b[0], b[4]),
        _mm512_shuffle_i64x2::<0xee>(b[1], b[5]),
        _mm512_shuffle_i64x2::<0xee>(b[2], b[6]),
        _mm512_shuffle_i64x2::<0xee>(b[3], b[7]),
    ]
}
