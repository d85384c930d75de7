//! Public and evaluation keys, and their making.

use std::collections::BTreeMap;

use aegis_hal::{Host, Kernel, Poly, Shape, View};
use aegis_ring::{Basis, Galois};

use crate::secret::{SecretPoly, upload_small};
use crate::{
    Ciphertext, Context, Error, KeyId, KeyPurpose, Level, Plaintext, Result, SecretKey, Seed, sampling,
};

/// `(b, a)` with `b = -a s + e`, over the limbs of the fresh level.
#[derive(Debug)]
pub struct PublicKey {
    pub(crate) poly: Poly,
    pub(crate) seed: Seed,
    pub(crate) id: KeyId,
}

impl PublicKey {
    /// Whose key it is.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The pair `b, a` in evaluation form: public.
    pub fn poly(&self) -> &Poly {
        &self.poly
    }

    /// Encrypts: `(b u + e0 + m, a u + e1)` with a ternary `u`. `seed` must never be used twice.
    ///
    /// Level and scale: those of the plaintext, at most the fresh level.
    pub fn encrypt(&self, ctx: &Context, plaintext: &Plaintext, seed: &Seed) -> Result<Ciphertext> {
        let max = ctx.params().fresh_level();
        if plaintext.level > max {
            return Err(Error::LevelTooHigh { have: plaintext.level, max });
        }
        let (dev, n) = (ctx.device(), ctx.params().n());
        let basis = ctx.params().basis(plaintext.level).clone();
        let mut rng = seed.derive("encryption", 0).rng();
        let u = sampling::ternary(n, &mut rng);
        let u = SecretPoly::upload(ctx, &u, &basis)?;
        let (e0, e1) = (sampling::gaussian(n, &mut rng), sampling::gaussian(n, &mut rng));
        let mut ct = upload_small(ctx, &[&e0, &e1], &basis)?;
        dev.launch(&Kernel::MulAdd, &basis, ct.view_mut(), &[self.poly.view(), u.poly.view()])?;
        dev.launch(&Kernel::Add, &basis, ct.slice_mut(0, 1), &[plaintext.poly.view()])?;
        Ok(Ciphertext::new(ct, plaintext.level, plaintext.scale, self.id))
    }
}

/// A key that turns digits of one polynomial under a source secret into a ciphertext under the target secret.
///
/// For each digit `d` a pair `(b_d, a_d)` with `b_d = -a_d target + e_d + P T_d source`, where `T_d` is 1 modulo the
/// primes of the digit and 0 modulo the other limbs (Han, Ki 2020, hybrid key switching).
#[derive(Debug)]
pub struct SwitchingKey {
    pub(crate) level: Level,
    /// `b_0, a_0, b_1, a_1, ...` in evaluation form over the limbs of `level` and the special ones.
    pub(crate) poly: Poly,
    /// What the uniform halves `a_d` are expanded from; public.
    pub(crate) seed: Seed,
}

impl SwitchingKey {
    /// Highest level of the ciphertexts it serves.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The pairs of the first `digits` digits, as the second operand of an inner product.
    pub(crate) fn pairs(&self, digits: usize) -> View<'_> {
        self.poly.slice(0, 2 * digits)
    }

    /// The pairs `b_0, a_0, b_1, a_1, ...` in evaluation form: public.
    pub fn poly(&self) -> &Poly {
        &self.poly
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.poly.shape().bytes()
    }
}

/// The two keys of a bootstrap's ModRaise: from the dense secret to an ephemeral sparse one at the bottom of the chain,
/// and back at its top (Bossuat, Troncoso-Pastoriza, Hubaux 2022).
#[derive(Debug)]
pub struct EncapsulationKeys {
    /// Dense to sparse, over the base limb and one special limb.
    pub(crate) to_sparse: SwitchingKey,
    /// Sparse to dense, at the top level.
    pub(crate) to_dense: SwitchingKey,
}

/// What a server needs to evaluate: no secret is in it.
#[derive(Debug)]
pub struct EvaluationKeys {
    pub(crate) id: KeyId,
    pub(crate) relinearization: Option<SwitchingKey>,
    pub(crate) galois: BTreeMap<Galois, SwitchingKey>,
    pub(crate) encapsulation: Option<EncapsulationKeys>,
}

