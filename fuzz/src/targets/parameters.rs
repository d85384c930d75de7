//! Parameters, and the head of every file, which names them. What is accepted is built again on a small ring and used;
//! the parts of that which take milliseconds, for one input of sixteen.

use std::sync::Arc;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{
    Context, Evaluator, KeyGenerator, KeyRequest, Level, PRESETS, Params, ParamsSpec, Plaintext, Seed,
    insecure_bootstrap_spec, insecure_levelled_spec, read_spec,
};
use aegis_hal::Trace;

use crate::scheme::{answered, bytes, context, reseal, short_bootstrap_spec};
use crate::{Outcome, Target};

/// Layers of butterflies in one matrix of a bootstrap from which on it is too large to be made: 2^12 diagonals at most
/// are sparse among 2^15.
const DENSE_LAYERS: u32 = 12;

struct ParamsFile;

pub(super) fn open() -> Box<dyn Target> {
    Box::new(ParamsFile)
}

impl Target for ParamsFile {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let secure = PRESETS.iter().map(|spec| Params::try_from(spec.clone()));
        let small = [insecure_levelled_spec(6, 3), insecure_bootstrap_spec(6), short_bootstrap_spec()];
        let params = secure.chain(small.into_iter().map(Params::insecure));
        params.map(|p| bytes(|w| p.expect("valid parameters").write(w))).collect()
    }

    fn run(&self, input: &[u8]) -> Outcome {
        let Ok(spec) = read_spec(input) else { return Outcome::Refused };
        // The last byte is one of the checksum: a coin that every change tosses anew.
        let coin = input.last().copied().unwrap_or_default();
        if coin % 4 == 1 {
            // Refused unless the digest fits, which a change rarely leaves.
            let _ = Params::read(input);
        }
        let secure = Params::try_from(spec.clone());
        if let Ok(params) = &secure {
            let file = bytes(|w| params.write(w));
            let again = Params::read(&file[..]).expect("what was accepted can be read again");
            assert_eq!(again.digest(), params.digest());
            check_size(params);
        }
        let small = Params::insecure(ParamsSpec { log_n: 4 + spec.log_n % 2, ..spec });
        if let Ok(params) = &small {
            use_of(params, coin % 16 == 0);
        }
        if secure.is_ok() || small.is_ok() { Outcome::Accepted } else { Outcome::Refused }
    }

    fn bound(&self) -> usize {
        1 << 23
    }

    fn repair(&self, input: &mut Vec<u8>) {
        reseal(input);
    }
}

/// A set that asks for dense matrices at full size is answered without making them.
fn check_size(params: &Params) {
    let Some(spec) = params.bootstrap() else { return };
    let levels = spec.slots_to_coeffs.min(spec.coeffs_to_slots).max(1);
    if params.slots().ilog2().div_ceil(levels) >= DENSE_LAYERS {
        let trace = Arc::new(Trace::new(Arc::clone(params.rns())));
        let ctx = answered(Context::new(params.clone(), trace)).expect("a context that records");
        assert!(Bootstrapper::new(&ctx, params.slots()).is_err(), "{spec:?}");
    }
}

fn use_of(params: &Params, thorough: bool) {
    for level in (0..=params.max_level().0).map(Level) {
        assert!(params.scale(level).is_finite() && params.scale(level) > 0.0, "{level:?}");
        assert!(params.switching_key_bytes(level) > 0);
    }
    assert!(params.base_level() <= params.fresh_level() && params.fresh_level() <= params.max_level());
    if !thorough {
        return;
    }
    let ctx = answered(context(params.clone())).expect("a context for accepted parameters");
    let generator = KeyGenerator::new(&ctx, Seed::new([7; 32]));
    let (secret, top) = (generator.secret_key(), params.fresh_level());
    let mut request = KeyRequest::new(params.n()).relinearize(top).rotation(1, top);
    if let Ok(bootstrapper) = Bootstrapper::new(&ctx, 4) {
        request = request.merge(&bootstrapper.keys());
    }
    let keys = answered(generator.evaluation_keys(&secret, &request)).expect("keys for accepted parameters");
    let ev = Evaluator::new(&ctx, Arc::new(keys));
    let Some(x) = answered(Plaintext::encode_real(&ctx, &[0.5], params.scale(top), top)) else { return };
    let x = answered(secret.encrypt(&ctx, &x, &Seed::new([9; 32]))).expect("a ciphertext");
    for y in [ev.mul_rescale(&x, &x), ev.rotate(&x, 1), ev.mod_raise(&x)] {
        if let Some(y) = answered(y) {
            answered(secret.decrypt(&ctx, &y));
        }
    }
}
