//! Galois maps `X -> X^g` of the ring `Z[X]/(X^N + 1)`.

use crate::ntt::bit_reverse;

/// The odd exponent `g` of the automorphism `X -> X^g`, in `[1, 2N)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Galois(u32);

impl Galois {
    /// The map that changes nothing.
    pub const IDENTITY: Self = Self(1);

    /// Rotates the `N/2` slots to the left by `steps` (to the right when negative): `g = 5^steps mod 2N`.
    pub fn rotation(steps: i64, n: usize) -> Self {
        Self(5 % (2 * n as u32)).power(steps.rem_euclid((n / 2) as i64) as u64, n)
    }

    /// Complex conjugation of every slot: `g = 2N - 1`.
    pub fn conjugation(n: usize) -> Self {
        Self((2 * n - 1) as u32)
    }

    /// The map with exponent `g`, reduced mod `2N`; `None` when `g` is even.
    pub fn from_exponent(g: u64, n: usize) -> Option<Self> {
        let g = g % (2 * n as u64);
        (g & 1 == 1).then_some(Self(g as u32))
    }

    /// The exponent `g`.
    pub fn exponent(self) -> u32 {
        self.0
    }

    /// `(steps, conjugates)` such that this map is [`Galois::rotation`] by `steps`, and [`Galois::conjugation`] after it
    /// where `conjugates`. The steps of least magnitude: in `(-N/4, N/4]`. `n` is a power of two.
    ///
    /// The discrete logarithm to base 5, a bit at a time: the powers of 5 are the residues that are 1 mod 4, and
    /// `5^(2^i)` is `1 + 2^(i+2)` mod `2^(i+3)`.
    pub fn to_rotation(self, n: usize) -> (i64, bool) {
        let mask = (2 * n as u64) - 1;
        let conjugates = self.0 & 3 == 3;
        let mut rest = if conjugates { u64::from(self.0).wrapping_neg() } else { self.0.into() } & mask;
        // `rest` becomes 1 when it is multiplied by `5^missing`: the steps are `-missing` mod N/2.
        let (half, mut missing, mut power) = (n as i64 / 2, 0, 5);
        for i in 0..n.ilog2().saturating_sub(1) {
            if rest >> (i + 2) & 1 == 1 {
                rest = (rest * power) & mask;
                missing += 1 << i;
            }
            power = (power * power) & mask;
        }
        (if 2 * missing >= half { half - missing } else { -missing }, conjugates)
    }

    /// First this map, then `next`.
    pub fn then(self, next: Self, n: usize) -> Self {
        Self((u64::from(self.0) * u64::from(next.0) % (2 * n as u64)) as u32)
    }

    /// The map on evaluation form: `out[j] = in[permutation[j]]`, for `n` words (`n` may be below the ring degree).
    ///
    /// Word `j` is the value at `psi^(2 brv(j) + 1)`; the map takes the value at `psi^e` from that at `psi^(e g)`.
    pub fn permutation(self, n: usize) -> Vec<u32> {
        let (bits, mask) = (n.ilog2(), 2 * n as u64 - 1);
        let source = |j| {
            let e = ((2 * bit_reverse(j, bits) as u64 + 1) * u64::from(self.0)) & mask;
            bit_reverse((e >> 1) as usize, bits) as u32
        };
        (0..n).map(source).collect()
    }

    /// The map that undoes this one.
    pub fn inverse(self, n: usize) -> Self {
        // The group of odd residues mod 2N has exponent dividing N/2, so g^(N/2 - 1) is the inverse.
        self.power((n / 2).max(2) as u64 - 1, n)
    }

    /// This map `e` times.
    fn power(self, mut e: u64, n: usize) -> Self {
        let (mut square, mut all) = (self, Self::IDENTITY);
        while e > 0 {
            if e & 1 == 1 {
                all = all.then(square, n);
            }
            square = square.then(square, n);
            e >>= 1;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_undoes_every_map() {
        for n in [8, 16, 1024] {
            for g in (1..2 * n as u64).step_by(2) {
                let g = Galois::from_exponent(g, n).unwrap();
                assert_eq!(g.then(g.inverse(n), n), Galois::IDENTITY, "g = {g:?}, n = {n}");
            }
        }
    }

    #[test]
    fn rotations_compose() {
        let n = 64;
        assert_eq!(Galois::rotation(3, n).then(Galois::rotation(-3, n), n), Galois::IDENTITY);
        assert_eq!(Galois::rotation(3, n).then(Galois::rotation(4, n), n), Galois::rotation(7, n));
    }
}
