//! The same bits with every instruction set and every number of threads.

use std::sync::Arc;

use aegis_cpu::{Cpu, Isa};
use aegis_hal::{Backend, HostData, Kernel, Poly, Result, Shape};
use aegis_ring::{Basis, Galois, LimbId, Rns};
use proptest::prelude::*;

use crate::conformance::{cpu, ring};

/// A program that touches every kernel, on data from `seed`; all that it leaves.
fn program(dev: &Cpu, seed: u64, terms: usize, run: usize) -> Result<Vec<u64>> {
    let rns: &Arc<Rns> = dev.rns();
    let n = rns.n();
    let all: Basis = (0..rns.moduli().len() as u16).map(LimbId).collect();
    let special: Basis = all.iter().skip(4).collect();
    let q = all.minus(&special);
    let signed = |salt: u64, words: usize| -> HostData {
        let word = |i: u64| (i ^ seed ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        HostData::coefficients(
            (0..words as u64)
                .map(|i| word(i).wrapping_mul(i | 1).cast_signed() >> (i % 60))
                .collect::<Vec<_>>(),
        )
    };
    let upload = |salt, batch, basis: &Basis, n| -> Result<Poly> {
        dev.upload(Shape::new(batch, basis.clone(), n), signed(salt, batch * n))
    };
    let mut x = upload(1, 2 * terms, &all, n)?;
    let weights = upload(2, 5 * terms, &all, n / run)?;
    let mut sums = upload(3, 10, &all, n)?;
    let inner = Kernel::InnerProduct { terms, accumulate: seed.is_multiple_of(2) };
    dev.launch(&inner, &all, sums.view_mut(), &[weights.view(), x.view()])?;
    dev.launch(&Kernel::Mul, &all, x.slice_mut(0, 1), &[sums.slice(3, 1)])?;
    dev.launch(&Kernel::MulAdd, &all, x.slice_mut(0, 2), &[weights.slice(0, 1), sums.slice(4, 2)])?;
    let c = all.iter().map(|l| seed % rns.modulus(l).value()).collect();
    dev.launch(&Kernel::ScalarMulAdd(c), &all, x.slice_mut(0, 2), &[sums.slice(8, 2)])?;
    let mut down = dev.alloc(Shape::new(10, q.clone(), n))?;
    dev.run(&Kernel::ModDown { from: special.clone() }, &q, down.view_mut(), &[sums.view()])?;
    let mut turned = dev.alloc(Shape::new(10, q.clone(), n))?;
    let g = Kernel::Automorphism(Galois::rotation(seed as i64 % 100, n));
    dev.launch(&g, &q, turned.view_mut(), &[down.view()])?;
    dev.launch(&Kernel::Intt, &q, turned.view_mut(), &[])?;
    let mut up = dev.alloc(Shape::new(10, special.clone(), n))?;
    dev.run(&Kernel::ModUp { from: q }, &special, up.view_mut(), &[turned.view()])?;
    let mut words = dev.download(x.slice(0, 2))?;
    words.extend(dev.download(turned.view())?);
    words.extend(dev.download(up.view())?);
    Ok(words)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn same_bits_everywhere(seed: u64, log_n in 3u32..12, terms in 1usize..40, run_log2 in 0u32..8) {
        let run = 1 << run_log2.min(log_n);
        let reference = cpu(ring(log_n), 1, Isa::Portable);
        let want = program(&reference, seed, terms, run).unwrap();
        for isa in Isa::available() {
            for threads in [1, 2, 5] {
                let dev = cpu(ring(log_n), threads, isa);
                let have = program(&dev, seed, terms, run).unwrap();
                prop_assert!(have == want, "{isa:?}, {threads} threads, N = 2^{log_n}");
            }
        }
    }
}

/// The vector code adds so many halves of products before it reduces, and no more.
#[test]
fn inner_products_of_thousands_of_terms_have_equal_bits() {
    const LOG_N: u32 = 4;
    let (rns, n) = (ring(LOG_N), 1usize << LOG_N);
    let basis: Basis = [0, 2].map(LimbId).into_iter().collect();
    let largest = |batch: usize, n: usize| -> HostData {
        let row = |l| vec![rns.modulus(l).value() - 1; n];
        HostData::residues((0..batch).flat_map(|_| basis.iter().flat_map(row)).collect())
    };
    for terms in [1024, 3999, 4000, 4001, 9000] {
        for (weight_n, accumulate) in [(n, false), (n, true), (n / 2, true), (2, false), (2, true), (1, true)]
        {
            // The largest residues, which overflow first: each product is 1, and the old content -1.
            let want: Vec<u64> = (0..6)
                .flat_map(|_| basis.iter())
                .flat_map(|l| vec![(terms - u64::from(accumulate)) % rns.modulus(l).value(); n])
                .collect();
            for isa in Isa::available() {
                let dev = cpu(Arc::clone(&rns), 2, isa);
                let terms = terms as usize;
                let upload =
                    |batch, n| dev.upload(Shape::new(batch, basis.clone(), n), largest(batch, n)).unwrap();
                let (mut out, w, x) = (upload(6, n), upload(3 * terms, weight_n), upload(2 * terms, n));
                let kernel = Kernel::InnerProduct { terms, accumulate };
                dev.launch(&kernel, &basis, out.view_mut(), &[w.view(), x.view()]).unwrap();
                let have = dev.download(out.view()).unwrap();
                assert!(have == want, "{isa:?}, {terms} terms, weights of {weight_n}, {accumulate}");
            }
        }
    }
}
