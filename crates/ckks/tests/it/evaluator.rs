//! Each operation against complex arithmetic, at several levels.

use aegis_ckks::{
    Ciphertext, Error, Level, Plaintext, Unencodable, Weights, insecure_bootstrap_spec,
    insecure_levelled_spec,
};

use aegis_ring::Galois;
use aegis_testing::{Setup, insecure, uniform_complex};
use num_complex::Complex64;

use crate::SEED;

const LOG_N: u32 = 10;

fn setup() -> Setup {
    Setup::with_keys(insecure(insecure_levelled_spec(LOG_N, 6)), |r, _| {
        let top = Level(6);
        r.relinearize(top).rotation(1, top).rotation(-3, top).rotation(4, Level(2)).conjugation(top)
    })
}

fn map2(a: &[Complex64], b: &[Complex64], f: impl Fn(Complex64, Complex64) -> Complex64) -> Vec<Complex64> {
    a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()
}

fn residues(t: &Setup, ct: &Ciphertext) -> Vec<u64> {
    t.ctx.device().download(ct.poly().view()).unwrap()
}

#[test]
fn sums_and_products_at_every_level() {
    let t = setup();
    let (a, b) = (uniform_complex(512, SEED), uniform_complex(512, SEED + 1));
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
    let (a, b) = (uniform_complex(512, SEED), uniform_complex(512, SEED + 1));
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
    let a = uniform_complex(512, SEED);
    let x = t.encrypt(&a);
    for period in [1, 4, 64] {
        let p = uniform_complex(period, SEED + 2);
        let want: Vec<_> = a.iter().enumerate().map(|(j, a)| a * p[j % period]).collect();
        let plain = Plaintext::encode(&t.ctx, &p, x.scale(), x.level()).unwrap();
        assert_eq!(plain.poly().shape().n(), 2 * period, "stored compactly");
        let got = t.ev.rescale(&t.ev.mul_plain(&x, &plain).unwrap()).unwrap();
        t.expect("periodic product", &got, &want, t.rounding(x.scale()));
        let want: Vec<_> = a.iter().enumerate().map(|(j, a)| a + p[j % period]).collect();
        t.expect("periodic sum", &t.ev.add_plain(&x, &plain).unwrap(), &want, t.rounding(x.scale()));
    }
}

#[test]
fn sums_of_products_relinearize_once() {
    let t = setup();
    let v: Vec<_> = (0..6).map(|i| uniform_complex(512, SEED + i)).collect();
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
    let (a, b) = (uniform_complex(512, SEED), uniform_complex(512, SEED + 1));
    let (x, y) = (t.encrypt(&a), t.encrypt(&b));
    let mut sum = t.ev.mul_scalar(&x, 0.25, 40f64.exp2()).unwrap();
    t.ev.mul_scalar_accumulate(&mut sum, &y, -1.5, 40f64.exp2()).unwrap();
    let want = map2(&a, &b, |a, b| a * 0.25 - b * 1.5);
    t.expect("weighted sum", &t.ev.rescale(&sum).unwrap(), &want, 2.0 * t.rounding(x.scale()));
}

#[test]
fn rotations_single_hoisted_and_doubly_hoisted_agree_with_the_slots() {
    let t = setup();
    let a = uniform_complex(512, SEED);
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
            let ext = t.ev.rotate_all_extended(std::slice::from_ref(&x), &[map]).unwrap();
            t.expect("extended", &t.ev.mod_down(&ext).unwrap(), &rotated(k), tol);
            let again = t.ev.rotate_extended(&ext, Galois::rotation(1, t.ctx.params().n())).unwrap();
            let twice = t.ev.mod_down(&again).unwrap();
            t.expect("extended twice", &twice, &rotated(k + 1), 2.0 * tol);
        }
        let want: Vec<_> = a.iter().map(Complex64::conj).collect();
        t.expect("conjugate", &t.ev.conjugate(&x).unwrap(), &want, tol);
    }
}

