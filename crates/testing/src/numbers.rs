//! Numbers from a seed, and how far results are from them.

use num_complex::Complex64;

/// A stream of numbers in `[-1, 1)`: SplitMix64 (Steele et al. 2014), reproducible without a dependency.
#[derive(Clone, Debug)]
pub struct Numbers {
    state: u64,
}

impl Numbers {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "a stream without an end has no `None`")]
    pub fn next(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// A vector with entries in `[-size, size]`.
    pub fn vector(&mut self, len: usize, size: f64) -> Vec<f64> {
        (0..len).map(|_| size * self.next()).collect()
    }
}

/// The first numbers of a seed.
pub fn uniform(count: usize, seed: u64) -> Vec<f64> {
    Numbers::new(seed).vector(count, 1.0)
}

/// Complex numbers of a seed, both parts in `[-1, 1)`.
pub fn uniform_complex(count: usize, seed: u64) -> Vec<Complex64> {
    uniform(2 * count, seed).chunks(2).map(|parts| Complex64::new(parts[0], parts[1])).collect()
}

/// Real numbers as complex ones.
pub fn complex(values: &[f64]) -> Vec<Complex64> {
    values.iter().map(|&v| Complex64::new(v, 0.0)).collect()
}

/// The largest distance between `got` and the periodic repetition of `want`.
pub fn distance(got: &[Complex64], want: &[Complex64]) -> f64 {
    got.iter().enumerate().map(|(i, z)| (z - want[i % want.len()]).norm()).fold(0.0, f64::max)
}
