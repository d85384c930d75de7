//! The allocator of every process here: it counts, and refuses what goes beyond a limit.

use std::alloc::System;

use cap::Cap;
use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc, PeakMemAllocTrait};

/// A limit outside, the peak since the last reset inside.
#[global_allocator]
static ALLOCATOR: Cap<&PeakMemAlloc<System>> = Cap::new(&INSTRUMENTED_SYSTEM, usize::MAX);

/// Runs `f`, which may hold `bound` bytes more than are held now: beyond that allocations fail, which ends the process
/// unless `f` asked for a fallible one. Returns the most bytes that it held at once.
///
/// For one thread: what others allocate meanwhile is counted too.
pub fn bounded<T>(bound: usize, f: impl FnOnce() -> T) -> (T, usize) {
    INSTRUMENTED_SYSTEM.reset_peak_memory();
    // It fails only below what is allocated.
    let _ = ALLOCATOR.set_limit(ALLOCATOR.allocated().saturating_add(bound));
    let result = f();
    let _ = ALLOCATOR.set_limit(usize::MAX);
    (result, INSTRUMENTED_SYSTEM.get_peak_memory())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_counted_and_the_limit_holds() {
        let mut refused = false;
        let ((), peak) = bounded(1 << 20, || {
            drop(vec![1u8; 1 << 18]);
            refused = Vec::<u8>::new().try_reserve_exact(1 << 21).is_err();
        });
        assert!(refused);
        assert!((1 << 18..1 << 20).contains(&peak), "{peak}");
    }
}
