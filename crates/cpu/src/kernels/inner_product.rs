//! Sums of products: key switching and plaintext matrix products.

use aegis_ring::Basis;

use super::elementwise::expand;
use crate::engine::Engine;
use crate::operand::Rows;

/// Words of one task.
const BLOCK: usize = 1024;

impl Engine {
    /// `out[j, e] = sum over i of w[j, i] * x[i, e]`.
    pub(crate) fn inner_product(
        &self,
        terms: usize,
        accumulate: bool,
        limbs: &Basis,
        out: Rows<'_>,
        [w, x]: [Rows<'_>; 2],
    ) {
        let (rows, columns) = (w.count() / terms, x.count() / terms);
        let n = out.n();
        let block = n.min(BLOCK);
        let run_log2 = (n / w.n()).ilog2();
        self.parallel(limbs.len() * (n / block), |task| {
            let (limb, start) = (limbs.limbs()[task / (n / block)], task % (n / block) * block);
            let (out_at, w_at, x_at) = (out.position(limb), w.position(limb), x.position(limb));
            let mut scratch = vec![0; if run_log2 == 0 { 0 } else { terms * block }];
            for row in 0..rows {
                // SAFETY: inputs are other buffers, which no task writes.
                let weight = |i| unsafe { w.row(row * terms + i, w_at) };
                let weights: Vec<&[u64]> = if run_log2 == 0 {
                    (0..terms).map(|i| &weight(i)[start..start + block]).collect()
                } else {
                    let chunks = scratch.chunks_exact_mut(block).enumerate();
                    chunks.map(|(i, chunk)| expand(weight(i), start, run_log2, chunk)).collect()
                };
                for column in 0..columns {
                    // SAFETY: as above.
                    let value = |i| unsafe { x.row(i * columns + column, x_at) };
                    let values: Vec<&[u64]> = (0..terms).map(|i| &value(i)[start..start + block]).collect();
                    // SAFETY: each task has its own words of the output.
                    let o = unsafe { out.part_mut(row * columns + column, out_at, start, block) };
                    self.simd.inner_product(self.prime(limb), o, accumulate, &weights, &values);
                }
            }
        });
    }
}
