//! Word-by-word arithmetic in scalar code.

use aegis_ring::Factor;

use crate::simd::Prime;

/// `out += b`. In and out: `[0, q)`.
#[inline(always)]
pub(crate) fn add_assign(p: &Prime, out: &mut [u64], b: &[u64]) {
    out.iter_mut().zip(b).for_each(|(o, &b)| *o = p.modulus.add(*o, b));
}

/// `out -= b`. In and out: `[0, q)`.
#[inline(always)]
pub(crate) fn sub_assign(p: &Prime, out: &mut [u64], b: &[u64]) {
    out.iter_mut().zip(b).for_each(|(o, &b)| *o = p.modulus.sub(*o, b));
}

/// `out *= b`. In and out: `[0, q)`.
#[inline(always)]
pub(crate) fn mul_assign(p: &Prime, out: &mut [u64], b: &[u64]) {
    out.iter_mut().zip(b).for_each(|(o, &b)| *o = p.modulus.mul(*o, b));
}

/// `out += a * b`. In and out: `[0, q)`.
#[inline(always)]
pub(crate) fn mul_add(p: &Prime, out: &mut [u64], a: &[u64], b: &[u64]) {
    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *o = p.modulus.add(*o, p.modulus.mul(a, b));
    }
}

/// `out *= c`. In and out: `[0, q)`.
#[inline(always)]
pub(crate) fn scalar_mul(p: &Prime, out: &mut [u64], c: Factor) {
    out.iter_mut().for_each(|o| *o = c.mul(*o, p.q));
}

/// `out += c * a`. In and out: `[0, q)`.
#[inline(always)]
pub(crate) fn scalar_mul_add(p: &Prime, out: &mut [u64], c: Factor, a: &[u64]) {
    out.iter_mut().zip(a).for_each(|(o, &a)| *o = p.modulus.add(*o, c.mul(a, p.q)));
}

/// `out += c`. In and out: `[0, q)`.
#[inline(always)]
pub(crate) fn scalar_add(p: &Prime, out: &mut [u64], c: u64) {
    out.iter_mut().for_each(|o| *o = p.modulus.add(*o, c));
}

/// `out = (a - out) * c`. In and out: `[0, q)`.
#[inline(always)]
pub(crate) fn sub_scale(p: &Prime, out: &mut [u64], a: &[u64], c: Factor) {
    out.iter_mut().zip(a).for_each(|(o, &a)| *o = c.mul(p.modulus.sub(a, *o), p.q));
}

/// `out[j] = x[permutation[j]]`.
#[inline(always)]
pub(crate) fn permute(out: &mut [u64], x: &[u64], permutation: &[u32]) {
    out.iter_mut().zip(permutation).for_each(|(o, &i)| *o = x[i as usize]);
}

/// Residues of signed words.
#[inline(always)]
pub(crate) fn reduce_signed(p: &Prime, out: &mut [u64], x: &[i64]) {
    out.iter_mut().zip(x).for_each(|(o, &x)| *o = p.modulus.from_signed(x));
}
