//! Public and evaluation keys.

mod generator;
mod request;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use aegis_hal::{Kernel, Poly, View};
use aegis_ring::Galois;

use crate::secret::{SecretPoly, upload_small};
use crate::{Ciphertext, Context, Error, KeyId, KeyPurpose, Level, Plaintext, Result, Seed, sampling};

pub use generator::KeyGenerator;
pub(crate) use generator::uniform_halves;
pub use request::KeyRequest;

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
    /// Degree of the ring.
    pub(crate) n: usize,
    pub(crate) relinearization: Option<SwitchingKey>,
    pub(crate) galois: BTreeMap<Galois, SwitchingKey>,
    pub(crate) encapsulation: Option<EncapsulationKeys>,
    /// For counting: serves whatever is asked for and remembers it.
    pub(crate) any: Option<AnyShape>,
}

/// Keys without content for every purpose, at the top of the chain.
#[derive(Debug)]
pub(crate) struct AnyShape {
    pub(crate) key: SwitchingKey,
    pub(crate) encapsulation: EncapsulationKeys,
    /// What was asked for.
    pub(crate) asked: Mutex<KeyRequest>,
}

impl AnyShape {
    fn ask(&self, more: impl FnOnce(KeyRequest) -> KeyRequest) -> &Self {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *asked = more(std::mem::take(&mut *asked));
        self
    }
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
        if let Some(any) = &self.any {
            return any.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
        let none = KeyRequest::new(self.n);
        let request = match &self.relinearization {
            Some(key) => none.relinearize(key.level),
            None => none,
        };
        let request = self.galois.iter().fold(request, |all, (map, key)| all.galois(*map, key.level));
        if self.encapsulation.is_some() { request.encapsulation() } else { request }
    }

    /// All switching keys.
    pub fn switching_keys(&self) -> impl Iterator<Item = &SwitchingKey> {
        let encapsulation = self.encapsulation.iter().flat_map(|e| [&e.to_sparse, &e.to_dense]);
        self.relinearization.iter().chain(self.galois.values()).chain(encapsulation)
    }

    pub(crate) fn relinearization(&self, level: Level) -> Result<&SwitchingKey> {
        if let Some(any) = &self.any {
            return Ok(&any.ask(|keys| keys.relinearize(level)).key);
        }
        let missing = Error::MissingKey { what: KeyPurpose::Relinearization, level };
        self.relinearization.as_ref().filter(|k| k.level >= level).ok_or(missing)
    }

    pub(crate) fn galois(&self, map: Galois, level: Level) -> Result<&SwitchingKey> {
        if let Some(any) = &self.any {
            return Ok(&any.ask(|keys| keys.galois(map, level)).key);
        }
        let missing = || Error::MissingKey { what: KeyPurpose::of_map(map, self.n), level };
        self.galois.get(&map).filter(|k| k.level >= level).ok_or_else(missing)
    }

    pub(crate) fn encapsulation(&self) -> Result<&EncapsulationKeys> {
        if let Some(any) = &self.any {
            return Ok(&any.ask(KeyRequest::encapsulation).encapsulation);
        }
        let missing = Error::MissingKey { what: KeyPurpose::Encapsulation, level: Level::BASE };
        self.encapsulation.as_ref().ok_or(missing)
    }
}