/// What a lower operand leaves of each: level, scale and value of products that are not rescaled.
#[test]
fn products_without_rescale_multiply_the_scales() {
    let t = setup();
    let (a, b) = (uniform_complex(512, SEED), uniform_complex(512, SEED + 1));
    for (one, other) in [(6, 6), (5, 3), (1, 4), (2, 2)] {
        let (x, y) = (t.encrypt_at(&a, Level(one)), t.encrypt_at(&b, Level(other)));
        let tol = 2.0 * t.rounding(x.scale().min(y.scale()));
        let product = t.ev.mul(&x, &y).unwrap();
        assert_eq!((product.level(), product.scale()), (x.level().min(y.level()), x.scale() * y.scale()));
        t.expect("mul", &product, &map2(&a, &b, |a, b| a * b), tol);
        let square = t.ev.square(&x).unwrap();
        assert_eq!((square.level(), square.scale()), (x.level(), x.scale() * x.scale()));
        t.expect("square", &square, &map2(&a, &b, |a, _| a * a), tol);
    }
}

/// `factor * (a b + z) + c` with one key switch, one rounding, and `z` from a level above.
#[test]
fn terms_and_constants_join_a_product_before_its_relinearization() {
    let t = setup();
    let (a, b, z) =
        (uniform_complex(512, SEED), uniform_complex(512, SEED + 1), uniform_complex(512, SEED + 2));
    let (x, y) = (t.encrypt_at(&a, Level(6)), t.encrypt_at(&b, Level(4)));
    let scale = x.scale() * y.scale();
    let plain = Plaintext::encode(&t.ctx, &z, scale, Level(5)).unwrap();
    let term = t.secret.encrypt(&t.ctx, &plain, &t.seed()).unwrap();
    for (factor, c) in [(1, 0.0), (2, -1.0), (-3, 0.0), (1, 0.25), (0, 0.5)] {
        let before = t.ev.counts();
        let make = || {
            let mut product = t.ev.mul_no_relin(&x, &y).unwrap();
            t.ev.accumulate(&mut product, &term).unwrap();
            t.ev.scale_and_shift(&mut product, factor, c).unwrap();
            assert_eq!((product.level(), product.scale()), (Level(4), scale));
            product
        };
        let want: Vec<_> = (0..512).map(|j| f64::from(factor) * (a[j] * b[j] + z[j]) + c).collect();
        let tol = (1.0 + f64::from(factor).abs()) * 2.0 * t.rounding(y.scale());
        let wide = t.ev.relinearize(make()).unwrap();
        assert_eq!((wide.level(), wide.scale()), (Level(4), scale));
        t.expect("relinearize", &wide, &want, tol);
        let narrow = t.ev.relinearize_rescale(make()).unwrap();
        assert_eq!(narrow.level(), Level(3));
        assert_eq!(narrow.scale(), scale / t.ctx.params().rescale_factor(Level(4)));
        t.expect("relinearize_rescale", &narrow, &want, tol);
        let counts = t.ev.counts() - before;
        assert_eq!((counts.products, counts.key_switches, counts.rotations), (2, 2, 0));
    }
}

#[test]
fn constants_and_adjustments_reach_the_scale_asked_for() {
    let t = setup();
    let a = uniform_complex(512, SEED);
    let scaled = |c: f64| -> Vec<_> { a.iter().map(|a| a * c).collect() };
    for level in (1..=6).map(Level) {
        let x = t.encrypt_at(&a, level);
        let below = level.down(1).unwrap();
        for scale in [t.ctx.params().scale(below), 36f64.exp2(), 1.5 * 40f64.exp2()] {
            let product = t.ev.mul_const_to(&x, -0.7, scale).unwrap();
            assert_eq!((product.level(), product.scale()), (below, scale));
            t.expect("mul_const_to", &product, &scaled(-0.7), 2.0 * t.rounding(scale));
        }
    }
    let x = t.encrypt_at(&a, Level(6));
    for (level, scale) in [(5, 38f64.exp2()), (2, 40.3f64.exp2()), (0, t.ctx.params().scale(Level(0)))] {
        let adjusted = t.ev.adjust(&x, Level(level), scale).unwrap();
        assert_eq!((adjusted.level(), adjusted.scale()), (Level(level), scale));
        t.expect("adjust", &adjusted, &a, 2.0 * t.rounding(scale));
    }
    for level in [Level(6), Level(3), Level(0)] {
        let dropped = t.ev.adjust(&x, level, x.scale()).unwrap();
        assert_eq!((dropped.level(), dropped.scale()), (level, x.scale()));
        assert_eq!(residues(&t, &dropped), residues(&t, &x), "the right scale costs nothing");
    }
    for (factor, exact) in [(0.25, true), (3.0, false)] {
        let read = t.ev.reinterpret(&x, x.scale() * factor).unwrap();
        assert_eq!((read.level(), read.scale()), (x.level(), x.scale() * factor));
        assert_eq!(residues(&t, &read), residues(&t, &x));
        let want: Vec<_> = t.decrypt(&x).iter().map(|v| v / factor).collect();
        t.expect("reinterpret", &read, &want, if exact { 0.0 } else { 1e-15 });
    }
}

