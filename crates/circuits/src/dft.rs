//! The canonical embedding as a product of sparse matrices: SlotsToCoeffs and CoeffsToSlots.
//!
//! With `n` slots the polynomial with complex coefficients `w_k = c_k + i c_(k+n)` (in `Y = X^(N/2n)`) has the slots
//! `z_j = sum_k w_k zeta^(5^j k)`, `zeta = exp(i pi / 2n)`. This matrix is `F_n .. F_4 F_2 B`: `B` reverses the bits of
//! the index and `F_len` is one layer of butterflies on blocks of `len` slots,
//! `(u, v) -> (u + t_j v, u - t_j v)` with `t_j = exp(2 pi i (5^j mod 4 len) / 4 len)`
//! (Cheon, Han, Kim, Kim, Song 2018, "Bootstrapping for approximate homomorphic encryption", section 5; merging layers
//! into few levels: Chen, Chillotti, Song 2019). `B` is left out on both sides: the coefficients stand in bit-reversed
//! order between the two transforms, where only their values matter.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use num_complex::Complex64;

use crate::Diagonals;

/// A square matrix on periodic slot vectors, by its non-zero diagonals: `(M x)[p] = sum_d diagonal_d[p] x[p + d]`.
#[derive(Clone, Debug)]
pub struct DiagonalMatrix {
    period: usize,
    stride: i64,
    diagonals: BTreeMap<i64, Vec<Complex64>>,
}

impl DiagonalMatrix {
    /// The matrix that changes nothing.
    pub fn identity() -> Self {
        Self { period: 1, stride: 1, diagonals: BTreeMap::from([(0, vec![Complex64::new(1.0, 0.0)])]) }
    }

    /// Length of the diagonals: they repeat with this period over the slots.
    pub fn period(&self) -> usize {
        self.period
    }

    /// All indices are multiples of this.
    pub fn stride(&self) -> i64 {
        self.stride
    }

    /// Indices of the non-zero diagonals, increasing.
    pub fn indices(&self) -> impl Iterator<Item = i64> + '_ {
        self.diagonals.keys().copied()
    }

    /// First this matrix, then `next`. On vectors of period `slots`: an index wraps where a block is that long.
    fn then(&self, next: &Self, slots: usize) -> Self {
        let period = self.period.max(next.period);
        let wrap = |d: i64| if period == slots { d.rem_euclid(slots as i64) } else { d };
        let mut diagonals = BTreeMap::new();
        for (&db, b) in &next.diagonals {
            for (&da, a) in &self.diagonals {
                let sum =
                    diagonals.entry(wrap(da + db)).or_insert_with(|| vec![Complex64::default(); period]);
                for (p, value) in sum.iter_mut().enumerate() {
                    let moved = (p as i64 + db).rem_euclid(self.period as i64) as usize;
                    *value += b[p % next.period] * a[moved];
                }
            }
        }
        let stride = self.stride.min(next.stride);
        Self { period, stride, diagonals }
    }

    /// The product with a vector whose length is a multiple of the period. The meaning of the matrix; for tests.
    pub fn apply(&self, x: &[Complex64]) -> Vec<Complex64> {
        let entry = |p: usize| {
            let products = self.diagonals.iter().map(|(&d, diagonal)| {
                diagonal[p % self.period] * x[(p as i64 + d).rem_euclid(x.len() as i64) as usize]
            });
            products.sum()
        };
        (0..x.len()).map(entry).collect()
    }
}

impl Diagonals for DiagonalMatrix {
    fn period(&self) -> usize {
        self.period
    }

    fn diagonal(&self, _output: usize, _input: usize, index: i64) -> Option<Vec<Complex64>> {
        self.diagonals.get(&index).cloned()
    }
}

/// The forward transform on `slots` slots in `levels` matrices, first one first: slots in, slots of the polynomial with
/// these values as bit-reversed coefficients out. `slots` is a power of two. A level without layers is the identity.
pub fn slots_to_coeffs(slots: usize, levels: usize) -> Vec<DiagonalMatrix> {
    let layers = (1..=slots.ilog2()).map(|log| butterflies(1 << log, slots)).collect();
    merge(layers, slots, levels)
}

/// The inverse of [`slots_to_coeffs`], in `levels` matrices, first one first.
pub fn coeffs_to_slots(slots: usize, levels: usize) -> Vec<DiagonalMatrix> {
    let layers = (1..=slots.ilog2()).rev().map(|log| inverse_butterflies(1 << log, slots)).collect();
    merge(layers, slots, levels)
}

/// The twiddle factors `t_j` of a layer.
fn twiddles(len: usize) -> Vec<Complex64> {
    let mut power = 1;
    let mut next = || {
        let t = Complex64::from_polar(1.0, TAU * power as f64 / (4 * len) as f64);
        power = power * 5 % (4 * len);
        t
    };
    (0..len / 2).map(|_| next()).collect()
}

/// `F_len`: out `u + t v` in the upper half of a block, `u - t v` in the lower.
fn butterflies(len: usize, slots: usize) -> DiagonalMatrix {
    let (one, t) = (Complex64::new(1.0, 0.0), twiddles(len));
    layer(len, slots, |j| [one, t[j], one, -t[j]])
}

/// `F_len^-1`: out `(u + v) / 2` in the upper half, `(u - v) / 2 t` in the lower.
fn inverse_butterflies(len: usize, slots: usize) -> DiagonalMatrix {
    let (half, t) = (Complex64::new(0.5, 0.0), twiddles(len));
    layer(len, slots, |j| [half, half, half * t[j].conj(), -half * t[j].conj()])
}

