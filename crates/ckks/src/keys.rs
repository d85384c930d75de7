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

    /// Encrypts: `(b u + e0 + m, a u + e1)` with a ternary `u`.
    ///
    /// The randomness is a function of `seed`, the key, the parameters, the level, the scale and the message: equal
    /// calls give equal ciphertexts, and two that differ in anything share nothing. The seed must stay secret: with it
    /// anyone decrypts. Level and scale: those of the plaintext, at most the fresh level.
    pub fn encrypt(&self, ctx: &Context, plaintext: &Plaintext, seed: &Seed) -> Result<Ciphertext> {
        let max = ctx.params().fresh_level();
        if plaintext.level() > max {
            return Err(Error::LevelTooHigh { have: plaintext.level(), max });
        }
        let (dev, n) = (ctx.device(), ctx.params().n());
        let basis = ctx.params().basis(plaintext.level()).clone();
        let key = seed.derive("public-key encryption", &self.id.0).derive("key", self.seed.bytes());
        let mut rng = plaintext.bind(&key.derive("parameters", &ctx.params().digest())).rng();
        let u = sampling::ternary(n, &mut rng);
        let u = SecretPoly::upload(ctx, &u, &basis)?;
        let (e0, e1) = (sampling::gaussian(n, &mut rng), sampling::gaussian(n, &mut rng));
        let mut ct = upload_small(ctx, &[&e0, &e1], &basis)?;
        dev.launch(&Kernel::MulAdd, &basis, ct.view_mut(), &[self.poly.view(), u.poly.view()])?;
        dev.launch(&Kernel::Add, &basis, ct.slice_mut(0, 1), &[plaintext.poly().view()])?;
        Ok(Ciphertext::new(ct, plaintext.level(), plaintext.scale(), self.id))
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

    /// What these keys are for, as a request that would make them.
    pub fn contents(&self) -> KeyRequest {
        KeyRequest {
            relinearization: self.relinearization.as_ref().map(|k| k.level),
            galois: self.galois.iter().map(|(map, key)| (*map, key.level)).collect(),
            encapsulation: self.encapsulation.is_some(),
            n: self.switching_keys().next().map_or(0, |k| k.poly.shape().n()),
        }
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

    /// True when `other` has everything that this asks for.
    pub fn is_within(&self, other: &Self) -> bool {
        self.relinearization <= other.relinearization
            && self.galois.iter().all(|(map, level)| other.galois.get(map).is_some_and(|l| l >= level))
            && (!self.encapsulation || other.encapsulation)
    }

    /// True when `keys` hold everything asked for.
    pub fn is_covered_by(&self, keys: &EvaluationKeys) -> bool {
        self.is_within(&keys.contents())
    }
}

/// Makes keys from one seed: the same seed under the same parameters gives the same keys.
///
/// Every stream of randomness is derived from the seed, the digest of the parameters, the secret key that it is used
/// under and the purpose, so that keys of two parameter sets, two secrets or two purposes share none. (Sharing it would
/// publish the secret: two keys `b = -a s + e` with one `s` and one `e` differ by a multiple of `s`.) Keys for one purpose
/// at two levels are the same key, cut to the lower level.
pub struct KeyGenerator {
    ctx: Context,
    /// Bound to the parameters.
    root: Seed,
}

/// What a key is for: its purpose, and a number that tells keys of one purpose apart.
type Label = (&'static str, u64);

/// A key as `pairs` makes it: encryptions of `P T_d source` under `target`, one for each digit.
struct Recipe<'a> {
    target: &'a SecretPoly,
    /// `None`: encryptions of zero.
    source: Option<&'a SecretPoly>,
    digits: &'a [Basis],
    /// The primes of P.
    special: &'a Basis,
    basis: &'a Basis,
    /// What its randomness is derived from.
    streams: Seed,
}

impl Recipe<'_> {
    /// What the uniform halves are expanded from; published with the key.
    fn public_seed(&self) -> Seed {
        self.streams.derive("uniform halves", &[])
    }
}

impl KeyGenerator {
    /// A generator. The seed is as secret as the secret key.
    pub fn new(ctx: &Context, seed: Seed) -> Self {
        Self { ctx: ctx.clone(), root: seed.derive("aegis keys", &ctx.params().digest()) }
    }

    /// The dense ternary secret.
    pub fn secret_key(&self) -> SecretKey {
        let mut rng = self.root.derive("secret", &[]).rng();
        let params = self.ctx.params();
        SecretKey::new(params, sampling::ternary(params.n(), &mut rng))
    }

    /// The streams of one key of this secret.
    fn streams(&self, secret: &SecretKey, (purpose, index): Label) -> Seed {
        self.root.derive("keys of a secret", secret.fingerprint.bytes()).derive(purpose, &index.to_le_bytes())
    }

    /// The public encryption key.
    pub fn public_key(&self, secret: &SecretKey) -> Result<PublicKey> {
        secret.check(&self.ctx)?;
        let basis = self.ctx.params().basis(self.ctx.params().fresh_level()).clone();
        let s = SecretPoly::upload(&self.ctx, &secret.coefficients, &basis)?;
        let recipe = Recipe {
            target: &s,
            source: None,
            digits: std::slice::from_ref(&basis),
            special: self.ctx.params().special(),
            basis: &basis,
            streams: self.streams(secret, ("public key", 0)),
        };
        Ok(PublicKey { poly: self.pairs(&recipe)?, seed: recipe.public_seed(), id: secret.id })
    }

