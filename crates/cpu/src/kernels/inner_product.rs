//! Sums of products: key switching and plaintext matrix products.

use std::ops::Range;

use aegis_ring::{Basis, LimbId};

use super::word_by_word::expand;
use crate::engine::Engine;
use crate::operand::Rows;
use crate::simd::Block;

/// Words of one task of the general product: the weights of eight terms are 32 KiB and serve every column from L1.
const BLOCK: usize = 512;
/// Words of one block of the product with compact weights: for 64 terms by two columns the values are 256 KiB in L2,
/// of which each group of eight words (8 KiB) is used by every row from L1. 48 rows: 6.9 us for a product of 2^16
/// words, 7.6 with blocks of 64 (reads of 512 bytes) and 10.5 with 512; the multipliers alone would take 2.4.
const RUN_BLOCK: usize = 256;

/// Most terms that are summed at once: fewer than the vector code can add without reduction (`simd::ifma::sums`), and
/// so many that one more pass over the output is nothing. It bounds the scratch of a task too.
const TERMS: usize = 1024;

/// A launch of [`aegis_hal::Kernel::InnerProduct`], or some of its terms.
#[derive(Clone)]
pub(crate) struct Product<'a> {
    /// The terms to sum, of `all`.
    terms: Range<usize>,
    all: usize,
    accumulate: bool,
    out: Rows<'a>,
    w: Rows<'a>,
    x: Rows<'a>,
}

impl<'a> Product<'a> {
    pub(crate) fn new(terms: usize, accumulate: bool, out: Rows<'a>, [w, x]: [Rows<'a>; 2]) -> Self {
        Self { terms: 0..terms, all: terms, accumulate, out, w, x }
    }

    /// The same sums in parts of at most [`TERMS`] terms, each added to those before.
    fn parts(&self) -> impl Iterator<Item = Self> {
        self.terms.clone().step_by(TERMS).map(|first| Self {
            terms: first..self.terms.end.min(first + TERMS),
            accumulate: self.accumulate || first > 0,
            ..*self
        })
    }

    /// Rows of weights, terms to sum, columns of values.
    fn shape(&self) -> (usize, usize, usize) {
        (self.w.count() / self.all, self.terms.len(), self.x.count() / self.all)
    }

    /// Which polynomial of the weights is the one of this row and term to sum.
    fn weight(&self, row: usize, term: usize) -> usize {
        row * self.all + self.terms.start + term
    }

    /// Which polynomial of the values is the one of this term to sum and column.
    fn value(&self, term: usize, column: usize) -> usize {
        (self.terms.start + term) * (self.x.count() / self.all) + column
    }
}

impl Engine {
    /// `out[j, e] = sum over i of w[j, i] * x[i, e]`.
    pub(crate) fn inner_product(&self, limbs: &Basis, product: &Product<'_>) {
        let n = product.out.n();
        let run = n / product.w.n();
        let compact = run >= 8;
        // A cache line of weights serves eight runs: it is read once.
        let part = if compact { n.min((8 * run).max(RUN_BLOCK)) } else { n.min(BLOCK) };
        self.parallel(limbs.len() * (n / part), |task| {
            let (limb, start) = (limbs.limbs()[task / (n / part)], task % (n / part) * part);
            for product in product.parts() {
                if compact {
                    self.compact_part(limb, start..start + part, &product);
                } else {
                    self.block_product(limb, start, part, &product);
                }
            }
        });
    }

    /// One block of words with a weight for each word, or for few.
    fn block_product(&self, limb: LimbId, start: usize, block: usize, product: &Product<'_>) {
        let &Product { accumulate, out, w, x, .. } = product;
        let (rows, terms, columns) = product.shape();
        let run_log2 = (out.n() / w.n()).ilog2();
        let (out_at, w_at, x_at) = (out.position(limb), w.position(limb), x.position(limb));
        let mut scratch = vec![0; if run_log2 == 0 { 0 } else { terms * block }];
        for row in 0..rows {
            // SAFETY: Others.
            let weight = |i| unsafe { w.row(product.weight(row, i), w_at) };
            let weights: Vec<&[u64]> = if run_log2 == 0 {
                (0..terms).map(|i| &weight(i)[start..start + block]).collect()
            } else {
                let chunks = scratch.chunks_exact_mut(block).enumerate();
                chunks.map(|(i, chunk)| expand(weight(i), start, run_log2, chunk)).collect()
            };
            for column in 0..columns {
                // SAFETY: as above.
                let value = |i| unsafe { x.row(product.value(i, column), x_at) };
                let values: Vec<&[u64]> = (0..terms).map(|i| &value(i)[start..start + block]).collect();
                // SAFETY: Apart.
                let o = unsafe { out.part_mut(row * columns + column, out_at, start, block) };
                self.simd.inner_product(self.prime(limb), o, accumulate, &weights, &values);
            }
        }
    }

