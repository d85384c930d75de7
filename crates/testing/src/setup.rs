//! A context with a secret key and an evaluator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aegis_ckks::{
    Ciphertext, Context, Evaluator, KeyGenerator, KeyRequest, Level, Params, Plaintext, SecretKey, Seed,
};
use num_complex::Complex64;

use crate::{complex, distance};

/// Everything to encrypt, evaluate and decrypt with; all of it follows from fixed seeds.
pub struct Setup {
    /// The context.
    pub ctx: Context,
    /// The generator of all keys.
    pub generator: KeyGenerator,
    /// The secret key.
    pub secret: SecretKey,
    /// An evaluator with the keys that were asked for.
    pub ev: Evaluator,
    encryptions: AtomicU64,
}

impl Setup {
    /// Without evaluation keys: for what needs none, or asks for them by [`Setup::evaluator`].
    pub fn new(ctx: Context) -> Self {
        Self::with_keys(ctx, |none, _| none)
    }

    /// With the keys that `keys` adds to an empty request.
    pub fn with_keys(ctx: Context, keys: impl FnOnce(KeyRequest, &Params) -> KeyRequest) -> Self {
        let generator = KeyGenerator::new(&ctx, Seed::new([7; 32]));
        let secret = generator.secret_key();
        let request = keys(KeyRequest::new(ctx.params().n()), ctx.params());
        let ev = evaluator(&ctx, &generator, &secret, &request);
        Self { ctx, generator, secret, ev, encryptions: 0.into() }
    }

    /// An evaluator with other keys.
    pub fn evaluator(&self, request: &KeyRequest) -> Evaluator {
        evaluator(&self.ctx, &self.generator, &self.secret, request)
    }

    /// A seed that no encryption had before.
    pub fn seed(&self) -> Seed {
        let index = self.encryptions.fetch_add(1, Ordering::Relaxed);
        Seed::new([9; 32]).derive("test encryption", &index.to_le_bytes())
    }

    /// Encrypts for the fresh level, at its canonical scale.
    pub fn encrypt(&self, values: &[Complex64]) -> Ciphertext {
        self.encrypt_at(values, self.ctx.params().fresh_level())
    }

    /// Encrypts at a level and its canonical scale.
    pub fn encrypt_at(&self, values: &[Complex64], level: Level) -> Ciphertext {
        let scale = self.ctx.params().scale(level);
        let plaintext = Plaintext::encode(&self.ctx, values, scale, level).expect("slots");
        self.secret.encrypt(&self.ctx, &plaintext, &self.seed()).expect("a ciphertext")
    }

    /// The same for real numbers.
    pub fn encrypt_real_at(&self, values: &[f64], level: Level) -> Ciphertext {
        self.encrypt_at(&complex(values), level)
    }

    /// The slots of a ciphertext.
    pub fn decrypt(&self, ct: &Ciphertext) -> Vec<Complex64> {
        self.secret.decrypt(&self.ctx, ct).expect("slots")
    }

    /// Decrypts and compares slot by slot.
    pub fn expect(&self, what: &str, ct: &Ciphertext, want: &[Complex64], tolerance: f64) {
        let got = self.decrypt(ct);
        assert_eq!(got.len(), want.len(), "{what}");
        let worst = distance(&got, want);
        assert!(worst <= tolerance, "{what}: error {worst:e} > {tolerance:e}");
    }

    /// Error of one rescale or key switch in a slot: the rounding polynomial `e0 + e1 s` has coefficients of deviation
    /// `sqrt(N * 2/3 / 12)`, a slot sums N of them, and six deviations with a factor for a few operations bound the
    /// worst slot.
    pub fn rounding(&self, scale: f64) -> f64 {
        let n = self.ctx.params().n() as f64;
        6.0 * 8.0 * (n * n * 2.0 / 36.0).sqrt() / scale
    }
}

fn evaluator(ctx: &Context, generator: &KeyGenerator, secret: &SecretKey, request: &KeyRequest) -> Evaluator {
    let keys = generator.evaluation_keys(secret, request).expect("keys");
    request.check_covered_by(&keys).expect("the keys that were asked for");
    assert_eq!(request.bytes(ctx.params()), keys.bytes());
    Evaluator::new(ctx, Arc::new(keys))
}
