//! Primality and the search for NTT primes.

use crate::{Error, modulus::MAX_PRIME};

/// Deterministic Miller-Rabin: these twelve bases decide every 64-bit number (Sorenson, Webster 2015).
const WITNESSES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];

/// True exactly for primes.
pub fn is_prime(n: u64) -> bool {
    if n < 2 {
        return false;
    }
    if let Some(p) = WITNESSES.iter().find(|&&p| n.is_multiple_of(p)) {
        return n == *p;
    }
    let twos = (n - 1).trailing_zeros();
    let odd = (n - 1) >> twos;
    let mul = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(n)) as u64;
    let pow = |mut a: u64, mut e: u64| {
        let mut r = 1;
        while e > 0 {
            if e & 1 == 1 {
                r = mul(r, a);
            }
            a = mul(a, a);
            e >>= 1;
        }
        r
    };
    WITNESSES.iter().all(|&a| {
        let mut x = pow(a, odd);
        if x == 1 || x == n - 1 {
            return true;
        }
        for _ in 1..twos {
            x = mul(x, x);
            if x == n - 1 {
                return true;
            }
        }
        false
    })
}

/// The prime `p = 1 mod 2N` nearest to `target`, not in `taken`, in `(lo, hi)`; of two equally near, the smaller.
///
/// Fails when there is none.
pub fn nearest_ntt_prime(
    target: f64,
    range: std::ops::Range<u64>,
    log_n: u32,
    taken: &[u64],
) -> Result<u64, Error> {
    let step = 2u64 << log_n;
    let hi = range.end.min(MAX_PRIME);
    if target.is_nan() || range.start >= hi {
        return Err(Error::NoPrime { target, log_n });
    }
    let fits = |p: u64| p > range.start && p < hi && !taken.contains(&p) && is_prime(p);
    // A target outside the range has its nearest prime at the range's end: the search begins there.
    let center = (target as u64).clamp(range.start, hi) / step * step + 1;
    let reach = (hi.saturating_sub(range.start)) / step + 2;
    for k in 0..=reach {
        let below = center.checked_sub(k * step).filter(|&p| fits(p));
        let above = Some(center + (k + 1) * step).filter(|&p| fits(p));
        let distance = |p: u64| (p as f64 - target).abs();
        match (below, above) {
            (Some(b), Some(a)) => return Ok(if distance(b) <= distance(a) { b } else { a }),
            (Some(p), None) | (None, Some(p)) => return Ok(p),
            (None, None) => {}
        }
    }
    Err(Error::NoPrime { target, log_n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_trial_division() {
        let slow = |n: u64| n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
        for n in (0..5_000).chain(1_000_000_000..1_000_000_200) {
            assert_eq!(is_prime(n), slow(n), "{n}");
        }
    }

    #[test]
    fn twenty_eight_bit_primes_suffice_at_the_largest_ring() {
        let mut taken = vec![];
        for _ in 0..16 {
            let p = nearest_ntt_prime(f64::from(1 << 28), 1 << 26..1 << 29, 16, &taken).unwrap();
            assert_eq!(p % (1 << 17), 1);
            taken.push(p);
        }
    }
}
