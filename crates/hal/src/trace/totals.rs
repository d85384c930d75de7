//! What launches and buffers cost, counted without running anything.

use std::ops::{AddAssign, Sub};

use aegis_ring::Basis;

use super::{Launch, Operand};
use crate::{HostData, Kernel, Shape};

/// What one kernel did, over all its launches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Number of launches.
    pub launches: u64,
    /// Rows written: limbs times polynomials.
    pub rows: u64,
    /// As [`Totals::bytes_touched`].
    pub bytes_touched: u64,
    /// As [`Totals::multiply_adds`].
    pub multiply_adds: u64,
}

/// What a trace was asked for, over all kernels. A *row* is one limb of one polynomial. Numbers saturate.
///
/// All fields but the last two only grow: the difference of two totals is what happened in between. `live_bytes` and
/// `peak_bytes` say how a trace stands, and a difference keeps those of the later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Number of launches.
    pub launches: u64,
    /// Bytes of the rows that launches read and write, each row of an operand once in a launch: what it holds before
    /// and after is counted twice where the kernel works in place or accumulates. A batch of one that serves many
    /// polynomials counts once, a compact row with its own words. What a fused kernel holds in between does not count.
    pub bytes_touched: u64,
    /// Rows of N words that were transformed, by `ntt`, `intt`, within a fused kernel or an upload. Rows of compact polynomials
    /// cost next to nothing and do not count.
    pub ntt_rows: u64,
    /// Products of words that base conversions (`base_conv`, `mod_up`, `mod_down`) and `inner_product` sum. Word-by-word
    /// kernels are bound by memory: their bytes say enough.
    pub multiply_adds: u64,
    /// Launches that read limbs which they do not write ([`Kernel::gathers`]).
    pub gathers: u64,
    /// Rows that they read so.
    pub gathered_rows: u64,
    /// Number of uploads. Their buffers count as allocations too.
    pub uploads: u64,
    /// Bytes that left the host: those of coefficients before they are reduced modulo every limb.
    pub upload_bytes: u64,
    /// Number of downloads.
    pub downloads: u64,
    /// Bytes that came to the host.
    pub download_bytes: u64,
    /// Bytes that left for other devices.
    pub exported_bytes: u64,
    /// Bytes that came from other devices.
    pub adopted_bytes: u64,
    /// Buffers made.
    pub allocations: u64,
    /// Buffers dropped.
    pub frees: u64,
    /// Bytes of the buffers that were made and not dropped yet, keys and ciphertexts alike.
    pub live_bytes: u64,
    /// Most live bytes since the trace was made, cleared, or told to look for [another peak](super::Trace::reset_peak).
    pub peak_bytes: u64,
}

impl Totals {
    /// What one launch adds, in a ring of this degree.
    pub(super) fn of_launch(launch: &Launch, ring_n: usize) -> Self {
        let Launch { kernel, limbs, out, ins } = launch;
        let facts = kernel.facts();
        let (polys, n, written) = (out.count as u64, out.n as u64, limbs.len() as u64);
        let from = facts.gathers.map_or(0, |from| from.len() as u64);

        let in_place = (ins.len() < facts.inputs).then_some(out);
        let old = if facts.accumulates { bytes(out, limbs) } else { 0 };
        let read = ins.iter().chain(in_place).map(|operand| bytes(operand, &operand.limbs));
        let bytes_touched = read.fold(bytes(out, limbs).saturating_add(old), u64::saturating_add);
        let transformed = match kernel {
            _ if out.n < ring_n => 0,
            Kernel::Ntt | Kernel::Intt | Kernel::ModUp { .. } => written,
            Kernel::ModDown { .. } => written + from,
            _ => 0,
        };
        let terms = match kernel {
            Kernel::InnerProduct { terms, .. } => *terms as u64,
            _ => from,
        };
        Self {
            launches: 1,
            bytes_touched,
            ntt_rows: product(&[polys, transformed]),
            multiply_adds: product(&[polys, written, n, terms]),
            gathers: facts.gathers.is_some().into(),
            gathered_rows: product(&[polys, from]),
            ..Self::default()
        }
    }

    /// What one upload adds, but for its allocation.
    pub(super) fn of_upload(data: &HostData, shape: &Shape, ring_n: usize) -> Self {
        let [batch, limbs, n] = [shape.batch(), shape.basis().len(), shape.n()].map(|size| size as u64);
        // By the shape and not by the data: that of a recorder of shapes may have no words.
        let (rows, transformed) = match data {
            HostData::Coefficients(_) if shape.n() == ring_n => (batch, limbs),
            HostData::Coefficients(_) => (batch, 0),
            HostData::Residues(_) => (product(&[batch, limbs]), 0),
        };
        let upload_bytes = product(&[rows, n, size_of::<u64>() as u64]);
        Self { uploads: 1, upload_bytes, ntt_rows: product(&[batch, transformed]), ..Self::default() }
    }

    /// A buffer was made.
    pub(super) fn allocated(&mut self, bytes: u64) {
        self.allocations += 1;
        self.live_bytes = self.live_bytes.saturating_add(bytes);
        self.peak_bytes = self.peak_bytes.max(self.live_bytes);
    }

    /// A buffer was dropped.
    pub(super) fn freed(&mut self, bytes: u64) {
        self.frees += 1;
        self.live_bytes = self.live_bytes.saturating_sub(bytes);
    }

    /// Nothing happened yet to the buffers that there are.
    pub(super) fn cleared(self) -> Self {
        Self { live_bytes: self.live_bytes, peak_bytes: self.live_bytes, ..Self::default() }
    }

    /// Combines every field that only grows; the others are those of `self`.
    fn zip(self, other: Self, f: fn(u64, u64) -> u64) -> Self {
        Self {
            launches: f(self.launches, other.launches),
            bytes_touched: f(self.bytes_touched, other.bytes_touched),
            ntt_rows: f(self.ntt_rows, other.ntt_rows),
            multiply_adds: f(self.multiply_adds, other.multiply_adds),
            gathers: f(self.gathers, other.gathers),
            gathered_rows: f(self.gathered_rows, other.gathered_rows),
            uploads: f(self.uploads, other.uploads),
            upload_bytes: f(self.upload_bytes, other.upload_bytes),
            downloads: f(self.downloads, other.downloads),
            download_bytes: f(self.download_bytes, other.download_bytes),
            exported_bytes: f(self.exported_bytes, other.exported_bytes),
            adopted_bytes: f(self.adopted_bytes, other.adopted_bytes),
            allocations: f(self.allocations, other.allocations),
            frees: f(self.frees, other.frees),
            ..self
        }
    }
}

/// Bytes of these limbs of an operand.
fn bytes(operand: &Operand, limbs: &Basis) -> u64 {
    product(&[operand.count as u64, limbs.len() as u64, operand.n as u64, size_of::<u64>() as u64])
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product: u64, &f| product.saturating_mul(f))
}

impl AddAssign for Totals {
    /// Adds what happened; how the trace stands is left as it is.
    fn add_assign(&mut self, more: Self) {
        *self = self.zip(more, u64::saturating_add);
    }
}

impl Sub for Totals {
    type Output = Self;

    /// What happened since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }
}