/// From a scale so high that the factor of the adjustment is no large integer: the value, or an error.
#[test]
fn adjusting_never_loses_the_value() {
    let t = setup();
    let a = uniform_complex(512, SEED);
    let x = t.encrypt_at(&a, Level(6));
    let wide = t.ev.mul_scalar(&x, 1.0, 40f64.exp2()).unwrap();
    for scale in [38f64.exp2(), 39.5f64.exp2(), 40f64.exp2()] {
        if let Ok(adjusted) = t.ev.adjust(&wide, Level(4), scale) {
            t.expect("adjust", &adjusted, &a, 2.0 * t.rounding(scale));
        }
    }
}

/// In place where it can be, but never in a ciphertext that the caller still holds.
#[test]
fn sums_of_many_meet_at_the_lowest_level_and_spare_their_terms() {
    let t = setup();
    let v: Vec<_> = (0..5).map(|i| uniform_complex(512, SEED + i)).collect();
    assert!(t.ev.sum_all(&[]).unwrap().is_none());
    for levels in [vec![4], vec![6; 5], vec![6, 3, 5], vec![2, 6, 6, 2, 4]] {
        let terms: Vec<_> = levels.iter().zip(&v).map(|(l, v)| t.encrypt_at(v, Level(*l))).collect();
        let before: Vec<_> = terms.iter().map(|c| residues(&t, c)).collect();
        let sum = t.ev.sum_all(&terms).unwrap().unwrap();
        let lowest = Level(*levels.iter().min().unwrap());
        assert_eq!((sum.level(), sum.scale()), (lowest, t.ctx.params().scale(lowest)));
        let want: Vec<_> = (0..512).map(|j| v[..levels.len()].iter().map(|v| v[j]).sum()).collect();
        t.expect("sum_all", &sum, &want, 5.0 * t.rounding(sum.scale()));
        assert_eq!(terms.iter().map(|c| residues(&t, c)).collect::<Vec<_>>(), before);
    }
    let (x, y) = (t.encrypt_at(&v[0], Level(4)), t.encrypt_at(&v[1], Level(6)));
    let mut own = t.ev.mul_scalar(&x, 0.5, 40f64.exp2()).unwrap();
    let (kept, mut shared) = (own.clone(), own.clone());
    let (scale, held) = (own.scale(), residues(&t, &kept));
    t.ev.mul_scalar_accumulate(&mut shared, &y, -1.5, scale / y.scale()).unwrap();
    assert_eq!(residues(&t, &kept), held, "a shared sum is copied first");
    drop(kept);
    t.ev.mul_scalar_accumulate(&mut own, &y, -1.5, scale / y.scale()).unwrap();
    for sum in [shared, own] {
        assert_eq!((sum.level(), sum.scale()), (Level(4), scale));
        let want = map2(&v[0], &v[1], |a, b| a * 0.5 - b * 1.5);
        t.expect("mul_scalar_accumulate", &sum, &want, 2.0 * t.rounding(x.scale()));
    }
}

