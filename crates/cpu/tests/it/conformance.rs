//! The suite of `aegis-hal` on every number of threads.

use std::sync::Arc;

use aegis_cpu::{Cpu, CpuOptions, Isa};
use aegis_hal::{
    Backend, Device, Error, HostData, Kernel, Memory, Parcel, Poly, Result, Shape, View, ViewMut, conformance,
};
use aegis_ring::{Basis, LimbId, NttTable, Rns, primes};

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

/// A device on this instruction set.
pub(crate) fn cpu(rns: Arc<Rns>, threads: usize, isa: Isa) -> Cpu {
    Cpu::with_options(rns, CpuOptions { threads, isa: Some(isa), ..CpuOptions::default() }).unwrap()
}

#[test]
fn every_kernel_agrees_with_the_reference() {
    for isa in Isa::available() {
        for log_n in [3, 4, 6, 7, 8] {
            for threads in [1, 3] {
                let dev: Device = Arc::new(cpu(ring(log_n), threads, isa));
                conformance::check(&dev, 1).unwrap_or_else(|e| panic!("{isa:?}, {threads} threads: {e}"));
            }
        }
    }
}

#[test]
fn one_worker_behind_a_queue_conforms() {
    let options = CpuOptions { threads: 1, queue: true, ..CpuOptions::default() };
    let dev: Device = Arc::new(Cpu::with_options(ring(6), options).unwrap());
    conformance::check(&dev, 1).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn larger_rings_agree_with_scalar_transforms() {
    for isa in Isa::available() {
        for log_n in [9, 12] {
            let dev: Device = Arc::new(cpu(ring(log_n), 2, isa));
            conformance::check(&dev, 1).unwrap_or_else(|e| panic!("{isa:?}: {e}"));
        }
    }
}

/// A device without fused kernels: [`Backend::run`] lowers them, and primitives alone reach the CPU.
struct Unfused(Cpu);

impl Backend for Unfused {
    fn rns(&self) -> &Arc<Rns> {
        self.0.rns()
    }

    fn alloc(&self, shape: Shape) -> Result<Poly> {
        self.0.alloc(shape)
    }

    fn upload(&self, shape: Shape, data: HostData) -> Result<Poly> {
        self.0.upload(shape, data)
    }

    fn download(&self, view: View<'_>) -> Result<Vec<u64>> {
        self.0.download(view)
    }

    fn export(&self, view: View<'_>, limbs: &Basis) -> Result<Parcel> {
        self.0.export(view, limbs)
    }

    fn adopt(&self, out: ViewMut<'_>, limbs: &Basis, parcel: &Parcel) -> Result<()> {
        self.0.adopt(out, limbs, parcel)
    }

    fn launch(&self, kernel: &Kernel, limbs: &Basis, out: ViewMut<'_>, ins: &[View<'_>]) -> Result<()> {
        if kernel.is_fused() {
            kernel.check(self.rns(), limbs, &out, ins)?;
            return Err(Error::Unsupported(kernel.name()));
        }
        self.0.launch(kernel, limbs, out, ins)
    }

    fn sync(&self) -> Result<()> {
        self.0.sync()
    }

    fn memory(&self) -> Memory {
        self.0.memory()
    }
}

/// A lowering is an algorithm of its own: the reference evaluates a fused kernel directly.
#[test]
fn lowerings_agree_with_the_reference() {
    for log_n in [4, 8] {
        let dev: Device = Arc::new(Unfused(Cpu::new(ring(log_n), 2).unwrap()));
        conformance::check(&dev, 1).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// Every plan of passes: the large sizes are compared with the scalar transform alone.
#[test]
fn transforms_of_every_size_agree_with_the_scalar_one() {
    for log_n in 3..=17 {
        let (rns, n) = (ring(log_n), 1 << log_n);
        let basis: Basis = [0, 1, 2].map(LimbId).into_iter().collect();
        let word = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(i | 1);
        let row = |q: u64| (0..n as u64).map(move |i| if i % 5 == 0 { q - 1 } else { word(i) % q });
        let words: Vec<u64> = basis.iter().flat_map(|l| row(rns.modulus(l).value())).collect();
        let mut want = words.clone();
        for (row, limb) in want.chunks_exact_mut(n).zip(basis.iter()) {
            NttTable::new(rns.modulus(limb), log_n).unwrap().forward(row);
        }
        for isa in Isa::available() {
            let dev = cpu(Arc::clone(&rns), 2, isa);
            let shape = Shape::new(1, basis.clone(), n);
            let mut x = dev.upload(shape, HostData::residues(words.clone())).unwrap();
            dev.launch(&Kernel::Ntt, &basis, x.view_mut(), &[]).unwrap();
            assert!(dev.download(x.view()).unwrap() == want, "{isa:?}, forward, N = 2^{log_n}");
            dev.launch(&Kernel::Intt, &basis, x.view_mut(), &[]).unwrap();
            assert!(dev.download(x.view()).unwrap() == words, "{isa:?}, inverse, N = 2^{log_n}");
        }
    }
}
