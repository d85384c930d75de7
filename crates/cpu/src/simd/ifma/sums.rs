//! Sums of products on AVX-512 IFMA: halves of products are added without reduction, each in its own register.

use std::arch::x86_64::{
    _mm512_add_pd, _mm512_cvtepu64_pd, _mm512_cvttpd_epu64, _mm512_mul_pd, _mm512_set1_pd,
    _mm512_setzero_si512, _mm512_srli_epi64,
};

use aegis_ring::{BaseConv, Factor};

use super::vector::{Q, V, W, add, are_below, clean, hi, lo, load, reduce_once, splat, store};
use crate::simd::{Block, Prime, portable};

/// Terms whose low halves fit 64 bits, and whose high halves fit 60.
const MAX_TERMS: usize = 4000;
/// Terms whose high halves fit 52 bits with the carry of the low ones, for residues below 2^50.
const FEW: usize = 15;

/// `low + high * 2^52`: a sum of products of residues below 2^50.
#[derive(Clone, Copy)]
struct Sum {
    low: V,
    high: V,
}

impl Sum {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(low: V) -> Self {
        Self { low, high: _mm512_setzero_si512() }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add_product(self, x: V, y: V) -> Self {
        Self { low: lo(self.low, x, y), high: hi(self.high, x, y) }
    }
}

/// Reduces sums.
struct Fold {
    q: Q,
    /// `2^52` and `2^104`.
    once: W,
    twice: W,
}

impl Fold {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(p: &Prime) -> Self {
        let twice = Factor::new(p.modulus.mul(p.high.value, p.high.value), &p.modulus);
        Self { q: Q::new(p), once: W::splat(p.high), twice: W::splat(twice) }
    }

    /// The sum in `[0, q)`, clean. In: at most [`FEW`] terms, or [`MAX_TERMS`] when `MANY`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn reduce<const MANY: bool>(&self, s: Sum) -> V {
        let q = &self.q;
        let high = add(s.high, _mm512_srli_epi64::<52>(s.low));
        debug_assert!(are_below(high, splat(1 << if MANY { 60 } else { 52 })), "too many terms");
        let mut r = q.reduce(s.low);
        if MANY {
            // Three terms below 2q do not fit: fold twice.
            r = q.reduce(q.mul_acc(r, _mm512_srli_epi64::<52>(high), self.twice));
        }
        reduce_once(reduce_once(clean(q.mul_acc(r, high, self.once)), q.q2), q.q)
    }
}

/// `out = sum over i of w[i] * x[i]`, plus `out` when accumulating, word by word. In and out: `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn inner_product(p: &Prime, out: &mut [u64], accumulate: bool, w: &[&[u64]], x: &[&[u64]]) {
    // The old content is below 2^50: it counts as less than one term.
    if w.len() < FEW {
        inner::<false>(p, out, accumulate, w, x);
    } else {
        inner::<true>(p, out, accumulate, w, x);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inner<const MANY: bool>(p: &Prime, out: &mut [u64], accumulate: bool, w: &[&[u64]], x: &[&[u64]]) {
    assert!(w.len() < MAX_TERMS, "{} terms at once", w.len());
    let fold = Fold::new(p);
    let (vectors, rest) = out.as_chunks_mut::<8>();
    // Two vectors at once share the look-up of the slices and hide the latency of the sums.
    let mut j = 0;
    while j < vectors.len() {
        let second = (j + 1).min(vectors.len() - 1);
        let start = |j: usize| if accumulate { load(&vectors[j]) } else { splat(0) };
        let mut sums = [Sum::new(start(j)), Sum::new(start(second))];
        for (w, x) in w.iter().zip(x) {
            let (w, x) = (w.as_chunks::<8>().0, x.as_chunks::<8>().0);
            sums[0] = sums[0].add_product(load(&w[j]), load(&x[j]));
            sums[1] = sums[1].add_product(load(&w[second]), load(&x[second]));
        }
        store(&mut vectors[j], fold.reduce::<MANY>(sums[0]));
        if second > j {
            store(&mut vectors[second], fold.reduce::<MANY>(sums[1]));
        }
        j += 2;
    }
    if !rest.is_empty() {
        let done = vectors.len() * 8;
        let w: Vec<&[u64]> = w.iter().map(|r| &r[done..]).collect();
        let x: Vec<&[u64]> = x.iter().map(|r| &r[done..]).collect();
        portable::inner_product(p, rest, accumulate, &w, &x);
    }
}

/// `out[r, c] = sum over i of w[r, i] * x[i, c]` on eight words each, where `w` is one scalar for all eight; plus
/// `out` when accumulating. Layouts: `w[four rows][term][row]` and then `[row][term]` for the rows left over,
/// `x[term][column][8]`, `out[row * columns + column][stride]`, of which the eight words from `at`. In and out:
/// `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn scalar_products(p: &Prime, out: &mut [u64], accumulate: bool, w: &[u64], x: &[u64], s: Block) {
    assert!(s.terms < MAX_TERMS, "{} terms at once", s.terms);
    let (x, _) = x.as_chunks::<8>();
    let many = s.terms >= FEW;
    let mut row = 0;
    while row < s.rows {
        let rows = if s.rows - row >= 4 { 4 } else { 1 };
        let mut column = 0;
        while column < s.columns {
            let columns = if s.columns - column >= 2 { 2 } else { 1 };
            let out = &mut *out;
            match (rows, columns, many) {
                (4, 2, true) => tile::<4, 2, true>(p, out, accumulate, w, x, (row, column), s),
                (4, 2, false) => tile::<4, 2, false>(p, out, accumulate, w, x, (row, column), s),
                (4, _, _) => tile::<4, 1, true>(p, out, accumulate, w, x, (row, column), s),
                (_, 2, _) => tile::<1, 2, true>(p, out, accumulate, w, x, (row, column), s),
                _ => tile::<1, 1, true>(p, out, accumulate, w, x, (row, column), s),
            }
            column += columns;
        }
        row += rows;
    }
}

