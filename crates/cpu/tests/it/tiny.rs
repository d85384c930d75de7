//! Launches small enough for an interpreter: `cargo xtask miri` runs these. One thread, scalar code.

use std::sync::Arc;

use aegis_cpu::{Cpu, CpuOptions, Isa};
use aegis_hal::{Backend, Error, HostData, Kernel, Poly, Shape};
use aegis_ring::{Basis, Galois, LimbId, Rns};

fn device(memory_limit: Option<u64>) -> Cpu {
    let rns = Rns::new(3, &[97, 113, 193, 241]).unwrap();
    Cpu::with_options(
        Arc::new(rns),
        CpuOptions { threads: 1, isa: Some(Isa::Portable), memory_limit, ..CpuOptions::default() },
    )
    .unwrap()
}

/// Squares over all limbs.
fn small(dev: &Cpu, batch: usize, n: usize) -> Poly {
    let words: Vec<i64> = (0..(batch * n) as i64).map(|i| i * i - 9).collect();
    dev.upload(Shape::new(batch, (0..4).map(LimbId).collect(), n), HostData::coefficients(words)).unwrap()
}

/// The suite of `aegis-hal` says what is right and takes an interpreter too long; here fused kernels meet the primitive
/// ones.
#[test]
fn fused_kernels_agree_with_their_lowerings() {
    let dev = device(None);
    let (all, q): (Basis, Basis) = ((0..4).map(LimbId).collect(), (0..2).map(LimbId).collect());
    let special = all.minus(&q);
    let (x, weights, compact) = (small(&dev, 2, 8), small(&dev, 4, 8), small(&dev, 4, 1));
    let inner = |accumulate| Kernel::InnerProduct { terms: 2, accumulate };
    let down = Kernel::ModDown { from: special.clone() };
    for (kernel, limbs, ins) in [
        (inner(false), &all, &[weights.view(), x.view()][..]),
        (inner(true), &all, &[compact.view(), x.view()]),
        (Kernel::ModUp { from: q.clone() }, &special, &[x.view()]),
        (down.clone(), &q, &[x.view()]),
        (down, &q, &[]),
    ] {
        let [mut fused, mut lowered] = [small(&dev, 2, 8), small(&dev, 2, 8)];
        dev.launch(&kernel, limbs, fused.view_mut(), ins).unwrap();
        kernel.lower(&dev, limbs, lowered.view_mut(), ins).unwrap();
        assert_eq!(dev.download(fused.view()), dev.download(lowered.view()), "{kernel:?}");
    }
}

#[test]
fn kernels_that_undo_each_other() {
    let dev = device(None);
    let all: Basis = (0..4).map(LimbId).collect();
    let (mut x, y) = (small(&dev, 2, 8), small(&dev, 3, 8));
    let want = dev.download(x.view()).unwrap();
    let turn = |g: Galois| Kernel::Automorphism(g);
    let mut turned = dev.alloc(x.shape().clone()).unwrap();
    let g = Galois::rotation(1, 8);
    dev.launch(&turn(g), &all, turned.view_mut(), &[x.view()]).unwrap();
    dev.launch(&turn(g.inverse(8)), &all, x.view_mut(), &[turned.view()]).unwrap();
    dev.launch(&Kernel::Copy, &all, turned.slice_mut(1, 1), &[y.slice(2, 1)]).unwrap();
    dev.launch(&Kernel::ScalarMulAdd([1; 4].into()), &all, x.view_mut(), &[turned.slice(1, 1)]).unwrap();
    dev.launch(&Kernel::ScalarAdd([9; 4].into()), &all, turned.view_mut(), &[]).unwrap();
    dev.launch(&Kernel::Add, &all, x.slice_mut(1, 1), &[turned.slice(1, 1)]).unwrap();
    dev.launch(&Kernel::Sub, &all, x.slice_mut(1, 1), &[turned.slice(1, 1)]).unwrap();
    dev.launch(&Kernel::Sub, &all, x.view_mut(), &[y.slice(2, 1)]).unwrap();
    assert_eq!(dev.download(x.view()), Ok(want));
}

#[test]
fn a_lost_output_and_its_memory_used_again() {
    let q: Basis = [0, 1].map(LimbId).into_iter().collect();
    let dev = device(Some(2 * 128));
    let upload =
        |value| dev.upload(Shape::new(1, q.clone(), 8), HostData::residues(vec![value; 16])).unwrap();
    let (mut x, y) = (upload(3), upload(4));
    let mut lost = dev.alloc(Shape::new(1, q.clone(), 8)).unwrap();
    dev.launch(&Kernel::Add, &q, lost.view_mut(), &[x.view(), y.view()]).unwrap();
    assert_eq!(dev.sync(), Err(Error::OutOfMemory { asked: 128, limit: Some(256), live: 256 }));
    drop(y);
    dev.launch(&Kernel::Mul, &q, x.view_mut(), &[upload(5).view()]).unwrap();
    assert_eq!(dev.download(x.view()).unwrap(), [15; 16]);
}

#[test]
fn sums_of_more_terms_than_are_added_at_once() {
    let (dev, q, terms) = (device(None), Basis::new([LimbId(0)]), 1030);
    let upload =
        |n| dev.upload(Shape::new(terms, q.clone(), n), HostData::residues(vec![96; n * terms])).unwrap();
    for (n, weight_n) in [(1, 1), (8, 1)] {
        let mut out = dev.alloc(Shape::new(1, q.clone(), n)).unwrap();
        let kernel = Kernel::InnerProduct { terms, accumulate: false };
        dev.launch(&kernel, &q, out.view_mut(), &[upload(weight_n).view(), upload(n).view()]).unwrap();
        assert_eq!(dev.download(out.view()).unwrap(), vec![terms as u64 % 97; n]);
    }
}
