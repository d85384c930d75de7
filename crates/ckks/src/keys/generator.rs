//! The making of keys.

use std::collections::BTreeMap;
use std::sync::Mutex;

use aegis_hal::{HostData, Kernel, Poly, Shape, View};
use aegis_ring::{Basis, Galois};

use super::{AnyShape, EncapsulationKeys, EvaluationKeys, KeyRequest, PublicKey, SwitchingKey};
use crate::secret::{SecretPoly, upload_small};
use crate::{Context, KeyId, Level, Result, SecretKey, Seed, sampling};

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
        request.check(params)?;
        let relinearization =
            request.relinearization_level().map(|l| self.relinearization(secret, l)).transpose()?;
        let galois = request
            .galois_maps()
            .map(|(map, level)| Ok((map, self.galois(secret, map, level)?)))
            .collect::<Result<_>>()?;
        let encapsulation = match (request.wants_encapsulation(), params.bootstrap()) {
            (false, _) => None,
            (true, Some(spec)) => Some(self.encapsulation(secret, spec.ephemeral_weight)?),
            (true, None) => {
                return Err(crate::Error::NoBootstrapping { params: params.name().to_owned() });
            }
        };
        let (id, n) = (secret.id, params.n());
        Ok(EvaluationKeys { id, n, relinearization, galois, encapsulation, any: None })
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

impl EvaluationKeys {
    /// Keys of the right shapes and without content: for running circuits on a device that only records, where making
    /// real ones would take most of the time. Anything else computed with them is noise.
    pub fn shapes(ctx: &Context, request: &KeyRequest, id: KeyId) -> Result<Self> {
        let params = ctx.params();
        request.check(params)?;
        let at = |level| shape(ctx, level);
        Ok(Self {
            id,
            n: params.n(),
            relinearization: request.relinearization_level().map(at).transpose()?,
            galois: request.galois_maps().map(|(map, level)| Ok((map, at(level)?))).collect::<Result<_>>()?,
            encapsulation: request.wants_encapsulation().then(|| encapsulation_shapes(ctx)).transpose()?,
            any: None,
        })
    }

    /// [`EvaluationKeys::shapes`] for whatever a circuit asks for: [`EvaluationKeys::contents`] says what that was.
    pub(crate) fn of_any_shape(ctx: &Context, id: KeyId) -> Result<Self> {
        let (n, key) = (ctx.params().n(), shape(ctx, ctx.params().max_level())?);
        let (encapsulation, asked) = (encapsulation_shapes(ctx)?, Mutex::new(KeyRequest::new(n)));
        let any = Some(AnyShape { key, encapsulation, asked });
        Ok(Self { id, n, relinearization: None, galois: BTreeMap::new(), encapsulation: None, any })
    }
}

/// A switching key without content for ciphertexts up to a level.
fn shape(ctx: &Context, level: Level) -> Result<SwitchingKey> {
    let params = ctx.params();
    shape_over(ctx, level, params.extended_basis(level), params.digits(level).len())
}

fn shape_over(ctx: &Context, level: Level, basis: Basis, digits: usize) -> Result<SwitchingKey> {
    let poly = ctx.device().alloc(Shape::new(2 * digits, basis, ctx.params().n()))?;
    Ok(SwitchingKey { level, poly, seed: Seed::new([0; 32]) })
}

fn encapsulation_shapes(ctx: &Context) -> Result<EncapsulationKeys> {
    let to_sparse = shape_over(ctx, Level::BASE, ctx.params().encapsulation_basis(), 1)?;
    Ok(EncapsulationKeys { to_sparse, to_dense: shape(ctx, ctx.params().max_level())? })
}

/// The uniform halves of `count` pairs, a pure function of a public seed.
pub(crate) fn uniform_halves(ctx: &Context, basis: &Basis, count: usize, seed: &Seed) -> Result<Poly> {
    let words = sampling::uniform(ctx.params().rns(), basis, count, seed);
    let shape = Shape::new(count, basis.clone(), ctx.params().n());
    Ok(ctx.device().upload(shape, HostData::residues(words))?)
}
