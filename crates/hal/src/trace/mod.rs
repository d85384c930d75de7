//! A device that computes nothing and writes down what it is asked to do.

mod costs;
mod event;
mod totals;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aegis_ring::{Basis, Rns};

use crate::{Backend, Error, HostData, Kernel, Memory, Parcel, Poly, Result, Shape, View, ViewMut};

pub use costs::KernelCosts;
pub use event::{Event, Launch, Operand};
pub use totals::{Count, Totals};

#[derive(Default)]
struct Log {
    /// Number of the next buffer.
    next: u64,
    events: Option<Vec<Event>>,
    counts: BTreeMap<&'static str, Count>,
    totals: Totals,
}

impl Log {
    fn keep(&mut self, event: Event) {
        if let Some(events) = &mut self.events {
            events.push(event);
        }
    }
}

type Shared = Arc<Mutex<Log>>;

fn lock(log: &Shared) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The buffer of a trace: no words, but the trace learns when it is dropped.
struct Token {
    id: u64,
    bytes: u64,
    owner: Shared,
}

impl Drop for Token {
    fn drop(&mut self) {
        let mut log = lock(&self.owner);
        log.totals.freed(self.bytes);
        log.keep(Event::Free { buffer: self.id });
    }
}

/// Records what a device is asked for: op counts, bytes and memory of any circuit, golden texts, the planner's graph.
/// Buffers hold no words: keys of gigabytes cost nothing. [`Backend::download`] gives zeros.
///
/// Fused kernels are recorded as they are asked for; [`Trace::unfused`] makes a trace that refuses them, so that
/// [`Backend::run`] records their lowerings.
pub struct Trace {
    rns: Arc<Rns>,
    fused: bool,
    reads_words: bool,
    log: Shared,
}

impl Trace {
    /// A trace that keeps every event.
    pub fn new(rns: Arc<Rns>) -> Self {
        Self::with(rns, true, Some(vec![]))
    }

    /// A trace that keeps every event and knows primitive kernels only.
    pub fn unfused(rns: Arc<Rns>) -> Self {
        Self::with(rns, false, Some(vec![]))
    }

    /// A trace that keeps counts and totals only: for programs of millions of launches.
    pub fn counting(rns: Arc<Rns>) -> Self {
        Self::with(rns, true, None)
    }

    /// [`Trace::counting`] that does not look at what is uploaded ([`Backend::reads_words`]): for counts of a circuit
    /// without the time that the host takes to encode its plaintexts.
    pub fn of_shapes(rns: Arc<Rns>) -> Self {
        Self { reads_words: false, ..Self::counting(rns) }
    }

    fn with(rns: Arc<Rns>, fused: bool, events: Option<Vec<Event>>) -> Self {
        let reads_words = true;
        Self { rns, fused, reads_words, log: Arc::new(Mutex::new(Log { events, ..Log::default() })) }
    }

    /// Everything so far, in order. Empty for [`Trace::counting`].
    pub fn events(&self) -> Vec<Event> {
        lock(&self.log).events.clone().unwrap_or_default()
    }

    /// What each kernel did, by name.
    pub fn counts(&self) -> BTreeMap<&'static str, Count> {
        lock(&self.log).counts.clone()
    }

    /// What happened so far, over all kernels and buffers.
    pub fn totals(&self) -> Totals {
        lock(&self.log).totals
    }

    /// Looks for the peak of the memory from now on: [`Totals::peak_bytes`] becomes what is live.
    pub fn reset_peak(&self) {
        let mut log = lock(&self.log);
        log.totals.peak_bytes = log.totals.live_bytes;
    }

    /// Forgets what happened. Buffers stay live.
    pub fn clear(&self) {
        let mut log = lock(&self.log);
        log.counts.clear();
        log.totals = log.totals.cleared();
        if let Some(events) = &mut log.events {
            events.clear();
        }
    }

    /// One line a launch, for golden tests: kernel, limbs, output and inputs as `buffer[first..end]`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for event in lock(&self.log).events.iter().flatten() {
            if let Event::Launch(launch) = event {
                let _ = writeln!(text, "{launch}");
            }
        }
        text
    }

    /// What is touched of a buffer of this trace.
    fn operand(&self, view: View<'_>, limbs: &Basis) -> Result<Operand> {
        let token = view.poly().buffer::<Token>()?;
        if !Arc::ptr_eq(&token.owner, &self.log) {
            return Err(Error::WrongDevice);
        }
        let n = view.poly().shape().n();
        Ok(Operand { buffer: token.id, first: view.first(), count: view.count(), limbs: limbs.clone(), n })
    }
}

