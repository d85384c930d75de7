//! Scheme operations at N = 2^16, 25 limbs, three digits, and bootstrapping: the figures that are put beside those of other libraries.
#![forbid(unsafe_code)]

use std::sync::Arc;

use aegis_benches::{Bench, Options};
use aegis_ckks::{
    Ciphertext, Context, Evaluator, KeyGenerator, KeyRequest, N16_L24_S49, Params, Plaintext, PublicKey,
    SecretKey, Seed, insecure_levelled_spec,
};
use aegis_cpu::Cpu;
use aegis_ring::Galois;
use clap::Parser;
use num_complex::Complex64;

/// Rotations that share one decomposition in `hoisted_rotation`.
const GROUP: i64 = 8;
const RUNS: usize = 11;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    operations(&options)
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
        threads: usize,
        request: impl FnOnce(KeyRequest) -> KeyRequest,
    ) -> anyhow::Result<Self> {
        let device = Arc::new(Cpu::new(params.rns().clone(), threads)?);
        let ctx = Context::new(params.clone(), device)?;
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
        Ok(self.public.encrypt(&self.ctx, plaintext, &Seed::new([9; 32]).derive("bench", index))?)
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
    let subject = Subject::new(params.clone(), options.threads.get(), |request| {
        (1..=GROUP).fold(request.relinearize(level), |request, step| request.rotation(step, level))
    })?;
    let plaintext = Plaintext::encode(&subject.ctx, &subject.values, params.scale(level), level)?;
    let ct = subject.encrypt(&plaintext, 0)?;
    client(&bench, &subject, &plaintext, &ct)?;
    server(&bench, &subject, &plaintext, &ct)
}

fn client(bench: &Bench, s: &Subject, plaintext: &Plaintext, ct: &Ciphertext) -> anyhow::Result<()> {
    bench.measure("encode", RUNS, 1, || {
        Plaintext::encode(&s.ctx, &s.values, plaintext.scale, plaintext.level)?;
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
        // One product for each run and the one that warms up: relinearisation consumes it.
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
