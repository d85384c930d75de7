//! What is known of the hardness of the parameters, checked in code.
//!
//! | an attacker holds | hidden under | its modulus | bound at N = 2^16, from |
//! |---|---|---|---|
//! | ciphertexts, public keys | the dense secret | Q of their level, at most QP | 1747 bits, [`max_log2_qp`] |
//! | relinearization and Galois keys | the dense secret | QP of their level, at most QP | the same |
//! | encapsulation key, sparse to dense | the dense secret | QP | the same |
//! | encapsulation key, dense to sparse | the sparse secret | the base prime times one special prime | 121 bits, [`EPHEMERAL_MODULUS_LOG2`] |
//! | (the server) a ciphertext in the middle of ModRaise | the sparse secret | the base prime | the same |
//!
//! Keys that encrypt functions of their own secret (`s^2`, `s` after a Galois map), and the two encapsulation keys together,
//! rest on circular security besides, as in every scheme with such keys.
//!
//! [`SECOND_OPINION`] holds the figures of a newer estimator for the same question; the presets satisfy both.

/// log2 of the largest modulus `QP` with 128 bits of classical security for a uniform ternary secret and error
/// deviation 3.19. Source: Bossuat et al., *Security Guidelines for Implementing Homomorphic Encryption*, IACR
/// Communications in Cryptology 1(4), 2024, tables for ternary secrets, made with the Lattice Estimator at commit 8f1ff7e, cost model MATZOV
/// (the one that the paper's companion repository, FHE-Security-Guidelines, pins). Rings without a row are refused.
const TERNARY_128: &[(u32, f64)] = &[(13, 214.0), (14, 430.0), (15, 868.0), (16, 1747.0), (17, 3523.0)];

/// log2 of the largest modulus of a switching key that hides a secret of Hamming weight 32 at N = 2^16 and above, for
/// 128 bits against hybrid attacks. Source: the bound that the library lattigo has enforced since its advisory on
/// encapsulation keys, which is what we know of it: no version of an estimator is published with the number. Kept although
/// [`SECOND_OPINION`] allows 345 bits: the presets need 100, so that the careful one of two estimates costs nothing.
pub const EPHEMERAL_MODULUS_LOG2: f64 = 121.0;

/// The ring's log2 N, the secret's Hamming weight, and log2 of the largest modulus for 128 bits. Source: ePrint 2026/279
/// and its estimator for sparse keys, as published with the paper. For comparison: nothing is accepted by it. Its dense row
/// has weight 1024, far below the two thirds of N that a uniform ternary secret has, and so errs on the safe side.
pub const SECOND_OPINION: &[(u32, u32, f64)] =
    &[(15, 1024, 851.0), (15, 32, 162.0), (16, 1024, 1707.0), (16, 32, 345.0)];

/// Smallest Hamming weight for which [`EPHEMERAL_MODULUS_LOG2`] holds.
pub const EPHEMERAL_WEIGHT: u32 = 32;

/// Largest Hamming weight for which [`bootstrap_failure_log2`] is exact enough: its alternating sum cancels beyond.
pub const EPHEMERAL_WEIGHT_MAX: u32 = 64;

/// Deviation of the error distribution, the one that the security tables assume.
pub const ERROR_SIGMA: f64 = 3.19;

/// log2 of the largest `QP` at 128 bits for this ring, or `None` where no bound is known.
pub fn max_log2_qp(log_n: u32) -> Option<f64> {
    TERNARY_128.iter().find(|(n, _)| *n == log_n).map(|(_, bits)| *bits)
}

/// A lower estimate of the security in bits: the product of security and log2 QP does not fall as the modulus shrinks
/// (rows of the same tables for 192 and 256 bits), so `128 * bound / log2 QP` is safe at or below the bound.
pub fn security_bits(log_n: u32, log2_qp: f64) -> Option<f64> {
    max_log2_qp(log_n).map(|bound| 128.0 * bound / log2_qp)
}

