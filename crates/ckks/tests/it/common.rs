//! A context on a small ring, keys, and comparison with a derived tolerance.

use std::sync::Arc;

use aegis_ckks::{
    Ciphertext, Context, Evaluator, KeyGenerator, KeyRequest, Level, Params, ParamsSpec, Plaintext,
    SecretKey, Seed,
};
use aegis_cpu::Cpu;
use num_complex::Complex64;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

pub(crate) const SEED: u64 = 20_261_120;

/// A secret key and an evaluator that holds the keys of a request.
pub(crate) struct Setup {
    pub(crate) ctx: Context,
    pub(crate) secret: SecretKey,
    pub(crate) generator: KeyGenerator,
    pub(crate) ev: Evaluator,
    seeds: std::sync::atomic::AtomicU64,
}

pub(crate) fn context(spec: ParamsSpec) -> Context {
    let params = Params::insecure(spec).unwrap();
    let device = Arc::new(Cpu::new(params.rns().clone(), 2).unwrap());
    Context::new(params, device).unwrap()
}

impl Setup {
    pub(crate) fn new(spec: ParamsSpec, request: impl Fn(KeyRequest, &Params) -> KeyRequest) -> Self {
        let ctx = context(spec);
        let generator = KeyGenerator::new(&ctx, Seed::new([7; 32]));
        let secret = generator.secret_key();
        let request = request(KeyRequest::new(ctx.params().n()), ctx.params());
        let keys = generator.evaluation_keys(&secret, &request).unwrap();
        assert!(request.is_covered_by(&keys));
        assert_eq!(request.bytes(ctx.params()), keys.bytes());
        let ev = Evaluator::new(&ctx, Arc::new(keys));
        Self { ctx, secret, generator, ev, seeds: 0.into() }
    }

    pub(crate) fn seed(&self) -> Seed {
        let index = self.seeds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Seed::new([9; 32]).derive("test encryption", &index.to_le_bytes())
    }

    pub(crate) fn encrypt_at(&self, values: &[Complex64], level: Level) -> Ciphertext {
        let scale = self.ctx.params().scale(level);
        let plaintext = Plaintext::encode(&self.ctx, values, scale, level).unwrap();
        self.secret.encrypt(&self.ctx, &plaintext, &self.seed()).unwrap()
    }

    pub(crate) fn encrypt(&self, values: &[Complex64]) -> Ciphertext {
        self.encrypt_at(values, self.ctx.params().fresh_level())
    }

    pub(crate) fn decrypt(&self, ct: &Ciphertext) -> Vec<Complex64> {
        self.secret.decrypt(&self.ctx, ct).unwrap()
    }

    /// Decrypts and compares slot by slot.
    pub(crate) fn expect(&self, what: &str, ct: &Ciphertext, want: &[Complex64], tolerance: f64) {
        let got = self.decrypt(ct);
        let worst = got.iter().zip(want).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max);
        assert!(
            got.len() == want.len() && worst <= tolerance,
            "{what}: error {worst:e} > {tolerance:e}, seed {SEED}"
        );
    }

    /// Error of one rescale or key switch in a slot: the rounding polynomial `e0 + e1 s` has coefficients of deviation
    /// `sqrt(N * 2/3 / 12)`, a slot sums N of them, and six deviations with a factor for a few operations bound the
    /// worst slot.
    pub(crate) fn rounding(&self, scale: f64) -> f64 {
        let n = self.ctx.params().n() as f64;
        6.0 * 8.0 * (n * n * 2.0 / 36.0).sqrt() / scale
    }
}

pub(crate) fn random_values(count: usize, seed: u64) -> Vec<Complex64> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    (0..count).map(|_| Complex64::new(rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0))).collect()
}
