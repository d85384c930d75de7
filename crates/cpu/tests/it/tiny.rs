//! Launches small enough for an interpreter: `cargo xtask miri` runs these. One thread, scalar code.

use std::sync::Arc;

use aegis_cpu::{Cpu, CpuOptions, Isa};
use aegis_hal::{Backend, Device, Error, Host, Kernel, Shape, conformance};
use aegis_ring::{Basis, LimbId, Rns};

fn device(memory_limit: Option<u64>) -> Cpu {
    let rns = Rns::new(3, &[97, 113, 193, 241]).unwrap();
    Cpu::with_options(Arc::new(rns), CpuOptions { threads: 1, isa: Some(Isa::Portable), memory_limit })
        .unwrap()
}

#[test]
fn every_kernel_in_a_ring_of_eight_words() {
    let dev: Device = Arc::new(device(None));
    conformance::check(&dev, 1).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_lost_output_and_its_memory_used_again() {
    let q: Basis = [0, 1].map(LimbId).into_iter().collect();
    let dev = device(Some(2 * 128));
    let upload =
        |value| dev.upload(Shape::new(1, q.clone(), 8), Host::Signed(vec![value; 8].into())).unwrap();
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
        |n| dev.upload(Shape::new(terms, q.clone(), n), Host::Residues(vec![96; n * terms])).unwrap();
    for weight_n in [8, 1] {
        let mut out = dev.alloc(Shape::new(1, q.clone(), 8)).unwrap();
        let kernel = Kernel::InnerProduct { terms, accumulate: false };
        dev.launch(&kernel, &q, out.view_mut(), &[upload(weight_n).view(), upload(8).view()]).unwrap();
        assert_eq!(dev.download(out.view()).unwrap(), [terms as u64 % 97; 8]);
    }
}
