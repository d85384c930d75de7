//! Scheme operations at N = 2^16, 25 limbs, three digits, and bootstrapping: the figures that are put beside those of other libraries.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::Arc;

use aegis_benches::{Bench, Fields, Options, peak_rss_bytes, reset_peak_rss};
use aegis_circuits::Bootstrapper;
use aegis_ckks::{
    Ciphertext, Context, Evaluator, KeyGenerator, KeyRequest, N16_B13_S40, N16_L24_S49, Params, Plaintext,
    PublicKey, SecretKey, Seed, insecure_bootstrap_spec, insecure_levelled_spec,
};
use aegis_ring::Galois;
use anyhow::Context as _;
use clap::Parser;
use num_complex::Complex64;
use serde_json::json;

/// Rotations that share one decomposition in `hoisted_rotation`.
const GROUP: i64 = 8;
const RUNS: usize = 11;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    operations(&options)?;
    for (name, log_slots) in [("bootstrap_full", 15), ("bootstrap_4096", 12)] {
        bootstrap(&options, name, log_slots)?;
    }
    Ok(())
}

/// Keys and ciphertexts at the top of the chain.
struct Subject {
    ctx: Context,
    secret: SecretKey,
    public: PublicKey,
    ev: Evaluator,
    values: Vec<Complex64>,
}

impl Subject {
    fn new(
        params: Params,
        options: &Options,
        request: impl FnOnce(KeyRequest) -> KeyRequest,
    ) -> anyhow::Result<Self> {
        let ctx = Context::new(params.clone(), options.device(&params)?)?;
        let keygen = KeyGenerator::new(&ctx, Seed::new([7; 32]));
        let secret = keygen.secret_key();
        let keys = keygen.evaluation_keys(&secret, &request(KeyRequest::new(params.n())))?;
        let values = (0..params.slots()).map(|i| Complex64::new((0.37 * i as f64).cos(), 0.0)).collect();
        Ok(Self {
            public: keygen.public_key(&secret)?,
            ev: Evaluator::new(&ctx, Arc::new(keys)),
            secret,
            ctx,
            values,
        })
    }

    fn sync(&self) -> anyhow::Result<()> {
        Ok(self.ctx.device().sync()?)
    }

    fn encrypt(&self, plaintext: &Plaintext, index: u64) -> anyhow::Result<Ciphertext> {
        Ok(self.public.encrypt(
            &self.ctx,
            plaintext,
            &Seed::new([9; 32]).derive("bench", &index.to_le_bytes()),
        )?)
    }
}

fn operations(options: &Options) -> anyhow::Result<()> {
    let params = if options.test {
        Params::insecure(insecure_levelled_spec(10, 6))?
    } else {
        Params::try_from(N16_L24_S49)?
    };
    let bench = Bench::new("ckks", options, params.name());
    let level = params.max_level();
    let subject = Subject::new(params.clone(), options, |request| {
        (1..=GROUP).fold(request.relinearize(level), |request, step| request.rotation(step, level))
    })?;
    let plaintext = Plaintext::encode(&subject.ctx, &subject.values, params.scale(level), level)?;
    let ct = subject.encrypt(&plaintext, 0)?;
    client(&bench, &subject, &plaintext, &ct)?;
    server(&bench, &subject, &plaintext, &ct)
}

fn client(bench: &Bench, s: &Subject, plaintext: &Plaintext, ct: &Ciphertext) -> anyhow::Result<()> {
    bench.measure("encode", RUNS, 1, || {
        Plaintext::encode(&s.ctx, &s.values, plaintext.scale(), plaintext.level())?;
        s.sync()
    })?;
    let mut index = 1;
    bench.measure("encrypt", RUNS, 1, || {
        index += 1;
        s.encrypt(plaintext, index)?;
        s.sync()
    })?;
    bench.measure("decrypt", RUNS, 1, || {
        s.secret.decrypt(&s.ctx, ct)?;
        Ok(())
    })
}

