//! Buffers: allocated when first written, recycled when the last handle drops.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::block::Block;

/// Words that the pool keeps for reuse: 2 GiB, the baby steps and sums of a linear transform at N = 2^16. At 1 GiB
/// every such transform emptied the pool, and 29 % of an encrypted inference went into clearing fresh pages.
const KEPT_WORDS: usize = 1 << 28;

/// A block serves requests down to this fraction of its size, so that operands of neighbouring levels share blocks.
const FIT: (usize, usize) = (3, 4);

/// Freed blocks, oldest first.
#[derive(Default)]
struct Free {
    blocks: VecDeque<Block>,
    words: usize,
}

/// Recycles blocks: a fresh 20 MiB block costs 5000 page faults, about as much as the transforms done in it.
#[derive(Default)]
pub(crate) struct Pool {
    free: Mutex<Free>,
    live: AtomicUsize,
}

impl Pool {
    fn take(&self, len: usize) -> Block {
        let block = self.find(len);
        self.live.fetch_add(block.len(), Ordering::Relaxed);
        block
    }

    fn find(&self, len: usize) -> Block {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that fits; of equal ones the last freed, which caches may still hold.
        let fits = |b: &Block| b.len() >= len && b.len() * FIT.0 <= len * FIT.1;
        let found =
            free.blocks.iter().enumerate().rev().filter(|(_, b)| fits(b)).min_by_key(|(_, b)| b.len());
        if let Some(block) = found.map(|(i, _)| i).and_then(|i| free.blocks.remove(i)) {
            free.words -= block.len();
            return block;
        }
        drop(free);
        Block::new(len)
    }

    fn give_back(&self, block: Block) {
        self.live.fetch_sub(block.len(), Ordering::Relaxed);
        let mut dead = vec![];
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.words += block.len();
        free.blocks.push_back(block);
        while free.words > KEPT_WORDS
            && let Some(old) = free.blocks.pop_front()
        {
            free.words -= old.len();
            dead.push(old);
        }
        drop(free);
        // `dead` returns its memory to the system outside the lock.
    }

    /// Words in blocks that some buffer holds.
    pub(crate) fn live_words(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }
}

/// The words of one [`Poly`](aegis_hal::Poly): shared by its handle and by the queued jobs that use it.
pub(crate) struct Buffer {
    pool: Arc<Pool>,
    len: usize,
    block: UnsafeCell<Option<Block>>,
}

// SAFETY: `block` is touched by the executor alone, which runs one job at a time (see `queue`), and by `drop`, which
// has the only handle.
unsafe impl Sync for Buffer {}

impl Buffer {
    pub(crate) fn new(pool: &Arc<Pool>, len: usize) -> Self {
        Self { pool: Arc::clone(pool), len, block: UnsafeCell::new(None) }
    }

    /// True when the buffer was made by the device with this pool.
    pub(crate) fn is_of(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The first word; allocates on first use.
    ///
    /// # Safety
    /// Only from the executor, outside the parallel part of a job.
    pub(crate) unsafe fn materialise(&self) -> NonNull<u64> {
        // SAFETY: the executor is the only one to touch the cell, by the condition above.
        let block = unsafe { &mut *self.block.get() };
        block.get_or_insert_with(|| self.pool.take(self.len)).words()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(block) = self.block.get_mut().take() {
            self.pool.give_back(block);
        }
    }
}
