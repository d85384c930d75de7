//! The device: checks launches and hands them to the executor.

use std::sync::Arc;

use aegis_hal::{Backend, Error, HostData, Kernel, Memory, Parcel, Poly, Result, Shape, View, ViewMut};
use aegis_ring::{Basis, Rns};

use crate::engine::{Engine, Launch};
use crate::executor::{Executor, Job};
use crate::memory::{Buffer, Pool};
use crate::operand::Operand;
use crate::simd::{Isa, Simd};

/// How a [`Cpu`] is made. The defaults: all the threads and the best instructions of the machine, and no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// Number of workers; zero takes as many as the machine has.
    pub threads: usize,
    /// One worker has a queue too, so that launches return at once: for several devices driven by one host.
    pub queue: bool,
    /// Instruction set, for tests and comparisons; `None` takes the best that the machine has.
    pub isa: Option<Isa>,
    /// Most bytes of buffers and of the scratch of launches at once, rounded down to whole cache lines. Tables of a
    /// ring and a few megabytes a worker come on top.
    pub memory_limit: Option<u64>,
}

/// A CPU as a device.
///
/// With one thread and no queue every launch runs on the calling thread before it returns. Otherwise launches return at
/// once: a queue thread runs them one after the other, with more threads handing the parts of each to workers.
///
/// Memory is taken when a buffer is first written and kept by the device: a fresh buffer may show words that an earlier
/// buffer of this device held, and only such. Nothing is wiped but what was poisoned.
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
        Self::with_options(rns, CpuOptions { threads, ..CpuOptions::default() })
    }

    /// A device for this ring.
    ///
    /// Fails with [`Error::Device`] when the system refuses a thread or the machine lacks the instruction set, and with
    /// [`Error::OutOfMemory`] when it has not as many addresses as the memory limit says.
    pub fn with_options(rns: Arc<Rns>, options: CpuOptions) -> Result<Self> {
        let best = || Isa::available().pop().unwrap_or(Isa::Portable);
        let simd = Simd::new(options.isa.unwrap_or_else(best))?;
        let pool = Pool::new(options.memory_limit)?;
        let threads = match options.threads {
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
        let executor = Executor::new(threads == 1 && !options.queue).map_err(|e| refused(&e))?;
        Ok(Self { executor, engine: Arc::new(Engine::new(rns, workers, simd, pool)) })
    }

    fn operand(&self, view: View<'_>) -> Result<Operand> {
        Operand::new(&self.engine.pool, view)
    }

    fn submit(&self, job: impl FnOnce(&Engine) -> Result<()> + Send + 'static) -> Result<()> {
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
        self.engine.pool.check(shape.words())?;
        let buffer = Buffer::new(&self.engine.pool, shape.words());
        Ok(Poly::from_buffer(shape, Arc::new(buffer)))
    }

    fn upload(&self, shape: Shape, data: HostData) -> Result<Poly> {
        data.check(&self.engine.rns, &shape)?;
        let mut poly = self.alloc(shape)?;
        let out = self.operand(poly.view_mut().as_view())?;
        let limbs = poly.basis().clone();
        self.submit(move |engine| {
            // SAFETY: Executor (see `operand`).
            unsafe { engine.upload(&out, &limbs, &data) }
        })?;
        Ok(poly)
    }

    fn download(&self, view: View<'_>) -> Result<Vec<u64>> {
        let (operand, limbs) = (self.operand(view)?, view.poly().basis().clone());
        self.executor.wait_for(move || {
            // SAFETY: Executor (see `operand`).
            unsafe { Engine::words(&operand, &limbs) }
        })?
    }

    fn export(&self, view: View<'_>, limbs: &Basis) -> Result<Parcel> {
        view.check_limbs("export", limbs)?;
        let (operand, limbs) = (self.operand(view)?, limbs.clone());
        let (promise, parcel) = Parcel::promise();
        self.submit(move |_| {
            // SAFETY: Executor (see `operand`).
            promise.keep(unsafe { Engine::words(&operand, &limbs) });
            Ok(())
        })?;
        Ok(parcel)
    }

    fn adopt(&self, out: ViewMut<'_>, limbs: &Basis, parcel: &Parcel) -> Result<()> {
        out.as_view().check_limbs("adopt", limbs)?;
        let (out, limbs, parcel) = (self.operand(out.as_view())?, limbs.clone(), parcel.clone());
        self.submit(move |engine| {
            // SAFETY: Executor (see `operand`).
            unsafe { engine.adopt(&out, &limbs, &parcel) }
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
        if limbs.is_empty() || launch.out.count() == 0 {
            return Ok(());
        }
        self.submit(move |engine| {
            // SAFETY: Executor (see `operand`).
            unsafe { engine.run(&launch) }
        })
    }

    fn sync(&self) -> Result<()> {
        self.executor.sync()
    }

    fn memory(&self) -> Memory {
        self.engine.pool.memory()
    }
}
