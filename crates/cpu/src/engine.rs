//! Runs one job at a time: tables, threads and the dispatch of kernels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aegis_hal::{HostData, Kernel, Parcel, Result, Shape};
use aegis_ring::{BaseConv, Basis, Factor, Galois, LimbId, NttTable, Rns};
use rayon::prelude::*;

use crate::kernels::Product;
use crate::memory::Pool;
use crate::operand::Operand;
use crate::simd::{Ahead, Prime, Simd, Table};

/// A checked launch, with handles of its buffers.
pub(crate) struct Launch {
    pub(crate) kernel: Kernel,
    pub(crate) limbs: Basis,
    pub(crate) out: Operand,
    pub(crate) ins: Vec<Operand>,
}

/// Conversion tables and permutations, made on first use.
#[derive(Default)]
struct Cache {
    conversions: HashMap<(Basis, Basis), Arc<BaseConv>>,
    permutations: HashMap<(Galois, usize), Arc<[u32]>>,
}

/// What all jobs of a device share.
pub(crate) struct Engine {
    pub(crate) rns: Arc<Rns>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) simd: Simd,
    /// For each limb and log2 of a size, up to that of the ring, a table made on first use.
    tables: Vec<Box<[OnceLock<Table>]>>,
    primes: Vec<Prime>,
    threads: Option<rayon::ThreadPool>,
    cache: Mutex<Cache>,
}

impl Engine {
    /// An engine with these workers, or none for work on the calling thread.
    pub(crate) fn new(
        rns: Arc<Rns>,
        threads: Option<rayon::ThreadPool>,
        simd: Simd,
        pool: Arc<Pool>,
    ) -> Self {
        let every_size = || (0..=rns.log_n()).map(|_| OnceLock::new()).collect();
        Self {
            simd,
            tables: rns.moduli().iter().map(|_| every_size()).collect(),
            primes: rns.moduli().iter().map(Prime::new).collect(),
            rns,
            pool,
            threads,
            cache: Mutex::default(),
        }
    }

    pub(crate) fn prime(&self, limb: LimbId) -> &Prime {
        &self.primes[limb.index()]
    }

    /// Twiddle factors for rows of `n` words. All sizes take the root of the same non-residue, so that the root of a
    /// smaller ring is the power of the large one's that compact polynomials need.
    pub(crate) fn table(&self, limb: LimbId, n: usize) -> &Table {
        self.tables[limb.index()][n.ilog2() as usize].get_or_init(|| {
            let table = NttTable::new(self.rns.modulus(limb), n.ilog2());
            self.simd.table(table.expect("an Rns holds NTT primes only"))
        })
    }

    /// `weight / n` as a factor: the scale of an inverse transform that multiplies by `weight` on the way.
    pub(crate) fn inverse_scale(&self, limb: LimbId, n: usize, weight: u64) -> Factor {
        let q = self.rns.modulus(limb);
        let inverse = q.inv(n as u64).expect("a power of two is invertible modulo an odd prime");
        Factor::new(q.mul(inverse, weight), q)
    }

