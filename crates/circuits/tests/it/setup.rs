//! A context, its keys, and a fixed stream of numbers.

use std::sync::Arc;

use aegis_ckks::{
    Ciphertext, Context, Evaluator, KeyGenerator, KeyRequest, Level, Params, ParamsSpec, Plaintext,
    SecretKey, Seed,
};
use aegis_cpu::Cpu;
use num_complex::Complex64;

pub(crate) struct Setup {
    pub(crate) ctx: Context,
    pub(crate) secret: SecretKey,
    seed: Seed,
}

impl Setup {
    pub(crate) fn insecure(spec: ParamsSpec) -> Self {
        Self::new(Params::insecure(spec).unwrap(), 1)
    }

    pub(crate) fn new(params: Params, threads: usize) -> Self {
        let device = Cpu::new(params.rns().clone(), threads).unwrap();
        Self::on(params, device)
    }

    pub(crate) fn on(params: Params, device: Cpu) -> Self {
        let device = Arc::new(device);
        let ctx = Context::new(params, device).unwrap();
        let seed = Seed::new([7; 32]);
        let secret = KeyGenerator::new(&ctx, seed.clone()).secret_key();
        Self { ctx, secret, seed }
    }

    pub(crate) fn evaluator(&self, request: &KeyRequest) -> Evaluator {
        let keys =
            KeyGenerator::new(&self.ctx, self.seed.clone()).evaluation_keys(&self.secret, request).unwrap();
        Evaluator::new(&self.ctx, Arc::new(keys))
    }

    /// Encrypts at the canonical scale of `level`.
    pub(crate) fn encrypt(&self, values: &[Complex64], level: Level) -> Ciphertext {
        let scale = self.ctx.params().scale(level);
        let plaintext = Plaintext::encode(&self.ctx, values, scale, level).unwrap();
        self.secret.encrypt(&self.ctx, &plaintext, &Seed::new([9; 32])).unwrap()
    }

    pub(crate) fn encrypt_real(&self, values: &[f64], level: Level) -> Ciphertext {
        self.encrypt(&complex(values), level)
    }

    pub(crate) fn decrypt(&self, ct: &Ciphertext) -> Vec<Complex64> {
        self.secret.decrypt(&self.ctx, ct).unwrap()
    }
}

pub(crate) fn complex(values: &[f64]) -> Vec<Complex64> {
    values.iter().map(|&v| Complex64::new(v, 0.0)).collect()
}

/// Numbers in `[-1, 1)` from a seed: splitmix64.
pub(crate) fn uniform(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

pub(crate) fn uniform_complex(count: usize, seed: u64) -> Vec<Complex64> {
    let parts = uniform(2 * count, seed);
    parts.chunks(2).map(|p| Complex64::new(p[0], p[1])).collect()
}

/// The largest distance between `got` and the periodic repetition of `want`.
pub(crate) fn distance(got: &[Complex64], want: &[Complex64]) -> f64 {
    got.iter().enumerate().map(|(i, z)| (z - want[i % want.len()]).norm()).fold(0.0, f64::max)
}
