//! Buffers: allocated when first written, given back when the last handle drops.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aegis_hal::{Error, Memory, Result};

use crate::chunk::{Chunk, LINE_WORDS};

/// Words of the first chunk: 8 MiB of addresses, of which only what is touched takes memory.
const FIRST_CHUNK: usize = 1 << 20;

/// Words `start .. start + len` of one chunk, in whole cache lines.
#[derive(Clone, Copy)]
struct Span {
    chunk: usize,
    start: usize,
    len: usize,
}

/// Chunks, divided into spans that buffers hold and free ones.
#[derive(Default)]
struct Spans {
    chunks: Vec<Chunk>,
    /// Words of all chunks.
    words: usize,
    /// The chunks that there are must do.
    bounded: bool,
    /// Lengths of the free spans by chunk and start. Neighbours are merged.
    free: BTreeMap<(usize, usize), usize>,
    /// Words in spans that some buffer holds.
    live: usize,
    /// The most of these at once.
    peak: usize,
}

impl Spans {
    /// One chunk of `words`, for ever: addresses only, until they are touched.
    fn bounded(words: usize) -> Option<Self> {
        let mut spans = Self { bounded: true, ..Self::default() };
        if words > 0 {
            spans.add(Chunk::new(words)?, words);
        }
        Some(spans)
    }

    /// Adds a chunk as one free span.
    fn add(&mut self, chunk: Chunk, len: usize) -> Span {
        let span = Span { chunk: self.chunks.len(), start: 0, len };
        self.chunks.push(chunk);
        self.words += len;
        self.free.insert((span.chunk, span.start), len);
        span
    }

    /// The smallest free span that fits, of equal ones the first: what has been touched before is used again, and
    /// long spans stay whole.
    fn best_fit(&self, len: usize) -> Option<Span> {
        let fitting = self.free.iter().filter(|(_, have)| **have >= len);
        let (&(chunk, start), &len) = fitting.min_by_key(|(_, have)| **have)?;
        Some(Span { chunk, start, len })
    }

    /// A new chunk as one span. Chunks double what there is, so that they stay few; where the system refuses that,
    /// just what is needed. `None` when it refuses even that, and when the memory is bounded.
    fn grow(&mut self, len: usize) -> Option<Span> {
        if self.bounded {
            return None;
        }
        let wanted = len.max(self.words).max(FIRST_CHUNK);
        let (chunk, len) = [wanted, len].into_iter().find_map(|len| Some((Chunk::new(len)?, len)))?;
        Some(self.add(chunk, len))
    }

    fn take(&mut self, len: usize) -> Option<Span> {
        let len = len.checked_next_multiple_of(LINE_WORDS)?;
        let whole = self.best_fit(len).or_else(|| self.grow(len))?;
        self.free.remove(&(whole.chunk, whole.start));
        if whole.len > len {
            self.free.insert((whole.chunk, whole.start + len), whole.len - len);
        }
        self.live += len;
        self.peak = self.peak.max(self.live);
        Some(Span { len, ..whole })
    }

    fn give_back(&mut self, span: Span) {
        let Span { chunk, mut start, mut len } = span;
        self.live -= len;
        if let Some(after) = self.free.remove(&(chunk, start + len)) {
            len += after;
        }
        let before = self.free.range(..(chunk, start)).next_back().map(|(at, have)| (*at, *have));
        if let Some(((in_chunk, at), have)) = before
            && in_chunk == chunk
            && at + have == start
        {
            (start, len) = (at, len + have);
        }
        self.free.insert((chunk, start), len);
    }

    fn words(&self, span: Span) -> NonNull<u64> {
        // SAFETY: a span lies inside its chunk: `Spans::add` makes it so, `Spans::take` and `give_back` only cut and
        // merge.
        unsafe { self.chunks[span.chunk].words().add(span.start) }
    }
}

