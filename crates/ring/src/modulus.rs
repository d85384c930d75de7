//! Arithmetic on one residue.

use crate::Error;

/// Exclusive upper bound of a prime: one AVX-512 IFMA lane, or one FP64 FMA, holds a product of two residues.
pub const MAX_PRIME: u64 = 1 << 50;

/// A prime `q < 2^50` and the constants for reductions modulo `q`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modulus {
    q: u64,
    /// `floor(2^100 / q)`: Barrett constant for inputs below `2^100`.
    barrett: u64,
    shift: u32,
}

impl Modulus {
    /// A modulus for the prime `q`; fails unless `q` is a prime in `(2, 2^50)`.
    pub fn new(q: u64) -> Result<Self, Error> {
        if !(3..MAX_PRIME).contains(&q) || !crate::primes::is_prime(q) {
            return Err(Error::NotAPrime(q));
        }
        let bits = 64 - q.leading_zeros();
        // barrett = floor(2^(2 bits) / q) < 2^(bits + 1).
        Ok(Self { q, barrett: ((1u128 << (2 * bits)) / u128::from(q)) as u64, shift: bits })
    }

    /// The prime.
    pub fn value(&self) -> u64 {
        self.q
    }

    /// `a + b`. In and out: `[0, q)`.
    #[inline]
    pub fn add(&self, a: u64, b: u64) -> u64 {
        debug_assert!(a < self.q && b < self.q);
        let s = a + b;
        if s >= self.q { s - self.q } else { s }
    }

    /// `a - b`. In and out: `[0, q)`.
    #[inline]
    pub fn sub(&self, a: u64, b: u64) -> u64 {
        debug_assert!(a < self.q && b < self.q);
        if a >= b { a - b } else { a + self.q - b }
    }

    /// `-a`. In and out: `[0, q)`.
    #[inline]
    pub fn neg(&self, a: u64) -> u64 {
        debug_assert!(a < self.q);
        if a == 0 { 0 } else { self.q - a }
    }

    /// `a * b`. In and out: `[0, q)`.
    #[inline]
    pub fn mul(&self, a: u64, b: u64) -> u64 {
        debug_assert!(a < self.q && b < self.q);
        self.reduce_product(u128::from(a) * u128::from(b))
    }

    /// `x mod q` for `x < q * 2^bits(q)` (Barrett, HAC 14.42). Out: `[0, q)`. Beyond that range some word, at once.
    #[inline]
    fn reduce_product(&self, x: u128) -> u64 {
        let high = (x >> (self.shift - 1)) as u64;
        let quotient = ((u128::from(high) * u128::from(self.barrett)) >> (self.shift + 1)) as u64;
        let mut r = (x as u64).wrapping_sub(quotient.wrapping_mul(self.q));
        // The quotient is at most two too small (HAC, note 14.44), and seldom is. A loop would run for centuries on words
        // that are no residues: 2^64 / 3 rounds.
        if r >= self.q {
            r -= self.q;
            if r >= self.q {
                r -= self.q;
            }
        }
        r
    }

    /// `x mod q` for any word.
    #[inline]
    pub fn reduce(&self, x: u64) -> u64 {
        x % self.q
    }

    /// `x mod q` for any double word.
    pub fn reduce_u128(&self, x: u128) -> u64 {
        (x % u128::from(self.q)) as u64
    }

    /// The residue of a signed word, in `[0, q)`.
    #[inline]
    pub fn from_signed(&self, x: i64) -> u64 {
        let r = self.reduce(x.unsigned_abs());
        if x < 0 { self.neg(r) } else { r }
    }

    /// The representative of `x` in `(-q/2, q/2]`. In: `[0, q)`.
    pub fn centered(&self, x: u64) -> i64 {
        debug_assert!(x < self.q);
        if x > self.q / 2 { x as i64 - self.q as i64 } else { x as i64 }
    }

    /// `a^e`. In and out: `[0, q)`.
    pub fn pow(&self, mut a: u64, mut e: u64) -> u64 {
        let mut r = 1;
        while e > 0 {
            if e & 1 == 1 {
                r = self.mul(r, a);
            }
            a = self.mul(a, a);
            e >>= 1;
        }
        r
    }

    /// The inverse of `a`, or `None` for zero. In and out: `[0, q)`.
    pub fn inv(&self, a: u64) -> Option<u64> {
        (a != 0).then(|| self.pow(a, self.q - 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mul_agrees_with_wide_division() {
        for q in [3, 97, (1 << 26) - 5, 268_369_921, 1_125_899_906_826_241] {
            let Ok(m) = Modulus::new(q) else { continue };
            for a in [0, 1, 2 % q, q / 2, q - 2, q - 1] {
                for b in [0, 1, q / 3, q - 1] {
                    let want = (u128::from(a) * u128::from(b) % u128::from(q)) as u64;
                    assert_eq!(m.mul(a, b), want, "{a} * {b} mod {q}");
                }
            }
        }
    }

    /// Every residue at both ends of the range of a product, where the quotient is furthest off.
    #[test]
    fn two_subtractions_are_enough() {
        for q in [3, 5, 97, 12_289, 268_369_921, 1_125_899_906_826_241] {
            let Ok(m) = Modulus::new(q) else { continue };
            let top = u128::from(q) << (64 - q.leading_zeros());
            for x in (0..top.min(2000)).flat_map(|d| [d, top - 1 - d, (top + d) / 2]) {
                assert_eq!(m.reduce_product(x), (x % u128::from(q)) as u64, "{x} mod {q}");
            }
        }
    }

    #[test]
    fn words_that_are_no_residues_do_not_hang_the_reduction() {
        for q in [3, 97, 268_369_921] {
            let m = Modulus::new(q).unwrap();
            for x in [u128::MAX, u128::MAX >> 1, 1 << 127, u128::from(u64::MAX) * u128::from(u64::MAX)] {
                // Some word: that it comes back is the test.
                let _ = m.reduce_product(x);
            }
        }
    }
}