/// `sum of p_k rot_k(a)` over the extended basis: one division for all terms, alone or fused with the
/// rescale; also where a level has two limbs.
#[test]
fn extended_sums_share_one_division() {
    let levelled = setup();
    let bootstrap = Setup::with_keys(insecure(insecure_bootstrap_spec(LOG_N)), |r, _| {
        r.rotation(1, Level(18)).rotation(-3, Level(18))
    });
    assert_eq!(bootstrap.ctx.params().dropped(Level(18)).len(), 2);
    for (t, level) in
        [(&levelled, Level(6)), (&levelled, Level(1)), (&bootstrap, Level(18)), (&bootstrap, Level(4))]
    {
        let a = uniform_complex(512, SEED);
        let x = t.encrypt_at(&a, level);
        let turns = [0, 1, -3];
        let maps = turns.map(|steps| Galois::rotation(steps, t.ctx.params().n()));
        let run = t.ev.rotate_all_extended(std::slice::from_ref(&x), &maps).unwrap();
        let weights = [5, 6, 7].map(|i| uniform_complex(512, SEED + i));
        let vectors = weights.iter().map(|p| Ok::<_, Error>(Some(p.clone())));
        let encoded = Weights::encode(&t.ctx, (level, 40f64.exp2()), (3, 512), vectors).unwrap();
        let (mut want, mut want_weighted) =
            (vec![Complex64::default(); 512], vec![Complex64::default(); 512]);
        for (steps, p) in turns.into_iter().zip(&weights) {
            for j in 0..512 {
                let value = a[(j as i64 + steps).rem_euclid(512) as usize];
                want[j] += value;
                want_weighted[j] += p[j] * value;
            }
        }
        let tol = 3.0 * t.rounding(x.scale().min(40f64.exp2()));
        let mut plain_sum = t.ev.extended_pair(&run, 0).unwrap();
        t.ev.add_extended_pair(&mut plain_sum, &run, 1).unwrap();
        t.ev.add_extended_pair(&mut plain_sum, &run, 2).unwrap();
        let sum = t.ev.mod_down(&plain_sum).unwrap();
        assert_eq!((sum.level(), sum.scale(), sum.key_id()), (level, x.scale(), t.secret.id()));
        t.expect("mod_down", &sum, &want, tol);

        let before = t.ev.counts();
        let weighted = t.ev.weighted_sums(&encoded, &run, None).unwrap();
        assert_eq!((t.ev.counts() - before).plain_products, 3);
        let scale = x.scale() * 40f64.exp2();
        let sum = t.ev.mod_down_rescale(&weighted).unwrap();
        assert_eq!(sum.level(), level.down(1).unwrap());
        assert_eq!(sum.scale(), scale / t.ctx.params().rescale_factor(level));
        assert_eq!(sum.key_id(), t.secret.id());
        t.expect("mod_down_rescale", &sum, &want_weighted, tol.max(3.0 * t.rounding(sum.scale())));
        // Onto what is there already.
        let doubled = t.ev.weighted_sums(&encoded, &run, Some(weighted)).unwrap();
        let twice: Vec<_> = want_weighted.iter().map(|v| 2.0 * v).collect();
        let sum = t.ev.mod_down_rescale(&doubled).unwrap();
        t.expect("accumulated", &sum, &twice, 2.0 * tol.max(3.0 * t.rounding(sum.scale())));
    }
}

/// A rescale divides by all limbs of its level.
#[test]
fn levels_of_two_limbs_rescale_by_both() {
    let t = Setup::with_keys(insecure(insecure_bootstrap_spec(LOG_N)), |r, _| r.relinearize(Level(18)));
    let (a, level) = (uniform_complex(512, SEED), Level(18));
    let x = t.encrypt_at(&a, level);
    let factor = t.ctx.params().rescale_factor(level);
    assert!((factor.log2() - 56.0).abs() < 1e-3);
    let square: Vec<_> = a.iter().map(|a| a * a).collect();
    // Encoding rounds at 2^50 at most.
    let tol = 2.0 * t.rounding(50f64.exp2());
    let apart = t.ev.rescale(&t.ev.square(&x).unwrap()).unwrap();
    let fused = t.ev.square_rescale(&x).unwrap();
    for got in [&apart, &fused] {
        assert_eq!((got.level(), got.scale()), (Level(17), x.scale() * x.scale() / factor));
        t.expect("square", got, &square, tol);
    }
    let third: Vec<_> = a.iter().map(|a| a / 3.0).collect();
    let constant = t.ev.mul_const(&x, 1.0 / 3.0).unwrap();
    assert_eq!((constant.level(), constant.scale()), (Level(17), t.ctx.params().scale(Level(17))));
    t.expect("mul_const", &constant, &third, tol);
}

