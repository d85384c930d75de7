//! Checked parameters: the modulus chain, its scales, the key switching digits.

mod chain;
mod error;

use std::sync::Arc;

use aegis_ring::{Basis, LimbId, Rns};

use crate::{BootstrapSpec, Level, ParamsSpec, security};
use chain::{Chain, check_spec, group_digits};
pub use error::{Contradiction, ParamsError};

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
        self.max_level().lowered(above)
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
        Basis::new([self.basis(Level::BASE).limbs()[0], self.0.special.limbs()[0]])
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
    let spec = postcard::to_stdvec(spec).map_err(ParamsError::Unwritable)?;
    hash.update(&(spec.len() as u64).to_le_bytes());
    hash.update(&spec);
    hash.update(&security::ERROR_SIGMA.to_le_bytes());
    for modulus in rns.moduli() {
        hash.update(&modulus.value().to_le_bytes());
    }
    Ok(*hash.finalize().as_bytes())
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
            with(&|s| s.name = "\u{1b}[2J".into()),
            with(&|s| s.name = "N".repeat(65).into()),
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
        let refused = Params::try_from(spec).unwrap_err();
        assert!(matches!(refused, ParamsError::Inconsistent(Contradiction::Drift { nominal_log2: 50, .. })));
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
