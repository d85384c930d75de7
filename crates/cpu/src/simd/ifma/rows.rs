//! Word-by-word arithmetic on AVX-512 IFMA. Rows whose length is no multiple of eight end in scalar code.

use std::arch::x86_64::{
    _mm256_loadu_si256, _mm512_abs_epi64, _mm512_cmplt_epu64_mask, _mm512_cvtepu32_epi64,
    _mm512_mask_sub_epi64, _mm512_min_epu64, _mm512_movepi64_mask, _mm512_permutexvar_epi64,
    _mm512_srli_epi64,
};

use aegis_ring::Factor;

use super::vector::{Q, V, W, add, clean, double, hi0, lo, load, reduce_once, splat, store, sub};
use crate::simd::{Prime, portable};

/// Applies `$vector` to vectors and `$scalar` to what is left over.
macro_rules! rows {
    ($out:ident $(, $in:ident)*; |$o:ident $(, $i:ident)*| $vector:expr, $scalar:expr) => {{
        let (vectors, rest) = $out.as_chunks_mut::<8>();
        for (j, out) in vectors.iter_mut().enumerate() {
            let $o = load(out);
            let _ = j;
            $(let $i = load(&$in.as_chunks::<8>().0[j]);)*
            store(out, $vector);
        }
        if !rest.is_empty() {
            let done = vectors.len() * 8;
            let _ = done;
            $(let $in = &$in[done..];)*
            let $out = rest;
            $scalar
        }
    }};
}

/// `out += b`. In and out: `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn add_assign(p: &Prime, out: &mut [u64], b: &[u64]) {
    let q = splat(p.q);
    rows!(out, b; |o, y| reduce_once(add(o, y), q), portable::add_assign(p, out, b));
}

/// `out -= b`. In and out: `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn sub_assign(p: &Prime, out: &mut [u64], b: &[u64]) {
    let q = splat(p.q);
    rows!(out, b; |o, y| subtract(o, y, q), portable::sub_assign(p, out, b));
}

/// `a - b`. In and out: clean, `[0, q)`. A negative difference is a huge word, and then the other is the smaller.
#[inline]
#[target_feature(enable = "avx512f")]
fn subtract(a: V, b: V, q: V) -> V {
    let d = sub(a, b);
    _mm512_min_epu64(d, add(d, q))
}

/// `out *= b`. In and out: `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn mul_assign(p: &Prime, out: &mut [u64], b: &[u64]) {
    let q = Barrett::new(p);
    rows!(out, b; |o, y| q.mul_add(splat(0), o, y), portable::mul_assign(p, out, b));
}

/// `out += a * b`. In and out: `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn mul_add(p: &Prime, out: &mut [u64], a: &[u64], b: &[u64]) {
    let q = Barrett::new(p);
    rows!(out, a, b; |o, x, y| q.mul_add(o, x, y), portable::mul_add(p, out, a, b));
}

/// Products of two variables.
struct Barrett {
    q: Q,
    /// `floor(2^(51 + bits) / q)`, in `(2^51, 2^52)`.
    mu: V,
    /// `52 - bits`.
    shift: u32,
}

impl Barrett {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(p: &Prime) -> Self {
        let bits = 64 - p.q.leading_zeros();
        Self { q: Q::new(p), mu: splat(((1u128 << (51 + bits)) / u128::from(p.q)) as u64), shift: 52 - bits }
    }

    /// `acc + x * y`. In and out: clean, `[0, q)`.
    ///
    /// `h = floor(x y / 2^(bits-1))` and the quotient `floor(h mu / 2^52)` is at most 2 below that of `x y / q`
    /// (HAC 14.42), so that the sum is below 4q before the last steps.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn mul_add(&self, acc: V, x: V, y: V) -> V {
        let h = hi0(add(x, x), double(y, self.shift));
        let r = clean(lo(lo(acc, x, y), hi0(h, self.mu), self.q.neg));
        reduce_once(reduce_once(r, self.q.q2), self.q.q)
    }
}

/// `out *= c`. In and out: `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn scalar_mul(p: &Prime, out: &mut [u64], c: Factor) {
    let (q, w) = (Q::new(p), W::splat(c));
    rows!(out; |o| q.finish(q.mul(o, w)), portable::scalar_mul(p, out, c));
}

/// `out += c * a`. In and out: `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn scalar_mul_add(p: &Prime, out: &mut [u64], c: Factor, a: &[u64]) {
    let (q, w) = (Q::new(p), W::splat(c));
    rows!(
        out, a;
        |o, x| reduce_once(reduce_once(clean(q.mul_acc(o, x, w)), q.q2), q.q),
        portable::scalar_mul_add(p, out, c, a)
    );
}

/// `out += c`. In and out: `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn scalar_add(p: &Prime, out: &mut [u64], c: u64) {
    let (q, y) = (splat(p.q), splat(c));
    rows!(out; |o| reduce_once(add(o, y), q), portable::scalar_add(p, out, c));
}

/// `out = (a - out) * c`. In and out: `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn sub_scale(p: &Prime, out: &mut [u64], a: &[u64], c: Factor) {
    let (q, w) = (Q::new(p), W::splat(c));
    rows!(out, a; |o, x| q.finish(q.mul(sub(add(x, q.q), o), w)), portable::sub_scale(p, out, a, c));
}

/// `out[j] = x[permutation[j]]` for a Galois map of evaluation form.
///
/// Such a map takes aligned groups of eight words to aligned groups of eight: words whose indices differ in the
/// lowest three bits are values at exponents that agree modulo `2n / 8`, and multiplication by g keeps that.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn permute(out: &mut [u64], x: &[u64], permutation: &[u32]) {
    let (groups, rest) = out.as_chunks_mut::<8>();
    let (x_groups, _) = x.as_chunks::<8>();
    for (out, lanes) in groups.iter_mut().zip(permutation.as_chunks::<8>().0) {
        let source = load(&x_groups[(lanes[0] >> 3) as usize]);
        // SAFETY: eight half words are readable behind the reference.
        let indices = unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) };
        // The permutation reads the lowest three bits of each index.
        store(out, _mm512_permutexvar_epi64(_mm512_cvtepu32_epi64(indices), source));
    }
    if !rest.is_empty() {
        portable::permute(rest, x, permutation);
    }
}

/// Residues of signed words.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(crate) fn reduce_signed(p: &Prime, out: &mut [u64], x: &[i64]) {
    let (q, high) = (Q::new(p), W::splat(p.high));
    let (vectors, rest) = out.as_chunks_mut::<8>();
    let (x_vectors, x_rest) = x.as_chunks::<8>();
    for (out, x) in vectors.iter_mut().zip(x_vectors) {
        let signed = load(&x.map(i64::cast_unsigned));
        let (negative, x) = (_mm512_movepi64_mask(signed), _mm512_abs_epi64(signed));
        // Coefficients of a message are mostly below the prime: half of the time of a reduction.
        if _mm512_cmplt_epu64_mask(x, q.q) == u8::MAX {
            // A negative word is huge without its sign, and wraps to its residue.
            store(out, _mm512_min_epu64(signed, add(signed, q.q)));
            continue;
        }
        // |x| = high * 2^52 + low: two terms below 2q.
        let sum = q.mul_acc(q.reduce(x), _mm512_srli_epi64::<52>(x), high);
        let r = reduce_once(reduce_once(clean(sum), q.q2), q.q);
        store(out, reduce_once(_mm512_mask_sub_epi64(r, negative, q.q, r), q.q));
    }
    portable::reduce_signed(p, rest, x_rest);
}
