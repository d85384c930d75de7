//! A ring `Z_Q[X]/(X^N + 1)` in residue number system form.

use crate::{Basis, Error, LimbId, Modulus};

/// The degree and the primes that all polynomials of one context share.
#[derive(Clone, Debug, PartialEq)]
pub struct Rns {
    log_n: u32,
    moduli: Vec<Modulus>,
}

impl Rns {
    /// A ring of degree `2^log_n` over these distinct primes, each `1 mod 2N` and below `2^50`.
    pub fn new(log_n: u32, primes: &[u64]) -> Result<Self, Error> {
        if !(3..=17).contains(&log_n) {
            return Err(Error::Degree(log_n));
        }
        let mut moduli = Vec::with_capacity(primes.len());
        for (i, &prime) in primes.iter().enumerate() {
            if prime % (2 << log_n) != 1 {
                return Err(Error::NoRoot { prime, log_n });
            }
            if primes[..i].contains(&prime) {
                return Err(Error::Duplicate(prime));
            }
            moduli.push(Modulus::new(prime)?);
        }
        Ok(Self { log_n, moduli })
    }

    /// The ring degree N.
    pub fn n(&self) -> usize {
        1 << self.log_n
    }

    /// log2 of the ring degree.
    pub fn log_n(&self) -> u32 {
        self.log_n
    }

    /// The modulus of one limb. Panics when the limb is not of this ring: that is a bug of the caller.
    pub fn modulus(&self, limb: LimbId) -> &Modulus {
        &self.moduli[limb.index()]
    }

    /// All moduli, in the order of their [`LimbId`].
    pub fn moduli(&self) -> &[Modulus] {
        &self.moduli
    }

    /// log2 of the product of the primes of `basis`.
    pub fn log2_product(&self, basis: &Basis) -> f64 {
        basis.iter().map(|l| (self.modulus(l).value() as f64).log2()).sum()
    }
}
