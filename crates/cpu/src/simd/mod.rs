//! Arithmetic on rows of residues, with the same bits on every instruction set. Each has a folder with the same files:
//! * `vector`: the operations on a vector, and their ranges;
//! * `tile`: the butterflies, and the stages of a transform that fit the registers;
//! * `ntt`: tables and entry points of the transforms, whose [`passes`] are shared;
//! * `rows`: word-by-word arithmetic;
//! * `sums`: sums of products, and base conversion.
//!
//! Scalar code has no vectors and no tiles. Calls go through [`Simd`], which finds the instructions and asserts ranges.

use aegis_ring::{Factor, Modulus};

#[cfg(target_arch = "x86_64")]
mod avx2;
mod dispatch;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod isa;
#[cfg(target_arch = "x86_64")]
mod passes;
mod portable;

pub(crate) use dispatch::{Simd, Table};
use dispatch::{row_functions, sum_functions};
pub use isa::Isa;

/// A prime with the constants that every path uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prime {
    pub(crate) modulus: Modulus,
    pub(crate) q: u64,
    /// `1` as a factor: reduces words below 2^52.
    pub(crate) one: Factor,
    /// `2^52` as a factor: folds the high half of a sum of products.
    pub(crate) high: Factor,
}

impl Prime {
    pub(crate) fn new(modulus: &Modulus) -> Self {
        let q = modulus.value();
        Self {
            modulus: *modulus,
            q,
            one: Factor::new(1, modulus),
            high: Factor::new(modulus.reduce(1 << 52), modulus),
        }
    }

    /// True when all words are residues: in `[0, q)`. For assertions.
    fn has(&self, x: &[u64]) -> bool {
        x.iter().fold(true, |all, &word| all & (word < self.q)) // to the end, for speed: no branches
    }
}

/// A row of the same length that will be used next. Only its address is used, and never read through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead(pub(crate) Option<*const u64>);

#[cfg(target_arch = "x86_64")]
impl Ahead {
    /// Starts to load the words `start..start + len` into L2.
    #[inline(always)]
    fn prefetch(self, start: usize, len: usize) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let Self(Some(row)) = self else { return };
        for line in (start..start + len).step_by(8) {
            // SAFETY: a prefetch does not read in the sense of the language and ignores addresses that are not mapped.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(row.wrapping_add(line).cast()) }
        }
    }
}

/// Shape of a block of sums of products.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) rows: usize,
    pub(crate) terms: usize,
    pub(crate) columns: usize,
    /// Words from one output to the next.
    pub(crate) stride: usize,
    /// First word of the eight.
    pub(crate) at: usize,
}

impl Block {
    /// The words of each output. For assertions.
    fn words<'a>(&self, out: &'a [u64]) -> impl Iterator<Item = &'a [u64]> {
        let at = self.at;
        out.chunks_exact(self.stride).take(self.rows * self.columns).map(move |row| &row[at..at + 8])
    }
}
