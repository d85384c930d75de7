//! Buffers: allocated when first written, given back when the last handle drops.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Lengths of the free spans by chunk and start. Neighbours are merged.
    free: BTreeMap<(usize, usize), usize>,
    /// Words in spans that some buffer holds.
    live: usize,
}

impl Spans {
    /// The smallest free span that fits, of equal ones the first: what has been touched before is used again, and
    /// long spans stay whole.
    fn best_fit(&self, len: usize) -> Option<Span> {
        let fitting = self.free.iter().filter(|(_, have)| **have >= len);
        let (&(chunk, start), &len) = fitting.min_by_key(|(_, have)| **have)?;
        Some(Span { chunk, start, len })
    }

    /// A new chunk as one span. Chunks double what there is, so that they stay few; where the system refuses that,
    /// just what is needed. `None` when it refuses even that.
    fn grow(&mut self, len: usize) -> Option<Span> {
        let wanted = len.max(self.words).max(FIRST_CHUNK);
        let (chunk, len) = [wanted, len].into_iter().find_map(|len| Some((Chunk::new(len)?, len)))?;
        self.chunks.push(chunk);
        self.words += len;
        Some(Span { chunk: self.chunks.len() - 1, start: 0, len })
    }

    fn take(&mut self, len: usize) -> Option<Span> {
        let len = len.next_multiple_of(LINE_WORDS);
        let whole = self.best_fit(len).or_else(|| self.grow(len))?;
        self.free.remove(&(whole.chunk, whole.start));
        if whole.len > len {
            self.free.insert((whole.chunk, whole.start + len), whole.len - len);
        }
        self.live += len;
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
        // SAFETY: a span lies inside its chunk.
        unsafe { self.chunks[span.chunk].words().add(span.start) }
    }
}

/// The memory of a device: as much as its buffers have needed at once, kept until the device and its buffers are gone.
///
/// The system clears every page that it gives. When memory went back to it, first beyond 1 GiB and then beyond the
/// buffers' peak, clearing took 29 % and 18 % of the samples of a run, because circuits ask for ever new sizes.
#[derive(Default)]
pub(crate) struct Pool {
    spans: Mutex<Spans>,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Spans> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Words in spans that some buffer holds.
    pub(crate) fn live_words(&self) -> usize {
        self.lock().live
    }
}

/// The words of one [`Poly`](aegis_hal::Poly): shared by its handle and by the queued jobs that use it.
pub(crate) struct Buffer {
    pool: Arc<Pool>,
    len: usize,
    span: UnsafeCell<Option<(Span, NonNull<u64>)>>,
}

// SAFETY: a buffer owns its span's words, like a `Box<[u64]>`.
unsafe impl Send for Buffer {}
// SAFETY: `span` is touched by the executor alone, which runs one job at a time (see `queue`), and by `drop`, which
// has the only handle.
unsafe impl Sync for Buffer {}

impl Buffer {
    pub(crate) fn new(pool: &Arc<Pool>, len: usize) -> Self {
        Self { pool: Arc::clone(pool), len, span: UnsafeCell::new(None) }
    }

    /// True when the buffer was made by the device with this pool.
    pub(crate) fn is_of(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The first word; allocates on first use. Panics when the system has no more memory, which fails the job.
    ///
    /// # Safety
    /// Only from the executor, outside the parallel part of a job.
    pub(crate) unsafe fn materialise(&self) -> NonNull<u64> {
        // SAFETY: the executor is the only one to touch the cell, by the condition above.
        let span = unsafe { &mut *self.span.get() };
        let take = || {
            let mut spans = self.pool.lock();
            let span = spans.take(self.len).unwrap_or_else(|| {
                panic!("no memory for {} more bytes beside {}", self.len * 8, spans.live * 8);
            });
            (span, spans.words(span))
        };
        span.get_or_insert_with(take).1
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
        #![proptest_config(ProptestConfig::with_cases(64))]

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
                    let apart = |s: &Span| s.chunk != new.chunk || s.start + s.len <= new.start || new.start + new.len <= s.start;
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
        for size in 1..20 {
            assert_eq!(round(&mut (size..size + 20)), enough, "rounds of {size} and more");
        }
    }
}
