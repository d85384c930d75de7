//! What an evaluator refuses, by the variant that names the cause.

use std::sync::Arc;

use aegis_ckks::{
    Ciphertext, Error, ErrorKind, Evaluator, Extended, KeyGenerator, KeyPurpose, KeyRequest, Level,
    ParamsError, Plaintext, Result, Seed, Unencodable, Weights, insecure_bootstrap_spec,
    insecure_levelled_spec,
};
use aegis_ring::Galois;
use aegis_testing::{Setup, insecure, uniform_complex};
use num_complex::Complex64;

use crate::SEED;

const TOP: Level = Level(3);

/// Keys for products and one rotation at the top, for another rotation up to level 1.
fn setup() -> Setup {
    Setup::with_keys(insecure(insecure_levelled_spec(6, TOP.0)), |r, _| {
        r.relinearize(TOP).rotation(1, TOP).rotation(4, Level(1)).conjugation(TOP)
    })
}

/// One row of weights for `terms` extended ciphertexts.
fn weights(t: &Setup, level: Level, terms: usize) -> Weights {
    let vectors = (0..terms).map(|i| Ok::<_, Error>(Some(uniform_complex(32, SEED + i as u64))));
    Weights::encode(&t.ctx, (level, 40f64.exp2()), (terms, 32), vectors).unwrap()
}

/// Every case fails, and with the variant expected.
fn all_fail(cases: Vec<(&str, Result<()>)>, expected: impl Fn(&Error) -> bool) {
    for (op, result) in cases {
        assert!(result.as_ref().is_err_and(&expected), "{op}: {result:?}");
    }
}

fn plain(t: &Setup, scale: f64, level: Level) -> Plaintext {
    Plaintext::encode(&t.ctx, &uniform_complex(32, SEED), scale, level).unwrap()
}

/// `x` without a rotation, which needs no key.
fn extended(ev: &Evaluator, x: &Ciphertext) -> Extended {
    ev.rotate_all_extended(std::slice::from_ref(x), &[Galois::IDENTITY]).unwrap()
}

/// A sum of unequal scales has no meaning, and the operand of a refused sum in place keeps its value.
#[test]
fn unequal_scales_at_one_level() {
    let t = setup();
    let a = uniform_complex(32, SEED);
    let x = t.encrypt(&a);
    // Twice the tolerance of a scale: already refused.
    for factor in [4.0, 0.5, 1.0 + 2e-12] {
        let wide = t.ev.reinterpret(&x, x.scale() * factor).unwrap();
        let p = plain(&t, wide.scale(), TOP);
        let (mut sum, mut weighted) = (x.clone(), x.clone());
        let mut product = t.ev.mul_no_relin(&x, &x).unwrap();
        let cases = vec![
            ("add", t.ev.add(&x, &wide).map(drop)),
            ("sub", t.ev.sub(&wide, &x).map(drop)),
            ("add_assign", t.ev.add_assign(&mut sum, &wide)),
            ("sum_all", t.ev.sum_all(&[x.clone(), x.clone(), wide.clone()]).map(drop)),
            ("add_plain", t.ev.add_plain(&x, &p).map(drop)),
            ("sub_plain", t.ev.sub_plain(&x, &p).map(drop)),
            ("adjust", t.ev.adjust(&x, TOP, wide.scale()).map(drop)),
            ("mul_accumulate", t.ev.mul_accumulate(&mut product, &x, &wide)),
            ("accumulate", t.ev.accumulate(&mut product, &wide)),
            ("mul_scalar_accumulate", t.ev.mul_scalar_accumulate(&mut weighted, &wide, 1.0, 1.0)),
        ];
        all_fail(cases, |e| matches!(e, Error::ScaleMismatch { level: TOP, .. }));
        for kept in [&sum, &weighted] {
            assert_eq!((kept.level(), kept.scale()), (TOP, x.scale()));
            t.expect("kept", kept, &a, t.rounding(x.scale()));
        }
        let square: Vec<_> = a.iter().map(|a| a * a).collect();
        t.expect("product", &t.ev.relinearize(product).unwrap(), &square, 2.0 * t.rounding(x.scale()));
    }
    let close = t.ev.reinterpret(&x, x.scale() * (1.0 + 1e-13)).unwrap();
    assert!(t.ev.add(&x, &close).is_ok(), "far below the noise");
    // A difference that passes does not stay: kept, it would double with every product.
    assert_eq!(t.ev.adjust(&close, Level(TOP.0 - 1), x.scale()).unwrap().scale(), x.scale());
}

