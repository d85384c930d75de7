//! Checked parameters: the modulus chain, its scales, the key switching digits.

use std::sync::Arc;

use aegis_ring::{Basis, LimbId, Rns, primes::nearest_ntt_prime};

use crate::{BootstrapSpec, ParamsSpec, security};

/// Height in the modulus chain: a rescale goes from level `l` to `l - 1`; level 0 has the base limb only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Level(pub u32);

impl Level {
    /// The level `by` below, or `None` below the base.
    pub fn down(self, by: u32) -> Option<Self> {
        self.0.checked_sub(by).map(Self)
    }
}

/// Why a [`ParamsSpec`] is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// Fewer than 128 bits of security.
    #[error(
        "log2 QP = {log2_qp:.1} at N = 2^{log_n} has fewer than 128 bits of security; take away levels until it is at most \
         {bound}, or take a larger ring"
    )]
    Insecure {
        /// log2 of the ring degree.
        log_n: u32,
        /// log2 of the largest modulus.
        log2_qp: f64,
        /// The largest allowed.
        bound: f64,
    },
    /// No security bound is known for this ring.
    #[error("no 128-bit bound is known for N = 2^{0}; use N = 2^13 to 2^17")]
    UnknownRing(u32),
    /// The switching key to the sparse secret would leak it.
    #[error(
        "the encapsulation key (weight {weight}, modulus of {log2_modulus:.1} bits) has fewer than 128 bits of security; \
         it needs N >= 2^16, a weight of 32 to 64 and at most 121 bits"
    )]
    InsecureEncapsulation {
        /// Hamming weight of the sparse secret.
        weight: u32,
        /// log2 of the modulus of the key.
        log2_modulus: f64,
    },
    /// A bootstrap fails too often.
    #[error(
        "a bootstrap fails with probability 2^{failure_log2:.1}, at most 2^-110 is allowed; raise the range or lower the weight"
    )]
    Failure {
        /// log2 of the probability.
        failure_log2: f64,
    },
    /// The numbers contradict each other.
    #[error("parameters contradict each other: {0}; start from one of the presets")]
    Inconsistent(String),
    /// No primes of this form.
    #[error(transparent)]
    Ring(#[from] aegis_ring::Error),
}

/// A checked parameter set. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Params(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spec: ParamsSpec,
    rns: Arc<Rns>,
    /// Limbs at each level.
    bases: Vec<Basis>,
    /// Limbs that a rescale from each level drops; the entry of level 0 is empty.
    dropped: Vec<Basis>,
    /// Canonical scale at each level.
    scales: Vec<f64>,
    special: Basis,
    /// Key switching digits at the top level, bottom up.
    digits: Vec<Basis>,
    /// log2 of the product of the limbs at each level.
    log2_moduli: Vec<f64>,
    digest: [u8; 32],
    insecure: bool,
}

impl TryFrom<ParamsSpec> for Params {
    type Error = ParamsError;

    /// Builds the chain and refuses anything below 128 bits, including the bootstrap's ephemeral secret.
    fn try_from(spec: ParamsSpec) -> Result<Self, ParamsError> {
        let bound = security::max_log2_qp(spec.log_n).ok_or(ParamsError::UnknownRing(spec.log_n))?;
        let params = Self::build(spec, false)?;
        params.check_security(bound)?;
        Ok(params)
    }
}

impl Params {
    /// Builds the chain **without any check of security**: for tests on small rings.
    pub fn insecure(spec: ParamsSpec) -> Result<Self, ParamsError> {
        Self::build(spec, true)
    }

