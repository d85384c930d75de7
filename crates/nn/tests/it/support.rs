//! Rings, layouts and numbers that the tests share.

use std::sync::Arc;

use aegis_ckks::{Context, Params, ParamsSpec};
use aegis_cpu::Cpu;
use aegis_nn::{Layout, Tensor};

/// A context on a small ring without security.
pub(crate) fn context(spec: ParamsSpec) -> Context {
    let params = Params::insecure(spec).expect("test parameters");
    let device = Cpu::new(params.rns().clone(), 2).expect("a device");
    Context::new(params, Arc::new(device)).expect("a context")
}

/// One ciphertext an activation, four offset blocks of scores: 16 tokens, 4 heads of 4.
pub(crate) fn narrow(slots: usize) -> Layout {
    Layout::new(slots, 16, 16, 4, 32).expect("a layout")
}

/// Two ciphertexts an activation, heads and intermediate features that do not fill the last one: 16 tokens, 6
/// heads of 16.
pub(crate) fn wide(slots: usize) -> Layout {
    Layout::new(slots, 16, 96, 6, 100).expect("a layout")
}

/// Numbers in `[-1, 1]` from a seed.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// A matrix with entries in `[-size, size]`.
    pub(crate) fn tensor(&mut self, rows: usize, cols: usize, size: f64) -> Tensor {
        let data = (0..rows * cols).map(|_| size * self.next()).collect();
        Tensor::new(rows, cols, data).expect("as many values as entries")
    }

    /// A vector with entries in `[-size, size]`.
    pub(crate) fn vector(&mut self, len: usize, size: f64) -> Vec<f64> {
        (0..len).map(|_| size * self.next()).collect()
    }
}
