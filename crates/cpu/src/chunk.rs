//! Memory from the system. On Linux chunks ask for huge pages: a transform of 2^16 words touches 128 small ones with
//! strides of 32 KiB, and compact weights are gathered from thousands. Elsewhere, and under Miri, which knows no huge
//! pages, they come from the global allocator.

use std::ptr::NonNull;

/// A cache line, and one AVX-512 register.
pub(crate) const LINE_WORDS: usize = 8;

/// Owned words, aligned to a cache line and zero at first. The system gives a page when it is first touched.
pub(crate) struct Chunk {
    words: NonNull<u64>,
    memory: Memory,
}

// SAFETY: a chunk owns its memory, like a `Box<[u64]>`.
unsafe impl Send for Chunk {}

impl Chunk {
    /// Of at least `len` words, or `None` when the system has not so many.
    pub(crate) fn new(len: usize) -> Option<Self> {
        let (words, memory) = Memory::new(len.checked_mul(8)?)?;
        Some(Self { words: words.cast(), memory })
    }

    /// The first word.
    pub(crate) fn words(&self) -> NonNull<u64> {
        self.words
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.memory.release();
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
use linux::Memory;
#[cfg(any(not(target_os = "linux"), miri))]
use portable::Memory;

#[cfg(all(target_os = "linux", not(miri)))]
mod linux {
    use std::ptr::NonNull;

    /// Size and alignment of a huge page.
    const HUGE: usize = 2 << 20;

    /// A private mapping.
    pub(super) struct Memory {
        base: NonNull<libc::c_void>,
        bytes: usize,
    }

    impl Memory {
        /// Zeros at a multiple of the size of a huge page.
        pub(super) fn new(bytes: usize) -> Option<(NonNull<libc::c_void>, Self)> {
            let bytes = bytes.checked_next_multiple_of(HUGE)?.checked_add(HUGE)?;
            let (protection, flags) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            );
            // SAFETY: a fresh private mapping at an address of the system's choice.
            let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
            if base == libc::MAP_FAILED {
                return None;
            }
            let start = base.wrapping_byte_add(base.addr().next_multiple_of(HUGE) - base.addr());
            // SAFETY: `start .. start + bytes - HUGE` lies in the mapping. A refusal only costs speed.
            unsafe { libc::madvise(start, bytes - HUGE, libc::MADV_HUGEPAGE) };
            Some((NonNull::new(start)?, Self { base: NonNull::new(base)?, bytes }))
        }

        pub(super) fn release(&mut self) {
            // SAFETY: mapped in `new` with this size, and unmapped only here, by the drop of the owner.
            unsafe { libc::munmap(self.base.as_ptr(), self.bytes) };
        }
    }
}

#[cfg(any(not(target_os = "linux"), miri))]
mod portable {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::ptr::NonNull;

    use super::LINE_WORDS;

    /// Memory of the global allocator.
    pub(super) struct Memory {
        base: NonNull<u8>,
        layout: Layout,
    }

    impl Memory {
        pub(super) fn new(bytes: usize) -> Option<(NonNull<u8>, Self)> {
            let layout = Layout::from_size_align(bytes.max(1), LINE_WORDS * 8).ok()?;
            // SAFETY: the layout has a size of at least one byte.
            let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
            Some((base, Self { base, layout }))
        }

        pub(super) fn release(&mut self) {
            // SAFETY: allocated in `new` with this layout, and freed only here, by the drop of the owner.
            unsafe { dealloc(self.base.as_ptr(), self.layout) }
        }
    }
}
