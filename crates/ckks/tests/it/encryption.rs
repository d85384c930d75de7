//! Encoding, encryption noise, uniformity of masks and keys, secrets kept out of sight.

use std::collections::HashSet;

use aegis_ckks::{
    Context, Error, KeyGenerator, Level, N14_L6_S40, Params, Plaintext, Seed, Unencodable,
    insecure_bootstrap_spec, insecure_levelled_spec,
};
use aegis_hal::{HostData, Kernel, Poly, Shape};
use aegis_testing::{Setup, insecure, uniform_complex};
use num_complex::Complex64;

use crate::SEED;

#[test]
fn slots_are_values_at_powers_of_five() {
    // Oracle: direct evaluation at zeta^(5^j).
    let ctx = insecure(insecure_levelled_spec(5, 1));
    let n = ctx.params().n();
    for slots in [1, 2, 8, n / 2] {
        let values = uniform_complex(slots, SEED);
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
    let t = Setup::new(insecure(insecure_levelled_spec(11, 3)));
    let public = t.generator.public_key(&t.secret).unwrap();
    let values = uniform_complex(t.ctx.params().slots(), SEED);
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

/// Every residue row of a polynomial in evaluation form, and what is not uniform in it: as values, or as
/// coefficients, where a small polynomial (a bare error, a secret) gives itself away.
fn rows(ctx: &Context, poly: &Poly) -> (Vec<Vec<u64>>, Vec<String>) {
    let (n, basis) = (ctx.params().n(), poly.basis());
    let mut coefficients = ctx.device().alloc(poly.shape().clone()).unwrap();
    ctx.device().launch(&Kernel::Intt, basis, coefficients.view_mut(), &[poly.view()]).unwrap();
    let download =
        |p: &Poly| ctx.device().download(p.view()).unwrap().chunks(n).map(<[_]>::to_vec).collect::<Vec<_>>();
    let (values, coefficients) = (download(poly), download(&coefficients));
    let mut suspects = vec![];
    for (i, (values, coefficients)) in values.iter().zip(&coefficients).enumerate() {
        let limb = basis.limbs()[i % basis.len()];
        let q = ctx.params().rns().modulus(limb).value();
        for (form, words) in [("values", values), ("coefficients", coefficients)] {
            if !looks_uniform(words, q) {
                suspects.push(format!("{form} of polynomial {} modulo {q}", i / basis.len()));
            }
        }
    }
    (values, suspects)
}

/// Both halves of everything public: a mask that is zero, constant, small or used twice would hide nothing.
#[test]
fn masks_and_keys_are_uniform() {
    let t = Setup::with_keys(insecure(insecure_bootstrap_spec(11)), |r, _| {
        r.relinearize(Level(4)).rotation(1, Level(3)).encapsulation()
    });
    let zero = Plaintext::encode(&t.ctx, &[Complex64::default()], 40f64.exp2(), Level(4)).unwrap();
    let by_secret = || t.secret.encrypt(&t.ctx, &zero, &t.seed()).unwrap();
    let public = t.generator.public_key(&t.secret).unwrap();
    let by_public = || public.encrypt(&t.ctx, &zero, &t.seed()).unwrap();
    let ciphertexts = [by_secret(), by_secret(), by_public(), by_public()];
    let keys: Vec<_> = t.ev.keys().switching_keys().collect();
    assert_eq!(keys.len(), 4, "relinearization, rotation, to the sparse secret and back");
    assert_eq!(keys[2].poly().basis(), &t.ctx.params().encapsulation_basis());
    assert_eq!(keys[3].poly().basis(), &t.ctx.params().extended_basis(t.ctx.params().max_level()));

    let polys =
        ciphertexts.iter().map(|c| c.poly()).chain([public.poly()]).chain(keys.iter().map(|k| k.poly()));
    let mut seen = HashSet::new();
    for (object, poly) in polys.enumerate() {
        let (values, suspects) = rows(&t.ctx, poly);
        assert_eq!(suspects, Vec::<String>::new(), "object {object} is not uniform");
        assert_eq!(values.len(), poly.batch() * poly.basis().len());
        for (i, row) in values.into_iter().enumerate() {
            assert!(seen.insert(row), "row {i} of object {object} stands twice");
        }
    }
}

/// The test above can fail: on a zero, a constant and a small polynomial.
#[test]
fn polynomials_that_hide_nothing_are_suspect() {
    let ctx = insecure(insecure_levelled_spec(11, 2));
    let n = ctx.params().n();
    let small: Vec<i64> = (0..n as i64).map(|i| i * i % 7 - 3).collect();
    let constant: Vec<i64> = (0..n).map(|i| if i == 0 { 1 << 45 } else { 0 }).collect();
    let basis = ctx.params().basis(Level(2));
    for (what, row, forms) in [("zero", vec![0; n], 2), ("constant", constant, 2), ("small", small, 1)] {
        let shape = Shape::new(1, basis.clone(), n);
        let poly = ctx.device().upload(shape, HostData::coefficients(row)).unwrap();
        assert_eq!(rows(&ctx, &poly).1.len(), forms * basis.len(), "{what}");
    }
}

/// Every slot is the nearest multiple of `2^-bits`; noise far below half a step leaves no trace.
#[test]
fn rounded_decryption_lies_on_the_grid_and_hides_the_noise() {
    let t = Setup::new(insecure(insecure_levelled_spec(8, 1)));
    let step = 20f64.exp2();
    let round = |v: &Complex64| Complex64::new((v.re * step).round(), (v.im * step).round()) / step;
    let a: Vec<_> = uniform_complex(128, SEED).iter().map(round).collect();
    let (x, again) = (t.encrypt(&a), t.encrypt(&a));
    assert_ne!(t.decrypt(&x), t.decrypt(&again), "the noise shows");
    for ct in [&x, &again] {
        assert_eq!(t.secret.decrypt_rounded(&t.ctx, ct, 20).unwrap(), a);
    }
    for bits in [0, 3, 12] {
        let grid = f64::from(bits).exp2();
        let rounded = t.secret.decrypt_rounded(&t.ctx, &x, bits).unwrap();
        for (got, exact) in rounded.iter().zip(t.decrypt(&x)) {
            let distance = (got - exact) * grid;
            assert!(distance.re.abs() <= 0.5 && distance.im.abs() <= 0.5, "{got} for {exact} at {bits} bits");
            assert!((got * grid).re.fract() == 0.0 && (got * grid).im.fract() == 0.0, "{got} at {bits} bits");
        }
    }
    let other = KeyGenerator::new(&t.ctx, Seed::new([8; 32])).secret_key();
    assert!(matches!(other.decrypt_rounded(&t.ctx, &x, 20), Err(Error::ForeignKey { .. })));
}

/// A slot of zero must not show the sign of its noise as `-0`: no rounding boundary is near it.
#[test]
fn a_rounded_zero_has_no_sign() {
    let t = Setup::new(insecure(insecure_levelled_spec(8, 1)));
    let rounded = t.secret.decrypt_rounded(&t.ctx, &t.encrypt(&[Complex64::default()]), 20).unwrap();
    assert!(rounded.iter().all(|v| v.re.to_bits() == 0 && v.im.to_bits() == 0), "{rounded:?}");
}

#[test]
fn nothing_prints_a_secret() {
    let t = Setup::new(insecure(insecure_levelled_spec(5, 1)));
    let shown = format!("{:?} {:?}", t.secret, Seed::new([0xab; 32]));
    assert!(shown.contains("secret") && !shown.contains("171") && !shown.contains("-1"), "{shown}");
}

#[test]
fn wrong_inputs_are_named() {
    let t = Setup::new(insecure(insecure_levelled_spec(6, 2)));
    let encode = |v: &[Complex64], level| Plaintext::encode(&t.ctx, v, 40f64.exp2(), Level(level));
    assert!(matches!(
        encode(&uniform_complex(3, SEED), 0),
        Err(Error::Encoding(Unencodable::Length { have: 3, .. }))
    ));
    assert!(matches!(
        encode(&[Complex64::new(f64::NAN, 0.0)], 0),
        Err(Error::Encoding(Unencodable::TooLarge { .. }))
    ));
    assert!(matches!(
        encode(&[Complex64::new(1e12, 0.0)], 0),
        Err(Error::Encoding(Unencodable::TooLarge { .. }))
    ));
    assert!(matches!(encode(&uniform_complex(4, SEED), 9), Err(Error::LevelTooHigh { .. })));

    let ct = t.encrypt(&uniform_complex(32, SEED));
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
    let values = uniform_complex(ctx.params().slots(), SEED);
    let top = ctx.params().fresh_level();
    let plaintext = Plaintext::encode(&ctx, &values, ctx.params().scale(top), top).unwrap();
    let ct =
        generator.public_key(&secret).unwrap().encrypt(&ctx, &plaintext, &Seed::from_os().unwrap()).unwrap();
    let got = secret.decrypt(&ctx, &ct).unwrap();
    assert!(got.iter().zip(&values).all(|(a, b)| (a - b).norm() < 1e-5));
}
