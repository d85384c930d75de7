//! Kernels that move whole rows: transforms and Galois maps.

use aegis_ring::{Basis, Galois};

use crate::engine::Engine;
use crate::operand::Rows;
use crate::simd::Ahead;

impl Engine {
    pub(crate) fn ntt(&self, limbs: &Basis, out: Rows<'_>, ins: &[Rows<'_>]) {
        let n = out.n();
        self.rows(limbs, out, ins, |limb, row, ahead| {
            self.simd.ntt(self.prime(limb), self.table(limb, n), row, ahead)
        });
    }

    pub(crate) fn intt(&self, limbs: &Basis, out: Rows<'_>, ins: &[Rows<'_>]) {
        let n = out.n();
        self.rows(limbs, out, ins, |limb, row, _| {
            self.simd.intt(self.prime(limb), self.table(limb, n), row, self.inverse_scale(limb, n, 1));
        });
    }

    /// Applies `f` to every row and what most likely comes next, in place or to a copy. Polynomials of one limb follow
    /// each other, so that its table is read once.
    fn rows(
        &self,
        limbs: &Basis,
        out: Rows<'_>,
        ins: &[Rows<'_>],
        f: impl Fn(aegis_ring::LimbId, &mut [u64], Ahead) + Send + Sync,
    ) {
        let polys = out.count();
        self.parallel(polys * limbs.len(), |task| {
            let (limb, poly) = (limbs.limbs()[task / polys], task % polys);
            // SAFETY: Apart.
            let row = unsafe { out.row_mut(poly, out.position(limb)) };
            if let Some(input) = ins.first() {
                // SAFETY: Others.
                row.copy_from_slice(unsafe { input.row(poly, input.position(limb)) });
            }
            let ahead = (task + 1 < polys * limbs.len()).then(|| {
                let (limb, poly) = (limbs.limbs()[(task + 1) / polys], (task + 1) % polys);
                let source = ins.first().unwrap_or(&out);
                source.address(poly, source.position(limb))
            });
            f(limb, row, Ahead(ahead));
        });
    }

    pub(crate) fn automorphism(&self, g: Galois, limbs: &Basis, out: Rows<'_>, input: Rows<'_>) {
        let (polys, permutation) = (out.count(), self.permutation(g, out.n()));
        self.parallel(polys * limbs.len(), |task| {
            let (limb, poly) = (limbs.limbs()[task / polys], task % polys);
            // SAFETY: Apart, and Others.
            let (row, x) =
                unsafe { (out.row_mut(poly, out.position(limb)), input.row(poly, input.position(limb))) };
            self.simd.permute(row, x, &permutation);
        });
    }
}
