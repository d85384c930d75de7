//! Buffers: allocated when first written, recycled when the last handle drops.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::block::Block;

/// A block serves requests down to this fraction of its size, so that operands of neighbouring levels share blocks.
const FIT: (usize, usize) = (3, 4);

/// Every block is with a buffer or free.
#[derive(Default)]
struct Blocks {
    /// Oldest first.
    free: VecDeque<Block>,
    free_words: usize,
    /// Words in blocks that some buffer holds.
    live: usize,
    /// The most that `live` has ever been.
    peak: usize,
}

impl Blocks {
    /// Takes out the oldest free blocks until all blocks together fit under the peak.
    fn shrink(&mut self) -> Vec<Block> {
        let mut dead = vec![];
        while self.live + self.free_words > self.peak
            && let Some(old) = self.free.pop_front()
        {
            self.free_words -= old.len();
            dead.push(old);
        }
        dead
    }
}

/// Recycles blocks: a fresh 20 MiB block costs its clearing by the system, about as much as the transforms done in it.
///
/// Free blocks are kept as long as the device holds no more memory than its buffers have needed at once before, so
/// that recycling costs nothing at the peak. With a fixed 1 GiB of free blocks, 29 % of an encrypted inference went
/// into clearing pages.
#[derive(Default)]
pub(crate) struct Pool {
    blocks: Mutex<Blocks>,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, len: usize) -> Block {
        let mut blocks = self.lock();
        // The smallest that fits; of equal ones the last freed, which caches may still hold.
        let fits = |b: &Block| b.len() >= len && b.len() * FIT.0 <= len * FIT.1;
        let free = blocks.free.iter().enumerate().rev();
        let found = free.filter(|(_, b)| fits(b)).min_by_key(|(_, b)| b.len()).map(|(i, _)| i);
        let recycled = found.and_then(|i| blocks.free.remove(i));
        let words = recycled.as_ref().map_or(len, Block::len);
        blocks.free_words -= recycled.as_ref().map_or(0, Block::len);
        blocks.live += words;
        blocks.peak = blocks.peak.max(blocks.live);
        // What does not fit beside a new block goes back to the system first, outside the lock.
        let dead = blocks.shrink();
        drop(blocks);
        drop(dead);
        recycled.unwrap_or_else(|| Block::new(len))
    }

    fn give_back(&self, block: Block) {
        let mut blocks = self.lock();
        blocks.live -= block.len();
        blocks.free_words += block.len();
        blocks.free.push_back(block);
    }

    /// Words in blocks that some buffer holds.
    pub(crate) fn live_words(&self) -> usize {
        self.lock().live
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