#[test]
fn levels_too_low_and_too_high() {
    let t = setup();
    let x = t.encrypt(&uniform_complex(32, SEED));
    let low = t.ev.drop_to(&x, Level(0)).unwrap();
    // The base limb has no room for the product of two canonical scales.
    let narrow = t.ev.reinterpret(&low, 1.0).unwrap();
    let mut product = t.ev.mul_no_relin(&x, &x).unwrap();
    let mut sum = x.clone();
    let cases = vec![
        ("rescale", t.ev.rescale(&low).map(drop)),
        ("mul_rescale", t.ev.mul_rescale(&x, &low).map(drop)),
        ("square_rescale", t.ev.square_rescale(&low).map(drop)),
        ("mul_const", t.ev.mul_const(&low, 0.5).map(drop)),
        ("mul_const_to", t.ev.mul_const_to(&low, 0.5, 40f64.exp2()).map(drop)),
        ("relinearize_rescale", t.ev.relinearize_rescale(t.ev.mul_no_relin(&x, &narrow).unwrap()).map(drop)),
        ("mod_down_rescale", t.ev.mod_down_rescale(&extended(&t.ev, &low)).map(drop)),
    ];
    all_fail(cases, |e| matches!(e, Error::LevelTooLow { need: Level(1), have: Level(0), .. }));
    let cases = vec![
        ("drop_to", t.ev.drop_to(&low, TOP).map(drop)),
        ("adjust", t.ev.adjust(&low, TOP, x.scale()).map(drop)),
        ("mul_accumulate", t.ev.mul_accumulate(&mut product, &x, &low)),
        ("mul_accumulate", t.ev.mul_accumulate(&mut product, &low, &x)),
        ("accumulate", t.ev.accumulate(&mut product, &low)),
        ("mul_scalar_accumulate", t.ev.mul_scalar_accumulate(&mut sum, &low, 1.0, 1.0)),
        ("rotate_hoisted", {
            let map = Galois::rotation(1, t.ctx.params().n());
            t.ev.rotate_hoisted(&low, &t.ev.hoist(&x).unwrap(), map).map(drop)
        }),
    ];
    all_fail(cases, |e| matches!(e, Error::LevelTooLow { need: TOP, have: Level(0), .. }));

    let boot = Setup::with_keys(insecure(insecure_bootstrap_spec(6)), |r, _| r.encapsulation());
    let fresh = boot.ctx.params().fresh_level();
    let above = Level(fresh.0 + 1);
    let public = boot.generator.public_key(&boot.secret).unwrap();
    let at = |level| public.encrypt(&boot.ctx, &plain(&boot, 40f64.exp2(), level), &boot.seed());
    assert!(at(fresh).is_ok());
    assert!(matches!(at(above), Err(Error::LevelTooHigh { have, max }) if (have, max) == (above, fresh)));
    let raised = boot.ev.mod_raise(&at(Level(1)).unwrap());
    assert!(matches!(raised, Err(Error::LevelTooHigh { have: Level(1), max: Level(0) })));
}

