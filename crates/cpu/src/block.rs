//! Owned memory. On Linux large blocks ask for huge pages: a transform of 2^16 words touches 128 small ones with
//! strides of 32 KiB, and compact weights are gathered from thousands.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// A cache line, and one AVX-512 register.
const ALIGN: usize = 64;
/// Size and alignment of a huge page.
#[cfg(target_os = "linux")]
const HUGE: usize = 2 << 20;

/// Owned, aligned, initialised words.
pub(crate) struct Block {
    words: NonNull<u64>,
    len: usize,
    /// The whole mapping, in bytes, for a block of huge pages.
    #[cfg(target_os = "linux")]
    mapping: Option<(NonNull<libc::c_void>, usize)>,
}

// SAFETY: a block owns its memory, like a `Box<[u64]>`.
unsafe impl Send for Block {}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(len.max(1) * 8, ALIGN).expect("a buffer below isize::MAX bytes")
}

impl Block {
    /// A block of zeros.
    pub(crate) fn new(len: usize) -> Self {
        #[cfg(target_os = "linux")]
        if len * 8 >= HUGE
            && let Some(block) = Self::map(len)
        {
            return block;
        }
        // SAFETY: the layout has a size of at least eight bytes.
        let memory = unsafe { alloc_zeroed(layout(len)) };
        let Some(words) = NonNull::new(memory.cast()) else { handle_alloc_error(layout(len)) };
        Self {
            words,
            len,
            #[cfg(target_os = "linux")]
            mapping: None,
        }
    }

    /// Zeros at a multiple of the size of a huge page.
    #[cfg(target_os = "linux")]
    fn map(len: usize) -> Option<Self> {
        let bytes = (len * 8).next_multiple_of(HUGE) + HUGE;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh private mapping at an address of the system's choice.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return None;
        }
        let start = base.wrapping_byte_add(base.addr().next_multiple_of(HUGE) - base.addr());
        // SAFETY: `start .. start + bytes - HUGE` lies in the mapping. A refusal only costs speed.
        unsafe { libc::madvise(start, bytes - HUGE, libc::MADV_HUGEPAGE) };
        Some(Self { words: NonNull::new(start.cast())?, len, mapping: Some((NonNull::new(base)?, bytes)) })
    }

    /// The first word.
    pub(crate) fn words(&self) -> NonNull<u64> {
        self.words
    }

    /// Number of words.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some((base, bytes)) = self.mapping {
            // SAFETY: mapped in `map` with this size, and unmapped only here.
            unsafe { libc::munmap(base.as_ptr(), bytes) };
            return;
        }
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { dealloc(self.words.as_ptr().cast(), layout(self.len)) }
    }
}
