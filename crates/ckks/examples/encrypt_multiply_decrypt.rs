//! Two encrypted vectors multiplied by someone who cannot read them: `cargo run -p aegis-ckks --example
//! encrypt_multiply_decrypt`.

use std::error::Error;
use std::sync::Arc;

use aegis_ckks::{Context, Evaluator, KeyGenerator, KeyRequest, N14_L6_S40, Params, Plaintext, Seed};

fn main() -> Result<(), Box<dyn Error>> {
    // Parameters: a ring of degree 2^14 and six levels of products. `try_from` refuses what is below 128 bits.
    let params = Params::try_from(N14_L6_S40)?;
    // A device computes; a context ties it to the parameters.
    let device = Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 2)?);
    let ctx = Context::new(params, device)?;

    // A level is how many products can still follow. A rescale after a product takes one, and keeps the scale, the
    // factor by which values are multiplied before they are rounded to integers.
    let top = ctx.params().fresh_level();
    let scale = ctx.params().scale(top);

    // The client makes the secret key, and the evaluation keys that the server's program asks for: here the one that
    // brings a product back under the secret key.
    let generator = KeyGenerator::new(&ctx, Seed::from_os()?);
    let secret = generator.secret_key();
    let request = KeyRequest::new(ctx.params().n()).relinearize(top);
    let keys = generator.evaluation_keys(&secret, &request)?;

    // It encrypts two vectors. A short vector repeats until it fills all N/2 slots.
    let encrypt = |values: &[f64]| -> Result<_, Box<dyn Error>> {
        let plaintext = Plaintext::encode_real(&ctx, values, scale, top)?;
        Ok(secret.encrypt(&ctx, &plaintext, &Seed::from_os()?)?)
    };
    let (a, b) = ([1.5, -2.0, 0.25, 3.0], [2.0, 0.5, -4.0, 1.0]);
    let (x, y) = (encrypt(&a)?, encrypt(&b)?);

    // The server has ciphertexts and evaluation keys, and multiplies slot by slot.
    let evaluator = Evaluator::new(&ctx, Arc::new(keys));
    let product = evaluator.mul_rescale(&x, &y)?;

    // The client decrypts. CKKS is approximate: the result carries a small error.
    let slots = secret.decrypt(&ctx, &product)?;
    for ((a, b), slot) in a.iter().zip(&b).zip(&slots) {
        println!("{a:5} * {b:5} = {:9.6}", slot.re);
        assert!((slot.re - a * b).abs() < 1e-5, "the error is below 10^-5");
    }
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn Error>> {
    main()
}