/// The error says which key at which level, also where there is a key for lower levels only.
#[test]
fn missing_keys() {
    let t = setup();
    let n = t.ctx.params().n();
    let bare = Setup::with_keys(insecure(insecure_levelled_spec(6, TOP.0)), |r, _| r.relinearize(Level(1)));
    let (x, y) = (t.encrypt(&uniform_complex(32, SEED)), bare.encrypt(&uniform_complex(32, SEED)));
    let product = || bare.ev.mul_no_relin(&y, &y).unwrap();
    let cases = vec![
        ("mul", bare.ev.mul(&y, &y).map(drop)),
        ("mul_rescale", bare.ev.mul_rescale(&y, &y).map(drop)),
        ("square", bare.ev.square(&y).map(drop)),
        ("square_rescale", bare.ev.square_rescale(&y).map(drop)),
        ("relinearize", bare.ev.relinearize(product()).map(drop)),
        ("relinearize_rescale", bare.ev.relinearize_rescale(product()).map(drop)),
    ];
    let relinearization = KeyPurpose::Relinearization;
    all_fail(cases, |e| matches!(e, Error::MissingKey { what, level: TOP } if *what == relinearization));
    let low = bare.ev.drop_to(&y, Level(1)).unwrap();
    assert!(bare.ev.square(&low).is_ok());

    for map in [Galois::rotation(2, n), Galois::rotation(4, n)] {
        let hoisted = t.ev.hoist(&x).unwrap();
        let ext = extended(&t.ev, &x);
        let cases = vec![
            ("apply_galois", t.ev.apply_galois(&x, map).map(drop)),
            ("rotate_hoisted", t.ev.rotate_hoisted(&x, &hoisted, map).map(drop)),
            ("rotate_all_extended", t.ev.rotate_all_extended(std::slice::from_ref(&x), &[map]).map(drop)),
            ("rotate_extended", t.ev.rotate_extended(&ext, map).map(drop)),
        ];
        let rotation = KeyPurpose::Rotation(map.to_rotation(n).0);
        all_fail(cases, |e| matches!(e, Error::MissingKey { what, level: TOP } if *what == rotation));
    }
    assert!(t.ev.rotate(&t.ev.drop_to(&x, Level(1)).unwrap(), 4).is_ok());
    let refused = bare.ev.conjugate(&y);
    assert!(matches!(refused, Err(Error::MissingKey { what: KeyPurpose::Conjugation, level: TOP })));
    let both = Galois::rotation(-3, n).then(Galois::conjugation(n), n);
    let what = KeyPurpose::RotationAndConjugation(-3);
    assert!(matches!(bare.ev.apply_galois(&y, both), Err(Error::MissingKey { what: w, .. }) if w == what));

    let boot = Setup::new(insecure(insecure_bootstrap_spec(6)));
    let refused = boot.ev.mod_raise(&boot.encrypt_at(&uniform_complex(32, SEED), Level(0)));
    assert!(matches!(refused, Err(Error::MissingKey { what: KeyPurpose::Encapsulation, .. })));
    let asked = t.generator.evaluation_keys(&t.secret, &KeyRequest::new(n).encapsulation());
    assert!(matches!(asked, Err(Error::NoBootstrapping { .. })));
    assert_eq!(asked.err().map(|e| e.kind()), Some(ErrorKind::Unsupported));
}

/// It said "the Galois map X -> X^125 at level Level(3)".
#[test]
fn a_missing_rotation_is_named_in_steps() {
    let t = setup();
    let x = t.encrypt(&uniform_complex(32, SEED));
    let refused = t.ev.rotate(&x, 3).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no switching key for rotation by 3 at level 3; declare it in the KeyRequest"
    );
    assert_eq!(refused.kind(), ErrorKind::KeySet);
    let refused = t.ev.add(&x, &t.ev.reinterpret(&x, 2.0 * x.scale()).unwrap()).unwrap_err();
    let words = "scales 2^40.00 and 2^41.00 at level 3 do not match";
    assert!(refused.to_string().starts_with(words), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Input);
}

/// What is behind an error decides whose fault it is.
#[test]
fn kinds_reach_through_sources() {
    let full = aegis_hal::Error::OutOfMemory { asked: 8, limit: None, live: 0 };
    assert_eq!(Error::from(full).kind(), ErrorKind::Memory);
    assert_eq!(Error::from(aegis_hal::Error::Device("gone".into())).kind(), ErrorKind::Device);
    assert_eq!(Error::from(std::io::Error::other("a broken disk")).kind(), ErrorKind::Device);
    assert_eq!(Error::from(ParamsError::from(aegis_ring::Error::Degree(2))).kind(), ErrorKind::Input);
    assert_eq!(ParamsError::Unwritable(postcard::Error::SerializeBufferFull).kind(), ErrorKind::Bug);
}

