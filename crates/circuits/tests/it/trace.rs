//! What a bootstrap asks of a device: a change of these counts is a change of its cost.

use std::fmt::Write as _;
use std::sync::Arc;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{Context, Evaluator, KeyGenerator, Params, Plaintext, Seed, insecure_bootstrap_spec};
use aegis_hal::Trace;

const GOLDEN: &str = "\
add: 26 launches, 806 rows
automorphism: 46 launches, 2530 rows
copy: 86 launches, 1143 rows
inner_product: 67 launches, 4092 rows
intt: 28 launches, 607 rows
mod_down: 31 launches, 1272 rows
mod_up: 76 launches, 2111 rows
mul: 26 launches, 1029 rows
mul_add: 22 launches, 627 rows
ntt: 1 launches, 192 rows
scalar_add: 16 launches, 420 rows
scalar_mul: 30 launches, 1502 rows
scalar_mul_add: 80 launches, 2196 rows
46 rotations, 16 products, 26 decompositions
";

#[test]
fn launches_of_a_full_slot_bootstrap() {
    let params = Params::insecure(insecure_bootstrap_spec(10)).unwrap();
    let trace = Arc::new(Trace::counting(params.rns().clone()));
    let ctx = Context::new(params, trace.clone()).unwrap();
    let bootstrapper = Bootstrapper::new(&ctx, ctx.params().slots()).unwrap();
    let generator = KeyGenerator::new(&ctx, Seed::new([1; 32]));
    let secret = generator.secret_key();
    let ev =
        Evaluator::new(&ctx, Arc::new(generator.evaluation_keys(&secret, &bootstrapper.keys()).unwrap()));
    let level = ctx.params().base_level();
    let x = Plaintext::encode_real(&ctx, &[0.5], ctx.params().scale(level), level).unwrap();
    let x = secret.encrypt(&ctx, &x, &Seed::new([2; 32])).unwrap();
    trace.clear();
    bootstrapper.bootstrap_real(&ev, &x, 1.0).unwrap();

    let mut text = String::new();
    for (kernel, count) in trace.counts() {
        writeln!(text, "{kernel}: {} launches, {} rows", count.launches, count.rows).unwrap();
    }
    let counts = ev.counts();
    let (rotations, products, key_switches) = (counts.rotations, counts.products, counts.key_switches);
    writeln!(text, "{rotations} rotations, {products} products, {key_switches} decompositions").unwrap();
    assert_eq!(text, GOLDEN, "now:\n{text}");
}
