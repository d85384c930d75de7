//! What single operations ask of a device, launch by launch: a change of these texts is a change of cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use aegis_ckks::{
    Ciphertext, Evaluator, KeyGenerator, KeyRequest, Level, ParamsSpec, Plaintext, Seed,
    insecure_bootstrap_spec, insecure_levelled_spec,
};
use aegis_hal::Trace;
use aegis_ring::Galois;
use aegis_testing::recorded;
use expect_test::expect_file;

/// Buffers numbered in the order of their appearance, so that the making of keys before does not show.
fn renumbered(text: &str) -> String {
    let mut numbers = BTreeMap::new();
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_once('[').unwrap();
        let next = numbers.len();
        out += &format!("%{}[{rest}", numbers.entry(number.to_owned()).or_insert(next));
    }
    out
}

/// The launches of `run` on a ciphertext at `level`, then the totals with every fused kernel taken apart.
fn trace(
    spec: ParamsSpec,
    request: impl Fn(KeyRequest) -> KeyRequest,
    level: Level,
    run: impl Fn(&Evaluator, &Ciphertext),
) -> String {
    let record = |make: fn(Arc<aegis_ring::Rns>) -> Trace| {
        let (ctx, trace) = recorded(spec.clone(), make);
        let generator = KeyGenerator::new(&ctx, Seed::new([1; 32]));
        let secret = generator.secret_key();
        let keys = generator.evaluation_keys(&secret, &request(KeyRequest::new(ctx.params().n()))).unwrap();
        let x = Plaintext::encode_real(&ctx, &[0.5], ctx.params().scale(level), level).unwrap();
        let x = secret.encrypt(&ctx, &x, &Seed::new([2; 32])).unwrap();
        let ev = Evaluator::new(&ctx, Arc::new(keys));
        trace.clear();
        run(&ev, &x);
        (trace, ev.counts())
    };
    let (fused, counts) = record(Trace::new);
    let (unfused, _) = record(Trace::unfused);
    let launches = |trace: &Trace| trace.counts().values().map(|c| c.launches).sum::<u64>();
    let rows = |kernel: &str| unfused.counts().get(kernel).map_or(0, |c| c.rows);
    renumbered(&fused.text())
        + &format!("launches: {}, unfused {}\n", launches(&fused), launches(&unfused))
        + &format!("rows: ntt {}, intt {}, base_conv {}\n", rows("ntt"), rows("intt"), rows("base_conv"))
        + &format!("key switches: {}\n", counts.key_switches)
}

/// A chain of limbs 0 to 4 in two digits, special limbs 5 to 7; at level 3 the upper digit is cut to one
/// limb.
fn levelled() -> ParamsSpec {
    insecure_levelled_spec(4, 4)
}

#[test]
fn launches_of_a_relinearization() {
    let got = trace(
        levelled(),
        |r| r.relinearize(Level(4)),
        Level(3),
        |ev, x| {
            ev.relinearize(ev.mul_no_relin(x, x).unwrap()).unwrap();
        },
    );
    expect_file!["golden/relinearize.txt"].assert_eq(&got);
}

#[test]
fn launches_of_a_rotation() {
    let got = trace(
        levelled(),
        |r| r.rotation(1, Level(4)),
        Level(3),
        |ev, x| {
            ev.rotate(x, 1).unwrap();
        },
    );
    expect_file!["golden/rotate.txt"].assert_eq(&got);
}

/// The decomposition stands once, with its transforms.
#[test]
fn launches_of_two_hoisted_rotations() {
    let request = |r: KeyRequest| r.rotation(1, Level(4)).rotation(2, Level(4));
    let got = trace(levelled(), request, Level(3), |ev, x| {
        let hoisted = ev.hoist(x).unwrap();
        for steps in [1, 2] {
            ev.rotate_hoisted(x, &hoisted, Galois::rotation(steps, ev.params().n())).unwrap();
        }
    });
    expect_file!["golden/hoisted_rotations.txt"].assert_eq(&got);
}

#[test]
fn launches_of_a_rescale() {
    let got = trace(
        levelled(),
        |r| r,
        Level(3),
        |ev, x| {
            ev.rescale(x).unwrap();
        },
    );
    expect_file!["golden/rescale.txt"].assert_eq(&got);
}

/// To the sparse secret over two limbs, the lift to all limbs, back to the dense secret at the top.
#[test]
fn launches_of_raising_the_modulus() {
    let got = trace(insecure_bootstrap_spec(5), KeyRequest::encapsulation, Level(0), |ev, x| {
        ev.mod_raise(x).unwrap();
    });
    expect_file!["golden/mod_raise.txt"].assert_eq(&got);
}
