//! Bootstraps against their stated error.

use std::sync::Arc;

use aegis_circuits::{Bootstrapper, Error, ErrorKind, InvalidCircuit};
use aegis_ckks::{
    Context, Evaluator, KeyPurpose, KeyRequest, Level, N16_B13_S40, Params, insecure_bootstrap_spec,
    insecure_levelled_spec,
};
use aegis_cpu::{Cpu, CpuOptions, Isa};
use aegis_hal::Trace;
use aegis_testing::{Setup, complex, insecure, on_cpu, uniform, uniform_complex};
use num_complex::Complex64;

/// Random messages and those whose structure has broken other bootstraps, with values within `[-1, 1]`.
fn messages(slots: usize) -> Vec<(&'static str, Vec<f64>)> {
    let of = |f: &dyn Fn(usize) -> f64| (0..slots).map(f).collect::<Vec<f64>>();
    vec![
        ("random", uniform(slots, 1)),
        ("constant", of(&|_| 1.0)),
        ("minus constant", of(&|_| -1.0)),
        ("one slot", of(&|j| f64::from(j == slots / 3))),
        (
            "half zeros",
            uniform(slots, 2)
                .into_iter()
                .enumerate()
                .map(|(j, v)| if 2 * j < slots { v } else { 0.0 })
                .collect(),
        ),
        ("periodic", of(&|j| [1.0, -0.5, 0.25, 0.75][j % 4])),
        ("all positive", uniform(slots, 3).into_iter().map(f64::abs).collect()),
        ("alternating", of(&|j| if j % 2 == 0 { 1.0 } else { -1.0 })),
        ("zero", of(&|_| 0.0)),
    ]
}

/// Largest and root mean square error over both parts of all slots.
fn errors(got: &[Complex64], want: &[Complex64]) -> (f64, f64) {
    let parts = got.iter().enumerate().flat_map(|(j, z)| {
        let d = z - want[j % want.len()];
        [d.re, d.im]
    });
    let (max, sum) = parts.fold((0.0, 0.0), |(max, sum): (f64, f64), e| (max.max(e.abs()), sum + e * e));
    (max, (sum / (2 * got.len()) as f64).sqrt())
}

struct Bench {
    setup: Setup,
    bootstrapper: Bootstrapper,
    ev: Evaluator,
}

impl Bench {
    fn new(log_n: u32, slots: usize) -> Self {
        let setup = Setup::new(insecure(insecure_bootstrap_spec(log_n)));
        let bootstrapper = Bootstrapper::new(&setup.ctx, slots).unwrap();
        let ev = setup.evaluator(&bootstrapper.keys());
        Self { setup, bootstrapper, ev }
    }

    fn params(&self) -> &Params {
        self.setup.ctx.params()
    }

    /// Checks level, scale and error of a result; the real part only for `real`.
    fn check(&self, what: &str, out: &aegis_ckks::Ciphertext, want: &[Complex64], bound: f64) {
        let p = self.params();
        assert_eq!(out.level(), p.fresh_level(), "{what}");
        assert!((out.scale() / p.scale(out.level()) - 1.0).abs() < 1e-9, "{what}");
        let (max, rms) = errors(&self.setup.decrypt(out), want);
        let budget = self.bootstrapper.budget(bound);
        assert!(max <= budget.max_error(), "{what}: off by {max:e}, the budget is {budget:?}");
        assert!(rms <= budget.bound * budget.sine + budget.deviation(), "{what}: rms {rms:e}, {budget:?}");
    }
}

#[test]
fn complex_slots_within_the_budget() {
    for (log_n, slots) in [(11, 1 << 10), (11, 1 << 6), (10, 8), (10, 1)] {
        let b = Bench::new(log_n, slots);
        let all = messages(slots);
        for (i, (name, re)) in all.iter().enumerate() {
            let im = &all[(i + 3) % all.len()].1;
            let z: Vec<_> = re.iter().zip(im).map(|(re, im)| Complex64::new(*re, *im)).collect();
            let x = b.setup.encrypt_at(&z, b.params().base_level());
            let out = b.bootstrapper.bootstrap(&b.ev, &x, 1.0).unwrap();
            b.check(&format!("complex {name}, {slots} slots"), &out, &z, 1.0);
        }
    }
}

#[test]
fn real_slots_within_the_budget() {
    for (log_n, slots) in [(12, 1 << 11), (12, 1 << 7)] {
        let b = Bench::new(log_n, slots);
        for (name, x) in messages(slots) {
            let ct = b.setup.encrypt_real_at(&x, b.params().base_level());
            let out = b.bootstrapper.bootstrap_real(&b.ev, &ct, 1.0).unwrap();
            b.check(&format!("real {name}, {slots} slots"), &out, &complex(&x), 1.0);
        }
    }
}

