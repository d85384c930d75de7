//! Fast base conversion between RNS bases, with a centred representative.

use crate::{Basis, Factor, Modulus, Rns};

/// Constants of the conversion from one basis to another (Halevi, Polyakov, Shoup 2019, section 2.2).
///
/// With `Q = prod q_i`, `y_i = [x_i (Q/q_i)^-1] mod q_i` and `u = floor(1/2 + sum y_i / q_i)` the integer
/// `x = sum y_i (Q/q_i) - u Q` lies in `[-Q/2, Q/2]`; the conversion gives `x mod p` for each output prime p.
/// The sum is taken in `f64`, in the order of the basis and without fused multiply-add, so that every implementation
/// finds the same u; it differs from the exact one only within `len * 2^-52` of a tie.
#[derive(Clone, Debug)]
pub struct BaseConv {
    from: Vec<Modulus>,
    to: Vec<Modulus>,
    weights: Vec<u64>,
    reciprocals: Vec<f64>,
    /// Row-major: one row for each output prime.
    images: Vec<u64>,
    products: Vec<u64>,
}

impl BaseConv {
    /// The constants of the conversion `from -> to`. Panics when `from` is empty.
    pub fn new(rns: &Rns, from: &Basis, to: &Basis) -> Self {
        assert!(!from.is_empty(), "a base conversion from no limbs");
        let source: Vec<Modulus> = from.iter().map(|l| *rns.modulus(l)).collect();
        let target: Vec<Modulus> = to.iter().map(|l| *rns.modulus(l)).collect();
        // prod_{j != i} q_j modulo m
        let cofactor = |i: usize, m: &Modulus| {
            let others = source.iter().enumerate().filter(|&(j, _)| j != i);
            others.fold(1, |p, (_, q)| m.mul(p, m.reduce(q.value())))
        };
        let weights = source
            .iter()
            .enumerate()
            .map(|(i, q)| q.inv(cofactor(i, q)).expect("distinct primes are invertible modulo each other"))
            .collect();
        let mut images = Vec::with_capacity(source.len() * target.len());
        let mut products = Vec::with_capacity(target.len());
        for p in &target {
            images.extend((0..source.len()).map(|i| cofactor(i, p)));
            products.push(source.iter().fold(1, |m, q| p.mul(m, p.reduce(q.value()))));
        }
        let reciprocals = source.iter().map(|q| 1.0 / q.value() as f64).collect();
        Self { from: source, to: target, weights, reciprocals, images, products }
    }

    /// The input primes.
    pub fn from(&self) -> &[Modulus] {
        &self.from
    }

    /// The output primes.
    pub fn to(&self) -> &[Modulus] {
        &self.to
    }

    /// `(Q/q_i)^-1 mod q_i`: what makes `y_i` of input residue `i`.
    pub fn weight(&self, i: usize) -> Factor {
        Factor::new(self.weights[i], &self.from[i])
    }

    /// `1 / q_i`, rounded.
    pub fn reciprocals(&self) -> &[f64] {
        &self.reciprocals
    }

    /// `Q/q_i mod p` for each input prime `q_i` and the output prime `p` at `to`.
    pub fn images(&self, to: usize) -> &[u64] {
        &self.images[to * self.from.len()..][..self.from.len()]
    }

    /// `Q mod p` for the output prime at `to`.
    pub fn product(&self, to: usize) -> u64 {
        self.products[to]
    }

    /// The number of multiples of Q to take off, at most the number of input limbs. In: `y_i` in `[0, q_i)`.
    #[inline]
    pub fn overflow(&self, y: &[u64]) -> u64 {
        let sum = y.iter().zip(&self.reciprocals).fold(0.5, |s, (&y, r)| s + y as f64 * r);
        sum as u64
    }

    /// Converts one integer, given by its residues. In and out: canonical.
    pub fn convert(&self, x: &[u64]) -> Vec<u64> {
        assert_eq!(x.len(), self.from.len(), "residues of one integer");
        let y: Vec<u64> =
            x.iter().zip(&self.from).zip(&self.weights).map(|((&x, q), &w)| q.mul(x, w)).collect();
        let u = self.overflow(&y);
        let image = |(k, p): (usize, &Modulus)| {
            let sum = y.iter().zip(self.images(k)).fold(0, |s, (&y, &h)| p.add(s, p.mul(p.reduce(y), h)));
            p.sub(sum, p.mul(u % p.value(), self.products[k]))
        };
        self.to.iter().enumerate().map(image).collect()
    }
}
