//! The suite of `aegis-hal` on every number of threads.

use std::sync::Arc;

use aegis_cpu::Cpu;
use aegis_hal::{Device, conformance};
use aegis_ring::{Rns, primes};

/// Primes of all sizes that programs use, some at the upper bound of 2^50.
pub(crate) fn ring(log_n: u32) -> Arc<Rns> {
    let mut taken = vec![];
    for bits in [50, 40, 28, 28, 50, 36] {
        let range = 1 << (bits - 1)..1 << bits;
        let target = (range.end - 1) as f64;
        taken.push(primes::nearest_ntt_prime(target, range, log_n, &taken).unwrap());
    }
    Arc::new(Rns::new(log_n, &taken).unwrap())
}

#[test]
fn every_kernel_agrees_with_the_reference() {
    for log_n in [3, 4, 6] {
        for threads in [1, 3] {
            let dev: Device = Arc::new(Cpu::new(ring(log_n), threads).unwrap());
            for seed in 1..4 {
                conformance::check(&dev, seed).unwrap();
            }
        }
    }
}

#[test]
fn larger_rings_agree_with_scalar_transforms() {
    let dev: Device = Arc::new(Cpu::new(ring(12), 2).unwrap());
    conformance::check(&dev, 1).unwrap();
}
