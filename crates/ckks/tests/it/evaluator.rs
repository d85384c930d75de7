//! Each operation against complex arithmetic, at several levels.

use aegis_ckks::{Ciphertext, Error, Level, Plaintext, insecure_bootstrap_spec, insecure_levelled_spec};
use aegis_ring::Galois;
use num_complex::Complex64;

use crate::common::{SEED, Setup, random_values};

const LOG_N: u32 = 10;

fn setup() -> Setup {
    Setup::new(insecure_levelled_spec(LOG_N, 6), |r, _| {
        let top = Level(6);
        r.relinearize(top).rotation(1, top).rotation(-3, top).rotation(4, Level(2)).conjugation(top)
    })
}

fn map2(a: &[Complex64], b: &[Complex64], f: impl Fn(Complex64, Complex64) -> Complex64) -> Vec<Complex64> {
    a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()
}

#[test]
fn sums_and_products_at_every_level() {
    let t = setup();
    let (a, b) = (random_values(512, SEED), random_values(512, SEED + 1));
    for level in 1..=6 {
        let level = Level(level);
        let tol = t.rounding(t.ctx.params().scale(level));
        let (x, y) = (t.encrypt_at(&a, level), t.encrypt_at(&b, level));
        let p = Plaintext::encode(&t.ctx, &b, x.scale(), level).unwrap();
        t.expect("add", &t.ev.add(&x, &y).unwrap(), &map2(&a, &b, |a, b| a + b), tol);
        t.expect("sub", &t.ev.sub(&x, &y).unwrap(), &map2(&a, &b, |a, b| a - b), tol);
        t.expect("negate", &t.ev.negate(&x).unwrap(), &map2(&a, &b, |a, _| -a), tol);
        t.expect("add_plain", &t.ev.add_plain(&x, &p).unwrap(), &map2(&a, &b, |a, b| a + b), tol);
        t.expect("sub_plain", &t.ev.sub_plain(&x, &p).unwrap(), &map2(&a, &b, |a, b| a - b), tol);
        t.expect("add_scalar", &t.ev.add_scalar(&x, -0.75).unwrap(), &map2(&a, &b, |a, _| a - 0.75), tol);
        t.expect("mul_i", &t.ev.mul_i(&x).unwrap(), &map2(&a, &b, |a, _| a * Complex64::I), tol);
        t.expect("3 x", &t.ev.mul_scalar(&x, 3.0, 1.0).unwrap(), &map2(&a, &b, |a, _| a * 3.0), 3.0 * tol);

        let product = t.ev.mul_rescale(&x, &y).unwrap();
        assert_eq!(product.level(), Level(level.0 - 1));
        let canonical = t.ctx.params().scale(product.level());
        assert!((product.scale() / canonical - 1.0).abs() < 1e-12, "the scale stays canonical");
        t.expect("mul_rescale", &product, &map2(&a, &b, |a, b| a * b), 2.0 * tol);
        t.expect("square", &t.ev.square_rescale(&x).unwrap(), &map2(&a, &b, |a, _| a * a), 2.0 * tol);
        let by_plain = t.ev.rescale(&t.ev.mul_plain(&x, &p).unwrap()).unwrap();
        t.expect("mul_plain", &by_plain, &map2(&a, &b, |a, b| a * b), 2.0 * tol);
        let constant = t.ev.mul_const(&x, 0.3).unwrap();
        assert_eq!(constant.scale(), canonical);
        t.expect("mul_const", &constant, &map2(&a, &b, |a, _| a * 0.3), 2.0 * tol);
    }
}

#[test]
fn operands_of_different_levels_meet_at_the_lower_one() {
    let t = setup();
    let (a, b) = (random_values(512, SEED), random_values(512, SEED + 1));
    for (high, low) in [(6, 5), (6, 2), (4, 0)] {
        let (x, y) = (t.encrypt_at(&a, Level(high)), t.encrypt_at(&b, Level(low)));
        let tol = t.rounding(t.ctx.params().scale(Level(low)));
        for (sum, sign) in [(t.ev.add(&x, &y).unwrap(), 1.0), (t.ev.sub(&y, &x).unwrap(), -1.0)] {
            assert_eq!(sum.level(), Level(low));
            t.expect("sum", &sum, &map2(&a, &b, |a, b| if sign > 0.0 { a + b } else { b - a }), tol);
        }
        if low > 0 {
            let product = t.ev.mul_rescale(&x, &y).unwrap();
            t.expect("product", &product, &map2(&a, &b, |a, b| a * b), 2.0 * tol);
        }
        let mut sum = y.clone();
        t.ev.add_assign(&mut sum, &x).unwrap();
        t.expect("add_assign", &sum, &map2(&a, &b, |a, b| a + b), tol);
    }
}

