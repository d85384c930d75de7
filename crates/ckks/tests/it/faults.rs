//! Attacks on the first version, each as its author ran it: every one of these tests failed at commit 4df3589.

use std::io::Cursor;

use aegis_ckks::{
    Ciphertext, Context, Error, EvaluationKeys, KeyGenerator, KeyRequest, Level, Plaintext, SecretKey, Seed,
    insecure_bootstrap_spec, insecure_levelled_spec,
};
use aegis_hal::Poly;
use aegis_ring::{Modulus, NttTable};
use aegis_testing::{Setup, insecure, uniform_complex};
use num_complex::Complex64;

use crate::SEED;

const LOG_N: u32 = 6;

/// The words of one polynomial modulo the prime `q`, in evaluation form.
fn row(ctx: &Context, poly: &Poly, polynomial: usize, q: u64) -> Vec<u64> {
    let (n, basis) = (ctx.params().n(), poly.basis());
    let at =
        basis.iter().position(|l| ctx.params().rns().modulus(l).value() == q).expect("the prime is in it");
    ctx.device().download(poly.slice(polynomial, 1)).unwrap()[at * n..][..n].to_vec()
}

/// The first two polynomials modulo `q`: a pair `b, a`, or `c0, c1`.
fn pair(ctx: &Context, poly: &Poly, q: u64) -> [Vec<u64>; 2] {
    [0, 1].map(|polynomial| row(ctx, poly, polynomial, q))
}

/// The polynomial `x / y` in coefficient form, where `y` has no zero.
fn quotient(q: u64, x: &[u64], y: &[u64]) -> Option<Vec<u64>> {
    let modulus = Modulus::new(q).unwrap();
    let divide = |(&x, &y): (&u64, &u64)| Some(modulus.mul(x, modulus.inv(y)?));
    let mut words = x.iter().zip(y).map(divide).collect::<Option<Vec<_>>>()?;
    NttTable::new(&modulus, LOG_N).unwrap().inverse(&mut words);
    Some(words)
}

/// True for a polynomial that a uniform one is with a probability below `2^-1000`: coefficients of at most two in size.
fn gives_a_secret_away(q: u64, x: &[u64], y: &[u64]) -> bool {
    quotient(q, x, y).is_some_and(|s| s.iter().all(|&c| c <= 2 || c >= q - 2))
}

fn difference(q: u64, a: &[u64], b: &[u64]) -> Vec<u64> {
    let q = Modulus::new(q).unwrap();
    a.iter().zip(b).map(|(&a, &b)| q.sub(a, b)).collect()
}

/// Two public keys for one purpose under one seed: with equal secrets and errors, `b - b' = -(a - a') s`.
#[test]
fn one_key_seed_under_two_parameter_sets_publishes_no_secret() {
    let contexts = [3, 4].map(|levels| insecure(insecure_levelled_spec(LOG_N, levels)));
    let secrets = contexts.each_ref().map(|c| KeyGenerator::new(c, Seed::new([7; 32])).secret_key());
    assert_ne!(secrets[0].id(), secrets[1].id());
    let shared = contexts[0].params().special().limbs()[0];
    let q = contexts[0].params().rns().modulus(shared).value();
    let key = |i: usize| {
        let (ctx, secret) = (&contexts[i], &secrets[i]);
        let request = KeyRequest::new(ctx.params().n()).relinearize(Level(3));
        let keys = KeyGenerator::new(ctx, Seed::new([7; 32])).evaluation_keys(secret, &request).unwrap();
        pair(ctx, keys.switching_keys().next().expect("one key").poly(), q)
    };
    let ([b, a], [b2, a2]) = (key(0), key(1));
    assert_ne!(a, a2, "the uniform half is shared");
    assert!(!gives_a_secret_away(q, &difference(q, &b2, &b), &difference(q, &a, &a2)));
}

