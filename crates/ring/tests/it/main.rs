//! Tables against the exact reference.

use aegis_ring::{
    BaseConv, Basis, Error, ErrorKind, Galois, LimbId, Modulus, NttTable, Rns, bit_reverse, exact, primes,
};
use proptest::prelude::*;

/// An NTT prime of about `bits` bits.
fn prime(bits: u32, log_n: u32, taken: &[u64]) -> u64 {
    let range = 1 << (bits - 1)..1 << bits;
    primes::nearest_ntt_prime((range.end - 1) as f64, range, log_n, taken).unwrap()
}

fn table(bits: u32, log_n: u32) -> NttTable {
    NttTable::new(&Modulus::new(prime(bits, log_n, &[])).unwrap(), log_n).unwrap()
}

fn residues(seed: u64, n: usize, q: u64) -> Vec<u64> {
    let word = |i: u64| (i ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(i | 1);
    (0..n as u64).map(|i| if i % 9 == 8 { q - 1 } else { word(i) % q }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_map_is_a_rotation_and_perhaps_a_conjugation(steps: i64, conjugates: bool, log_n in 1u32..=17) {
        let (n, quarter) = (1 << log_n, 1 << log_n >> 2);
        let rotation = Galois::rotation(steps, n);
        let map = if conjugates { rotation.then(Galois::conjugation(n), n) } else { rotation };
        let (found, conjugated) = map.to_rotation(n);
        prop_assert_eq!(Galois::rotation(found, n), rotation);
        prop_assert_eq!(conjugated, conjugates);
        prop_assert!(-quarter < found && found <= quarter || found == 0, "{} at N = {}", found, n);
    }

    #[test]
    fn transforms_evaluate_and_multiply(seed: u64, log_n in 0u32..8, bits in 12u32..=50) {
        let t = table(bits.max(log_n + 6), log_n.max(1));
        let (q, n) = (t.modulus(), 1 << log_n.max(1));
        let (a, b) = (residues(seed, n, q.value()), residues(seed ^ 1, n, q.value()));
        let (mut fa, mut fb) = (a.clone(), b.clone());
        t.forward(&mut fa);
        t.forward(&mut fb);
        prop_assert_eq!(&fa, &exact::evaluate(&a, t.psi(), q));
        let mut product: Vec<u64> = fa.iter().zip(&fb).map(|(&x, &y)| q.mul(x, y)).collect();
        t.inverse(&mut product);
        prop_assert_eq!(product, exact::negacyclic_product(&a, &b, q));
        t.inverse(&mut fa);
        prop_assert_eq!(fa, a);
    }

    #[test]
    fn permutations_are_galois_maps(seed: u64, log_n in 1u32..8, g: u64) {
        let t = table(40, log_n);
        let (q, n) = (t.modulus(), 1 << log_n);
        let g = Galois::from_exponent(g | 1, n).unwrap();
        let a = residues(seed, n, q.value());
        let (mut values, mut want) = (a.clone(), exact::automorphism(&a, g.exponent(), q));
        t.forward(&mut values);
        t.forward(&mut want);
        let have: Vec<u64> = g.permutation(n).iter().map(|&i| values[i as usize]).collect();
        prop_assert_eq!(have, want);
    }

    #[test]
    fn base_conversion_is_exact(seed: u64, from in 1usize..12, to in 1usize..4) {
        let mut taken = vec![];
        for i in 0..from + to {
            taken.push(prime([50, 28, 40, 33][i % 4], 4, &taken));
        }
        let rns = Rns::new(4, &taken).unwrap();
        let ids = |range: std::ops::Range<usize>| range.map(|i| LimbId(i as u16)).collect::<Basis>();
        let (from, to) = (ids(0..from), ids(from..from + to));
        let conversion = BaseConv::new(&rns, &from, &to);
        let mut words = residues(seed, from.len() * 8, u64::MAX).into_iter();
        for _ in 0..8 {
            let x: Vec<u64> = from.iter().map(|l| words.next().unwrap() % rns.modulus(l).value()).collect();
            prop_assert_eq!(conversion.convert(&x), exact::base_conv(&rns, &from, &to, &x));
        }
        // Small integers of both signs, as rounding errors are.
        for x in [0i64, 1, -1, 12345, -98765] {
            let residues: Vec<u64> = from.iter().map(|l| rns.modulus(l).from_signed(x)).collect();
            let want: Vec<u64> = to.iter().map(|l| rns.modulus(l).from_signed(x)).collect();
            prop_assert_eq!(conversion.convert(&residues), want);
        }
    }
}

#[test]
fn smaller_rings_use_a_prefix() {
    let large = table(50, 10);
    let q = large.modulus();
    for log_n in 1..10 {
        let small = NttTable::new(q, log_n).unwrap();
        assert_eq!(small.psi(), q.pow(large.psi(), 1 << (10 - log_n)), "2^{log_n}");
        assert_eq!(small.values(), &large.values()[..1 << log_n], "2^{log_n}");
        let a = residues(3, 1 << log_n, q.value());
        let (mut x, mut y) = (a.clone(), a);
        small.forward(&mut x);
        large.forward(&mut y);
        assert_eq!(x, y, "2^{log_n}");
    }
}

#[test]
fn the_inverse_reads_the_table_backwards() {
    let t = table(50, 6);
    let q = t.modulus();
    for m in [1, 2, 4, 8, 16, 32] {
        for i in 0..m {
            let inverse = q.inv(t.values()[m + i]).unwrap();
            assert_eq!(inverse, q.neg(t.values()[2 * m - 1 - i]), "m = {m}, i = {i}");
            assert_eq!(t.values()[m + i], q.pow(t.psi(), bit_reverse(m + i, 6) as u64));
        }
    }
}

#[test]
fn compact_polynomials_are_runs() {
    // f(X) = g(X^4) in evaluation form is g with every word four times.
    let (large, small) = (table(50, 8), 6);
    let q = large.modulus();
    let g = residues(5, 1 << small, q.value());
    let mut f = vec![0; 1 << 8];
    g.iter().enumerate().for_each(|(i, &c)| f[4 * i] = c);
    let mut values = g;
    large.forward(&mut values);
    large.forward(&mut f);
    assert_eq!(f, values.iter().flat_map(|&v| [v; 4]).collect::<Vec<_>>());
}

#[test]
fn rotations_are_named_by_their_steps() {
    for n in [8, 16, 1 << 16] {
        for steps in [0, 1, 2, -1, n as i64 / 4] {
            assert_eq!(Galois::rotation(steps, n).to_rotation(n), (steps, false), "N = {n}");
        }
        assert_eq!(Galois::conjugation(n).to_rotation(n), (0, true), "N = {n}");
    }
}

#[test]
fn moduli_that_are_none_are_the_callers_fault() {
    let refused = Rns::new(3, &[97, 97]).unwrap_err();
    assert!(matches!(refused, Error::Duplicate(97)), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Input);
}