#[test]
fn periodic_plaintexts_multiply_like_full_ones() {
    let t = setup();
    let a = random_values(512, SEED);
    let x = t.encrypt(&a);
    for period in [1, 4, 64] {
        let p = random_values(period, SEED + 2);
        let want: Vec<_> = a.iter().enumerate().map(|(j, a)| a * p[j % period]).collect();
        let plain = Plaintext::encode(&t.ctx, &p, x.scale(), x.level()).unwrap();
        assert_eq!(plain.poly.shape().n, 2 * period, "stored compactly");
        let got = t.ev.rescale(&t.ev.mul_plain(&x, &plain).unwrap()).unwrap();
        t.expect("periodic product", &got, &want, t.rounding(x.scale()));
        let want: Vec<_> = a.iter().enumerate().map(|(j, a)| a + p[j % period]).collect();
        t.expect("periodic sum", &t.ev.add_plain(&x, &plain).unwrap(), &want, t.rounding(x.scale()));
    }
}

#[test]
fn sums_of_products_relinearise_once() {
    let t = setup();
    let v: Vec<_> = (0..6).map(|i| random_values(512, SEED + i)).collect();
    let c: Vec<Ciphertext> = v.iter().map(|v| t.encrypt(v)).collect();
    let before = t.ev.counts();
    let mut product = t.ev.mul_no_relin(&c[0], &c[1]).unwrap();
    t.ev.mul_accumulate(&mut product, &c[2], &c[3]).unwrap();
    t.ev.mul_accumulate(&mut product, &c[4], &c[5]).unwrap();
    let sum = t.ev.rescale(&t.ev.relinearize(product).unwrap()).unwrap();
    let counts = t.ev.counts() - before;
    assert_eq!((counts.products, counts.key_switches), (3, 1));
    let want: Vec<_> = (0..512).map(|j| v[0][j] * v[1][j] + v[2][j] * v[3][j] + v[4][j] * v[5][j]).collect();
    t.expect("sum of products", &sum, &want, 3.0 * t.rounding(c[0].scale()));

    let product = t.ev.mul_no_relin(&c[0], &c[1]).unwrap();
    let fused = t.ev.relinearize_rescale(product).unwrap();
    assert_eq!((fused.level(), fused.scale()), (sum.level(), sum.scale()));
    let want: Vec<_> = (0..512).map(|j| v[0][j] * v[1][j]).collect();
    t.expect("one division", &fused, &want, t.rounding(c[0].scale()));
}

#[test]
fn weighted_sums_in_place() {
    let t = setup();
    let (a, b) = (random_values(512, SEED), random_values(512, SEED + 1));
    let (x, y) = (t.encrypt(&a), t.encrypt(&b));
    let mut sum = t.ev.mul_scalar(&x, 0.25, 40f64.exp2()).unwrap();
    t.ev.mul_scalar_accumulate(&mut sum, &y, -1.5, 40f64.exp2()).unwrap();
    let want = map2(&a, &b, |a, b| a * 0.25 - b * 1.5);
    t.expect("weighted sum", &t.ev.rescale(&sum).unwrap(), &want, 2.0 * t.rounding(x.scale()));
}