    pub(crate) fn conversion(&self, from: &Basis, to: &Basis) -> Arc<BaseConv> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (from.clone(), to.clone());
        Arc::clone(
            cache.conversions.entry(key).or_insert_with(|| Arc::new(BaseConv::new(&self.rns, from, to))),
        )
    }

    pub(crate) fn permutation(&self, g: Galois, n: usize) -> Arc<[u32]> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cache.permutations.entry((g, n)).or_insert_with(|| g.permutation(n).into()))
    }

    /// A buffer for the running job alone.
    pub(crate) fn scratch(&self, count: usize, basis: &Basis, n: usize) -> Result<Operand> {
        Operand::scratch(&self.pool, &Shape::new(count, basis.clone(), n))
    }

    /// Runs `f(0), .., f(tasks - 1)` on the workers and waits for all.
    pub(crate) fn parallel(&self, tasks: usize, f: impl Fn(usize) + Send + Sync) {
        match &self.threads {
            Some(pool) => pool.install(|| (0..tasks).into_par_iter().with_max_len(1).for_each(f)),
            None => (0..tasks).for_each(f),
        }
    }

    /// Fills a buffer. Where it fails, the buffer is poisoned.
    ///
    /// # Safety
    /// Only from the executor, one job at a time.
    pub(crate) unsafe fn upload(&self, out: &Operand, limbs: &Basis, data: &HostData) -> Result<()> {
        // SAFETY: Executor, passed on, outside the parallel part.
        let rows = unsafe { out.open() };
        // SAFETY: passed on; there are no slices.
        let rows = rows.inspect_err(|error| unsafe { out.poison(error) })?;
        let n = rows.n();
        self.parallel(rows.count() * limbs.len(), |task| {
            let (poly, position) = (task / limbs.len(), task % limbs.len());
            // SAFETY: Apart.
            let row = unsafe { rows.row_mut(poly, position) };
            match data {
                HostData::Residues(words) => row.copy_from_slice(&words[task * n..][..n]),
                HostData::Coefficients(words) => {
                    let limb = limbs.limbs()[position];
                    let prime = self.prime(limb);
                    self.simd.reduce_signed(prime, row, &words[poly * n..][..n]);
                    // The next row is written while this one is read: fetched like one that is read.
                    let next = (position + 1 < limbs.len()).then(|| rows.address(poly, position + 1));
                    self.simd.ntt(prime, self.table(limb, n), row, Ahead(next));
                }
            }
        });
        Ok(())
    }

    /// These limbs of an operand: polynomial, then limb in the order of `limbs`, then word.
    ///
    /// # Safety
    /// As for [`Engine::upload`].
    pub(crate) unsafe fn words(operand: &Operand, limbs: &Basis) -> Result<Vec<u64>> {
        // SAFETY: Executor, passed on, outside the parallel part.
        let rows = unsafe { operand.open() }?;
        let positions = rows.positions(limbs);
        let mut words = Vec::with_capacity(rows.count() * limbs.len() * rows.n());
        // Counted in rows: polynomials without limbs may be more than can be counted.
        for row in 0..rows.count() * limbs.len() {
            let (poly, limb) = (row / limbs.len(), row % limbs.len());
            // SAFETY: Executor; this job writes nothing.
            words.extend_from_slice(unsafe { rows.row(poly, positions[limb]) });
        }
        Ok(words)
    }

    /// Waits for a parcel and writes it to these limbs of a buffer. Where it fails, the buffer is poisoned.
    ///
    /// # Safety
    /// As for [`Engine::upload`].
    pub(crate) unsafe fn adopt(&self, out: &Operand, limbs: &Basis, parcel: &Parcel) -> Result<()> {
        // SAFETY: passed on.
        let result = parcel.wait().and_then(|words| unsafe { self.write(out, limbs, &words) });
        // SAFETY: passed on; the slices of `write` are gone.
        result.inspect_err(|error| unsafe { out.poison(error) })
    }

    /// # Safety
    /// As for [`Engine::upload`].
    unsafe fn write(&self, out: &Operand, limbs: &Basis, words: &[u64]) -> Result<()> {
        // SAFETY: Executor, passed on, outside the parallel part.
        let rows = unsafe { out.open() }?;
        let shape = Shape::new(rows.count(), limbs.clone(), rows.n());
        shape.check_words(&self.rns, "adopt", words)?;
        let positions = rows.positions(limbs);
        self.parallel(rows.count() * limbs.len(), |task| {
            let (poly, limb) = (task / limbs.len(), task % limbs.len());
            // SAFETY: Apart.
            let row = unsafe { rows.row_mut(poly, positions[limb]) };
            row.copy_from_slice(&words[task * rows.n()..][..rows.n()]);
        });
        Ok(())
    }

    /// Runs a checked launch. Where it fails, the output is poisoned.
    ///
    /// # Safety
    /// Only from the executor, one job at a time.
    pub(crate) unsafe fn run(&self, launch: &Launch) -> Result<()> {
        // SAFETY: passed on.
        let result = unsafe { self.compute(launch) };
        // SAFETY: passed on; the slices of `compute` are gone.
        result.inspect_err(|error| unsafe { launch.out.poison(error) })
    }

    /// # Safety
    /// As for [`Engine::run`].
    unsafe fn compute(&self, launch: &Launch) -> Result<()> {
        let limbs = &launch.limbs;
        // Inputs first: one that is poisoned needs no memory for the output.
        // SAFETY: Executor, outside the parallel part.
        let ins = launch.ins.iter().map(|i| unsafe { i.open() }).collect::<Result<Vec<_>>>()?;
        // SAFETY: as above.
        let out = unsafe { launch.out.open() }?;
        match &launch.kernel {
            Kernel::Ntt => self.ntt(limbs, out, &ins),
            Kernel::Intt => self.intt(limbs, out, &ins),
            Kernel::Automorphism(g) => self.automorphism(*g, limbs, out, ins[0]),
            Kernel::BaseConv { from } => self.base_conv(from, limbs, out, ins[0]),
            Kernel::ModUp { from } => self.mod_up(from, limbs, out, ins[0]),
            Kernel::ModDown { from } => self.mod_down(from, limbs, out, ins.first().copied())?,
            Kernel::InnerProduct { terms, accumulate } => {
                self.inner_product(limbs, &Product::new(*terms, *accumulate, out, [ins[0], ins[1]]));
            }
            word_by_word => self.word_by_word(word_by_word, limbs, out, &ins),
        }
        Ok(())
    }
}
