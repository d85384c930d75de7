//! From counts to time.

use super::Totals;

/// What each thing that a [`Trace`](super::Trace) counts costs on one machine, in picoseconds: enough to compare two
/// ways of computing the same, not to predict a run. Integers, so that everyone who plans from a table plans the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCosts {
    /// A byte that a launch reads or writes.
    pub byte_ps: u64,
    /// A butterfly of a transform: a row of N words takes N/2 log2 N.
    pub butterfly_ps: u64,
    /// A product summed by a base conversion or an inner product.
    pub multiply_add_ps: u64,
    /// A byte uploaded: encoding it on the host.
    pub upload_byte_ps: u64,
}

impl KernelCosts {
    /// Nanoseconds of everything in `totals`, in a ring of this degree. Saturates.
    pub fn ns(&self, totals: &Totals, ring_n: usize) -> u64 {
        let butterflies = u128::from(totals.ntt_rows) * (ring_n as u128 / 2) * u128::from(ring_n.ilog2());
        let ps = u128::from(totals.bytes_touched) * u128::from(self.byte_ps)
            + butterflies * u128::from(self.butterfly_ps)
            + u128::from(totals.multiply_adds) * u128::from(self.multiply_add_ps)
            + u128::from(totals.upload_bytes) * u128::from(self.upload_byte_ps);
        u64::try_from(ps / 1000).unwrap_or(u64::MAX)
    }
}
