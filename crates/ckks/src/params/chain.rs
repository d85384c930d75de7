//! The primes of a modulus chain, and the checks of a spec before any are looked for.

use aegis_ring::{Basis, Rns, primes::nearest_ntt_prime};

use super::{Contradiction, ParamsError};
use crate::{BootstrapSpec, ParamsSpec};

/// Most limbs of a chain: twice what the largest ring has room for at 128 bits.
pub(super) const MAX_LIMBS: u64 = 256;

/// Checks every number before anything is computed from it: a set may come from a file.
pub(super) fn check_spec(spec: &ParamsSpec) -> Result<(), ParamsError> {
    let fail = |why| Err(ParamsError::Inconsistent(why));
    if !(1..=64).contains(&spec.name.len()) || !spec.name.bytes().all(|b| b.is_ascii_graphic()) {
        return fail(Contradiction::Name);
    }
    if !(4..=17).contains(&spec.log_n) {
        return fail(Contradiction::Degree { log_n: spec.log_n });
    }
    let levels: u64 = spec.levels.iter().map(|l| u64::from(l.count)).sum();
    let limbs: u64 =
        spec.levels.iter().map(|l| u64::from(l.count).saturating_mul(l.limb_bits.len() as u64)).sum();
    if limbs > MAX_LIMBS || levels > limbs || !(1..=32).contains(&spec.special_count) {
        return fail(Contradiction::Chain { levels, limbs, special: spec.special_count });
    }
    if spec.levels.iter().any(|l| l.limb_bits.is_empty()) {
        return fail(Contradiction::EmptyLevel);
    }
    let min = spec.log_n + 4;
    let bits = spec.levels.iter().flat_map(|l| l.limb_bits.iter().copied());
    for bits in bits.chain([spec.base_bits, spec.special_bits]) {
        if !(min..=50).contains(&bits) {
            return fail(Contradiction::PrimeBits { bits, min });
        }
    }
    if !(1..=100).contains(&spec.scale_log2) {
        return fail(Contradiction::Scale { scale_log2: spec.scale_log2 });
    }
    let (digit_bits, base_bits) = (spec.digit_bits, spec.base_bits);
    let special_bits = spec.special_bits * spec.special_count;
    if digit_bits < base_bits || digit_bits > special_bits {
        return fail(Contradiction::Digits { digit_bits, base_bits, special_bits });
    }
    match spec.bootstrap.as_ref().and_then(|b| bootstrap_fault(b, spec.log_n, levels)) {
        Some(why) => fail(why),
        None => Ok(()),
    }
}

fn bootstrap_fault(b: &BootstrapSpec, log_n: u32, levels: u64) -> Option<Contradiction> {
    let taken: u64 = [b.slots_to_coeffs, b.eval_mod, b.coeffs_to_slots].map(u64::from).iter().sum();
    if taken >= levels {
        return Some(Contradiction::BootstrapLevels { taken, levels });
    }
    [
        ("slots_to_coeffs", b.slots_to_coeffs, 1, MAX_LIMBS as u32),
        ("coeffs_to_slots", b.coeffs_to_slots, 1, MAX_LIMBS as u32),
        ("ephemeral_weight", b.ephemeral_weight, 1, 1 << log_n),
        ("range", b.range, 1, 1 << 10),
        ("double_angles", b.double_angles, 0, 8),
        ("degree", b.degree, 1, 255),
        ("message_ratio_log2", b.message_ratio_log2, 1, 40),
    ]
    .into_iter()
    .find(|&(_, value, min, max)| !(min..=max).contains(&value))
    .map(|(field, value, min, max)| Contradiction::Bootstrap { field, value, min, max })
}