impl EvaluationKeys {
    /// Whose ciphertexts they serve.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Bytes of all keys on the device.
    pub fn bytes(&self) -> u64 {
        let encapsulation = self.encapsulation.iter().flat_map(|e| [&e.to_sparse, &e.to_dense]);
        self.relinearization
            .iter()
            .chain(self.galois.values())
            .chain(encapsulation)
            .map(SwitchingKey::bytes)
            .sum()
    }

    /// Number of switching keys.
    pub fn count(&self) -> usize {
        self.switching_keys().count()
    }

    /// All switching keys.
    pub fn switching_keys(&self) -> impl Iterator<Item = &SwitchingKey> {
        let encapsulation = self.encapsulation.iter().flat_map(|e| [&e.to_sparse, &e.to_dense]);
        self.relinearization.iter().chain(self.galois.values()).chain(encapsulation)
    }

    pub(crate) fn relinearization(&self, level: Level) -> Result<&SwitchingKey> {
        let missing = Error::MissingKey { what: KeyPurpose::Relinearization, level };
        self.relinearization.as_ref().filter(|k| k.level >= level).ok_or(missing)
    }

    pub(crate) fn galois(&self, map: Galois, level: Level) -> Result<&SwitchingKey> {
        let missing = Error::MissingKey { what: KeyPurpose::Galois(map), level };
        self.galois.get(&map).filter(|k| k.level >= level).ok_or(missing)
    }

    pub(crate) fn encapsulation(&self) -> Result<&EncapsulationKeys> {
        let missing = Error::MissingKey { what: KeyPurpose::Encapsulation, level: Level(0) };
        self.encapsulation.as_ref().ok_or(missing)
    }
}

/// The keys that circuits ask for, each at the highest level it is used at: a key serves every lower level too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyRequest {
    relinearization: Option<Level>,
    galois: BTreeMap<Galois, Level>,
    encapsulation: bool,
    n: usize,
}

impl KeyRequest {
    /// No keys, for a ring of degree `n`.
    pub fn new(n: usize) -> Self {
        Self { n, ..Self::default() }
    }

    /// Also products up to `level`.
    #[must_use]
    pub fn relinearize(mut self, level: Level) -> Self {
        self.relinearization = self.relinearization.max(Some(level));
        self
    }

    /// Also a Galois map up to `level`.
    #[must_use]
    pub fn galois(mut self, map: Galois, level: Level) -> Self {
        if map != Galois::IDENTITY {
            let entry = self.galois.entry(map).or_insert(level);
            *entry = (*entry).max(level);
        }
        self
    }

    /// Also rotations by `steps` slots up to `level`.
    #[must_use]
    pub fn rotation(self, steps: i64, level: Level) -> Self {
        let map = Galois::rotation(steps, self.n);
        self.galois(map, level)
    }

    /// Also complex conjugation up to `level`.
    #[must_use]
    pub fn conjugation(self, level: Level) -> Self {
        let map = Galois::conjugation(self.n);
        self.galois(map, level)
    }

    /// Also the keys of a bootstrap's ModRaise.
    #[must_use]
    pub fn encapsulation(mut self) -> Self {
        self.encapsulation = true;
        self
    }

    /// Also everything that `other` asks for.
    #[must_use]
    pub fn merge(mut self, other: &Self) -> Self {
        self.relinearization = self.relinearization.max(other.relinearization);
        self.encapsulation |= other.encapsulation;
        self.n = self.n.max(other.n);
        other.galois.iter().fold(self, |all, (map, level)| all.galois(*map, *level))
    }

    /// The Galois maps asked for, with the level of each.
    pub fn galois_maps(&self) -> impl Iterator<Item = (Galois, Level)> + '_ {
        self.galois.iter().map(|(m, l)| (*m, *l))
    }

    /// The level of the relinearisation key asked for.
    pub fn relinearization_level(&self) -> Option<Level> {
        self.relinearization
    }

    /// Bytes on a device that the keys will take, known before they are made.
    pub fn bytes(&self, params: &crate::Params) -> u64 {
        let levels = self.relinearization.iter().chain(self.galois.values());
        let switching: u64 = levels.map(|l| params.switching_key_bytes(*l)).sum();
        let encapsulation = if self.encapsulation {
            params.switching_key_bytes(params.max_level()) + (2 * 2 * params.n() * 8) as u64
        } else {
            0
        };
        switching + encapsulation
    }

    /// True when `keys` hold everything asked for.
    pub fn is_covered_by(&self, keys: &EvaluationKeys) -> bool {
        self.relinearization.is_none_or(|l| keys.relinearization(l).is_ok())
            && self.galois.iter().all(|(m, l)| keys.galois(*m, *l).is_ok())
            && (!self.encapsulation || keys.encapsulation.is_some())
    }
}