    fn build(spec: ParamsSpec, insecure: bool) -> Result<Self, ParamsError> {
        check_spec(&spec)?;
        let chain = Chain::choose(&spec)?;
        let n_q = chain.q.len();
        let all: Vec<u64> = chain.q.iter().chain(&chain.special).copied().collect();
        let rns = Rns::new(spec.log_n, &all)?;
        let id = |i: usize| LimbId(i as u16);
        let special = Basis::new((n_q..all.len()).map(id));
        let (mut bases, mut dropped, mut next) = (vec![], vec![], 0);
        for count in &chain.limbs_per_level {
            dropped.push(Basis::new((next..next + count).map(id)));
            next += count;
            bases.push(Basis::new((0..next).map(id)));
        }
        dropped[0] = Basis::new([]);
        let digits = group_digits(&rns, &bases[bases.len() - 1], f64::from(spec.digit_bits));
        let inner = Inner {
            digest: digest(&spec, &rns)?,
            log2_moduli: bases.iter().map(|b| rns.log2_product(b)).collect(),
            spec,
            rns: Arc::new(rns),
            bases,
            dropped,
            scales: chain.scales,
            special,
            digits,
            insecure,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// `bound` is the largest log2 QP.
    fn check_security(&self, bound: f64) -> Result<(), ParamsError> {
        let (log_n, log2_qp) = (self.0.spec.log_n, self.log2_qp());
        if log2_qp > bound {
            return Err(ParamsError::Insecure { log_n, log2_qp, bound });
        }
        if let Some(boot) = self.bootstrap() {
            let (weight, log2_modulus) = (boot.ephemeral_weight, self.encapsulation_log2());
            let safe = log_n >= 16
                && (security::EPHEMERAL_WEIGHT..=security::EPHEMERAL_WEIGHT_MAX).contains(&weight)
                && log2_modulus <= security::EPHEMERAL_MODULUS_LOG2;
            if !safe {
                return Err(ParamsError::InsecureEncapsulation { weight, log2_modulus });
            }
            let failure_log2 = self.bootstrap_failure_log2().unwrap_or(0.0);
            // One inference makes far fewer than 2^10 bootstraps: 2^-110 each keeps 2^-100 for all of them.
            if failure_log2 > -110.0 {
                return Err(ParamsError::Failure { failure_log2 });
            }
        }
        Ok(())
    }

    /// The unchecked set these parameters were made from.
    pub fn spec(&self) -> &ParamsSpec {
        &self.0.spec
    }

    /// The name of the set.
    pub fn name(&self) -> &str {
        &self.0.spec.name
    }

    /// True when the set was made by [`Params::insecure`].
    pub fn is_insecure(&self) -> bool {
        self.0.insecure
    }

    /// The ring degree N.
    pub fn n(&self) -> usize {
        self.0.rns.n()
    }

    /// Number of complex slots, N/2.
    pub fn slots(&self) -> usize {
        self.n() / 2
    }

    /// Degree and primes.
    pub fn rns(&self) -> &Arc<Rns> {
        &self.0.rns
    }

    /// Top of the modulus chain, bootstrapping levels included.
    pub fn max_level(&self) -> Level {
        Level(self.0.bases.len() as u32 - 1)
    }

    /// Highest level for computation: that of fresh encryptions and of bootstrapped ciphertexts.
    pub fn fresh_level(&self) -> Level {
        let above = self.bootstrap().map_or(0, |b| b.eval_mod + b.coeffs_to_slots);
        Level(self.max_level().0 - above)
    }

    /// Lowest level at which a ciphertext can be bootstrapped; level 0 without bootstrapping.
    pub fn base_level(&self) -> Level {
        Level(self.bootstrap().map_or(0, |b| b.slots_to_coeffs))
    }

    /// Fails above the top of the chain.
    pub(crate) fn check_level(&self, level: Level) -> Result<(), crate::Error> {
        let max = self.max_level();
        if level <= max { Ok(()) } else { Err(crate::Error::LevelTooHigh { have: level, max }) }
    }

    /// The limbs of a ciphertext at this level, bottom up. Panics above the top.
    pub fn basis(&self, level: Level) -> &Basis {
        &self.0.bases[level.0 as usize]
    }

    /// The limbs that a rescale from this level divides away. Panics above the top.
    pub fn dropped(&self, level: Level) -> &Basis {
        &self.0.dropped[level.0 as usize]
    }

    /// The primes of the key switching modulus P.
    pub fn special(&self) -> &Basis {
        &self.0.special
    }

    /// The limbs of an extended ciphertext at this level: its own and the special ones. Panics above the top.
    pub fn extended_basis(&self, level: Level) -> Basis {
        self.basis(level).union(self.special())
    }

    /// Product of the primes that a rescale from this level divides away; 1 at level 0.
    pub fn rescale_factor(&self, level: Level) -> f64 {
        self.dropped(level).iter().map(|l| self.0.rns.modulus(l).value() as f64).product()
    }

    /// Canonical scale of a ciphertext at this level: the scale falls as in a chain of squarings,
    /// `scale(l - 1) = scale(l)^2 / rescale_factor(l)`, from `2^scale_log2` at [`Params::fresh_level`], so that
    /// ciphertexts of equal level can be added whatever their history. Above the fresh level: the rescale factor.
    pub fn scale(&self, level: Level) -> f64 {
        self.0.scales[level.0 as usize]
    }

    /// The base prime q0.
    pub fn base_modulus(&self) -> u64 {
        self.0.rns.moduli()[0].value()
    }

    /// Key switching digits at this level, bottom up; the last one may be cut by the level.
    pub fn digits(&self, level: Level) -> Vec<Basis> {
        let basis = self.basis(level);
        self.0.digits.iter().map(|d| d.intersection(basis)).filter(|d| !d.is_empty()).collect()
    }

    /// Bootstrapping, where the set has it.
    pub fn bootstrap(&self) -> Option<&BootstrapSpec> {
        self.0.spec.bootstrap.as_ref()
    }

    /// log2 of the product of all primes: what security depends on.
    pub fn log2_qp(&self) -> f64 {
        self.0.rns.moduli().iter().map(|m| (m.value() as f64).log2()).sum()
    }

    /// A lower estimate of the security in bits, or `None` where no bound is known (rings for tests).
    pub fn security_bits(&self) -> Option<f64> {
        security::security_bits(self.0.spec.log_n, self.log2_qp())
    }

    /// The limbs of the switching key to the ephemeral sparse secret: the base limb and one special limb.
    pub fn encapsulation_basis(&self) -> Basis {
        Basis::new([self.basis(Level(0)).limbs()[0], self.0.special.limbs()[0]])
    }

    /// log2 of the modulus of the switching key to the ephemeral sparse secret.
    pub fn encapsulation_log2(&self) -> f64 {
        self.0.rns.log2_product(&self.encapsulation_basis())
    }

    /// log2 of the probability that one bootstrap leaves the range of its modular reduction.
    pub fn bootstrap_failure_log2(&self) -> Option<f64> {
        let b = self.bootstrap()?;
        Some(security::bootstrap_failure_log2(self.0.spec.log_n, b.ephemeral_weight, f64::from(b.range)))
    }

    /// Bytes of one switching key on a device, for ciphertexts up to `level`.
    pub fn switching_key_bytes(&self, level: Level) -> u64 {
        let limbs = self.basis(level).len() + self.0.special.len();
        (self.digits(level).len() * 2 * limbs * self.n() * 8) as u64
    }

    /// A digest of everything that decides compatibility of keys and ciphertexts, and that their randomness depends on.
    pub fn digest(&self) -> [u8; 32] {
        self.0.digest
    }

    /// log2 of the modulus of a ciphertext at this level.
    pub fn log2_modulus(&self, level: Level) -> f64 {
        self.0.log2_moduli[level.0 as usize]
    }
}

/// Binds the spec, the primes that this release chose for it, and the distribution of the errors: two sets that differ in
/// any of these never share a digest, whichever releases made them.
fn digest(spec: &ParamsSpec, rns: &Rns) -> Result<[u8; 32], ParamsError> {
    let mut hash = blake3::Hasher::new_derive_key("aegis 2026-11-21 parameters");
    let spec = postcard::to_stdvec(spec)
        .map_err(|e| ParamsError::Inconsistent(format!("the set cannot be written down ({e})")))?;
    hash.update(&(spec.len() as u64).to_le_bytes());
    hash.update(&spec);
    hash.update(&security::ERROR_SIGMA.to_le_bytes());
    for modulus in rns.moduli() {
        hash.update(&modulus.value().to_le_bytes());
    }
    Ok(*hash.finalize().as_bytes())
}

/// Most limbs of a chain: twice what the largest ring has room for at 128 bits.
const MAX_LIMBS: u64 = 256;

/// Checks every number before anything is computed from it: a set may come from a file.
fn check_spec(spec: &ParamsSpec) -> Result<(), ParamsError> {
    let fail = |why: String| Err(ParamsError::Inconsistent(why));
    if !(4..=17).contains(&spec.log_n) {
        return fail(format!("log_n = {} is outside 4..=17", spec.log_n));
    }
    let levels: u64 = spec.levels.iter().map(|l| u64::from(l.count)).sum();
    let limbs: u64 =
        spec.levels.iter().map(|l| u64::from(l.count).saturating_mul(l.limb_bits.len() as u64)).sum();
    if limbs > MAX_LIMBS || levels > limbs || !(1..=32).contains(&spec.special_count) {
        return fail(format!(
            "{levels} levels of {limbs} limbs and {} special primes; at most {MAX_LIMBS} limbs, at least one a level, and \
             1 to 32 special primes are possible",
            spec.special_count
        ));
    }
    if spec.levels.iter().any(|l| l.limb_bits.is_empty()) {
        return fail("a level without limbs".into());
    }
    let min_bits = spec.log_n + 4;
    let bits = spec.levels.iter().flat_map(|l| l.limb_bits.iter().copied());
    for b in bits.chain([spec.base_bits, spec.special_bits]) {
        if !(min_bits..=50).contains(&b) {
            return fail(format!("a prime of {b} bits; primes have {min_bits} to 50 bits at this ring"));
        }
    }
    if !(1..=100).contains(&spec.scale_log2) {
        return fail(format!("a scale of 2^{}; it is 2^1 to 2^100", spec.scale_log2));
    }
    let special = spec.special_bits * spec.special_count;
    if spec.digit_bits < spec.base_bits || spec.digit_bits > special {
        return fail(format!("digits of {} bits under a P of {special} bits", spec.digit_bits));
    }
    spec.bootstrap.as_ref().map_or(Ok(()), |b| check_bootstrap(b, spec.log_n, levels))
}

fn check_bootstrap(b: &BootstrapSpec, log_n: u32, levels: u64) -> Result<(), ParamsError> {
    let taken: u64 = [b.slots_to_coeffs, b.eval_mod, b.coeffs_to_slots].map(u64::from).iter().sum();
    let possible = taken < levels
        && b.slots_to_coeffs > 0
        && b.coeffs_to_slots > 0
        && (1..=1 << log_n).contains(&b.ephemeral_weight)
        && (1..=1 << 10).contains(&b.range)
        && b.double_angles <= 8
        && (1..=255).contains(&b.degree)
        && (1..=40).contains(&b.message_ratio_log2);
    if possible {
        return Ok(());
    }
    Err(ParamsError::Inconsistent(format!("bootstrapping with {b:?} in {levels} levels at N = 2^{log_n}")))
}

/// Fails where the primes there are cannot keep the scale at the levels of computation.
fn check_scales(canonical: &[f64], scale_log2: u32) -> Result<(), ParamsError> {
    let drift = |scale: &f64| (scale.log2() - f64::from(scale_log2)).abs();
    match canonical.iter().find(|s| drift(s).is_nan() || drift(s) > 1.0) {
        None => Ok(()),
        Some(scale) => Err(ParamsError::Inconsistent(format!(
            "a scale of 2^{:.1} where 2^{scale_log2} should be kept",
            scale.log2()
        ))),
    }
}

/// The primes of a chain and its canonical scales.
struct Chain {
    q: Vec<u64>,
    special: Vec<u64>,
    limbs_per_level: Vec<usize>,
    scales: Vec<f64>,
}

impl Chain {
    /// Chooses primes top down, so that each canonical scale is pulled back to the nominal one: the drift that squaring
    /// would double at every level never builds up.
    fn choose(spec: &ParamsSpec) -> Result<Self, ParamsError> {
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
fn group_digits(rns: &Rns, basis: &Basis, digit_bits: f64) -> Vec<Basis> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Levels, N16_B13_S40, PRESETS, insecure_bootstrap_spec};

    #[test]
    fn every_preset_is_secure() {
        for spec in PRESETS {
            let p = Params::try_from(spec.clone()).unwrap();
            assert!(p.security_bits().unwrap() >= 128.0, "{}", p.name());
        }
    }

    #[test]
    fn canonical_scales_stay_near_the_nominal_scale() {
        let p = Params::try_from(N16_B13_S40).unwrap();
        for l in 0..=p.fresh_level().0 {
            let drift = (p.scale(Level(l)).log2() - 40.0).abs();
            assert!(drift < 1e-4, "level {l}: {drift}");
        }
        assert_eq!((p.base_level(), p.fresh_level(), p.max_level()), (Level(3), Level(16), Level(27)));
    }

    #[test]
    fn a_modulus_above_the_bound_is_refused() {
        let spec = ParamsSpec { special_count: 12, ..N16_B13_S40 };
        assert!(matches!(Params::try_from(spec), Err(ParamsError::Insecure { .. })));
        assert!(matches!(Params::try_from(insecure_bootstrap_spec(12)), Err(ParamsError::UnknownRing(12))));
        let mut spec = N16_B13_S40;
        spec.bootstrap.as_mut().unwrap().ephemeral_weight = 16;
        assert!(matches!(Params::try_from(spec), Err(ParamsError::InsecureEncapsulation { .. })));
        let mut spec = N16_B13_S40;
        spec.bootstrap.as_mut().unwrap().range = 8;
        assert!(matches!(Params::try_from(spec), Err(ParamsError::Failure { .. })));
    }

    /// A set from a damaged or hostile file is refused at once, without a panic or a search for primes.
    #[test]
    fn numbers_that_cannot_be_are_refused() {
        let boot = N16_B13_S40.bootstrap.unwrap();
        let with = |change: &dyn Fn(&mut ParamsSpec)| {
            let mut spec = N16_B13_S40;
            change(&mut spec);
            spec
        };
        let booted = |change: &dyn Fn(&mut BootstrapSpec)| {
            let mut boot = boot.clone();
            change(&mut boot);
            ParamsSpec { bootstrap: Some(boot), ..N16_B13_S40 }
        };
        let many = vec![Levels::new(u32::MAX, &[40]), Levels::new(u32::MAX, &[40, 40])];
        let hostile = [
            with(&|s| s.levels = many.clone().into()),
            with(&|s| s.levels = vec![Levels::new(u32::MAX, &[])].into()),
            with(&|s| s.levels = vec![Levels::new(1, &[])].into()),
            with(&|s| s.levels = vec![].into()),
            with(&|s| s.special_count = u32::MAX),
            with(&|s| s.special_bits = u32::MAX),
            with(&|s| s.base_bits = 0),
            with(&|s| s.scale_log2 = u32::MAX),
            with(&|s| s.digit_bits = u32::MAX),
            booted(&|b| (b.slots_to_coeffs, b.eval_mod) = (u32::MAX, 2)),
            booted(&|b| b.coeffs_to_slots = u32::MAX),
            booted(&|b| b.ephemeral_weight = u32::MAX),
            booted(&|b| b.range = u32::MAX),
            booted(&|b| b.double_angles = u32::MAX),
            booted(&|b| b.degree = u32::MAX),
            booted(&|b| b.message_ratio_log2 = u32::MAX),
        ];
        for spec in hostile {
            let refused = Params::try_from(spec.clone());
            assert!(matches!(refused, Err(ParamsError::Inconsistent(_))), "{spec:?}: {refused:?}");
        }
    }

    #[test]
    fn scales_that_no_prime_can_keep_are_refused() {
        let spec = ParamsSpec {
            log_n: 13,
            base_bits: 50,
            levels: vec![Levels::new(1, &[50]), Levels::new(1, &[20])].into(),
            scale_log2: 50,
            special_bits: 50,
            special_count: 1,
            digit_bits: 50,
            bootstrap: None,
            ..N16_B13_S40
        };
        assert!(matches!(Params::try_from(spec), Err(ParamsError::Inconsistent(_))));
    }

    #[test]
    fn digits_fit_under_the_special_modulus() {
        for spec in PRESETS {
            let p = Params::try_from(spec.clone()).unwrap();
            let special = p.rns().log2_product(p.special());
            for d in p.digits(p.max_level()) {
                assert!(p.rns().log2_product(&d) <= special, "{}", p.name());
            }
            let union = p.digits(p.max_level()).iter().fold(Basis::new([]), |a, b| a.union(b));
            assert_eq!(&union, p.basis(p.max_level()));
        }
    }
}