/// log2 of the probability that some coefficient of a bootstrap leaves `[-range, range]` multiples of q0.
///
/// The multiple is a sum of `weight + 1` variables uniform in `[-1/2, 1/2]`, whose tail is that of the Irwin-Hall
/// distribution: `P(S > x) = 1/m! sum_k (-1)^k C(m, k) (m/2 - x - k)^m`. Union bound over both signs and N coefficients.
pub fn bootstrap_failure_log2(log_n: u32, weight: u32, range: f64) -> f64 {
    let m = weight + 1;
    let top = f64::from(m) / 2.0 - range;
    if top <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let log2_factorial: f64 = (1..=m).map(|i| f64::from(i).log2()).sum();
    // Terms relative to the first keep the alternating sum well scaled; it decreases fast in the far tail.
    let (mut sum, mut binomial, mut k) = (0.0, 1.0, 0u32);
    while f64::from(k) < top {
        let term = binomial * ((top - f64::from(k)) / top).powi(m as i32);
        sum += if k % 2 == 0 { term } else { -term };
        binomial *= f64::from(m - k) / f64::from(k + 1);
        k += 1;
    }
    // Cancelled, or not a number: nothing is known of the tail.
    if sum.is_nan() || sum <= 0.0 {
        return 0.0;
    }
    let tail_log2 = f64::from(m) * top.log2() + sum.log2() - log2_factorial;
    (tail_log2 + 1.0 + f64::from(log_n)).min(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_probability_matches_the_closed_form_in_the_last_interval() {
        // P(S > 16) for 33 uniforms is (1/2)^33 / 33!, times two signs and 2^16 coefficients.
        let factorial: f64 = (1..=33).map(|i| f64::from(i).log2()).sum();
        let want = -33.0 - factorial + 1.0 + 16.0;
        assert!((bootstrap_failure_log2(16, 32, 16.0) - want).abs() < 1e-9);
    }

    #[test]
    fn failure_probability_matches_a_convolution() {
        // Density of a sum of 9 uniforms by repeated numeric convolution, tail beyond 2.5.
        let (m, steps) = (9usize, 400usize);
        let mut density = vec![1.0f64; steps];
        for _ in 1..m {
            let mut next = vec![0.0; density.len() + steps - 1];
            for (i, d) in density.iter().enumerate() {
                for slot in &mut next[i..i + steps] {
                    *slot += d / steps as f64;
                }
            }
            density = next;
        }
        let at = |i: usize| (i as f64 + 0.5 * m as f64) / steps as f64 - m as f64 / 2.0;
        let tail: f64 =
            density.iter().enumerate().filter(|(i, _)| at(*i) > 2.5).map(|(_, d)| d / steps as f64).sum();
        let got = bootstrap_failure_log2(3, 8, 2.5) - 1.0 - 3.0;
        assert!((got - tail.log2()).abs() < 0.05, "{got} against {}", tail.log2());
    }

    /// A heavy secret makes a bootstrap fail: no weight may make its probability look small.
    #[test]
    fn failure_grows_with_the_weight() {
        let at = |weight| bootstrap_failure_log2(16, weight, 16.0);
        for weight in EPHEMERAL_WEIGHT..EPHEMERAL_WEIGHT_MAX {
            assert!(at(weight) < at(weight + 1), "{weight}");
        }
        for weight in [100, 340, 1200, 1 << 16] {
            assert!(at(weight) > at(EPHEMERAL_WEIGHT_MAX), "{weight}: {}", at(weight));
        }
    }

    /// By both estimates, for both secrets.
    #[test]
    fn presets_satisfy_the_second_opinion() {
        let bound =
            |log_n, weight| SECOND_OPINION.iter().find(|r| (r.0, r.1) == (log_n, weight)).map(|r| r.2);
        for spec in crate::PRESETS.iter().filter(|spec| spec.log_n >= 15) {
            let p = crate::Params::try_from(spec.clone()).unwrap();
            assert!(p.log2_qp() <= bound(spec.log_n, 1024).unwrap(), "{}", p.name());
            if let Some(boot) = p.bootstrap() {
                let bits = p.encapsulation_log2();
                assert!(bits <= bound(spec.log_n, boot.ephemeral_weight).unwrap(), "{}", p.name());
            }
        }
    }

    #[test]
    fn rings_without_a_row_have_no_bound() {
        assert_eq!(max_log2_qp(12), None);
        assert_eq!(max_log2_qp(16), Some(1747.0));
    }
}