/// A generator that makes keys for a secret of another one must not use its streams twice: with equal `a` and `e`,
/// `b' - b = a (s - s')`.
#[test]
fn a_generator_with_a_foreign_secret_key_shares_no_randomness() {
    let ctx = insecure(insecure_levelled_spec(LOG_N, 3));
    let generators = [7, 8].map(|n| KeyGenerator::new(&ctx, Seed::new([n; 32])));
    let secrets = generators.each_ref().map(KeyGenerator::secret_key);
    let keys = secrets.each_ref().map(|s| generators[0].public_key(s).unwrap());
    let q = ctx.params().base_modulus();
    let [[b, a], [b2, a2]] = keys.each_ref().map(|k| pair(&ctx, k.poly(), q));
    assert_ne!(a, a2, "the uniform half is shared");
    assert!(!gives_a_secret_away(q, &difference(q, &b2, &b), &a));
}

fn encrypt(ctx: &Context, secret: &SecretKey, value: f64, level: u32, seed: &Seed) -> Ciphertext {
    let plaintext = Plaintext::encode_real(ctx, &[value], 40f64.exp2(), Level(level)).unwrap();
    secret.encrypt(ctx, &plaintext, seed).unwrap()
}

/// `encrypt --seed` with equal number and text under two keys gave `c0' - c0 = a (s - s')`; under one key two messages gave
/// their difference, and two levels the same mask.
#[test]
fn one_encryption_seed_shares_nothing_across_keys_messages_and_levels() {
    let ctx = insecure(insecure_levelled_spec(LOG_N, 3));
    let secret = |n| KeyGenerator::new(&ctx, Seed::new([n; 32])).secret_key();
    let (secrets, seed) = ([7, 8].map(secret), Seed::new([9; 32]));
    let cts = [
        encrypt(&ctx, &secrets[0], 0.5, 3, &seed),
        encrypt(&ctx, &secrets[1], 0.5, 3, &seed),
        encrypt(&ctx, &secrets[0], 0.25, 3, &seed),
        encrypt(&ctx, &secrets[0], 0.5, 2, &seed),
        // Equal coefficients of another meaning.
        secrets[0]
            .encrypt(&ctx, &Plaintext::encode_real(&ctx, &[1.0], 39f64.exp2(), Level(3)).unwrap(), &seed)
            .unwrap(),
    ];
    let q = ctx.params().base_modulus();
    let rows = cts.each_ref().map(|ct| pair(&ctx, ct.poly(), q));
    for i in 0..rows.len() {
        for j in 0..i {
            assert_ne!(rows[i][1], rows[j][1], "ciphertexts {i} and {j} share a mask");
            let sum = difference(q, &rows[i][0], &rows[j][0]);
            assert!(!gives_a_secret_away(q, &sum, &rows[i][1]), "ciphertexts {i} and {j}");
        }
    }
    let again = encrypt(&ctx, &secrets[0], 0.5, 3, &seed);
    assert_eq!(pair(&ctx, again.poly(), q), rows[0], "an equal call is reproduced");
}

/// As above for the public key, where equal `u` and `e1` show in `c1`.
#[test]
fn one_seed_for_a_public_key_shares_nothing_across_keys_messages_and_levels() {
    let ctx = insecure(insecure_levelled_spec(LOG_N, 3));
    let generators = [7, 8].map(|n| KeyGenerator::new(&ctx, Seed::new([n; 32])));
    let keys = generators.each_ref().map(|g| g.public_key(&g.secret_key()).unwrap());
    let encrypt = |key: usize, value: f64, level| {
        let plaintext = Plaintext::encode_real(&ctx, &[value], 40f64.exp2(), Level(level)).unwrap();
        keys[key].encrypt(&ctx, &plaintext, &Seed::new([9; 32])).unwrap()
    };
    let q = ctx.params().base_modulus();
    let cts = [encrypt(0, 0.5, 3), encrypt(0, 0.25, 3), encrypt(0, 0.5, 2), encrypt(1, 0.5, 3)];
    let rows = cts.each_ref().map(|ct| pair(&ctx, ct.poly(), q));
    for i in 0..rows.len() {
        for j in 0..i {
            assert_ne!(rows[i][1], rows[j][1], "ciphertexts {i} and {j} share a mask");
        }
    }
}

