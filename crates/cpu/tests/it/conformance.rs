//! The suite of `aegis-hal` on every number of threads.

use std::sync::Arc;

use aegis_cpu::{Cpu, Isa};
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
    for isa in Isa::available() {
        for log_n in [3, 4, 6, 7, 8] {
            for threads in [1, 3] {
                let dev: Device = Arc::new(Cpu::with_isa(ring(log_n), threads, isa).unwrap());
                conformance::check(&dev, 1).unwrap_or_else(|e| panic!("{isa:?}, {threads} threads: {e}"));
            }
        }
    }
}

#[test]
fn larger_rings_agree_with_scalar_transforms() {
    for isa in Isa::available() {
        for log_n in [9, 10, 13] {
            let dev: Device = Arc::new(Cpu::with_isa(ring(log_n), 2, isa).unwrap());
            conformance::check(&dev, 1).unwrap_or_else(|e| panic!("{isa:?}: {e}"));
        }
    }
}