#[test]
fn pairs_within_the_budget() {
    for slots in [1 << 10, 1 << 6] {
        let b = Bench::new(11, slots);
        let all = messages(slots);
        for (i, (name, re)) in all.iter().enumerate() {
            let im = &all[(i + 5) % all.len()].1;
            // From different levels.
            let level = b.params().base_level();
            let (x, y) =
                (b.setup.encrypt_real_at(re, level), b.setup.encrypt_real_at(im, Level(level.0 + 2)));
            let (u, v) = b.bootstrapper.bootstrap_pair(&b.ev, &x, &y, 1.0).unwrap();
            b.check(&format!("pair {name}, re, {slots} slots"), &u, &complex(re), 1.0);
            b.check(&format!("pair {name}, im, {slots} slots"), &v, &complex(im), 1.0);
        }
    }
}

#[test]
fn bounds_and_levels() {
    let b = Bench::new(10, 1 << 9);
    for bound in [1.0 / 16.0, 1.0, 12.5, 256.0] {
        for above in [0, 1, 5] {
            let z: Vec<_> = uniform_complex(1 << 9, above).into_iter().map(|z| z * bound).collect();
            let level = Level(b.params().base_level().0 + above as u32);
            let out = b.bootstrapper.bootstrap(&b.ev, &b.setup.encrypt_at(&z, level), bound).unwrap();
            b.check(&format!("bound {bound}, {above} levels above the base"), &out, &z, bound);
        }
    }
}

#[test]
fn a_second_bootstrap_of_the_result() {
    let b = Bench::new(10, 1 << 9);
    let z = uniform_complex(1 << 9, 4);
    let mut x = b.setup.encrypt_at(&z, b.params().base_level());
    for _ in 0..3 {
        x = b.bootstrapper.bootstrap(&b.ev, &x, 1.0).unwrap();
    }
    let (max, _) = errors(&b.setup.decrypt(&x), &z);
    assert!(max < 3.0 * b.bootstrapper.budget(1.0).max_error(), "off by {max:e}");
}

#[test]
fn every_declared_key_is_used() {
    let b = Bench::new(10, 1 << 5);
    let declared = b.bootstrapper.keys();
    let x = b.setup.encrypt_real_at(&[0.5], b.params().base_level());
    let attempt = |request: &KeyRequest| b.bootstrapper.bootstrap(&b.setup.evaluator(request), &x, 1.0);
    let missing = |e: &Error| match e {
        Error::Ckks(aegis_ckks::Error::MissingKey { what, .. }) => Some(*what),
        _ => None,
    };
    let empty = || KeyRequest::new(b.params().n());
    let maps: Vec<_> = declared.galois_maps().collect();
    let relinearize = declared.relinearization_level().unwrap();
    let with = |skip: usize, lower: bool| {
        let base = empty().relinearize(relinearize).encapsulation();
        maps.iter().enumerate().fold(base, |keys, (i, (map, level))| match (i == skip, lower) {
            (false, _) => keys.galois(*map, *level),
            (true, true) => keys.galois(*map, level.down(1).unwrap()),
            (true, false) => keys,
        })
    };
    assert_eq!(with(maps.len(), false), declared);
    for (i, (map, _)) in maps.iter().enumerate() {
        for lower in [false, true] {
            let error = attempt(&with(i, lower)).unwrap_err();
            assert_eq!(missing(&error), Some(KeyPurpose::of_map(*map, b.params().n())), "{error}");
        }
    }
    let galois = |keys: KeyRequest| maps.iter().fold(keys, |keys, (map, level)| keys.galois(*map, *level));
    for (request, what) in [
        (galois(empty().relinearize(relinearize)), KeyPurpose::Encapsulation),
        (galois(empty().encapsulation()), KeyPurpose::Relinearization),
        (
            galois(empty().encapsulation().relinearize(relinearize.down(1).unwrap())),
            KeyPurpose::Relinearization,
        ),
    ] {
        assert_eq!(missing(&attempt(&request).unwrap_err()), Some(what));
    }
}