/// A second key set on the same context: its secret's ciphertexts and an evaluator with its keys.
fn stranger(t: &Setup) -> (Ciphertext, Evaluator) {
    let generator = KeyGenerator::new(&t.ctx, Seed::new([8; 32]));
    let secret = generator.secret_key();
    let request = KeyRequest::new(t.ctx.params().n()).relinearize(TOP).rotation(1, TOP);
    let keys = generator.evaluation_keys(&secret, &request).unwrap();
    let p = plain(t, t.ctx.params().scale(TOP), TOP);
    (secret.encrypt(&t.ctx, &p, &t.seed()).unwrap(), Evaluator::new(&t.ctx, Arc::new(keys)))
}

#[test]
fn ciphertexts_of_another_key() {
    let t = setup();
    let (n, ev) = (t.ctx.params().n(), &t.ev);
    let (x, (f, others)) = (t.encrypt(&uniform_complex(32, SEED)), stranger(&t));
    let (foreign, mut own) = (extended(&others, &f), extended(ev, &x));
    let matrix = weights(&t, TOP, 1);
    let (mut sum, mut foreign_sum) = (x.clone(), f.clone());
    let mut product = ev.mul_no_relin(&x, &x).unwrap();
    let hoisted = ev.hoist(&x).unwrap();
    let map = Galois::rotation(1, n);
    let p = plain(&t, f.scale(), TOP);
    let bottom = ev.drop_to(&f, Level(0)).unwrap();
    let cases = vec![
        ("add", ev.add(&x, &f).map(drop)),
        ("add", ev.add(&f, &x).map(drop)),
        ("sub", ev.sub(&x, &f).map(drop)),
        ("add_assign", ev.add_assign(&mut sum, &f)),
        ("add_assign", ev.add_assign(&mut foreign_sum, &x)),
        ("sum_all", ev.sum_all(&[x.clone(), f.clone()]).map(drop)),
        ("negate", ev.negate(&f).map(drop)),
        ("add_plain", ev.add_plain(&f, &p).map(drop)),
        ("sub_plain", ev.sub_plain(&f, &p).map(drop)),
        ("add_scalar", ev.add_scalar(&f, 1.0).map(drop)),
        ("mul", ev.mul(&f, &x).map(drop)),
        ("mul_rescale", ev.mul_rescale(&x, &f).map(drop)),
        ("square", ev.square(&f).map(drop)),
        ("square_rescale", ev.square_rescale(&f).map(drop)),
        ("mul_no_relin", ev.mul_no_relin(&x, &f).map(drop)),
        ("mul_accumulate", ev.mul_accumulate(&mut product, &x, &f)),
        ("accumulate", ev.accumulate(&mut product, &f)),
        ("mul_plain", ev.mul_plain(&f, &p).map(drop)),
        ("mul_scalar", ev.mul_scalar(&f, 2.0, 1.0).map(drop)),
        ("mul_scalar_accumulate", ev.mul_scalar_accumulate(&mut sum, &f, 1.0, 1.0)),
        ("mul_const", ev.mul_const(&f, 0.5).map(drop)),
        ("mul_const_to", ev.mul_const_to(&f, 0.5, f.scale()).map(drop)),
        ("mul_i", ev.mul_i(&f).map(drop)),
        ("rescale", ev.rescale(&f).map(drop)),
        ("reinterpret", ev.reinterpret(&f, 1.0).map(drop)),
        ("rotate", ev.rotate(&f, 1).map(drop)),
        ("conjugate", ev.conjugate(&f).map(drop)),
        ("apply_galois", ev.apply_galois(&f, map).map(drop)),
        ("hoist", ev.hoist(&f).map(drop)),
        ("rotate_hoisted", ev.rotate_hoisted(&f, &hoisted, map).map(drop)),
        ("rotate_all_extended", ev.rotate_all_extended(&[x.clone(), f.clone()], &[map]).map(drop)),
        ("rotate_extended", ev.rotate_extended(&foreign, map).map(drop)),
        ("mod_down", ev.mod_down(&foreign).map(drop)),
        ("mod_down_rescale", ev.mod_down_rescale(&foreign).map(drop)),
        ("weighted_sums", ev.weighted_sums(&matrix, &foreign, None).map(drop)),
        ("extended_pair", ev.extended_pair(&foreign, 0).map(drop)),
        ("add_extended_pair", ev.add_extended_pair(&mut own, &foreign, 0)),
        ("mod_raise", ev.mod_raise(&bottom).map(drop)),
    ];
    let ids = (f.key_id(), t.secret.id());
    all_fail(cases, |e| matches!(e, Error::ForeignKey { have, want, .. } if (*have, *want) == ids));
}

