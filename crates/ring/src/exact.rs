//! The slow exact reference: big integers, schoolbook products, point evaluation. The oracle of every fast path.

use num_bigint::{BigInt, Sign};

use crate::{Basis, Modulus, Rns, ntt::bit_reverse};

/// The product of the primes of `basis`.
pub fn product(rns: &Rns, basis: &Basis) -> BigInt {
    basis.iter().fold(BigInt::from(1), |p, l| p * rns.modulus(l).value())
}

/// The integer in `(-Q/2, Q/2]` with these residues, for the product Q of `basis` (Chinese remainders).
pub fn compose(rns: &Rns, basis: &Basis, residues: &[u64]) -> BigInt {
    assert_eq!(residues.len(), basis.len(), "one residue a limb");
    let q = product(rns, basis);
    let mut x = BigInt::ZERO;
    for (limb, &r) in basis.iter().zip(residues) {
        let m = rns.modulus(limb);
        let rest: BigInt = &q / m.value();
        let inverse = m.inv(residue(&rest, m)).expect("distinct primes are invertible modulo each other");
        x += rest * m.mul(inverse, r);
    }
    x %= &q;
    if &x * 2 > q { x - q } else { x }
}

/// `x mod q`, in `[0, q)`.
pub fn residue(x: &BigInt, q: &Modulus) -> u64 {
    let r: BigInt = x % q.value();
    let r = if r.sign() == Sign::Minus { r + q.value() } else { r };
    r.iter_u64_digits().next().unwrap_or(0)
}

/// `a * b` in `Z_q[X]/(X^n + 1)` by the schoolbook. In and out: `[0, q)`.
pub fn negacyclic_product(a: &[u64], b: &[u64], q: &Modulus) -> Vec<u64> {
    let n = a.len();
    let mut out = vec![0; n];
    for (i, &x) in a.iter().enumerate() {
        for (j, &y) in b.iter().enumerate() {
            let (k, p) = ((i + j) % n, q.mul(x, y));
            out[k] = if i + j < n { q.add(out[k], p) } else { q.sub(out[k], p) };
        }
    }
    out
}

/// The values of a polynomial at `psi^(2 brv(j) + 1)`, by Horner's rule. In and out: `[0, q)`.
pub fn evaluate(coefficients: &[u64], psi: u64, q: &Modulus) -> Vec<u64> {
    let n = coefficients.len();
    let horner = |x: u64| coefficients.iter().rev().fold(0, |s, &c| q.add(q.mul(s, x), c));
    (0..n).map(|j| horner(q.pow(psi, 2 * bit_reverse(j, n.ilog2()) as u64 + 1))).collect()
}

/// `f(X^g)` of a polynomial in coefficient form. In and out: `[0, q)`.
pub fn automorphism(coefficients: &[u64], g: u32, q: &Modulus) -> Vec<u64> {
    let n = coefficients.len();
    let mut out = vec![0; n];
    for (i, &c) in coefficients.iter().enumerate() {
        let e = (i as u64 * u64::from(g) % (2 * n as u64)) as usize;
        out[e % n] = if e < n { c } else { q.neg(c) };
    }
    out
}

/// The residues over `to` of the centred integer with these residues over `from`.
pub fn base_conv(rns: &Rns, from: &Basis, to: &Basis, residues: &[u64]) -> Vec<u64> {
    let x = compose(rns, from, residues);
    to.iter().map(|l| residue(&x, rns.modulus(l))).collect()
}

/// `round(x / P)` modulo each of `to`, for the integer with residues `own` over `to` and `rest` over `from`, P the
/// product of `from`.
pub fn divide_round(rns: &Rns, from: &Basis, to: &Basis, rest: &[u64], own: &[u64]) -> Vec<u64> {
    let remainder = compose(rns, from, rest);
    let p = product(rns, from);
    let divide = |(limb, &x)| {
        let q = rns.modulus(limb);
        let inverse = q.inv(residue(&p, q)).expect("distinct primes are invertible modulo each other");
        q.mul(q.sub(x, residue(&remainder, q)), inverse)
    };
    to.iter().zip(own).map(divide).collect()
}