/// The memory of a device: as much as its buffers have needed at once, kept until the device and its buffers are gone.
///
/// The system clears every page that it gives. When memory went back to it, first beyond 1 GiB and then beyond the
/// buffers' peak, clearing took 29 % and 18 % of the samples of a run, because circuits ask for ever new sizes.
pub(crate) struct Pool {
    spans: Mutex<Spans>,
    /// Most words, in whole cache lines.
    limit: Option<usize>,
}

impl Pool {
    /// Of at most `limit` bytes. Their addresses are reserved at once, so that the limit holds however they are cut.
    ///
    /// Fails with [`Error::OutOfMemory`] when the system has not so many addresses.
    pub(crate) fn new(limit: Option<u64>) -> Result<Arc<Self>> {
        let spans = match limit {
            None => Some(Spans::default()),
            Some(bytes) => whole_lines(bytes).and_then(Spans::bounded),
        };
        let asked = limit.unwrap_or_default();
        let spans = spans.ok_or(Error::OutOfMemory { asked, limit: None, live: 0 })?;
        Ok(Arc::new(Self { limit: limit.map(|_| spans.words), spans: Mutex::new(spans) }))
    }

    fn lock(&self) -> MutexGuard<'_, Spans> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn memory(&self) -> Memory {
        let spans = self.lock();
        Memory { limit: self.limit.map(bytes), live: bytes(spans.live), peak: bytes(spans.peak) }
    }

    /// Refuses a buffer of `len` words that would not fit if it were alone.
    pub(crate) fn check(&self, len: usize) -> Result<()> {
        if self.limit.is_some_and(|limit| len > limit) { Err(self.full(&self.lock(), len)) } else { Ok(()) }
    }

    fn take(&self, len: usize) -> Result<(Span, NonNull<u64>)> {
        let mut spans = self.lock();
        match spans.take(len) {
            Some(span) => Ok((span, spans.words(span))),
            None => Err(self.full(&spans, len)),
        }
    }

    fn full(&self, spans: &Spans, len: usize) -> Error {
        Error::OutOfMemory { asked: bytes(len), limit: self.limit.map(bytes), live: bytes(spans.live) }
    }
}

fn bytes(words: usize) -> u64 {
    (words as u64).saturating_mul(8)
}

/// The words of whole cache lines in so many bytes.
fn whole_lines(bytes: u64) -> Option<usize> {
    let words = usize::try_from(bytes / 8).ok()?;
    Some(words - words % LINE_WORDS)
}

/// The words of one [`Poly`](aegis_hal::Poly): shared by its handle and by the queued jobs that use it.
pub(crate) struct Buffer {
    pool: Arc<Pool>,
    len: usize,
    span: UnsafeCell<Option<(Span, NonNull<u64>)>>,
    /// Why the words are not there.
    poison: OnceLock<Error>,
}

// SAFETY: a buffer owns its span's words, like a `Box<[u64]>`.
unsafe impl Send for Buffer {}
// SAFETY: `span` is touched by the running job alone, one at a time (Executor, see `operand`), and by `drop`, which has
// the only handle.
unsafe impl Sync for Buffer {}

impl Buffer {
    pub(crate) fn new(pool: &Arc<Pool>, len: usize) -> Self {
        Self { pool: Arc::clone(pool), len, span: UnsafeCell::new(None), poison: OnceLock::new() }
    }