/// A product carries its key set as a ciphertext does.
#[test]
fn products_of_another_key() {
    let t = setup();
    let (x, (f, theirs)) = (t.encrypt(&uniform_complex(32, SEED)), stranger(&t));
    let foreign = || theirs.mul_no_relin(&f, &f).unwrap();
    let cases = vec![
        ("relinearize", t.ev.relinearize(foreign()).map(drop)),
        ("relinearize_rescale", t.ev.relinearize_rescale(foreign()).map(drop)),
        ("mul_accumulate", t.ev.mul_accumulate(&mut foreign(), &x, &x)),
        (
            "accumulate",
            t.ev.accumulate(&mut foreign(), &t.ev.reinterpret(&x, f.scale() * f.scale()).unwrap()),
        ),
    ];
    all_fail(cases, |e| matches!(e, Error::ForeignKey { .. }));
}

#[test]
fn operands_that_do_not_reach_or_fit() {
    let t = setup();
    let x = t.encrypt(&uniform_complex(32, SEED));
    let p = plain(&t, x.scale(), Level(1));
    let cases = vec![
        ("add_plain", t.ev.add_plain(&x, &p).map(drop)),
        ("sub_plain", t.ev.sub_plain(&x, &p).map(drop)),
        ("mul_plain", t.ev.mul_plain(&x, &p).map(drop)),
    ];
    all_fail(cases, |e| matches!(e, Error::Device(aegis_hal::Error::MissingLimb { .. })));
    let small = t.ev.reinterpret(&x, 1.0).unwrap();
    for c in [f64::NAN, f64::INFINITY, 1e30] {
        let mut product = t.ev.mul_no_relin(&x, &x).unwrap();
        let mut sum = t.encrypt(&[Complex64::default()]);
        let cases = vec![
            ("add_scalar", t.ev.add_scalar(&x, c).map(drop)),
            ("mul_scalar", t.ev.mul_scalar(&x, c, 40f64.exp2()).map(drop)),
            ("mul_const", t.ev.mul_const(&x, c).map(drop)),
            ("scale_and_shift", t.ev.scale_and_shift(&mut product, 2, c)),
            ("mul_scalar_accumulate", t.ev.mul_scalar_accumulate(&mut sum, &small, c, x.scale())),
        ];
        all_fail(cases, |e| matches!(e, Error::Encoding(Unencodable::Constant { .. })));
    }
}