    /// The keys of `request`.
    pub fn evaluation_keys(&self, secret: &SecretKey, request: &KeyRequest) -> Result<EvaluationKeys> {
        secret.check(&self.ctx)?;
        let params = self.ctx.params();
        request
            .relinearization
            .iter()
            .chain(request.galois.values())
            .try_for_each(|l| params.check_level(*l))?;
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
        let ext = self.ctx.params().extended_basis(level);
        let s = SecretPoly::upload(&self.ctx, &secret.coefficients, &ext)?;
        let mut square = self.fresh_secret(&ext)?;
        self.launch(&Kernel::Mul, &ext, &mut square, &[s.poly.view(), s.poly.view()])?;
        self.switching_key(&s, &square, level, self.streams(secret, ("relinearization", 0)))
    }

    /// The key is made for the *inverse* map applied to the target secret, so that a rotation multiplies digits by the
    /// key first and permutes the two resulting polynomials last, instead of permuting every digit.
    fn galois(&self, secret: &SecretKey, map: Galois, level: Level) -> Result<SwitchingKey> {
        let ext = self.ctx.params().extended_basis(level);
        let s = SecretPoly::upload(&self.ctx, &secret.coefficients, &ext)?;
        let mut target = self.fresh_secret(&ext)?;
        let inverse = map.inverse(self.ctx.params().n());
        self.launch(&Kernel::Automorphism(inverse), &ext, &mut target, &[s.poly.view()])?;
        let streams = self.streams(secret, ("galois", u64::from(map.exponent())));
        self.switching_key(&target, &s, level, streams)
    }

    fn encapsulation(&self, secret: &SecretKey, weight: u32) -> Result<EncapsulationKeys> {
        let params = self.ctx.params();
        let mut rng = self.streams(secret, ("ephemeral secret", 0)).rng();
        let sparse = sampling::sparse_ternary(params.n(), weight as usize, &mut rng);

        let basis = params.encapsulation_basis();
        let special = basis.minus(params.basis(Level(0)));
        let (dense_low, sparse_low) = (
            SecretPoly::upload(&self.ctx, &secret.coefficients, &basis)?,
            SecretPoly::upload(&self.ctx, &sparse, &basis)?,
        );
        let digits = [params.basis(Level(0)).clone()];
        let recipe = Recipe {
            target: &sparse_low,
            source: Some(&dense_low),
            digits: &digits,
            special: &special,
            basis: &basis,
            streams: self.streams(secret, ("to sparse", 0)),
        };
        let to_sparse =
            SwitchingKey { level: Level(0), poly: self.pairs(&recipe)?, seed: recipe.public_seed() };

        let top = params.max_level();
        let ext = self.ctx.params().extended_basis(top);
        let dense = SecretPoly::upload(&self.ctx, &secret.coefficients, &ext)?;
        let sparse = SecretPoly::upload(&self.ctx, &sparse, &ext)?;
        let to_dense = self.switching_key(&dense, &sparse, top, self.streams(secret, ("to dense", 0)))?;
        Ok(EncapsulationKeys { to_sparse, to_dense })
    }

    fn switching_key(
        &self,
        target: &SecretPoly,
        source: &SecretPoly,
        level: Level,
        streams: Seed,
    ) -> Result<SwitchingKey> {
        let params = self.ctx.params();
        let (digits, basis) = (&params.digits(level), &self.ctx.params().extended_basis(level));
        let recipe =
            Recipe { target, source: Some(source), digits, special: params.special(), basis, streams };
        Ok(SwitchingKey { level, poly: self.pairs(&recipe)?, seed: recipe.public_seed() })
    }

    /// Pairs `(-a target + e + P T_d source, a)` for each digit, interleaved.
    fn pairs(&self, r: &Recipe<'_>) -> Result<Poly> {
        let (dev, n, basis, count) = (self.ctx.device(), self.ctx.params().n(), r.basis, r.digits.len());
        let a = uniform_halves(&self.ctx, basis, count, &r.public_seed())?;
        let mut rng = r.streams.derive("errors", &[]).rng();
        let errors: Vec<_> = (0..count).map(|_| sampling::gaussian(n, &mut rng)).collect();
        let rows: Vec<&[i64]> = errors.iter().map(|e| e.as_slice()).collect();
        let e = SecretPoly::new(dev, upload_small(&self.ctx, &rows, basis)?);
        let mut product = self.fresh_secret(basis)?;
        let mut key = dev.alloc(Shape::new(2 * count, basis.clone(), n))?;
        for (d, digit) in r.digits.iter().enumerate() {
            self.launch(&Kernel::Mul, basis, &mut product, &[a.slice(d, 1), r.target.poly.view()])?;
            dev.launch(&Kernel::Copy, basis, key.slice_mut(2 * d + 1, 1), &[a.slice(d, 1)])?;
            let inputs = [e.poly.slice(d, 1), product.poly.view()];
            dev.launch(&Kernel::Sub, basis, key.slice_mut(2 * d, 1), &inputs)?;
            if let Some(source) = r.source {
                let p = self.ctx.product_scalars(digit, r.special);
                let target = key.slice_mut(2 * d, 1);
                dev.launch(&Kernel::ScalarMulAdd(p), digit, target, &[source.poly.view()])?;
            }
        }
        Ok(key)
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
