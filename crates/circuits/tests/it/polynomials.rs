//! Polynomials and inverses against `f64`, their depth, keys and counts.

use aegis_circuits::{
    Error, ErrorKind, InvalidCircuit, Polynomial, PolynomialCost, Result, chebyshev, goldschmidt,
};
use aegis_ckks::{Ciphertext, Evaluator, KeyPurpose, KeyRequest, Level, insecure_levelled_spec};
use aegis_testing::{Setup, complex, distance, insecure, uniform};

/// Rounding errors of a level are about `2^(0.9 log2 N - 40)`; every level at most quadruples what came before.
const TOLERANCE: f64 = 1e-6;

fn run(polynomial: &Polynomial, levels: u32, xs: &[f64]) -> (Ciphertext, Vec<f64>, Evaluator) {
    let s = Setup::new(insecure(insecure_levelled_spec(10, levels)));
    let level = s.ctx.params().max_level();
    let ev = s.evaluator(&polynomial.keys(s.ctx.params(), level));
    let out = polynomial.evaluate(&ev, &s.encrypt_real_at(xs, level)).unwrap();
    let want: Vec<f64> = xs.iter().enumerate().map(|(slot, x)| polynomial.plain(*x, slot)).collect();
    let error = distance(&s.decrypt(&out), &complex(&want));
    assert!(error < TOLERANCE, "degree {}: off by {error:e}", polynomial.degree());
    assert_eq!(out.level(), Level(level.0 - polynomial.depth()), "degree {}", polynomial.degree());
    assert!((out.scale() / s.ctx.params().scale(out.level()) - 1.0).abs() < 1e-9);
    (out, want, ev)
}

#[test]
fn depth_is_optimal() {
    for (degree, depth) in [(1, 1), (2, 2), (3, 2), (7, 3), (15, 4), (31, 5), (47, 6), (63, 6)] {
        let coefficients = uniform(degree + 1, degree as u64).into_iter().map(|c| c / degree as f64);
        let polynomial = Polynomial::chebyshev(coefficients, (-1.0, 1.0)).unwrap();
        assert_eq!(polynomial.depth(), depth, "degree {degree}");
        // With exactly as many levels as the depth, the result ends at level 0.
        run(&polynomial, depth, &uniform(512, 3));
    }
}

#[test]
fn counts_are_as_declared() {
    let counted = [(7, (5, 4)), (15, (8, 7)), (31, (13, 10)), (47, (14, 12)), (63, (18, 15))];
    for (degree, stated) in counted {
        let coefficients = (0..=degree).map(|k| 1.0 / (k + 1) as f64);
        let polynomial = Polynomial::chebyshev(coefficients, (-1.0, 1.0)).unwrap();
        let (_, _, ev) = run(&polynomial, polynomial.depth(), &uniform(512, 3));
        let counts = ev.counts();
        let PolynomialCost { products: p, relinearizations: r } = polynomial.cost();
        assert_eq!((counts.products, counts.key_switches), (p as u64, r as u64), "degree {degree}");
        assert_eq!((p, r), stated, "degree {degree}");
    }
}

#[test]
fn even_and_odd_functions_skip_half_of_the_work() {
    let full = Polynomial::interpolate(|x| (3.0 * x + 0.5).cos(), 31, (-1.0, 1.0)).unwrap();
    for f in [|x: f64| (3.0 * x).cos(), |x: f64| (3.0 * x).sin()] {
        let half = Polynomial::interpolate(f, 15, (-1.0, 1.0)).unwrap();
        run(&half, 5, &uniform(512, 4));
        assert!(half.cost().products < full.cost().products);
    }
}

#[test]
fn a_range_costs_one_level() {
    let exp = Polynomial::interpolate(f64::exp, 15, (-6.0, 2.0)).unwrap();
    assert_eq!(exp.depth(), 5);
    let xs: Vec<f64> = uniform(512, 5).into_iter().map(|x| 4.0 * x - 2.0).collect();
    let (_, want, _) = run(&exp, 6, &xs);
    let worst = xs.iter().zip(want).map(|(x, w)| (x.exp() - w).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-6, "the interpolation is off by {worst:e}");
}