/// The layer with the two by two matrices `block(j)`, row by row, on the pairs `(j, j + len/2)`.
fn layer(len: usize, slots: usize, block: impl Fn(usize) -> [Complex64; 4]) -> DiagonalMatrix {
    let half = len / 2;
    let zero = || vec![Complex64::default(); len];
    let (mut main, mut above, mut below) = (zero(), zero(), zero());
    for j in 0..half {
        [main[j], above[j], below[j + half], main[j + half]] = block(j);
    }
    let half = half as i64;
    let diagonals = if len == slots {
        // In one block of all slots the two off-diagonals are the same rotation.
        let both = above.iter().zip(&below).map(|(a, b)| a + b).collect();
        BTreeMap::from([(0, main), (half, both)])
    } else {
        BTreeMap::from([(-half, below), (0, main), (half, above)])
    };
    DiagonalMatrix { period: len, stride: half, diagonals }
}

/// How many of the `log2(slots)` layers each of `levels` levels takes: nearly equal counts, larger ones first.
pub(crate) fn layers(slots: usize, levels: usize) -> Vec<u32> {
    let (count, levels) = (slots.ilog2(), levels as u32);
    (0..levels).map(|level| count / levels + u32::from(level < count % levels)).collect()
}

/// Number of diagonals and their length, of each matrix that [`slots_to_coeffs`] makes, known before it is made. Those of
/// [`coeffs_to_slots`] are the same in the opposite order of layers.
pub(crate) fn sizes(layers: &[u32], slots: usize) -> Vec<(usize, usize)> {
    let mut period = 1;
    let mut size = |count: &u32| {
        if *count == 0 {
            return (1, 1);
        }
        period <<= count;
        // The sums of one of -half, 0, half for each layer; where the block is all slots, its half is its own negative.
        let diagonals = if period == slots { 1 << count } else { (2 << count) - 1 };
        (diagonals, period)
    };
    layers.iter().map(&mut size).collect()
}

/// Multiplies out the layers of each level.
fn merge(all: Vec<DiagonalMatrix>, slots: usize, levels: usize) -> Vec<DiagonalMatrix> {
    let mut all = all.into_iter();
    let run = |count: u32| {
        let level = all.by_ref().take(count as usize);
        level.reduce(|a, b| a.then(&b, slots)).unwrap_or_else(DiagonalMatrix::identity)
    };
    layers(slots, levels).into_iter().map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_vector(slots: usize) -> Vec<Complex64> {
        (0..slots).map(|j| Complex64::new((j as f64 * 0.7).sin(), (j as f64 * j as f64).cos())).collect()
    }

    fn distance(a: &[Complex64], b: &[Complex64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max)
    }

    /// The definition of the slots, term by term.
    fn embedding(w: &[Complex64]) -> Vec<Complex64> {
        let n = w.len();
        let mut power = 1;
        let mut slot = || {
            let root = |k| Complex64::from_polar(1.0, TAU * (power * k % (4 * n)) as f64 / (4 * n) as f64);
            let sum = w.iter().enumerate().map(|(k, w)| w * root(k)).sum();
            power = power * 5 % (4 * n);
            sum
        };
        (0..n).map(|_| slot()).collect()
    }

    fn bit_reversed(x: &[Complex64]) -> Vec<Complex64> {
        let bits = x.len().ilog2();
        let source = |j: usize| if bits == 0 { j } else { j.reverse_bits() >> (usize::BITS - bits) };
        (0..x.len()).map(|j| x[source(j)]).collect()
    }

    #[test]
    fn the_product_of_the_stages_is_the_embedding() {
        for slots in [1, 2, 8, 16, 64, 128] {
            for levels in 1..=4 {
                let x = test_vector(slots);
                let stages = slots_to_coeffs(slots, levels);
                assert_eq!(stages.len(), levels);
                let y = stages.iter().fold(x.clone(), |x, stage| stage.apply(&x));
                let d = distance(&y, &embedding(&bit_reversed(&x)));
                assert!(d < 1e-12 * slots as f64, "{slots} slots in {levels} levels: off by {d}");
                let back = coeffs_to_slots(slots, levels).iter().fold(y, |x, stage| stage.apply(&x));
                assert!(distance(&back, &x) < 1e-13, "{slots} slots in {levels} levels");
            }
        }
    }

    #[test]
    fn a_stage_works_on_repeated_vectors() {
        let x = test_vector(16);
        let repeated = [x.clone(), x.clone()].concat();
        for stage in coeffs_to_slots(16, 3) {
            assert!(distance(&stage.apply(&repeated)[16..], &stage.apply(&x)) < 1e-15);
        }
    }

    #[test]
    fn merged_stages_have_few_diagonals() {
        let count = |stages: Vec<DiagonalMatrix>| {
            let facts = |m: &DiagonalMatrix| (m.stride(), m.indices().count(), m.period());
            stages.iter().map(facts).collect::<Vec<_>>()
        };
        let facts = count(slots_to_coeffs(1 << 15, 3));
        assert_eq!(facts, [(1, 63, 32), (32, 63, 1024), (1024, 32, 1 << 15)]);
    }

    #[test]
    fn sizes_are_known_before_the_matrices_are_made() {
        let facts = |m: &DiagonalMatrix| (m.indices().count(), m.period());
        for slots in [1, 2, 16, 128] {
            for levels in 1..=4 {
                let counts = layers(slots, levels);
                let forward: Vec<_> = slots_to_coeffs(slots, levels).iter().map(facts).collect();
                assert_eq!(forward, sizes(&counts, slots), "{slots} slots in {levels} levels");
                let upwards: Vec<u32> = counts.iter().rev().copied().collect();
                let backward: Vec<_> = coeffs_to_slots(slots, levels).iter().rev().map(facts).collect();
                assert_eq!(backward, sizes(&upwards, slots), "{slots} slots in {levels} levels");
            }
        }
    }
}