/// With the number and a guess of the text, whoever holds a ciphertext knew `a` and `e`, hence the secret. Now the
/// randomness depends on the secret, so that its derivation needs what it would reveal: no public derivation gives `a`.
#[test]
fn an_encryption_seed_and_a_guessed_text_do_not_give_the_secret() {
    let ctx = insecure(insecure_levelled_spec(LOG_N, 3));
    let secret = KeyGenerator::new(&ctx, Seed::new([7; 32])).secret_key();
    let attacker = KeyGenerator::new(&ctx, Seed::new([1; 32])).secret_key();
    let (seed, q) = (Seed::new([9; 32]), ctx.params().base_modulus());
    let [c0, c1] = pair(&ctx, encrypt(&ctx, &secret, 0.5, 3, &seed).poly(), q);
    // All that the attacker can repeat is the call, with a key of his own.
    let [d0, d1] = pair(&ctx, encrypt(&ctx, &attacker, 0.5, 3, &seed).poly(), q);
    assert_ne!(c1, d1);
    assert!(!gives_a_secret_away(q, &difference(q, &d0, &c0), &c1));
}

/// 3000 at level 0 decrypted to -72 in silence: the modulus there has 50 bits, the message 51.5.
#[test]
fn a_message_beyond_the_modulus_of_its_level_is_refused() {
    let t = Setup::with_keys(insecure(insecure_levelled_spec(LOG_N, 3)), |r, _| r.relinearize(Level(3)));
    let encode = |value: f64, level| Plaintext::encode_real(&t.ctx, &[value], 40f64.exp2(), Level(level));
    assert!(matches!(encode(3000.0, 0), Err(Error::ModulusTooSmall { .. })));
    assert!(matches!(encode(-3000.0, 0), Err(Error::ModulusTooSmall { .. })));
    for (value, level) in [(3000.0, 1), (500.0, 0), (-500.0, 0)] {
        let ct = t.secret.encrypt(&t.ctx, &encode(value, level).unwrap(), &t.seed()).unwrap();
        assert!((t.decrypt(&ct)[0].re - value).abs() < 1e-6, "{value} at level {level}");
    }

    let low = t.encrypt_at(&uniform_complex(32, SEED), Level(0));
    for (op, result) in [
        ("add_scalar", t.ev.add_scalar(&low, 3000.0)),
        ("mul", t.ev.mul(&low, &low)),
        ("mul_plain", t.ev.mul_plain(&low, &encode(0.5, 0).unwrap())),
        ("mul_scalar", t.ev.mul_scalar(&low, 0.5, 40f64.exp2())),
    ] {
        assert!(matches!(result, Err(Error::ModulusTooSmall { .. })), "{op}: {result:?}");
    }
    // A product at level 1 has a scale of 2^80 and a modulus of 90 bits.
    let one = t.encrypt_at(&[Complex64::ONE], Level(1));
    let mut product = t.ev.mul_no_relin(&one, &one).unwrap();
    let shifted = t.ev.scale_and_shift(&mut product, 1, 20f64.exp2());
    assert!(matches!(shifted, Err(Error::ModulusTooSmall { .. })), "{shifted:?}");
}

/// A scale of zero made every value NaN.
#[test]
fn a_scale_that_is_none_is_refused() {
    let t = Setup::new(insecure(insecure_levelled_spec(LOG_N, 3)));
    let x = t.encrypt(&uniform_complex(32, SEED));
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let encoded = Plaintext::encode_real(&t.ctx, &[1.0], scale, Level(3));
        assert!(matches!(encoded, Err(Error::InvalidScale { .. })), "encode at {scale}: {encoded:?}");
        for (op, result) in [
            ("reinterpret", t.ev.reinterpret(&x, scale)),
            ("mul_scalar", t.ev.mul_scalar(&x, 1.0, scale)),
            ("mul_const_to", t.ev.mul_const_to(&x, 1.0, scale)),
            ("adjust", t.ev.adjust(&x, Level(2), scale)),
        ] {
            assert!(result.is_err(), "{op} to {scale}");
        }
    }
}