#[test]
fn rotations_single_hoisted_and_doubly_hoisted_agree_with_the_slots() {
    let t = setup();
    let a = random_values(512, SEED);
    let rotated =
        |k: i64| -> Vec<_> { (0..512).map(|j| a[(j as i64 + k).rem_euclid(512) as usize]).collect() };
    for level in [Level(6), Level(2), Level(0)] {
        let x = t.encrypt_at(&a, level);
        let tol = t.rounding(x.scale());
        let hoisted = t.ev.hoist(&x).unwrap();
        for k in [0, 1, -3] {
            let map = Galois::rotation(k, t.ctx.params().n());
            t.expect("rotate", &t.ev.rotate(&x, k).unwrap(), &rotated(k), tol);
            t.expect("hoisted", &t.ev.rotate_hoisted(&x, &hoisted, map).unwrap(), &rotated(k), tol);
            let shape = aegis_hal::Shape::new(2, t.ev.extended_basis(level), t.ctx.params().n());
            let mut ext = t.ctx.device().alloc(shape).unwrap();
            t.ev.rotate_extended(&x, &hoisted, map, ext.view_mut()).unwrap();
            t.expect("extended", &t.ev.mod_down(ext.view(), level, x.scale()).unwrap(), &rotated(k), tol);
            let again =
                t.ev.rotate_extended_poly(&ext, level, Galois::rotation(1, t.ctx.params().n())).unwrap();
            let twice = t.ev.mod_down(again.view(), level, x.scale()).unwrap();
            t.expect("extended twice", &twice, &rotated(k + 1), 2.0 * tol);
        }
        let want: Vec<_> = a.iter().map(Complex64::conj).collect();
        t.expect("conjugate", &t.ev.conjugate(&x).unwrap(), &want, tol);
    }
}

#[test]
fn raising_the_modulus_adds_small_multiples_of_q0() {
    let spec = insecure_bootstrap_spec(LOG_N);
    let range = f64::from(spec.bootstrap.as_ref().unwrap().range);
    let t = Setup::new(spec, |r, _| r.encapsulation());
    let a = random_values(512, SEED);
    let x = t.encrypt_at(&a, Level(0));
    let raised = t.ev.mod_raise(&x).unwrap();
    assert_eq!(raised.level(), t.ctx.params().max_level());
    let q0 = t.ctx.params().base_modulus() as f64;
    let (got, want) = (
        t.secret.decrypt_coefficients(&t.ctx, &raised).unwrap(),
        t.secret.decrypt_coefficients(&t.ctx, &x).unwrap(),
    );
    for (g, w) in got.iter().zip(&want) {
        let multiple = (g - w) * x.scale() / q0;
        assert!(multiple.round().abs() <= range, "{multiple} leaves the range");
        // Noise of the encapsulating key switch and the roundings, in units of q0.
        assert!((multiple - multiple.round()).abs() * q0 < 2f64.powi(14), "{multiple} is no integer");
    }
    assert!(
        got.iter().zip(&want).any(|(g, w)| (g - w).abs() * x.scale() > q0 / 2.0),
        "nothing wrapped at all"
    );
}

#[test]
fn misuse_is_named() {
    let t = setup();
    let a = random_values(512, SEED);
    let x = t.encrypt(&a);
    let n = t.ctx.params().n();
    assert!(matches!(t.ev.rotate(&x, 2), Err(Error::MissingKey { .. })));
    assert!(matches!(t.ev.rotate(&x, 4), Err(Error::MissingKey { .. })), "that key serves level 2 and below");
    let bottom = t.ev.drop_to(&x, Level(0)).unwrap();
    assert!(matches!(t.ev.rescale(&bottom), Err(Error::LevelTooLow { .. })));
    assert!(matches!(t.ev.drop_to(&bottom, Level(1)), Err(Error::LevelTooLow { .. })));
    let wide = t.ev.mul_scalar(&x, 1.0, 4.0).unwrap();
    assert!(matches!(t.ev.add(&x, &wide), Err(Error::ScaleMismatch { .. })));
    assert!(matches!(t.ev.mul_scalar(&x, f64::INFINITY, 1.0), Err(Error::Encoding(_))));
    let hoisted = t.ev.hoist(&bottom).unwrap();
    assert!(t.ev.rotate_hoisted(&x, &hoisted, Galois::rotation(1, n)).is_err());
    let stranger = Setup::new(insecure_levelled_spec(LOG_N, 6), |r, _| r);
    assert_eq!(stranger.secret.id(), t.secret.id(), "the same seed gives the same keys");
    let other = aegis_ckks::KeyGenerator::new(&t.ctx, aegis_ckks::Seed::new([1; 32])).secret_key();
    let plain = Plaintext::encode(&t.ctx, &a, x.scale(), Level(6)).unwrap();
    let foreign = other.encrypt(&t.ctx, &plain, &t.seed()).unwrap();
    assert!(matches!(t.ev.add(&x, &foreign), Err(Error::ForeignKey { .. })));
}
