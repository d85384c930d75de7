//! Encoding, encryption noise, uniformity of masks and keys, secrets kept out of sight.

use aegis_ckks::{Error, KeyGenerator, Level, N14_L6_S40, Params, Plaintext, Seed, insecure_levelled_spec};
use num_complex::Complex64;

use crate::common::{SEED, Setup, context, random_values};

#[test]
fn slots_are_values_at_powers_of_five() {
    // Oracle: direct evaluation at zeta^(5^j).
    let ctx = context(insecure_levelled_spec(5, 1));
    let n = ctx.params().n();
    for slots in [1, 2, 8, n / 2] {
        let values = random_values(slots, SEED);
        let c = ctx.encoder().embed(&values, 1.0).unwrap();
        assert_eq!(c.len(), 2 * slots);
        let mut exponent = 1usize;
        for (j, want) in values.iter().enumerate() {
            let angle = std::f64::consts::PI / (2 * slots) as f64;
            let got: Complex64 = c
                .iter()
                .enumerate()
                .map(|(k, c)| Complex64::from_polar(*c, angle * (k * exponent % (4 * slots)) as f64))
                .sum();
            assert!((got - want).norm() < 1e-12, "slot {j} of {slots}");
            exponent = exponent * 5 % (4 * slots);
        }
        let back = ctx.encoder().unembed(&c).unwrap();
        assert!(back.iter().zip(&values).all(|(a, b)| (a - b).norm() < 1e-12));
    }
}

#[test]
fn encryption_round_trips_with_the_noise_of_the_theory() {
    let t = Setup::new(insecure_levelled_spec(11, 3), |r, _| r);
    let public = t.generator.public_key(&t.secret).unwrap();
    let values = random_values(t.ctx.params().slots(), SEED);
    let n = t.ctx.params().n() as f64;
    for level in 0..=3 {
        let plaintext = Plaintext::encode(&t.ctx, &values, 40f64.exp2(), Level(level)).unwrap();
        let message = t.ctx.encoder().coefficients(&values, 40f64.exp2()).unwrap();
        // Deviation of a coefficient: e for the secret key; e0 + e u + e1 s for the public one.
        let sigma = aegis_ckks::security::ERROR_SIGMA;
        let cases = [
            (t.secret.encrypt(&t.ctx, &plaintext, &t.seed()).unwrap(), sigma),
            (
                public.encrypt(&t.ctx, &plaintext, &t.seed()).unwrap(),
                sigma * (1.0 + 2.0 * n * 2.0 / 3.0).sqrt(),
            ),
        ];
        for (ct, want) in cases {
            let got = t.secret.decrypt_coefficients(&t.ctx, &ct).unwrap();
            let noise = |(g, m): (&f64, &i64)| g * 40f64.exp2() - *m as f64;
            let square: f64 = got.iter().zip(&message).map(noise).map(|e| e * e).sum();
            let deviation = (square / n).sqrt();
            // 2048 samples: the estimate is within 10 % except with probability below 2^-30.
            assert!((deviation / want - 1.0).abs() < 0.1, "level {level}: {deviation} against {want}");
        }
    }
}

/// Chi-square of the top three bits over 8 cells, 7 degrees of freedom: above 60 with probability below 2^-30.
fn looks_uniform(words: &[u64], q: u64) -> bool {
    let mut cells = [0f64; 8];
    for w in words {
        cells[(u128::from(*w) * 8 / u128::from(q)) as usize] += 1.0;
    }
    let want = words.len() as f64 / 8.0;
    cells.iter().map(|c| (c - want).powi(2) / want).sum::<f64>() < 60.0
}

#[test]
fn masks_and_keys_are_uniform() {
    let t = Setup::new(insecure_levelled_spec(11, 4), |r, _| r.relinearize(Level(4)).rotation(1, Level(3)));
    let rns = t.ctx.params().rns();
    let mut rows = vec![];
    let mut add = |poly: &aegis_hal::Poly| {
        let words = t.ctx.device().download(poly.view()).unwrap();
        for (i, row) in words.chunks(rns.n()).enumerate() {
            let limb = poly.basis().limbs()[i % poly.basis().len()];
            rows.push((row.to_vec(), rns.modulus(limb).value()));
        }
    };
    // Both halves of every key and of ciphertexts of zero look uniform; a mask of zeros or a constant would not.
    let zero = vec![Complex64::default(); rns.n() / 2];
    add(t.encrypt(&zero).poly());
    add(t.encrypt(&zero).poly());
    for key in t.ev.keys().switching_keys() {
        add(key.poly());
    }
    for (i, (row, q)) in rows.iter().enumerate() {
        assert!(looks_uniform(row, *q), "row {i} modulo {q} is not uniform");
        let twins = rows[..i].iter().filter(|(other, _)| other == row).count();
        assert_eq!(twins, 0, "row {i} stands twice");
    }
    assert!(!looks_uniform(&vec![0; 2048], 97) && !looks_uniform(&vec![5; 2048], 97));
}

#[test]
fn nothing_prints_a_secret() {
    let t = Setup::new(insecure_levelled_spec(5, 1), |r, _| r);
    let shown = format!("{:?} {:?}", t.secret, Seed::new([0xab; 32]));
    assert!(shown.contains("secret") && !shown.contains("171") && !shown.contains("-1"), "{shown}");
}

#[test]
fn wrong_inputs_are_named() {
    let t = Setup::new(insecure_levelled_spec(6, 2), |r, _| r);
    let encode = |v: &[Complex64], level| Plaintext::encode(&t.ctx, v, 40f64.exp2(), Level(level));
    assert!(matches!(encode(&random_values(3, SEED), 0), Err(Error::Encoding(_))));
    assert!(matches!(encode(&[Complex64::new(f64::NAN, 0.0)], 0), Err(Error::Encoding(_))));
    assert!(matches!(encode(&[Complex64::new(1e12, 0.0)], 0), Err(Error::Encoding(_))));
    assert!(matches!(encode(&random_values(4, SEED), 9), Err(Error::LevelTooHigh { .. })));

    let ct = t.encrypt(&random_values(32, SEED));
    let other = KeyGenerator::new(&t.ctx, Seed::new([8; 32])).secret_key();
    assert!(matches!(other.decrypt(&t.ctx, &ct), Err(Error::ForeignKey { .. })));
    let wrong_ring = Params::insecure(insecure_levelled_spec(7, 2)).unwrap();
    assert!(aegis_ckks::Context::new(wrong_ring, t.ctx.device().clone()).is_err());
}

#[test]
fn a_shipped_preset_encrypts() {
    let params = Params::try_from(N14_L6_S40).unwrap();
    let device = std::sync::Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 2).unwrap());
    let ctx = aegis_ckks::Context::new(params, device).unwrap();
    let generator = KeyGenerator::new(&ctx, Seed::from_os().unwrap());
    let secret = generator.secret_key();
    let values = random_values(ctx.params().slots(), SEED);
    let top = ctx.params().fresh_level();
    let plaintext = Plaintext::encode(&ctx, &values, ctx.params().scale(top), top).unwrap();
    let ct =
        generator.public_key(&secret).unwrap().encrypt(&ctx, &plaintext, &Seed::from_os().unwrap()).unwrap();
    let got = secret.decrypt(&ctx, &ct).unwrap();
    assert!(got.iter().zip(&values).all(|(a, b)| (a - b).norm() < 1e-5));
}
