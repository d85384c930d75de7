//! Random polynomials, all from ChaCha20 streams with domain separation.

use aegis_ring::{Basis, Rns};
use rand::{Rng, SeedableRng, TryRng};
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, Normal};
use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::security::ERROR_SIGMA;

/// A 256-bit seed, wiped when dropped and never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// A seed from these bytes. For secrets they must come from a cryptographic source.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A fresh seed from the operating system.
    pub fn from_os() -> std::io::Result<Self> {
        let mut seed = Self([0; 32]);
        rand::rngs::SysRng.try_fill_bytes(&mut seed.0).map_err(std::io::Error::other)?;
        Ok(seed)
    }

    /// An independent seed for one purpose in one context: everything that the randomness must not be shared across.
    /// Where a context has several fields, each has a fixed length or stands in a derivation of its own.
    pub fn derive(&self, purpose: &str, context: &[u8]) -> Self {
        let mut hash = blake3::Hasher::new_keyed(&self.0);
        // With its length, so that no purpose and context together read as another pair.
        hash.update(&(purpose.len() as u64).to_le_bytes());
        hash.update(purpose.as_bytes());
        hash.update(context);
        let derived = Self(*hash.finalize().as_bytes());
        hash.zeroize();
        derived
    }

    pub(crate) fn rng(&self) -> ChaCha20Rng {
        ChaCha20Rng::from_seed(self.0)
    }

    /// The bytes: whoever has them has all that is made from the seed. For handing it to another process of the same owner.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(secret)")
    }
}

/// `batch` uniform polynomials over `basis`, a pure function of the public `seed`: polynomial, limb, word.
pub(crate) fn uniform(rns: &Rns, basis: &Basis, batch: usize, seed: &Seed) -> Vec<u64> {
    let n = rns.n();
    let mut words = vec![0; batch * basis.len() * n];
    words.par_chunks_mut(n).enumerate().for_each(|(row, words)| {
        let limb = basis.limbs()[row % basis.len()];
        let polynomial = row / basis.len();
        let q = rns.modulus(limb).value();
        // One stream a polynomial and limb, so that a key cut to fewer limbs keeps the residues of the others.
        let index = (polynomial as u64) << 32 | u64::from(limb.0);
        let mut rng = seed.derive("uniform", &index.to_le_bytes()).rng();
        words.iter_mut().for_each(|w| *w = uniform_below(&mut rng, q));
    });
    words
}

/// Exactly uniform in `[0, q)`: multiply-shift with rejection (Lemire 2019).
fn uniform_below(rng: &mut ChaCha20Rng, q: u64) -> u64 {
    let threshold = q.wrapping_neg() % q;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(q);
        if product as u64 >= threshold {
            return (product >> 64) as u64;
        }
    }
}

/// A rounded Gaussian of deviation 3.19, cut at six deviations.
pub(crate) fn gaussian(n: usize, rng: &mut ChaCha20Rng) -> Zeroizing<Vec<i64>> {
    let normal = Normal::new(0.0, ERROR_SIGMA).expect("the deviation is positive and finite");
    let bound = 6.0 * ERROR_SIGMA;
    let mut sample = || loop {
        let x: f64 = normal.sample(rng);
        if x.abs() <= bound {
            return x.round() as i64;
        }
    };
    Zeroizing::new((0..n).map(|_| sample()).collect())
}

/// Uniform in `{-1, 0, 1}`.
pub(crate) fn ternary(n: usize, rng: &mut ChaCha20Rng) -> Zeroizing<Vec<i64>> {
    Zeroizing::new((0..n).map(|_| uniform_below(rng, 3) as i64 - 1).collect())
}

/// Exactly `weight` non-zero coefficients, each of a random sign, at uniform places.
pub(crate) fn sparse_ternary(n: usize, weight: usize, rng: &mut ChaCha20Rng) -> Zeroizing<Vec<i64>> {
    let mut s = Zeroizing::new(vec![0; n]);
    let mut placed = 0;
    while placed < weight.min(n) {
        let at = uniform_below(rng, n as u64) as usize;
        if s[at] == 0 {
            s[at] = if rng.next_u32() & 1 == 1 { 1 } else { -1 };
            placed += 1;
        }
    }
    s
}
