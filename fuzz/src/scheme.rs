//! What the targets of `ckks` share: a context on a ring of sixteen words, its keys, a ciphertext.

use std::sync::Arc;

use aegis_ckks::{
    BootstrapSpec, Ciphertext, Context, Error, Evaluator, KeyGenerator, KeyRequest, Levels, Params,
    ParamsSpec, Plaintext, Result, SecretKey, Seed, insecure_levelled_spec,
};
use aegis_cpu::Cpu;

/// log2 of the ring degree: small enough for tens of thousands of files a second.
const LOG_N: u32 = 4;

/// A chain with the levels of a bootstrap, as short as one can be.
pub(crate) fn short_bootstrap_spec() -> ParamsSpec {
    let bootstrap = BootstrapSpec {
        slots_to_coeffs: 2,
        eval_mod: 2,
        coeffs_to_slots: 2,
        ephemeral_weight: 4,
        range: 16,
        double_angles: 0,
        degree: 3,
        message_ratio_log2: 12,
    };
    ParamsSpec {
        name: "INSECURE_SHORT_BOOTSTRAP".into(),
        levels: vec![Levels::new(4, &[40]), Levels::new(1, &[28, 28]), Levels::new(3, &[50])].into(),
        bootstrap: Some(bootstrap),
        ..insecure_levelled_spec(LOG_N, 0)
    }
}

/// A device on the calling thread, so that what it allocates is counted, and a panic of its own fails it for good.
pub(crate) fn context(params: Params) -> Result<Context> {
    let device = Cpu::new(Arc::clone(params.rns()), 1)?;
    Context::new(params, Arc::new(device))
}

/// Keys and a ciphertext for one set.
pub(crate) struct Scheme {
    pub(crate) ctx: Context,
    pub(crate) generator: KeyGenerator,
    pub(crate) secret: SecretKey,
    pub(crate) ev: Evaluator,
    pub(crate) x: Ciphertext,
}

impl Scheme {
    /// Three levels, keys for products and rotations by one.
    pub(crate) fn levelled() -> Self {
        Self::new(insecure_levelled_spec(LOG_N, 3), |keys, _| keys)
    }

    /// The levels of a bootstrap, and its encapsulation keys beside the others.
    pub(crate) fn bootstrapped() -> Self {
        Self::new(short_bootstrap_spec(), |keys, _| keys.encapsulation())
    }

    fn new(spec: ParamsSpec, more: impl Fn(KeyRequest, &Params) -> KeyRequest) -> Self {
        const VALID: &str = "parameters of the targets are valid";
        let params = Params::insecure(spec).expect(VALID);
        let ctx = context(params.clone()).expect(VALID);
        let generator = KeyGenerator::new(&ctx, Seed::new([7; 32]));
        let secret = generator.secret_key();
        let top = params.fresh_level();
        let request = KeyRequest::new(params.n()).relinearize(top).rotation(1, top).conjugation(top);
        let keys = generator.evaluation_keys(&secret, &more(request, &params)).expect(VALID);
        let plain = Plaintext::encode_real(&ctx, &[0.5, -0.25], params.scale(top), top).expect(VALID);
        let x = secret.encrypt(&ctx, &plain, &Seed::new([9; 32])).expect(VALID);
        let ev = Evaluator::new(&ctx, Arc::new(keys));
        Self { ctx, generator, secret, ev, x }
    }
}

/// What `write` writes.
pub(crate) fn bytes(write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Vec<u8> {
    let mut bytes = vec![];
    write(&mut bytes).expect("a buffer takes all bytes");
    bytes
}

/// Passes refusals on; a device that failed is a fault, since no input may cost it.
pub(crate) fn answered<T>(result: Result<T>) -> Option<T> {
    match result {
        Err(Error::Device(aegis_hal::Error::Device(reason))) => panic!("the device failed: {reason}"),
        other => other.ok(),
    }
}

/// Puts the BLAKE3 that ends every object of `ckks` right.
pub(crate) fn reseal(input: &mut [u8]) {
    if let Some((body, digest)) = input.split_last_chunk_mut::<32>() {
        *digest = *blake3::hash(body).as_bytes();
    }
}