/// Any map of the group with its own key, and the identity without one.
#[test]
fn galois_maps_compose_in_one_key_switch() {
    let n = 1 << LOG_N;
    let map = Galois::rotation(1, n).then(Galois::conjugation(n), n);
    let t = Setup::with_keys(insecure(insecure_levelled_spec(LOG_N, 6)), |r, _| r.galois(map, Level(4)));
    let a = uniform_complex(512, SEED);
    for level in [Level(4), Level(0)] {
        let x = t.encrypt_at(&a, level);
        let before = t.ev.counts();
        let got = t.ev.apply_galois(&x, map).unwrap();
        let counts = t.ev.counts() - before;
        assert_eq!((counts.rotations, counts.key_switches), (1, 1));
        assert_eq!((got.level(), got.scale()), (level, x.scale()));
        let want: Vec<_> = (0..512).map(|j| a[(j + 1) % 512].conj()).collect();
        t.expect("rotation and conjugation", &got, &want, t.rounding(x.scale()));
        let same = t.ev.apply_galois(&x, Galois::IDENTITY).unwrap();
        assert_eq!(residues(&t, &same), residues(&t, &x));
        assert_eq!((t.ev.counts() - before).key_switches, 1, "the identity costs nothing");
    }
}

#[test]
fn raising_the_modulus_adds_small_multiples_of_q0() {
    let spec = insecure_bootstrap_spec(LOG_N);
    let range = f64::from(spec.bootstrap.as_ref().unwrap().range);
    let t = Setup::with_keys(insecure(spec), |r, _| r.encapsulation());
    let a = uniform_complex(512, SEED);
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
    let a = uniform_complex(512, SEED);
    let x = t.encrypt(&a);
    let n = t.ctx.params().n();
    assert!(matches!(t.ev.rotate(&x, 2), Err(Error::MissingKey { .. })));
    assert!(matches!(t.ev.rotate(&x, 4), Err(Error::MissingKey { .. })), "that key serves level 2 and below");
    let bottom = t.ev.drop_to(&x, Level(0)).unwrap();
    assert!(matches!(t.ev.rescale(&bottom), Err(Error::LevelTooLow { .. })));
    assert!(matches!(t.ev.drop_to(&bottom, Level(1)), Err(Error::LevelTooLow { .. })));
    let wide = t.ev.mul_scalar(&x, 1.0, 4.0).unwrap();
    assert!(matches!(t.ev.add(&x, &wide), Err(Error::ScaleMismatch { .. })));
    assert!(matches!(
        t.ev.mul_scalar(&x, f64::INFINITY, 1.0),
        Err(Error::Encoding(Unencodable::Constant { .. }))
    ));
    let hoisted = t.ev.hoist(&bottom).unwrap();
    assert!(t.ev.rotate_hoisted(&x, &hoisted, Galois::rotation(1, n)).is_err());
    let stranger = Setup::new(insecure(insecure_levelled_spec(LOG_N, 6)));
    assert_eq!(stranger.secret.id(), t.secret.id(), "the same seed gives the same keys");
    let other = aegis_ckks::KeyGenerator::new(&t.ctx, aegis_ckks::Seed::new([1; 32])).secret_key();
    let plain = Plaintext::encode(&t.ctx, &a, x.scale(), Level(6)).unwrap();
    let foreign = other.encrypt(&t.ctx, &plain, &t.seed()).unwrap();
    assert!(matches!(t.ev.add(&x, &foreign), Err(Error::ForeignKey { .. })));
}