fn server(bench: &Bench, s: &Subject, plaintext: &Plaintext, ct: &Ciphertext) -> anyhow::Result<()> {
    bench.measure("ct_pt", RUNS, 1, || {
        s.ev.mul_plain(ct, plaintext)?;
        s.sync()
    })?;
    if bench.wants("relinearize") {
        // One product for each run and the one that warms up: relinearization consumes it.
        let mut products = (0..=RUNS).map(|_| s.ev.mul_no_relin(ct, ct)).collect::<Result<Vec<_>, _>>()?;
        s.sync()?;
        bench.measure("relinearize", RUNS, 1, || {
            let product = products.pop().ok_or_else(|| anyhow::anyhow!("a product for each run"))?;
            s.ev.relinearize(product)?;
            s.sync()
        })?;
    }
    bench.measure("multiply", RUNS, 1, || {
        s.ev.mul(ct, ct)?;
        s.sync()
    })?;
    let squared = s.ev.square(ct)?;
    bench.measure("rescale", RUNS, 1, || {
        s.ev.rescale(&squared)?;
        s.sync()
    })?;
    bench.measure("rotate", RUNS, 1, || {
        s.ev.rotate(ct, 1)?;
        s.sync()
    })?;
    let maps: Vec<Galois> = (1..=GROUP).map(|step| Galois::rotation(step, s.ctx.params().n())).collect();
    bench.measure("hoisted_rotation", RUNS / 2, maps.len(), || {
        let hoisted = s.ev.hoist(ct)?;
        for map in &maps {
            s.ev.rotate_hoisted(ct, &hoisted, *map)?;
        }
        s.sync()
    })
}

/// Bootstraps real vectors of `2^log_slots` values, as the peers do, then complex ones.
fn bootstrap(options: &Options, name: &'static str, log_slots: u32) -> anyhow::Result<()> {
    let params = if options.test {
        Params::insecure(insecure_bootstrap_spec(10))?
    } else {
        Params::try_from(N16_B13_S40)?
    };
    let bench = Bench::new("ckks", options, params.name());
    let complex_name = format!("{name}_complex");
    if !bench.wants(name) && !bench.wants(&complex_name) {
        return Ok(());
    }
    reset_peak_rss();
    let slots = (1 << log_slots).min(params.slots());
    let device = options.device(&params)?;
    let ctx = Context::new(params.clone(), device)?;
    let bootstrapper = Bootstrapper::new(&ctx, slots)?;
    let keygen = KeyGenerator::new(&ctx, Seed::new([7; 32]));
    let secret = keygen.secret_key();
    let ev = Evaluator::new(&ctx, Arc::new(keygen.evaluation_keys(&secret, &bootstrapper.keys())?));
    let wave = |i: usize| (0.37 * i as f64).cos();
    for (name, imaginary) in [(name, 0.0), (&complex_name, 1.0)] {
        let values: Vec<Complex64> =
            (0..slots).map(|i| Complex64::new(wave(i), imaginary * wave(i + 1))).collect();
        let base = params.base_level();
        let ct = secret.encrypt(
            &ctx,
            &Plaintext::encode(&ctx, &values, params.scale(base), base)?,
            &Seed::new([8; 32]),
        )?;
        let result = RefCell::new(None);
        let run = || {
            let fresh = match imaginary == 0.0 {
                true => bootstrapper.bootstrap_real(&ev, &ct, 1.0)?,
                false => bootstrapper.bootstrap(&ev, &ct, 1.0)?,
            };
            ctx.device().sync()?;
            *result.borrow_mut() = Some(fresh);
            Ok(())
        };
        let quality = || bootstrap_fields(&ctx, &secret, result.take().as_ref(), &values);
        bench.measure_with(name, 3, 1, run, quality)?;
    }
    Ok(())
}

/// What a bootstrap's time has to be read with.
fn bootstrap_fields(
    ctx: &Context,
    secret: &SecretKey,
    result: Option<&Ciphertext>,
    values: &[Complex64],
) -> anyhow::Result<Fields> {
    let result = result.context("the bench ran at least once")?;
    let peak = peak_rss_bytes();
    let got = secret.decrypt(ctx, result)?;
    let errors: Vec<f64> = got.iter().zip(values.iter().cycle()).map(|(a, b)| (a - b).norm()).collect();
    let max = errors.iter().copied().fold(0.0, f64::max);
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    Ok(vec![
        ("slots", json!(values.len())),
        ("levels_left", json!(result.level().0 - ctx.params().base_level().0)),
        ("max_error_log2", json!(max.log2())),
        ("mean_error_log2", json!(mean.log2())),
        ("peak_rss_bytes", json!(peak)),
    ])
}
