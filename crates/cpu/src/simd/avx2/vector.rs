//! Four lanes of arithmetic on doubles, with FMA.
//!
//! AVX2 multiplies integers of 32 bits at most. A product of doubles is exact in two parts, `x * w = h + l` with a
//! fused multiply-add, and `h + l - round(h / q) * q` is a small representative of it (van der Hoeven, Lecerf, Quintin
//! 2016, "Modular SIMD arithmetic in Mathemagix"). Values are signed, and integers below 2^53 are exact, which is 8q.

use std::arch::x86_64::{
    __m256d, _CMP_LE_OQ, _CMP_LT_OQ, _mm256_add_pd, _mm256_and_pd, _mm256_andnot_pd, _mm256_castpd_si256,
    _mm256_castsi256_pd, _mm256_cmp_pd, _mm256_fmadd_pd, _mm256_fmsub_pd, _mm256_fnmadd_pd, _mm256_loadu_pd,
    _mm256_loadu_si256, _mm256_movemask_pd, _mm256_mul_pd, _mm256_or_si256, _mm256_permute2f128_pd,
    _mm256_permute4x64_pd, _mm256_set1_epi64x, _mm256_set1_pd, _mm256_setzero_pd, _mm256_storeu_pd,
    _mm256_storeu_si256, _mm256_sub_pd, _mm256_unpackhi_pd, _mm256_unpacklo_pd, _mm256_xor_si256,
};

use aegis_ring::Modulus;

use crate::simd::Prime;

/// Four doubles.
pub(super) type V = __m256d;

/// 2^52: the double with bits `ONE_ULP | x` is `2^52 + x` for every `x < 2^52`.
const TWO_52: f64 = 4_503_599_627_370_496.0;
/// `1.5 * 2^52`: adding and subtracting it rounds to an integer, below 2^51.
const ROUND: f64 = 1.5 * TWO_52;

/// The representative of `value` nearest to zero.
pub(super) fn centred(value: u64, q: &Modulus) -> f64 {
    if value > q.value() / 2 { value as f64 - q.value() as f64 } else { value as f64 }
}

/// Constants of one prime.
#[derive(Clone, Copy)]
pub(super) struct Q {
    q: V,
    inverse: V,
    round: V,
}

impl Q {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn new(p: &Prime) -> Self {
        let q = p.q as f64;
        Self { q: splat(q), inverse: splat(1.0 / q), round: splat(ROUND) }
    }

    /// `round(x / q)`, wrong by at most `1/2 + |x| / (2^52 q)`. In: `|x| <= 2^51 q`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn quotient(&self, x: V) -> V {
        _mm256_sub_pd(_mm256_fmadd_pd(x, self.inverse, self.round), self.round)
    }

    /// `x * w` modulo q. In: `|x| <= B q <= 4q`, `|w| <= q/2`. Out: `|r| <= (1/2 + B/8) q`.
    ///
    /// `|x w| / q <= 2^51`, and the two roundings before the last one move the quotient by at most `B q / 2^53 <= B/8`.
    /// The subtrahend differs from h by less than 2^53, so that the fused difference is exact.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn mul(&self, x: V, w: V) -> V {
        debug_assert!(are_within(x, _mm256_mul_pd(splat(4.0), self.q)), "a value beyond 4q");
        let high = _mm256_mul_pd(x, w);
        let low = _mm256_fmsub_pd(x, w, high);
        _mm256_add_pd(_mm256_fnmadd_pd(self.quotient(high), self.q, high), low)
    }

    /// The representative nearest to zero, or one next to it. In: `|x| <= 8q`. Out: `|r| <= q/2 + 1`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn reduce(&self, x: V) -> V {
        debug_assert!(are_within(x, _mm256_mul_pd(splat(8.0), self.q)), "a value beyond 8q");
        _mm256_fnmadd_pd(self.quotient(x), self.q, x)
    }

    /// `x` as words in `[0, q)`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn store_words(&self, out: &mut [u64; 4], x: V) {
        let x = self.reduce(x);
        let negative = _mm256_cmp_pd::<_CMP_LT_OQ>(x, _mm256_setzero_pd());
        let x = _mm256_add_pd(x, _mm256_and_pd(negative, self.q));
        let magic = splat(TWO_52);
        let words =
            _mm256_xor_si256(_mm256_castpd_si256(_mm256_add_pd(x, magic)), _mm256_castpd_si256(magic));
        // SAFETY: four words are writable behind the reference; the store needs no alignment.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), words) }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn splat(x: f64) -> V {
    _mm256_set1_pd(x)
}

/// Words below 2^52 as doubles.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load_words(x: &[u64; 4]) -> V {
    debug_assert!(x.iter().all(|&x| x < 1 << 52), "{x:?} beyond a double's integers");
    // SAFETY: four words are readable behind the reference; the load needs no alignment.
    let words = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
    let magic = _mm256_set1_epi64x(TWO_52.to_bits().cast_signed());
    _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(words, magic)), splat(TWO_52))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load(x: &[f64; 4]) -> V {
    // SAFETY: four doubles are readable behind the reference; the load needs no alignment.
    unsafe { _mm256_loadu_pd(x.as_ptr()) }
}

/// The doubles whose bits [`store_bits`] left.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load_bits(x: &[u64; 4]) -> V {
    load(bytemuck::cast_ref(x))
}

/// Leaves the bits of the doubles in the row, until the last pass turns them into words.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn store_bits(out: &mut [u64; 4], x: V) {
    let out: &mut [f64; 4] = bytemuck::cast_mut(out);
    // SAFETY: four doubles are writable behind the reference; the store needs no alignment.
    unsafe { _mm256_storeu_pd(out.as_mut_ptr(), x) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn transpose(r: [V; 4]) -> [V; 4] {
    let (a, b) = (_mm256_unpacklo_pd(r[0], r[1]), _mm256_unpackhi_pd(r[0], r[1]));
    let (c, d) = (_mm256_unpacklo_pd(r[2], r[3]), _mm256_unpackhi_pd(r[2], r[3]));
    [
        _mm256_permute2f128_pd::<0x20>(a, c),
        _mm256_permute2f128_pd::<0x20>(b, d),
        _mm256_permute2f128_pd::<0x31>(a, c),
        _mm256_permute2f128_pd::<0x31>(b, d),
    ]
}

/// The words of a vector backwards.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn reverse(x: V) -> V {
    _mm256_permute4x64_pd::<0x1b>(x)
}

/// True when `|x| <= bound` in every lane: for assertions.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn are_within(x: V, bound: V) -> bool {
    let size = _mm256_andnot_pd(splat(-0.0), x);
    _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_LE_OQ>(size, bound)) == 0b1111
}
