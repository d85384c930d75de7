//! Layouts and matrices that the tests share.

use aegis_nn::{Layout, Tensor};
use aegis_testing::Numbers;

/// One ciphertext an activation, four offset blocks of scores: 16 tokens, 4 heads of 4.
pub(crate) fn narrow(slots: usize) -> Layout {
    Layout::new(slots, 16, 16, 4, 32).expect("a layout")
}

/// Two ciphertexts an activation, heads and intermediate features that do not fill the last one: 16 tokens, 6
/// heads of 16.
pub(crate) fn wide(slots: usize) -> Layout {
    Layout::new(slots, 16, 96, 6, 100).expect("a layout")
}

/// Three token blocks, four offset blocks of scores each, in groups of two: tokens of 4 heads of 4 in blocks as large as
/// the slots hold.
pub(crate) fn long(slots: usize) -> Layout {
    Layout::new(slots, 3 * slots / 16, 16, 4, 32).expect("a layout").with_group(2)
}

/// Matrices of numbers.
pub(crate) trait Matrices {
    /// A matrix with entries in `[-size, size]`.
    fn tensor(&mut self, rows: usize, cols: usize, size: f64) -> Tensor;
}

impl Matrices for Numbers {
    fn tensor(&mut self, rows: usize, cols: usize, size: f64) -> Tensor {
        Tensor::new(rows, cols, self.vector(rows * cols, size)).expect("as many values as entries")
    }
}