/// One register block. Four rows by two columns are sixteen sums and keep both multipliers busy: six loads for
/// sixteen multiplications.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn tile<const R: usize, const C: usize, const MANY: bool>(
    p: &Prime,
    out: &mut [u64],
    accumulate: bool,
    w: &[u64],
    x: &[[u64; 8]],
    (row, column): (usize, usize),
    s: Block,
) {
    let start = |r: usize, c: usize| ((row + r) * s.columns + column + c) * s.stride + s.at;
    let words = |out: &[u64], r, c| *out[start(r, c)..].first_chunk::<8>().expect("eight words");
    let mut sums = [[Sum::new(splat(0)); C]; R];
    if accumulate {
        for (r, sums) in sums.iter_mut().enumerate() {
            for (c, sum) in sums.iter_mut().enumerate() {
                sum.low = load(&words(out, r, c));
            }
        }
    }
    let (weights, _) = w[row * s.terms..(row + R) * s.terms].as_chunks::<R>();
    for (weights, x) in weights.iter().zip(x.chunks_exact(s.columns)) {
        let x: &[[u64; 8]; C] = x[column..].first_chunk().expect("as many columns");
        let values: [V; C] = std::array::from_fn(|c| load(&x[c]));
        for (sums, &weight) in sums.iter_mut().zip(weights) {
            let weight = splat(weight);
            for (sum, &value) in sums.iter_mut().zip(&values) {
                *sum = sum.add_product(weight, value);
            }
        }
    }
    let fold = Fold::new(p);
    for (r, sums) in sums.iter().enumerate() {
        for (c, &sum) in sums.iter().enumerate() {
            let target = out[start(r, c)..].first_chunk_mut::<8>().expect("eight words");
            store(target, fold.reduce::<MANY>(sum));
        }
    }
}

/// The multiples of Q to take off for every word of the rows `y`, each in `[0, q_i)`.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(crate) fn overflow(c: &BaseConv, u: &mut [u64], y: &[&[u64]]) {
    let (vectors, rest) = u.as_chunks_mut::<8>();
    for (j, u) in vectors.iter_mut().enumerate() {
        let mut sum = _mm512_set1_pd(0.5);
        for (y, &r) in y.iter().zip(c.reciprocals()) {
            let y = _mm512_cvtepu64_pd(load(&y.as_chunks::<8>().0[j]));
            // Two roundings, as in the scalar code.
            sum = _mm512_add_pd(sum, _mm512_mul_pd(y, _mm512_set1_pd(r)));
        }
        store(u, _mm512_cvttpd_epu64(sum));
    }
    if !rest.is_empty() {
        let done = vectors.len() * 8;
        let y: Vec<&[u64]> = y.iter().map(|y| &y[done..]).collect();
        portable::overflow(c, rest, &y);
    }
}

/// `out = sum over i of y[i] * images[i] + u * correction`. In: `images`, `correction` in `[0, p)`, `u` at most the
/// number of rows. Out: `[0, p)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn convert(p: &Prime, out: &mut [u64], y: &[&[u64]], images: &[u64], u: &[u64], correction: u64) {
    // The correction is one more term.
    if y.len() < FEW {
        convert_rows::<false>(p, out, y, images, u, correction);
    } else if y.len() < MAX_TERMS {
        convert_rows::<true>(p, out, y, images, u, correction);
    } else {
        portable::convert(p, out, y, images, u, correction);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn convert_rows<const MANY: bool>(
    p: &Prime,
    out: &mut [u64],
    y: &[&[u64]],
    images: &[u64],
    u: &[u64],
    correction: u64,
) {
    let fold = Fold::new(p);
    let (vectors, rest) = out.as_chunks_mut::<8>();
    let (u_vectors, u_rest) = u.as_chunks::<8>();
    let correct = splat(correction);
    let mut j = 0;
    while j < vectors.len() {
        let second = (j + 1).min(vectors.len() - 1);
        let start = |j: usize| Sum::new(splat(0)).add_product(load(&u_vectors[j]), correct);
        let mut sums = [start(j), start(second)];
        for (y, &image) in y.iter().zip(images) {
            let (y, image) = (y.as_chunks::<8>().0, splat(image));
            sums[0] = sums[0].add_product(load(&y[j]), image);
            sums[1] = sums[1].add_product(load(&y[second]), image);
        }
        store(&mut vectors[j], fold.reduce::<MANY>(sums[0]));
        store(&mut vectors[second], fold.reduce::<MANY>(sums[1]));
        j += 2;
    }
    if !rest.is_empty() {
        let done = vectors.len() * 8;
        let y: Vec<&[u64]> = y.iter().map(|y| &y[done..]).collect();
        portable::convert(p, rest, &y, images, u_rest, correction);
    }
}