#[test]
fn slots_have_their_own_coefficients() {
    let first = chebyshev::interpolate(|x| x.sin(), 15, (-1.0, 1.0));
    let rest = chebyshev::interpolate(|x| (2.0 * x).cos(), 15, (-1.0, 1.0));
    let classes: Vec<usize> = (0..8).map(|slot| usize::from(slot != 0)).collect();
    let both = Polynomial::by_class(&[first, rest], classes, (-1.0, 1.0)).unwrap();
    let xs = uniform(512, 6);
    run(&both, 4, &xs);
    for (slot, x) in xs.iter().enumerate() {
        let want = if slot % 8 == 0 { x.sin() } else { (2.0 * x).cos() };
        assert!((both.plain(*x, slot) - want).abs() < 1e-9);
    }
}

#[test]
fn degenerate_polynomials() {
    run(&Polynomial::chebyshev([0.25], (-1.0, 1.0)).unwrap(), 1, &uniform(8, 1));
    run(&Polynomial::chebyshev([0.0], (-2.0, 1.0)).unwrap(), 1, &uniform(8, 1));
    run(&Polynomial::chebyshev((0..17).map(|k| f64::from(k == 16)), (-1.0, 1.0)).unwrap(), 5, &uniform(8, 1));
    let refusal = |p: Result<Polynomial>| match p.map(drop) {
        Err(Error::Invalid(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(Polynomial::chebyshev([f64::NAN], (-1.0, 1.0))), InvalidCircuit::Coefficient);
    let range = InvalidCircuit::Range { low: 1.0, high: -1.0 };
    assert_eq!(refusal(Polynomial::chebyshev([1.0, 1.0], (1.0, -1.0))), range);
    let classes = |classes| refusal(Polynomial::by_class(&[vec![1.0]], classes, (-1.0, 1.0)));
    assert_eq!(classes(vec![0, 0, 0]), InvalidCircuit::Period(3));
    assert_eq!(classes(vec![]), InvalidCircuit::Period(0));
    assert_eq!(classes(vec![0, 1]), InvalidCircuit::Class { class: 1, count: 1 });
    // A class that no slot has does not count.
    let same = Polynomial::by_class(&[vec![0.0, 2.0], vec![0.0, 0.0, 1.0]], vec![0, 0], (-1.0, 1.0)).unwrap();
    assert_eq!(same.degree(), 1);
}

#[test]
fn a_missing_key_or_level_is_an_error() {
    let s = Setup::new(insecure(insecure_levelled_spec(10, 3)));
    let cube = Polynomial::interpolate(|x| x * x * x, 3, (-1.0, 1.0)).unwrap();
    let x = s.encrypt_real_at(&[0.5], Level(3));
    let without = s.evaluator(&KeyRequest::new(s.ctx.params().n()));
    let refused = cube.evaluate(&without, &x).unwrap_err();
    let missing = |e: &Error| {
        let Error::Ckks(aegis_ckks::Error::MissingKey { what, .. }) = e else { return false };
        *what == KeyPurpose::Relinearization
    };
    assert!(missing(&refused), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::KeySet);
    let low = s.evaluator(&cube.keys(s.ctx.params(), Level(2)));
    assert!(missing(&cube.evaluate(&low, &x).unwrap_err()));
    let x = low.drop_to(&x, Level(1)).unwrap();
    let refused = cube.evaluate(&low, &x).unwrap_err();
    assert!(matches!(refused, Error::TooDeep { depth: 2, have: Level(1), .. }), "{refused}");
    assert_eq!(Error::NoResult { circuit: "a cube" }.kind(), ErrorKind::Bug);
}

#[test]
fn the_inverse_takes_one_level_a_step() {
    // The fastest schedule for [1/16, 1]; e = 1 - b on the way.
    let (mut schedule, mut low) = (vec![], 1.0 / 16.0);
    for _ in 0..5 {
        let k = 2.0 / (1.0 + low);
        schedule.push(k);
        low *= k * (2.0 - k * low);
    }
    let xs: Vec<f64> = uniform(512, 8).into_iter().map(|x| 17.0 / 32.0 + 15.0 / 32.0 * x).collect();
    for steps in 0..=schedule.len() {
        let s = Setup::new(insecure(insecure_levelled_spec(10, 6)));
        let level = Level(steps as u32);
        let ev = s.evaluator(&KeyRequest::new(s.ctx.params().n()).relinearize(level));
        let out = goldschmidt::inverse(&ev, &s.encrypt_real_at(&xs, level), &schedule[..steps]).unwrap();
        let plain = |x: &f64| {
            let (mut a, mut b) = (1.0, *x);
            for k in &schedule[..steps] {
                let t = k * (2.0 - k * b);
                (a, b) = (a * t, b * t);
            }
            a
        };
        let want: Vec<f64> = xs.iter().map(plain).collect();
        let error = distance(&s.decrypt(&out), &complex(&want));
        assert!(error < 4.0 * TOLERANCE, "{steps} steps: off by {error:e}");
        assert_eq!(out.level(), Level(0), "{steps} steps");
        assert!((out.scale() / s.ctx.params().scale(Level(0)) - 1.0).abs() < 1e-9, "{steps} steps");
        if steps == 5 {
            let worst = xs.iter().zip(want).map(|(x, y)| (1.0 - x * y).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-4, "the schedule leaves {worst:e}");
        }
    }
}

/// Sums of four units, of two slots each in eight, and the 0/1 vectors of the units.
fn packed(slots: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let sums = uniform(slots, 9).into_iter().map(|x| 17.0 / 32.0 + 15.0 / 32.0 * x).collect();
    let unit = |u| (0..8).map(|slot| f64::from(u8::from(slot / 2 == u))).collect();
    (sums, (0..4).map(unit).collect())
}

#[test]
fn packed_inverses_unpack_without_a_level() {
    let s = Setup::new(insecure(insecure_levelled_spec(10, 6)));
    let schedule = goldschmidt::schedule(1.0 / 16.0, 1e-3);
    let (sums, units) = packed(s.ctx.params().slots());
    for steps in 0..=schedule.len() {
        let level = Level(steps as u32);
        let ev = s.evaluator(&KeyRequest::new(s.ctx.params().n()).relinearize(level));
        let b = s.encrypt_real_at(&sums, level);
        let inverses = goldschmidt::inverses(&ev, &b, &schedule[..steps], &units).unwrap();
        assert_eq!(inverses.len(), units.len());
        for (u, (inverse, unit)) in inverses.iter().zip(&units).enumerate() {
            let of = |(slot, b)| unit[slot % unit.len()] * goldschmidt::plain(b, &schedule[..steps]);
            let want: Vec<f64> = sums.iter().copied().enumerate().map(of).collect();
            s.expect(&format!("unit {u}, {steps} steps"), inverse, &complex(&want), 4.0 * TOLERANCE);
            assert_eq!(inverse.level(), Level(0), "{steps} steps");
            assert!((inverse.scale() / s.ctx.params().scale(Level(0)) - 1.0).abs() < 1e-9, "{steps} steps");
        }
        let counts = ev.counts();
        // Of b once, and of every unit.
        assert_eq!(counts.products, (1 + 4) * steps.saturating_sub(1) as u64, "{steps} steps");
        assert_eq!(counts.plain_products, if steps == 0 { 0 } else { 4 }, "{steps} steps");
    }
}

#[test]
fn packed_inverses_of_no_units_and_of_bad_ones() {
    let s = Setup::new(insecure(insecure_levelled_spec(10, 2)));
    let ev = s.evaluator(&KeyRequest::new(s.ctx.params().n()));
    let b = s.encrypt_real_at(&[0.5], Level(2));
    for schedule in [&[][..], &[1.0], &[1.0, 1.0]] {
        assert!(goldschmidt::inverses(&ev, &b, schedule, &[]).unwrap().is_empty());
    }
    assert_eq!(ev.counts().products, 0);
    let refused = |schedule: &[f64], unit| goldschmidt::inverses(&ev, &b, schedule, &[unit]).unwrap_err();
    for schedule in [&[][..], &[1.0]] {
        for unit in [vec![], vec![1.0; 3], vec![1.0; 1024], vec![f64::NAN]] {
            assert!(matches!(refused(schedule, unit), Error::Ckks(aegis_ckks::Error::Encoding(_))));
        }
    }
    assert!(matches!(refused(&[1.0; 3], vec![1.0]), Error::TooDeep { depth: 3, have: Level(2), .. }));
    let why = refused(&[-1.0], vec![1.0]);
    assert!(matches!(why, Error::Invalid(InvalidCircuit::Relaxation(-1.0))), "{why}");
}

/// Four units of two slots in eight: each has an inverse square root of its own, and zero outside its slots.
fn inverse_roots(degrees: [usize; 4], range: (f64, f64)) -> Vec<Polynomial> {
    let unit = |(u, degree)| {
        let own = chebyshev::interpolate(|x| (x + 2.0 + 0.1 * u as f64).powf(-0.5), degree, range);
        let classes = (0..8).map(|slot| usize::from(slot / 2 == u)).collect();
        Polynomial::by_class(&[vec![], own], classes, range).unwrap()
    };
    degrees.into_iter().enumerate().map(unit).collect()
}

#[test]
fn polynomials_of_units_share_their_powers() {
    // Products and key switches of all units together, and of each for itself.
    let cases = [
        ([15; 4], (-0.5, 1.5), (20, 16), (32, 28)),
        ([7; 4], (-1.0, 1.0), (14, 10), (20, 16)),
        ([15, 3, 0, 1], (-0.5, 1.5), (9, 8), (10, 9)),
    ];
    let s = Setup::new(insecure(insecure_levelled_spec(10, 6)));
    let level = s.ctx.params().max_level();
    let ev = s.evaluator(&KeyRequest::new(s.ctx.params().n()).relinearize(level));
    let xs: Vec<f64> = uniform(512, 7).into_iter().map(|x| 0.25 + 0.75 * x).collect();
    let x = s.encrypt_real_at(&xs, level);
    for (degrees, range, together, apart) in cases {
        let units = inverse_roots(degrees, range);
        let start = ev.counts();
        let values = Polynomial::evaluate_units(&ev, &x, &units).unwrap();
        let between = ev.counts();
        assert_eq!(values.len(), units.len());
        for (u, (value, unit)) in values.iter().zip(&units).enumerate() {
            let want: Vec<f64> = xs.iter().enumerate().map(|(slot, &x)| unit.plain(x, slot)).collect();
            s.expect(&format!("unit {u} of {degrees:?}"), value, &complex(&want), TOLERANCE);
            let own = unit.evaluate(&ev, &x).unwrap();
            assert_eq!((value.level(), value.scale()), (own.level(), own.scale()), "unit {u} of {degrees:?}");
            assert_eq!(s.decrypt(value), s.decrypt(&own), "unit {u} of {degrees:?}");
        }
        let counts = [between - start, ev.counts() - between].map(|c| (c.products, c.key_switches));
        assert_eq!(counts, [together, apart], "{degrees:?}");
    }
}

#[test]
fn polynomials_of_no_units_and_of_several_ranges() {
    let s = Setup::new(insecure(insecure_levelled_spec(10, 2)));
    let ev = s.evaluator(&KeyRequest::new(s.ctx.params().n()));
    let x = s.encrypt_real_at(&[0.5], Level(2));
    assert!(Polynomial::evaluate_units(&ev, &x, &[]).unwrap().is_empty());
    let on = |range| Polynomial::chebyshev([0.0, 1.0], range).unwrap();
    let (left, right) = ((-1.0, 1.0), (-1.0, 2.0));
    let refused = Polynomial::evaluate_units(&ev, &x, &[on(left), on(right)]).unwrap_err();
    assert!(matches!(refused, Error::Invalid(why) if why == InvalidCircuit::OtherRange { left, right }));
    let x = ev.drop_to(&x, Level(0)).unwrap();
    let refused = Polynomial::evaluate_units(&ev, &x, &[on(left)]).unwrap_err();
    assert!(matches!(refused, Error::TooDeep { depth: 1, have: Level(0), .. }), "{refused}");
}