#[test]
fn misuse_is_an_error() {
    let b = Bench::new(10, 16);
    let low = b.params().base_level().down(1).unwrap();
    let x = b.setup.encrypt_real_at(&[0.5], low);
    let refused = b.bootstrapper.bootstrap(&b.ev, &x, 1.0).unwrap_err();
    assert!(matches!(refused, Error::TooDeep { depth: 3, have, .. } if have == low), "{refused}");
    let x = b.setup.encrypt_real_at(&[0.5], b.params().base_level());
    for bound in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let refused = b.bootstrapper.bootstrap_real(&b.ev, &x, bound).unwrap_err();
        assert!(matches!(refused, Error::Invalid(InvalidCircuit::Bound(_))), "{refused}");
        assert_eq!(refused.kind(), ErrorKind::Input);
    }
    for slots in [3, 1 << 10] {
        let refused = Bootstrapper::new(&b.setup.ctx, slots).err();
        let why = |e| matches!(e, Error::Invalid(InvalidCircuit::Slots { have, max: 512 }) if have == slots);
        assert!(refused.is_some_and(why), "{slots} slots");
    }
    let levelled = Setup::new(insecure(insecure_levelled_spec(10, 4)));
    let refused = Bootstrapper::new(&levelled.ctx, 16).err().unwrap();
    assert!(matches!(refused, Error::NoBootstrap { .. }), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

/// The bits of everything above the kernels, from the keys to the result: the host computes the same for every device.
#[test]
fn same_bits_with_every_instruction_set_and_number_of_threads() {
    let run = |isa, threads| {
        let params = Params::insecure(insecure_bootstrap_spec(9)).unwrap();
        let options = CpuOptions { threads, isa: Some(isa), ..CpuOptions::default() };
        let device = Cpu::with_options(params.rns().clone(), options).unwrap();
        let setup = Setup::new(Context::new(params, Arc::new(device)).unwrap());
        // A quarter of the slots: the sum of the sparse case takes part.
        let bootstrapper = Bootstrapper::new(&setup.ctx, 1 << 6).unwrap();
        let x = setup.encrypt_at(&uniform_complex(1 << 6, 5), setup.ctx.params().base_level());
        let out = bootstrapper.bootstrap(&setup.evaluator(&bootstrapper.keys()), &x, 1.0).unwrap();
        assert_eq!(out.poly().basis(), setup.ctx.params().basis(out.level()), "limbs without a meaning");
        setup.ctx.device().download(out.poly().view()).unwrap()
    };
    let want = run(Isa::Portable, 1);
    for isa in Isa::available() {
        for threads in [1, 2] {
            assert!(run(isa, threads) == want, "{isa:?}, {threads} threads");
        }
    }
}

/// The preset of encrypted inference: 2^16, full slots, two threads.
#[test]
fn full_size() {
    let setup = Setup::new(on_cpu(Params::try_from(N16_B13_S40).unwrap(), 2));
    let slots = setup.ctx.params().slots();
    let bootstrapper = Bootstrapper::new(&setup.ctx, slots).unwrap();
    let keys = bootstrapper.keys();
    let bytes = keys.bytes(setup.ctx.params()) + bootstrapper.bytes();
    assert!(bytes < 7 << 30, "{bytes} bytes of keys and matrices");
    let ev = setup.evaluator(&keys);
    let b = Bench { setup, bootstrapper, ev };
    assert!(b.params().fresh_level().0 - b.params().base_level().0 >= 13);
    assert!(b.bootstrapper.budget(1.0).max_error() < (-18f64).exp2());
    let re = uniform(slots, 1);
    let z: Vec<_> =
        re.iter().zip(messages(slots)[5].1.iter()).map(|(re, im)| Complex64::new(*re, *im)).collect();
    let x = b.setup.encrypt_at(&z, b.params().base_level());
    let out = b.bootstrapper.bootstrap(&b.ev, &x, 1.0).unwrap();
    b.check("N = 2^16", &out, &z, 1.0);
}

/// 136 bytes with such parameters made a server build hundreds of gigabytes: they pass every check of security.
#[test]
fn parameters_with_one_level_of_coeffs_to_slots_build_nothing() {
    let with_levels = |coeffs_to_slots: u32| {
        let mut spec = N16_B13_S40;
        spec.levels.to_mut().last_mut().unwrap().count = coeffs_to_slots;
        spec.bootstrap.as_mut().unwrap().coeffs_to_slots = coeffs_to_slots;
        let params = Params::try_from(spec).unwrap();
        Context::new(params.clone(), Arc::new(Trace::counting(params.rns().clone()))).unwrap()
    };
    let ctx = with_levels(1);
    let refused = Bootstrapper::new(&ctx, ctx.params().slots());
    assert!(matches!(refused.err(), Some(Error::TooLarge { bytes, .. }) if bytes > 738_000_000_000));
    let ctx = with_levels(3);
    let bootstrapper = Bootstrapper::new(&ctx, ctx.params().slots()).unwrap();
    assert!(bootstrapper.bytes() < 1 << 30);
}