/// Makes keys from one seed: the same seed gives the same keys.
pub struct KeyGenerator {
    ctx: Context,
    seed: Seed,
}

impl KeyGenerator {
    /// A generator. The seed is as secret as the secret key.
    pub fn new(ctx: &Context, seed: Seed) -> Self {
        Self { ctx: ctx.clone(), seed }
    }

    /// The dense ternary secret.
    pub fn secret_key(&self) -> SecretKey {
        let mut rng = self.seed.derive("secret", 0).rng();
        let coefficients = sampling::ternary(self.ctx.params().n(), &mut rng);
        let mut id = [0; 16];
        id.copy_from_slice(&self.seed.derive("key id", 0).bytes()[..16]);
        SecretKey { coefficients, id: KeyId(id) }
    }

    /// The public encryption key.
    pub fn public_key(&self, secret: &SecretKey) -> Result<PublicKey> {
        let basis = self.ctx.params().basis(self.ctx.params().fresh_level()).clone();
        let s = SecretPoly::upload(&self.ctx, &secret.coefficients, &basis)?;
        let label = ("public key", 0);
        let poly = self.pairs(&s, None, &[], &basis, &basis, 1, label)?;
        Ok(PublicKey { poly, seed: self.public_seed(label), id: secret.id })
    }

    /// The keys of `request`.
    pub fn evaluation_keys(&self, secret: &SecretKey, request: &KeyRequest) -> Result<EvaluationKeys> {
        let params = self.ctx.params();
        let relinearization = request.relinearization.map(|l| self.relinearization(secret, l)).transpose()?;
        let galois = request
            .galois
            .iter()
            .map(|(map, level)| Ok((*map, self.galois(secret, *map, *level)?)))
            .collect::<Result<_>>()?;
        let encapsulation = match (request.encapsulation, params.bootstrap()) {
            (false, _) => None,
            (true, Some(spec)) => Some(self.encapsulation(secret, spec.ephemeral_weight)?),
            (true, None) => {
                return Err(crate::ParamsError::Inconsistent(format!(
                    "{} has no bootstrapping",
                    params.name()
                ))
                .into());
            }
        };
        Ok(EvaluationKeys { id: secret.id, relinearization, galois, encapsulation })
    }

    fn relinearization(&self, secret: &SecretKey, level: Level) -> Result<SwitchingKey> {
        let ext = self.ctx.extended_basis(level);
        let s = SecretPoly::upload(&self.ctx, &secret.coefficients, &ext)?;
        let mut square = self.fresh_secret(&ext)?;
        self.launch(&Kernel::Mul, &ext, &mut square, &[s.poly.view(), s.poly.view()])?;
        self.switching_key(&s, &square, level, ("relinearization", 0))
    }

    /// The key is made for the *inverse* map applied to the target secret, so that a rotation multiplies digits by the
    /// key first and permutes the two resulting polynomials last, instead of permuting every digit.
    fn galois(&self, secret: &SecretKey, map: Galois, level: Level) -> Result<SwitchingKey> {
        let ext = self.ctx.extended_basis(level);
        let s = SecretPoly::upload(&self.ctx, &secret.coefficients, &ext)?;
        let mut target = self.fresh_secret(&ext)?;
        let inverse = map.inverse(self.ctx.params().n());
        self.launch(&Kernel::Automorphism(inverse), &ext, &mut target, &[s.poly.view()])?;
        self.switching_key(&target, &s, level, ("galois", u64::from(map.exponent())))
    }