    /// The words `part`, a multiple of eight runs or of [`RUN_BLOCK`], with compact weights.
    fn compact_part(&self, limb: LimbId, part: Range<usize>, product: &Product<'_>) {
        let (rows, terms, columns) = product.shape();
        let run = product.out.n() / product.w.n();
        let scalars = part.start / run..part.end.div_ceil(run);
        let weights = pack_weights(product, limb, scalars.clone());
        let block = part.len().min(RUN_BLOCK);
        let mut scratch = (vec![0; terms * columns * block], vec![0; rows * columns * block]);
        for start in part.step_by(block) {
            let weights_at =
                |word: usize| &weights[(word / run - scalars.start) * rows * terms..][..rows * terms];
            self.compact_block(limb, start, block, product, &weights_at, &mut scratch);
        }
    }

    /// One block of words; `weights` gives those of the run of a word. The values are copied to the order of their
    /// use: rows of a polynomial lie at multiples of 4 KiB and would share the sets of the cache.
    fn compact_block<'a>(
        &self,
        limb: LimbId,
        start: usize,
        block: usize,
        product: &Product<'_>,
        weights: &dyn Fn(usize) -> &'a [u64],
        (values, sums): &mut (Vec<u64>, Vec<u64>),
    ) {
        let &Product { accumulate, out, x, .. } = product;
        let (rows, terms, columns) = product.shape();
        let (out_at, x_at) = (out.position(limb), x.position(limb));
        for k in 0..terms * columns {
            // SAFETY: Others.
            let row = &unsafe { x.row(product.value(0, k), x_at) }[start..start + block];
            for (j, words) in row.as_chunks::<8>().0.iter().enumerate() {
                values[(j * terms * columns + k) * 8..][..8].copy_from_slice(words);
            }
        }
        if accumulate {
            for (k, sum) in sums.chunks_exact_mut(block).enumerate() {
                // SAFETY: Apart.
                sum.copy_from_slice(unsafe { out.part_mut(k, out_at, start, block) });
            }
        }
        for (j, values) in values.chunks_exact(terms * columns * 8).enumerate() {
            let shape = Block { rows, terms, columns, stride: block, at: j * 8 };
            let weights = weights(start + j * 8);
            self.simd.scalar_products(self.prime(limb), sums, accumulate, weights, values, shape);
        }
        for (k, sum) in sums.chunks_exact(block).enumerate() {
            // SAFETY: Apart.
            unsafe { out.part_mut(k, out_at, start, block) }.copy_from_slice(sum);
        }
    }
}

/// The words `scalars` of all weights, in the order of their use: `[scalar][four rows][term][row]`, then
/// `[row][term]` for the rows that are left over.
fn pack_weights(product: &Product<'_>, limb: LimbId, scalars: Range<usize>) -> Vec<u64> {
    let (rows, terms, _) = product.shape();
    let (at, count) = (product.w.position(limb), scalars.len());
    // The rows of weights lie far apart: a loop of nothing but copies keeps many cache misses under way.
    let mut lines = vec![0; rows * terms * count];
    for (k, line) in lines.chunks_exact_mut(count).enumerate() {
        // SAFETY: Others.
        let weights = unsafe { product.w.row(product.weight(k / terms, k % terms), at) };
        line.copy_from_slice(&weights[scalars.clone()]);
    }
    let mut packed = Vec::with_capacity(lines.len());
    for s in 0..count {
        let weight = |row: usize, term: usize| lines[(row * terms + term) * count + s];
        for group in (0..rows / 4).map(|g| 4 * g) {
            packed.extend((0..terms).flat_map(|i| std::array::from_fn::<_, 4, _>(|r| weight(group + r, i))));
        }
        for row in rows / 4 * 4..rows {
            packed.extend((0..terms).map(|i| weight(row, i)));
        }
    }
    packed
}