/// With 52 bits and more the exact value came back, noise and all.
#[test]
fn a_rounding_that_hides_nothing_is_refused() {
    let t = Setup::new(insecure(insecure_levelled_spec(8, 1)));
    let x = t.encrypt(&uniform_complex(128, SEED));
    // 6 * 3.19 * 2^4 / 2^40 = 2^-31.7.
    assert_eq!(SecretKey::finest_rounding(&t.ctx, &x), 31);
    for bits in [32, 40, 52, 300, 1024, u32::MAX] {
        let refused = t.secret.decrypt_rounded(&t.ctx, &x, bits);
        assert!(matches!(refused, Err(Error::RoundingTooFine { max: 31, .. })), "{bits}: {refused:?}");
    }
    let rounded = t.secret.decrypt_rounded(&t.ctx, &x, 31).unwrap();
    assert_ne!(rounded, t.decrypt(&x));
}

/// The identity of a key belongs to its coefficients and its parameters: no other key can take it.
#[test]
fn a_secret_key_is_bound_to_its_identity_and_parameters() {
    let contexts = [3, 4].map(|levels| insecure(insecure_levelled_spec(LOG_N, levels)));
    let generators = contexts.each_ref().map(|c| KeyGenerator::new(c, Seed::new([7; 32])));
    let secret = generators[0].secret_key();
    let request = KeyRequest::new(contexts[1].params().n()).relinearize(Level(1));
    let plaintext = Plaintext::encode_real(&contexts[1], &[1.0], 40f64.exp2(), Level(1)).unwrap();
    for (what, result) in [
        ("evaluation keys", generators[1].evaluation_keys(&secret, &request).map(drop)),
        ("a public key", generators[1].public_key(&secret).map(drop)),
        ("encryption", secret.encrypt(&contexts[1], &plaintext, &Seed::new([1; 32])).map(drop)),
    ] {
        assert!(matches!(result, Err(Error::ForeignParams { .. })), "{what}: {result:?}");
    }

    let mut file = vec![];
    secret.write(&contexts[0], &mut file).unwrap();
    let id = file.windows(16).position(|w| w == secret.id().0).expect("the identity is in the file");
    file[id] ^= 1;
    let body = file.len() - 32;
    let digest = blake3::hash(&file[..body]);
    file[body..].copy_from_slice(digest.as_bytes());
    assert!(matches!(SecretKey::read(&contexts[0], &file[..]), Err(Error::Format { .. })));
}

/// The server planned and built for whatever parameters 136 bytes named. The entries of a file tell what is in it before
/// anything is made for it, and a file that promises more than it holds is refused.
#[test]
fn a_file_of_evaluation_keys_is_measured_before_it_is_read() {
    let t = Setup::with_keys(insecure(insecure_bootstrap_spec(LOG_N)), |r, params| {
        r.relinearize(params.max_level()).rotation(1, Level(2)).conjugation(Level(0)).encapsulation()
    });
    let (params, keys) = (t.ctx.params(), t.ev.keys());
    let mut file = vec![];
    keys.write(&t.ctx, &mut file).unwrap();
    let inventory = |bytes: &[u8]| EvaluationKeys::inventory(params, Cursor::new(bytes));
    assert_eq!(inventory(&file).unwrap(), keys.contents());
    assert!(keys.contents().is_within(&inventory(&file).unwrap()));
    assert!(!keys.contents().rotation(2, Level(0)).is_within(&keys.contents()));
    assert!(!keys.contents().rotation(1, Level(3)).is_within(&keys.contents()));

    let longer = [&file[..], &[0]].concat();
    for damaged in [&file[..136], &file[..file.len() / 2], &file[..file.len() - 1], &longer] {
        assert!(matches!(inventory(damaged), Err(Error::Format { .. })), "{} bytes", damaged.len());
    }
}
