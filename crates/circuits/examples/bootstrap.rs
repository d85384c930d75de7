//! A ciphertext that has used up its levels, refreshed: `cargo run -p aegis-circuits --example bootstrap`.

use std::error::Error;
use std::sync::Arc;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{Context, Evaluator, KeyGenerator, Params, Plaintext, Seed, insecure_bootstrap_spec};

/// Values of the vector, a power of two; few make small matrices.
const SLOTS: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    // A ring of degree 2^9 without any security, with the modulus chain of a bootstrap; `N16_B13_S40` is the real one.
    let params = Params::insecure(insecure_bootstrap_spec(9))?;
    let device = Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 2)?);
    let ctx = Context::new(params, device)?;
    let params = ctx.params();

    // The bootstrapper declares its keys: rotations, relinearization, and the way to an ephemeral sparse secret.
    let bootstrapper = Bootstrapper::new(&ctx, SLOTS)?;
    let generator = KeyGenerator::new(&ctx, Seed::from_os()?);
    let secret = generator.secret_key();
    let keys = generator.evaluation_keys(&secret, &bootstrapper.keys())?;
    let evaluator = Evaluator::new(&ctx, Arc::new(keys));

    // At the base level there is just enough left for the bootstrap itself.
    let values = [0.75, -0.5, 0.125, -1.0];
    let low = params.base_level();
    let plaintext = Plaintext::encode_real(&ctx, &values, params.scale(low), low)?;
    let tired = secret.encrypt(&ctx, &plaintext, &Seed::from_os()?)?;

    // The bound says how large the values may be: the error of a bootstrap is relative to it.
    let bound = 1.0;
    let fresh = bootstrapper.bootstrap_real(&evaluator, &tired, bound)?;
    println!("level {} before, {} after", tired.level().0, fresh.level().0);
    assert_eq!(fresh.level(), params.fresh_level());

    // The error has a budget, computed from the parameters.
    let budget = bootstrapper.budget(bound).max_error();
    let slots = secret.decrypt(&ctx, &fresh)?;
    for (value, slot) in values.iter().zip(&slots) {
        println!("{value:6} -> {:10.7}, at most {budget:.1e} off", slot.re);
        assert!((slot.re - value).abs() <= budget, "the error is within the budget");
    }
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn Error>> {
    main()
}