/// Extended ciphertexts of other counts and levels, and keys above the chain, are refused: nothing panics.
#[test]
fn extended_operands_that_do_not_fit() {
    let t = setup();
    let x = t.encrypt(&uniform_complex(32, SEED));
    let low = t.ev.drop_to(&x, Level(1)).unwrap();
    let maps = [Galois::IDENTITY, Galois::rotation(1, t.ctx.params().n())];
    let run = t.ev.rotate_all_extended(std::slice::from_ref(&x), &maps).unwrap();
    let (mut one, beneath) = (extended(&t.ev, &x), extended(&t.ev, &low));
    let none: [std::result::Result<_, Error>; 0] = [];
    let count = vec![
        ("no ciphertexts", t.ev.rotate_all_extended(&[], &maps).map(drop)),
        ("weights for one", t.ev.weighted_sums(&weights(&t, TOP, 1), &run, None).map(drop)),
        (
            "sums of two",
            t.ev.weighted_sums(&weights(&t, TOP, 1), &one, Some(extended_pair(&t, &run))).map(drop),
        ),
        ("a pair that is not there", t.ev.extended_pair(&run, 2).map(drop)),
        ("a pair far away", t.ev.add_extended_pair(&mut one, &run, usize::MAX)),
        ("a rotated run", t.ev.rotate_extended(&run, maps[1]).map(drop)),
        ("a divided run", t.ev.mod_down(&run).map(drop)),
        ("no terms", Weights::encode(&t.ctx, (TOP, 1.0), (0, 32), none).map(drop)),
    ];
    all_fail(count, |e| matches!(e, Error::Count { .. }));
    let level = vec![
        ("two levels", t.ev.rotate_all_extended(&[x.clone(), low.clone()], &maps).map(drop)),
        ("weights above", t.ev.weighted_sums(&weights(&t, TOP, 1), &beneath, None).map(drop)),
        ("a sum above", t.ev.add_extended_pair(&mut one, &beneath, 0)),
    ];
    all_fail(level, |e| matches!(e, Error::LevelMismatch { .. }));
    let wide = extended(&t.ev, &t.ev.reinterpret(&x, 2.0 * x.scale()).unwrap());
    assert!(matches!(t.ev.add_extended_pair(&mut one, &wide, 0), Err(Error::ScaleMismatch { .. })));

    let above = Level(u32::MAX);
    let request = KeyRequest::new(t.ctx.params().n()).relinearize(above);
    assert!(matches!(t.generator.evaluation_keys(&t.secret, &request), Err(Error::LevelTooHigh { .. })));
    let short = [Ok::<_, Error>(Some(uniform_complex(16, SEED)))];
    assert!(matches!(
        Weights::encode(&t.ctx, (TOP, 1.0), (1, 32), short),
        Err(Error::Encoding(Unencodable::Period { .. }))
    ));
    let encoded = Weights::encode(&t.ctx, (above, 1.0), (1, 32), [Ok::<_, Error>(None)]);
    assert!(matches!(encoded, Err(Error::LevelTooHigh { .. })));
}

/// A run of two.
fn extended_pair(t: &Setup, run: &Extended) -> Extended {
    let rows = (0..4).map(|i| Ok::<_, Error>(Some(uniform_complex(32, SEED + i))));
    let two = Weights::encode(&t.ctx, (run.level(), 1.0), (run.count(), 32), rows).unwrap();
    t.ev.weighted_sums(&two, run, None).unwrap()
}

/// A rotation is another Galois map in another ring: keys of two rings at once would rotate by something else.
#[test]
fn requests_of_another_ring() {
    let t = setup();
    let n = t.ctx.params().n();
    let own = KeyRequest::new(n).rotation(1, TOP);
    let other = KeyRequest::new(2 * n).rotation(1, TOP);
    for request in [&other, &own.clone().merge(&other), &KeyRequest::new(n).merge(&own.clone().merge(&other))]
    {
        let refused = t.generator.evaluation_keys(&t.secret, request);
        assert!(matches!(refused, Err(Error::WrongRing { have, want }) if (have, want) == (2 * n, n)));
    }
    assert!(t.generator.evaluation_keys(&t.secret, &own.merge(&KeyRequest::new(n))).is_ok());
}

/// A degree that no ring has divided by zero; keys for nothing in particular know their ring.
#[test]
fn requests_of_no_ring() {
    let t = setup();
    for n in [0, 1, 3, 12, usize::MAX] {
        let request = KeyRequest::new(n).rotation(1, TOP).conjugation(TOP);
        assert!(matches!(request.check(t.ctx.params()), Err(Error::WrongRing { have, .. }) if have == n));
    }
    let none = t.generator.evaluation_keys(&t.secret, &KeyRequest::new(t.ctx.params().n())).unwrap();
    assert!(none.contents().rotation(1, TOP).check(t.ctx.params()).is_ok());
}
