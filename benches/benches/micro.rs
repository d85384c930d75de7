//! Micro-benches of `ring` and of single kernels, with criterion: `cargo bench -p aegis-benches`.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::sync::Arc;

use aegis_cpu::Cpu;
use aegis_hal::{Backend, HostData, Kernel, Shape};
use aegis_ring::{Basis, LimbId, Modulus, NttTable, Rns, primes};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn prime(log_n: u32) -> u64 {
    primes::nearest_ntt_prime(f64::from(49).exp2(), 1 << 48..1 << 50, log_n, &[]).expect("such primes exist")
}

fn modulus(c: &mut Criterion) {
    let q = Modulus::new(prime(16)).expect("a prime below 2^50");
    let x: Vec<u64> = (0..1024u64).map(|i| q.value() - 1 - i * i).collect();
    let mut group = c.benchmark_group("modulus");
    group.throughput(Throughput::Elements(1024));
    group.bench_function("mul", |b| b.iter(|| x.iter().fold(1, |m, &x| q.mul(m, x))));
    group.finish();
}

fn ntt(c: &mut Criterion) {
    let mut group = c.benchmark_group("ntt");
    for log_n in [12, 14, 16] {
        group.throughput(Throughput::Elements(1 << log_n));
        let rns = Arc::new(Rns::new(log_n, &[prime(log_n)]).expect("a ring"));
        let table = NttTable::new(&rns.moduli()[0], log_n).expect("a table");
        let mut words: Vec<u64> = (0..1 << log_n).collect();
        group.bench_function(BenchmarkId::new("portable", log_n), |b| b.iter(|| table.forward(&mut words)));
        let device = Cpu::new(rns, 1).expect("a device");
        let basis = Basis::new([LimbId(0)]);
        let shape = Shape::new(1, basis.clone(), 1 << log_n);
        let mut poly = device.upload(shape, HostData::residues(words)).expect("memory");
        group.bench_function(BenchmarkId::new("device", log_n), |b| {
            b.iter(|| {
                device.launch(&Kernel::Ntt, &basis, poly.view_mut(), &[]).expect("a fitting launch");
                device.sync().expect("a healthy device");
            });
        });
    }
    group.finish();
}

criterion_group!(micro, modulus, ntt);
criterion_main!(micro);