impl Backend for Trace {
    fn rns(&self) -> &Arc<Rns> {
        &self.rns
    }

    fn alloc(&self, shape: Shape) -> Result<Poly> {
        shape.check(&self.rns)?;
        let (mut log, bytes) = (lock(&self.log), shape.bytes());
        let id = log.next;
        log.next += 1;
        log.totals.allocated(bytes);
        log.keep(Event::Alloc { buffer: id, shape: shape.clone() });
        Ok(Poly::from_buffer(shape, Token { id, bytes, owner: Arc::clone(&self.log) }))
    }

    fn upload(&self, shape: Shape, data: HostData) -> Result<Poly> {
        if self.reads_words {
            data.check(&self.rns, &shape)?;
        }
        let poly = self.alloc(shape)?;
        let buffer = self.operand(poly.view(), poly.basis())?.buffer;
        let cost = Totals::of_upload(&data, poly.shape(), self.rns.n());
        let mut log = lock(&self.log);
        log.totals += cost;
        log.keep(Event::Upload { buffer, bytes: cost.upload_bytes });
        drop(log);
        Ok(poly)
    }

    fn download(&self, view: View<'_>) -> Result<Vec<u64>> {
        let operand = self.operand(view, view.poly().basis())?;
        let words = vec![0; operand.count * operand.limbs.len() * operand.n];
        let bytes = size_of_val(words.as_slice()) as u64;
        let mut log = lock(&self.log);
        log.totals += Totals { downloads: 1, download_bytes: bytes, ..Totals::default() };
        log.keep(Event::Download(operand));
        Ok(words)
    }

    fn export(&self, view: View<'_>, limbs: &Basis) -> Result<Parcel> {
        view.check_limbs("export", limbs)?;
        let (operand, shape) = (self.operand(view, limbs)?, view.shape_of(limbs));
        let mut log = lock(&self.log);
        log.totals += Totals { exported_bytes: shape.bytes(), ..Totals::default() };
        log.keep(Event::Export(operand));
        Ok(Parcel::ready(if self.reads_words { vec![0; shape.words()] } else { vec![] }))
    }

    /// Does not wait for the words, nor look at them.
    fn adopt(&self, out: ViewMut<'_>, limbs: &Basis, _parcel: &Parcel) -> Result<()> {
        let view = out.as_view();
        view.check_limbs("adopt", limbs)?;
        let operand = self.operand(view, limbs)?;
        let mut log = lock(&self.log);
        log.totals += Totals { adopted_bytes: view.shape_of(limbs).bytes(), ..Totals::default() };
        log.keep(Event::Adopt(operand));
        Ok(())
    }

    fn reads_words(&self) -> bool {
        self.reads_words
    }

    fn launch(&self, kernel: &Kernel, limbs: &Basis, out: ViewMut<'_>, ins: &[View<'_>]) -> Result<()> {
        let facts = kernel.facts();
        if facts.fused && !self.fused {
            return Err(Error::Unsupported(facts.name));
        }
        kernel.check(&self.rns, limbs, &out, ins)?;
        let read = facts.reads(limbs);
        let in_place = ins.len() < facts.inputs;
        let launch = Launch {
            kernel: kernel.clone(),
            limbs: limbs.clone(),
            out: self.operand(out.as_view(), if in_place { &read } else { limbs })?,
            ins: ins.iter().map(|&input| self.operand(input, &read)).collect::<Result<_>>()?,
        };
        let cost = Totals::of_launch(&launch, self.rns.n());
        let mut log = lock(&self.log);
        log.totals += cost;
        let count = log.counts.entry(facts.name).or_default();
        count.launches += 1;
        count.rows += (limbs.len() * launch.out.count) as u64;
        count.bytes_touched = count.bytes_touched.saturating_add(cost.bytes_touched);
        count.multiply_adds = count.multiply_adds.saturating_add(cost.multiply_adds);
        log.keep(Event::Launch(launch));
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn memory(&self) -> Memory {
        let totals = lock(&self.log).totals;
        Memory { limit: None, live: totals.live_bytes, peak: totals.peak_bytes }
    }
}