    fn encapsulation(&self, secret: &SecretKey, weight: u32) -> Result<EncapsulationKeys> {
        let params = self.ctx.params();
        let mut rng = self.seed.derive("ephemeral secret", 0).rng();
        let sparse = sampling::sparse_ternary(params.n(), weight as usize, &mut rng);

        let basis = params.encapsulation_basis();
        let special = basis.minus(params.basis(Level(0)));
        let (dense_low, sparse_low) = (
            SecretPoly::upload(&self.ctx, &secret.coefficients, &basis)?,
            SecretPoly::upload(&self.ctx, &sparse, &basis)?,
        );
        let digits = [params.basis(Level(0)).clone()];
        let label = ("to sparse", 1);
        let poly = self.pairs(&sparse_low, Some(&dense_low), &digits, &special, &basis, 1, label)?;
        let to_sparse = SwitchingKey { level: Level(0), poly, seed: self.public_seed(label) };

        let top = params.max_level();
        let ext = self.ctx.extended_basis(top);
        let dense = SecretPoly::upload(&self.ctx, &secret.coefficients, &ext)?;
        let sparse = SecretPoly::upload(&self.ctx, &sparse, &ext)?;
        let to_dense = self.switching_key(&dense, &sparse, top, ("to dense", 2))?;
        Ok(EncapsulationKeys { to_sparse, to_dense })
    }

    fn switching_key(
        &self,
        target: &SecretPoly,
        source: &SecretPoly,
        level: Level,
        label: (&str, u64),
    ) -> Result<SwitchingKey> {
        let params = self.ctx.params();
        let (digits, ext) = (params.digits(level), self.ctx.extended_basis(level));
        let poly = self.pairs(target, Some(source), &digits, params.special(), &ext, digits.len(), label)?;
        Ok(SwitchingKey { level, poly, seed: self.public_seed(label) })
    }

    /// Pairs `(-a target + e + P T_d source, a)` over `basis`, interleaved; without a source, encryptions of zero.
    #[expect(clippy::too_many_arguments, reason = "the one place that makes every kind of key")]
    fn pairs(
        &self,
        target: &SecretPoly,
        source: Option<&SecretPoly>,
        digits: &[Basis],
        special: &Basis,
        basis: &Basis,
        count: usize,
        label: (&str, u64),
    ) -> Result<Poly> {
        let (dev, n) = (self.ctx.device(), self.ctx.params().n());
        let a = uniform_halves(&self.ctx, basis, count, &self.public_seed(label))?;
        let mut rng = self.seed.derive("key errors", 0).derive(label.0, label.1).rng();
        let errors: Vec<_> = (0..count).map(|_| sampling::gaussian(n, &mut rng)).collect();
        let rows: Vec<&[i64]> = errors.iter().map(|e| e.as_slice()).collect();
        let e = SecretPoly::new(dev, upload_small(&self.ctx, &rows, basis)?);
        let mut product = self.fresh_secret(basis)?;
        let mut key = dev.alloc(Shape::new(2 * count, basis.clone(), n))?;
        for d in 0..count {
            self.launch(&Kernel::Mul, basis, &mut product, &[a.slice(d, 1), target.poly.view()])?;
            dev.launch(&Kernel::Copy, basis, key.slice_mut(2 * d + 1, 1), &[a.slice(d, 1)])?;
            let inputs = [e.poly.slice(d, 1), product.poly.view()];
            dev.launch(&Kernel::Sub, basis, key.slice_mut(2 * d, 1), &inputs)?;
            if let (Some(source), Some(digit)) = (source, digits.get(d)) {
                let p = self.ctx.product_scalars(digit, special);
                let target = key.slice_mut(2 * d, 1);
                dev.launch(&Kernel::ScalarMulAdd(p), digit, target, &[source.poly.view()])?;
            }
        }
        Ok(key)
    }

    fn public_seed(&self, label: (&str, u64)) -> Seed {
        self.seed.derive("public uniform", 0).derive(label.0, label.1)
    }

    fn fresh_secret(&self, basis: &Basis) -> Result<SecretPoly> {
        let dev = self.ctx.device();
        Ok(SecretPoly::new(dev, dev.alloc(Shape::new(1, basis.clone(), self.ctx.params().n()))?))
    }

    fn launch(&self, kernel: &Kernel, basis: &Basis, out: &mut SecretPoly, ins: &[View<'_>]) -> Result<()> {
        Ok(self.ctx.device().launch(kernel, basis, out.poly.view_mut(), ins)?)
    }
}

/// The uniform halves of `count` pairs, a pure function of a public seed.
pub(crate) fn uniform_halves(ctx: &Context, basis: &Basis, count: usize, seed: &Seed) -> Result<Poly> {
    let words = sampling::uniform(ctx.params().rns(), basis, count, seed);
    let shape = Shape::new(count, basis.clone(), ctx.params().n());
    Ok(ctx.device().upload(shape, Host::Residues(words))?)
}
