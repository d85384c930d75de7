//! Tables and scalar code of the negacyclic number theoretic transform.

use crate::{Error, Modulus};

/// Bits of a Shoup quotient: one AVX-512 IFMA lane multiplies 52-bit words.
pub const SHOUP_BITS: u32 = 52;

/// Reverses the lowest `bits` bits of `i`.
pub fn bit_reverse(i: usize, bits: u32) -> usize {
    if bits == 0 { 0 } else { i.reverse_bits() >> (usize::BITS - bits) }
}

/// A constant factor with its precomputed quotient (Shoup; Harvey 2014, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Factor {
    /// The factor, in `[0, q)`.
    pub value: u64,
    /// `floor(value * 2^52 / q)`.
    pub quotient: u64,
}

impl Factor {
    /// The factor `value` modulo `q`. In: `[0, q)`.
    pub fn new(value: u64, q: &Modulus) -> Self {
        debug_assert!(value < q.value());
        Self { value, quotient: ((u128::from(value) << SHOUP_BITS) / u128::from(q.value())) as u64 }
    }

    /// `x * value mod q`. In: `x < 2^52`. Out: `[0, 2q)`, lazy.
    #[inline(always)]
    pub fn mul_lazy(self, x: u64, q: u64) -> u64 {
        debug_assert!(x < 1 << SHOUP_BITS);
        let quotient = ((u128::from(x) * u128::from(self.quotient)) >> SHOUP_BITS) as u64;
        x.wrapping_mul(self.value).wrapping_sub(quotient.wrapping_mul(q))
    }

    /// `x * value mod q`. In: `x < 2^52`. Out: `[0, q)`.
    #[inline(always)]
    pub fn mul(self, x: u64, q: u64) -> u64 {
        let r = self.mul_lazy(x, q);
        if r >= q { r - q } else { r }
    }
}

/// Twiddle factors of one prime.
///
/// `value(i) = psi^brv(i)` for `i < N`, in the order in which decimation in time reads them (Longa, Naehrig 2016,
/// algorithm 1). The table of the ring of degree `n < N` with the root `psi^(N/n)` is a prefix of this one, so one
/// table serves compact polynomials too; the inverse transform reads the same table backwards, because
/// `psi^-brv(m + i) = -psi^brv(2m - 1 - i)` for `i < m`, m a power of two.
#[derive(Clone, Debug)]
pub struct NttTable {
    modulus: Modulus,
    psi: u64,
    values: Vec<u64>,
    quotients: Vec<u64>,
}

impl NttTable {
    /// The table of degree `2^log_n`. Fails unless the prime is `1 mod 2^(log_n + 1)`.
    ///
    /// The root is `g^((q-1)/2N)` for the smallest `g >= 2` that gives one of order `2N`: the same on every machine.
    pub fn new(modulus: &Modulus, log_n: u32) -> Result<Self, Error> {
        let (q, n) = (modulus.value(), 1u64 << log_n);
        if (q - 1) % (2 * n) != 0 {
            return Err(Error::NoRoot { prime: q, log_n });
        }
        let psi = (2..q)
            .map(|g| modulus.pow(g, (q - 1) / (2 * n)))
            .find(|&psi| modulus.pow(psi, n) == q - 1)
            .ok_or(Error::NoRoot { prime: q, log_n })?;
        let mut values = vec![0; n as usize];
        let mut power = 1;
        for i in 0..n as usize {
            values[bit_reverse(i, log_n)] = power;
            power = modulus.mul(power, psi);
        }
        let quotients = values.iter().map(|&w| Factor::new(w, modulus).quotient).collect();
        Ok(Self { modulus: *modulus, psi, values, quotients })
    }

    /// The prime.
    pub fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// The ring degree N.
    pub fn n(&self) -> usize {
        self.values.len()
    }

    /// The primitive `2N`-th root of unity.
    pub fn psi(&self) -> u64 {
        self.psi
    }

    /// `psi^brv(i)`, in `[0, q)`.
    pub fn values(&self) -> &[u64] {
        &self.values
    }

    /// The Shoup quotients of [`NttTable::values`].
    pub fn quotients(&self) -> &[u64] {
        &self.quotients
    }

    /// The `i`-th twiddle factor.
    pub fn twiddle(&self, i: usize) -> Factor {
        Factor { value: self.values[i], quotient: self.quotients[i] }
    }

    /// `1/n` modulo the prime: what [`NttTable::inverse`] multiplies by.
    pub fn inverse_of(&self, n: usize) -> u64 {
        let q = &self.modulus;
        q.inv(n as u64 % q.value()).expect("a power of two is invertible modulo an odd prime")
    }

    /// Forward transform of a power of two of at most N words. In and out: `[0, q)`.
    #[inline]
    pub fn forward(&self, x: &mut [u64]) {
        self.forward_lazy(x);
        let q = self.modulus.value();
        for v in x {
            let w = *v - if *v >= 2 * q { 2 * q } else { 0 };
            *v = if w >= q { w - q } else { w };
        }
    }

    /// Forward transform without the last reduction. In: `[0, 4q)`. Out: `[0, 4q)`.
    #[inline]
    fn forward_lazy(&self, x: &mut [u64]) {
        let (q, n) = (self.modulus.value(), x.len());
        assert!(n.is_power_of_two() && n <= self.n(), "{n} words for a table of degree {}", self.n());
        let mut m = 1;
        while m < n {
            let half = n / (2 * m);
            for (i, block) in x.chunks_exact_mut(2 * half).enumerate() {
                let w = self.twiddle(m + i);
                let (low, high) = block.split_at_mut(half);
                for (a, b) in low.iter_mut().zip(high) {
                    let u = *a - if *a >= 2 * q { 2 * q } else { 0 };
                    let v = w.mul_lazy(*b, q);
                    *a = u + v;
                    *b = u + 2 * q - v;
                }
            }
            m *= 2;
        }
    }

    /// Inverse transform of a power of two of at most N words. In and out: `[0, q)`.
    #[inline]
    pub fn inverse(&self, x: &mut [u64]) {
        self.inverse_scaled(x, Factor::new(self.inverse_of(x.len()), &self.modulus));
    }

    /// Inverse transform times `n * scale`, for the number n of words. In and out: `[0, q)`.
    #[inline]
    pub fn inverse_scaled(&self, x: &mut [u64], scale: Factor) {
        let (q, n) = (self.modulus.value(), x.len());
        assert!(n.is_power_of_two() && n <= self.n(), "{n} words for a table of degree {}", self.n());
        let mut m = n / 2;
        while m > 0 {
            let half = n / (2 * m);
            for (i, block) in x.chunks_exact_mut(2 * half).enumerate() {
                // (a - b) * psi^-brv(m + i) = (b - a) * psi^brv(2m - 1 - i); lazy range [0, 2q).
                let w = self.twiddle(2 * m - 1 - i);
                let (low, high) = block.split_at_mut(half);
                for (a, b) in low.iter_mut().zip(high) {
                    let (u, v) = (*a, *b);
                    let s = u + v;
                    *a = if s >= 2 * q { s - 2 * q } else { s };
                    *b = w.mul_lazy(v + 2 * q - u, q);
                }
            }
            m /= 2;
        }
        for v in x {
            *v = scale.mul(*v, q);
        }
    }
}
