//! Kernels that read limbs they do not write: base conversion and what ends in it.

use aegis_hal::Result;
use aegis_ring::{BaseConv, Basis, Factor};

use crate::engine::Engine;
use crate::operand::Rows;
use crate::simd::Ahead;

/// Words of one pass: the rows of eight input limbs are 32 KiB and stay in L1 for all output limbs.
const BLOCK: usize = 512;

impl Engine {
    pub(crate) fn base_conv(&self, from: &Basis, limbs: &Basis, out: Rows<'_>, input: Rows<'_>) {
        let table = self.conversion(from, limbs);
        self.convert(&table, from, limbs, out, |poly, start, y| {
            for (i, limb) in from.iter().enumerate() {
                // SAFETY: Others.
                let row = unsafe { input.row(poly, input.position(limb)) };
                let y = &mut y[i];
                y.copy_from_slice(&row[start..start + y.len()]);
                self.simd.scalar_mul(self.prime(limb), y, table.weight(i));
            }
        });
    }

    pub(crate) fn mod_up(&self, from: &Basis, limbs: &Basis, out: Rows<'_>, input: Rows<'_>) {
        self.base_conv(from, limbs, out, input);
        self.ntt(limbs, out, &[]);
    }

    /// Fails when there is no memory for scratch.
    pub(crate) fn mod_down(
        &self,
        from: &Basis,
        limbs: &Basis,
        out: Rows<'_>,
        input: Option<Rows<'_>>,
    ) -> Result<()> {
        let (polys, n) = (out.count(), out.n());
        let table = self.conversion(from, limbs);
        let source = input.unwrap_or(out);
        let remainder = self.scratch(polys, from, n)?;
        // SAFETY: Executor, of which this is a job (`Engine::run`), outside its parallel parts.
        let remainder = unsafe { remainder.open() }?;
        self.parallel(polys * from.len(), |task| {
            let (i, poly) = (task / polys, task % polys);
            let limb = from.limbs()[i];
            // SAFETY: Apart; no task of this phase writes the source.
            let (y, x) = unsafe { (remainder.row_mut(poly, i), source.row(poly, source.position(limb))) };
            y.copy_from_slice(x);
            // The weight of the conversion rides on the scaling of the inverse transform.
            self.simd.intt(
                self.prime(limb),
                self.table(limb, n),
                y,
                self.inverse_scale(limb, n, table.weight(i).value),
            );
        });
        // Not in place, the output itself holds the lifted remainder; in place it holds the operand.
        let scratch = input.is_none().then(|| self.scratch(polys, limbs, n)).transpose()?;
        // SAFETY: as above.
        let lifted = scratch.as_ref().map_or(Ok(out), |s| unsafe { s.open() })?;
        self.convert(&table, from, limbs, lifted, |poly, start, y| {
            for (i, y) in y.iter_mut().enumerate() {
                // SAFETY: no task of this phase writes the remainder.
                let row = unsafe { remainder.row(poly, i) };
                y.copy_from_slice(&row[start..start + y.len()]);
            }
        });
        self.parallel(polys * limbs.len(), |task| {
            let (index, poly) = (task / polys, task % polys);
            let limb = limbs.limbs()[index];
            let (prime, modulus) = (self.prime(limb), &self.prime(limb).modulus);
            let inverse = modulus.inv(table.product(index)).expect("distinct primes are invertible");
            let inverse = Factor::new(inverse, modulus);
            // SAFETY: Apart, in the output and in the scratch, and Others; in place the source is the output, of which
            // a task reads its own row only, before it writes it.
            let row = unsafe { lifted.row_mut(poly, lifted.position(limb)) };
            self.simd.ntt(prime, self.table(limb, n), row, Ahead(None));
            // SAFETY: as above.
            self.simd.sub_scale(prime, row, unsafe { source.row(poly, source.position(limb)) }, inverse);
            if scratch.is_some() {
                // SAFETY: as above.
                unsafe { out.row_mut(poly, out.position(limb)) }.copy_from_slice(row);
            }
        });
        Ok(())
    }

    /// Converts block by block; `load` fills the rows `y_i` of one block.
    fn convert(
        &self,
        table: &BaseConv,
        from: &Basis,
        limbs: &Basis,
        out: Rows<'_>,
        load: impl Fn(usize, usize, &mut [&mut [u64]]) + Send + Sync,
    ) {
        let block = out.n().min(BLOCK);
        let blocks = out.n() / block;
        let positions = out.positions(limbs);
        self.parallel(out.count() * blocks, |task| {
            let (poly, start) = (task / blocks, task % blocks * block);
            let mut scratch = vec![0; (from.len() + 1) * block];
            let (rows, u) = scratch.split_at_mut(from.len() * block);
            load(poly, start, &mut rows.chunks_exact_mut(block).collect::<Vec<_>>());
            let y: Vec<&[u64]> = rows.chunks_exact(block).collect();
            self.simd.overflow(table, u, &y);
            for (k, limb) in limbs.iter().enumerate() {
                let p = self.prime(limb);
                // SAFETY: Apart; the rows `y` are copies.
                let o = unsafe { out.part_mut(poly, positions[k], start, block) };
                self.simd.convert(p, o, &y, table.images(k), u, p.modulus.neg(table.product(k)));
            }
        });
    }
}
