//! Sums of products in scalar code.

use aegis_ring::BaseConv;

use crate::simd::{Block, Prime};

/// Products of residues below 2^50 whose sum stays below 2^104, so that its high half is a 52-bit word.
const FOLD: usize = 16;
const LOW: u128 = (1 << 52) - 1;

/// `sum mod q` for a sum of products below `2^104`.
#[inline(always)]
fn reduce_sum(p: &Prime, sum: u128) -> u64 {
    debug_assert!(sum >> 104 == 0, "a sum of too many products");
    let high = p.high.mul((sum >> 52) as u64, p.q);
    let low = p.one.mul((sum & LOW) as u64, p.q);
    p.modulus.add(high, low)
}

/// `out = sum over i of w[i] * x[i]`, plus `out` when accumulating, word by word. In and out: `[0, q)`.
#[inline(always)]
pub(crate) fn inner_product(p: &Prime, out: &mut [u64], accumulate: bool, w: &[&[u64]], x: &[&[u64]]) {
    for (j, o) in out.iter_mut().enumerate() {
        let mut sum = if accumulate { u128::from(*o) } else { 0 };
        for (i, (w, x)) in w.iter().zip(x).enumerate() {
            if i % (FOLD - 1) == FOLD - 2 {
                sum = u128::from(reduce_sum(p, sum));
            }
            sum += u128::from(w[j]) * u128::from(x[j]);
        }
        *o = reduce_sum(p, sum);
    }
}

/// `out[r, c] = sum over i of w[r, i] * x[i, c]` on eight words each, where `w` is one scalar for all eight; plus
/// `out` when accumulating. Layouts: `w[four rows][term][row]` and then `[row][term]` for the rows left over,
/// `x[term][column][8]`, `out[row * columns + column][stride]`, of which the eight words from `at`. In and out:
/// `[0, q)`.
#[inline(always)]
pub(crate) fn scalar_products(p: &Prime, out: &mut [u64], accumulate: bool, w: &[u64], x: &[u64], s: Block) {
    for row in 0..s.rows {
        let grouped = row < s.rows / 4 * 4;
        let (first, step) = if grouped { (row / 4 * 4 * s.terms + row % 4, 4) } else { (row * s.terms, 1) };
        for column in 0..s.columns {
            let out = &mut out[(row * s.columns + column) * s.stride + s.at..][..8];
            for (lane, o) in out.iter_mut().enumerate() {
                let mut sum = if accumulate { u128::from(*o) } else { 0 };
                for i in 0..s.terms {
                    if i % (FOLD - 1) == FOLD - 2 {
                        sum = u128::from(reduce_sum(p, sum));
                    }
                    let x = x[(i * s.columns + column) * 8 + lane];
                    sum += u128::from(w[first + i * step]) * u128::from(x);
                }
                *o = reduce_sum(p, sum);
            }
        }
    }
}

/// The multiples of Q to take off for every word of the rows `y`, each in `[0, q_i)`.
#[inline(always)]
pub(crate) fn overflow(c: &BaseConv, u: &mut [u64], y: &[&[u64]]) {
    for (j, u) in u.iter_mut().enumerate() {
        let sum = y.iter().zip(c.reciprocals()).fold(0.5, |s, (y, r)| s + y[j] as f64 * r);
        *u = sum as u64;
    }
}

/// `out = sum over i of y[i] * images[i] + u * correction`. In: `images`, `correction` in `[0, p)`, `u` at most the
/// number of rows. Out: `[0, p)`.
#[inline(always)]
pub(crate) fn convert(p: &Prime, out: &mut [u64], y: &[&[u64]], images: &[u64], u: &[u64], correction: u64) {
    for (j, (o, &u)) in out.iter_mut().zip(u).enumerate() {
        let mut sum = u128::from(u) * u128::from(correction);
        for (i, (y, &h)) in y.iter().zip(images).enumerate() {
            if i % (FOLD - 1) == FOLD - 2 {
                sum = u128::from(reduce_sum(p, sum));
            }
            sum += u128::from(y[j]) * u128::from(h);
        }
        *o = reduce_sum(p, sum);
    }
}
