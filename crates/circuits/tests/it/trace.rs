//! What a bootstrap asks of a device: a change of these counts is a change of its cost.

use std::fmt::Write as _;
use std::sync::Arc;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{Evaluator, KeyGenerator, Plaintext, Recorder, Seed, insecure_bootstrap_spec};
use aegis_hal::Trace;
use aegis_testing::recorded;
use expect_test::expect;

#[test]
fn launches_of_a_full_slot_bootstrap() {
    let (ctx, trace) = recorded(insecure_bootstrap_spec(10), Trace::counting);
    let bootstrapper = Bootstrapper::new(&ctx, ctx.params().slots()).unwrap();
    let generator = KeyGenerator::new(&ctx, Seed::new([1; 32]));
    let secret = generator.secret_key();
    let ev =
        Evaluator::new(&ctx, Arc::new(generator.evaluation_keys(&secret, &bootstrapper.keys()).unwrap()));
    let level = ctx.params().base_level();
    let x = Plaintext::encode_real(&ctx, &[0.5], ctx.params().scale(level), level).unwrap();
    let x = secret.encrypt(&ctx, &x, &Seed::new([2; 32])).unwrap();
    trace.clear();
    let before = trace.totals();
    bootstrapper.bootstrap_real(&ev, &x, 1.0).unwrap();

    let mut text = String::new();
    for (kernel, count) in trace.counts() {
        writeln!(text, "{kernel}: {} launches, {} rows", count.launches, count.rows).unwrap();
    }
    let counts = ev.counts();
    let (rotations, products, key_switches) = (counts.rotations, counts.products, counts.key_switches);
    writeln!(text, "{rotations} rotations, {products} products, {key_switches} decompositions").unwrap();
    expect![[r#"
        add: 30 launches, 875 rows
        automorphism: 42 launches, 2444 rows
        copy: 88 launches, 1150 rows
        inner_product: 63 launches, 4052 rows
        intt: 30 launches, 614 rows
        mod_down: 33 launches, 1279 rows
        mod_up: 78 launches, 2127 rows
        mul: 26 launches, 1029 rows
        mul_add: 22 launches, 627 rows
        scalar_add: 16 launches, 420 rows
        scalar_mul: 26 launches, 1456 rows
        scalar_mul_add: 74 launches, 2178 rows
        42 rotations, 16 products, 28 decompositions
    "#]]
    .assert_eq(&text);

    // Without words, keys or an encryption: what happens is the same.
    let recorder = Recorder::new(ctx.params()).unwrap();
    let bootstrapper = Bootstrapper::new(recorder.context(), ctx.params().slots()).unwrap();
    let x = recorder.ciphertext(level).unwrap();
    let (mut recorded, keys) = recorder.record(|ev| bootstrapper.bootstrap_real(ev, &x, 1.0)).unwrap();
    assert_eq!(keys, bootstrapper.keys(), "keys used and keys declared");
    let happened = trace.totals() - before;
    (recorded.live_bytes, recorded.peak_bytes) = (happened.live_bytes, happened.peak_bytes);
    assert_eq!(recorded, happened);
}