/// Fails where the primes there are cannot keep the scale at the levels of computation.
fn check_scales(canonical: &[f64], scale_log2: u32) -> Result<(), ParamsError> {
    let drift = |scale: &f64| (scale.log2() - f64::from(scale_log2)).abs();
    match canonical.iter().find(|s| drift(s).is_nan() || drift(s) > 1.0) {
        None => Ok(()),
        Some(scale) => {
            let (scale_log2, nominal_log2) = (scale.log2(), scale_log2);
            Err(ParamsError::Inconsistent(Contradiction::Drift { scale_log2, nominal_log2 }))
        }
    }
}

/// The primes of a chain and its canonical scales.
pub(super) struct Chain {
    pub(super) q: Vec<u64>,
    pub(super) special: Vec<u64>,
    pub(super) limbs_per_level: Vec<usize>,
    pub(super) scales: Vec<f64>,
}

impl Chain {
    /// Chooses primes top down, so that each canonical scale is pulled back to the nominal one: the drift that squaring
    /// would double at every level never builds up.
    pub(super) fn choose(spec: &ParamsSpec) -> Result<Self, ParamsError> {
        let mut taken = vec![];
        let mut prime = |target: f64, bits: u32| -> Result<u64, ParamsError> {
            // Never above 2^50; elsewhere a prime may lie a little above its nominal size.
            let range = (1u64 << (bits - 1))..(1u64 << (bits + 1)).min(1 << 50);
            let p = nearest_ntt_prime(target, range, spec.log_n, &taken)?;
            taken.push(p);
            Ok(p)
        };
        let power = |bits: u32| f64::from(bits).exp2();
        let special: Vec<u64> = (0..spec.special_count)
            .map(|_| prime(power(spec.special_bits), spec.special_bits))
            .collect::<Result<_, _>>()?;
        let base = prime(power(spec.base_bits), spec.base_bits)?;
        let levels: Vec<&[u32]> =
            spec.levels.iter().flat_map(|l| (0..l.count).map(|_| l.limb_bits.as_ref())).collect();
        let above = spec.bootstrap.as_ref().map_or(0, |b| b.eval_mod + b.coeffs_to_slots) as usize;
        let fresh = levels.len() - above;
        let nominal = power(spec.scale_log2);

        let mut primes = vec![vec![]; levels.len() + 1];
        let mut scales = vec![0.0; levels.len() + 1];
        scales[fresh] = nominal;
        for level in (1..=levels.len()).rev() {
            let limb_bits = levels[level - 1];
            let bits: u32 = limb_bits.iter().sum();
            let canonical = level <= fresh && bits == spec.scale_log2;
            let target = if canonical { scales[level] * scales[level] / nominal } else { power(bits) };
            let mut rest = target;
            for (i, &b) in limb_bits.iter().enumerate() {
                let last = i + 1 == limb_bits.len();
                let p = prime(if last { rest } else { power(b) }, b)?;
                rest /= p as f64;
                primes[level].push(p);
            }
            let factor: f64 = primes[level].iter().map(|&p| p as f64).product();
            if level > fresh {
                scales[level] = factor;
            } else {
                scales[level - 1] = scales[level] * scales[level] / factor;
            }
        }
        check_scales(&scales[..=fresh], spec.scale_log2)?;
        primes[0].push(base);
        let limbs_per_level = primes.iter().map(Vec::len).collect();
        Ok(Self { q: primes.concat(), special, limbs_per_level, scales })
    }
}

/// Cuts `basis` into runs whose products stay within `digit_bits`: digits balanced by bits, not by limb count.
pub(super) fn group_digits(rns: &Rns, basis: &Basis, digit_bits: f64) -> Vec<Basis> {
    let (mut digits, mut run, mut bits) = (vec![], vec![], 0.0);
    for limb in basis.iter() {
        let b = (rns.modulus(limb).value() as f64).log2();
        // A prime may lie just above its nominal size: half a bit of slack a digit.
        if !run.is_empty() && bits + b > digit_bits + 0.5 {
            digits.push(Basis::new(std::mem::take(&mut run)));
            bits = 0.0;
        }
        run.push(limb);
        bits += b;
    }
    digits.push(Basis::new(run));
    digits
}
