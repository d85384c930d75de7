//! The device: checks launches and hands them to the executor.

use std::sync::Arc;

use aegis_hal::{Backend, Error, Host, Kernel, Poly, Result, Shape, View, ViewMut};
use aegis_ring::{Basis, Rns};

use crate::engine::{Engine, Launch};
use crate::memory::Buffer;
use crate::operand::Operand;
use crate::queue::{Executor, Job};
use crate::simd::{Isa, Simd};

/// A CPU as a device.
///
/// With one thread every launch runs on the calling thread before it returns. With more, a queue thread hands the
/// parts of each launch to that many workers; launches return at once.
pub struct Cpu {
    // Dropped first: joins the thread that uses the engine.
    executor: Executor,
    engine: Arc<Engine>,
}

impl Cpu {
    /// A device for this ring with `threads` workers; zero takes as many as the machine has.
    ///
    /// Fails with [`Error::Device`] when the system refuses a thread.
    pub fn new(rns: Arc<Rns>, threads: usize) -> Result<Self> {
        let best = Isa::available().pop().unwrap_or(Isa::Portable);
        Self::with_isa(rns, threads, best)
    }

    /// As [`Cpu::new`], on a given instruction set: for tests and comparisons. Fails with [`Error::Device`] when the
    /// machine lacks it.
    pub fn with_isa(rns: Arc<Rns>, threads: usize, isa: Isa) -> Result<Self> {
        let simd = Simd::new(isa)?;
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let refused = |e: &dyn std::fmt::Display| Error::Device(format!("starting {threads} threads: {e}"));
        let workers = if threads == 1 {
            None
        } else {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
            Some(builder.thread_name(|i| format!("aegis-cpu-{i}")).build().map_err(|e| refused(&e))?)
        };
        let executor = Executor::new(threads == 1).map_err(|e| refused(&e))?;
        Ok(Self { executor, engine: Arc::new(Engine::new(rns, workers, simd)) })
    }

    /// Bytes in buffers that are alive: held by the host or by queued launches, and written at least once.
    pub fn live_bytes(&self) -> u64 {
        self.engine.pool.live_words() as u64 * 8
    }

    fn operand(&self, view: View<'_>) -> Result<Operand> {
        Operand::new(&self.engine.pool, view)
    }

    fn submit(&self, job: impl FnOnce(&Engine) + Send + 'static) -> Result<()> {
        let engine = Arc::clone(&self.engine);
        let job: Job = Box::new(move || job(&engine));
        self.executor.submit(job)
    }
}

impl Backend for Cpu {
    fn rns(&self) -> &Arc<Rns> {
        &self.engine.rns
    }

    fn alloc(&self, shape: Shape) -> Result<Poly> {
        shape.check(&self.engine.rns)?;
        let buffer = Buffer::new(&self.engine.pool, shape.words());
        Ok(Poly::from_buffer(shape, Arc::new(buffer)))
    }

    fn upload(&self, shape: Shape, data: Host) -> Result<Poly> {
        data.check(&self.engine.rns, &shape)?;
        let mut poly = self.alloc(shape)?;
        let out = self.operand(poly.view_mut().as_view())?;
        let limbs = poly.basis().clone();
        self.submit(move |engine| {
            // SAFETY: a job of the executor.
            let rows = unsafe { out.open() };
            let n = rows.n();
            engine.parallel(rows.count() * limbs.len(), |task| {
                let (poly, position) = (task / limbs.len(), task % limbs.len());
                // SAFETY: each task has its own row.
                let row = unsafe { rows.row_mut(poly, position) };
                match &data {
                    Host::Residues(words) => row.copy_from_slice(&words[task * n..][..n]),
                    Host::Signed(words) => {
                        engine.simd.reduce_signed(
                            engine.prime(limbs.limbs()[position]),
                            row,
                            &words[poly * n..][..n],
                        );
                    }
                }
            });
        })?;
        Ok(poly)
    }

    fn download(&self, view: View<'_>) -> Result<Vec<u64>> {
        let operand = self.operand(view)?;
        let limbs = view.poly().basis().len();
        self.executor.wait_for(move || {
            // SAFETY: a job of the executor.
            let rows = unsafe { operand.open() };
            let mut words = Vec::with_capacity(rows.count() * limbs * rows.n());
            for poly in 0..rows.count() {
                for position in 0..limbs {
                    // SAFETY: this job writes nothing.
                    words.extend_from_slice(unsafe { rows.row(poly, position) });
                }
            }
            words
        })
    }

    fn launch(&self, kernel: &Kernel, limbs: &Basis, out: ViewMut<'_>, ins: &[View<'_>]) -> Result<()> {
        kernel.check(&self.engine.rns, limbs, &out, ins)?;
        let launch = Launch {
            kernel: kernel.clone(),
            limbs: limbs.clone(),
            out: self.operand(out.as_view())?,
            ins: ins.iter().map(|&i| self.operand(i)).collect::<Result<_>>()?,
        };
        if limbs.is_empty() || launch.out.count == 0 {
            return Ok(());
        }
        self.submit(move |engine| {
            // SAFETY: a job of the executor.
            unsafe { engine.run(&launch) }
        })
    }

    fn sync(&self) -> Result<()> {
        self.executor.wait_for(|| ())
    }
}