    /// True when the buffer was made by the device with this pool.
    pub(crate) fn is_of(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Fails when the buffer is poisoned.
    pub(crate) fn check(&self) -> Result<()> {
        self.poison.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// The first of `len` words; allocates on first use. Fails when the buffer is poisoned, or with
    /// [`Error::OutOfMemory`].
    ///
    /// # Safety
    /// Only from the executor, outside the parallel part of a job.
    pub(crate) unsafe fn materialise(&self) -> Result<NonNull<u64>> {
        self.check()?;
        if self.len == 0 {
            return Ok(NonNull::dangling());
        }
        // SAFETY: the executor is the only one to touch the cell, by the condition above.
        let span = unsafe { &mut *self.span.get() };
        match span {
            Some((_, words)) => Ok(*words),
            None => Ok(span.insert(self.pool.take(self.len)?).1),
        }
    }

    /// Makes the buffer one that has no words but this error. The words that it had are overwritten, for they may be of
    /// a secret that can no longer be wiped by a launch, and given back.
    ///
    /// # Safety
    /// Only from the executor, outside the parallel part of a job, whose slices of the buffer are gone.
    pub(crate) unsafe fn poison(&self, error: &Error) {
        self.poison.get_or_init(|| error.clone());
        // SAFETY: the executor is the only one to touch the cell, by the condition above.
        if let Some((span, words)) = unsafe { &mut *self.span.get() }.take() {
            // SAFETY: `Spans::take` gave the span to this buffer alone, and no slice of it is left.
            unsafe { words.as_ptr().write_bytes(0, span.len) };
            self.pool.lock().give_back(span);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some((span, _)) = self.span.get_mut().take() {
            self.pool.lock().give_back(span);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

        /// Spans in use never overlap and stay in their chunks; when all are given back, every chunk is one free span.
        #[test]
        fn spans_are_disjoint_and_merge(steps in prop::collection::vec((1usize..1 << 18, 0usize..8), 1..200)) {
            let mut spans = Spans::default();
            let mut held: Vec<Span> = vec![];
            for (len, choice) in steps {
                if choice < 3 && !held.is_empty() {
                    spans.give_back(held.swap_remove(len % held.len()));
                } else {
                    let new = spans.take(len).expect("little memory");
                    prop_assert!(new.len >= len && new.len < len + LINE_WORDS && new.start.is_multiple_of(LINE_WORDS));
                    let apart = |s: &Span| {
                        s.chunk != new.chunk || s.start + s.len <= new.start || new.start + new.len <= s.start
                    };
                    prop_assert!(held.iter().all(apart));
                    held.push(new);
                }
                let live: usize = held.iter().map(|s| s.len).sum();
                prop_assert_eq!((spans.live, spans.free.values().sum::<usize>()), (live, spans.words - live));
            }
            held.into_iter().for_each(|s| spans.give_back(s));
            prop_assert_eq!((spans.live, spans.free.len()), (0, spans.chunks.len()));
        }
    }

    /// What a poisoned buffer held may be of a secret, and the next buffer would show it.
    #[test]
    fn a_poisoned_buffer_leaves_zeros_and_its_memory() {
        let pool = Pool::new(Some(64 * 8)).unwrap();
        let (lost, next) = (Buffer::new(&pool, 60), Buffer::new(&pool, 60));
        let error = Error::OutOfMemory { asked: 480, limit: Some(512), live: 512 };
        // SAFETY: one thread, which holds no slices of the buffers and stays within their 60 words.
        unsafe {
            lost.materialise().unwrap().as_ptr().write_bytes(7, 60);
            assert_eq!(next.materialise(), Err(error.clone()));
            lost.poison(&error);
            assert_eq!((lost.materialise(), lost.check()), (Err(error.clone()), Err(error)));
            let words = next.materialise().unwrap();
            assert_eq!(std::slice::from_raw_parts(words.as_ptr(), 60), [0; 60]);
        }
        drop((lost, next));
        assert_eq!(pool.memory(), Memory { limit: Some(512), live: 0, peak: 512 });
    }

    #[test]
    fn memory_that_does_not_exist_is_refused() {
        assert!(Spans::default().take(1 << 60).is_none());
    }

    /// Circuits ask for ever new sizes: what was enough once is enough again, however it is cut.
    #[test]
    fn memory_that_was_enough_is_cut_anew() {
        let mut spans = Spans::default();
        let mut round = |sizes: &mut dyn Iterator<Item = usize>| {
            let held: Vec<Span> = sizes.map(|i| spans.take(i << 14).expect("little memory")).collect();
            held.into_iter().for_each(|s| spans.give_back(s));
            spans.words
        };
        let enough = round(&mut (20..40));
        for size in (1..20).step_by(if cfg!(miri) { 9 } else { 1 }) {
            assert_eq!(round(&mut (size..size + 20)), enough, "rounds of {size} and more");
        }
    }
}
