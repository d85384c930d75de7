//! Whole encoders: plain against exact, encrypted against plain.

use std::sync::Arc;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{Context, EvaluationKeys, Evaluator, KeyGenerator, Params, Seed, insecure_bootstrap_spec};
use aegis_hal::Trace;
use aegis_nn::levels::Levels;
use aegis_nn::{
    Catalog, Error, ErrorKind, KERNEL_COSTS, Layout, MODEL, Network, Place, Plan, Pooling, Rows, Shape,
    Tensor, decrypt, encoder, encrypt,
};
use aegis_testing::{Numbers, insecure};

use crate::support::{Matrices, long, narrow, wide};
use crate::tiny;

/// Real tokens; the other rows, 5 of 16, are padding.
fn rows(layout: &Layout) -> usize {
    layout.tokens() * 11 / 16
}

/// Two layers with the weights of a seed, an input, and what they exactly make of it.
fn network(layout: &Layout, pooling: Pooling, seed: u64) -> (Network, Tensor, Tensor) {
    layers(layout, 2, pooling, seed)
}

pub(crate) fn layers(
    layout: &Layout,
    layers: usize,
    pooling: Pooling,
    seed: u64,
) -> (Network, Tensor, Tensor) {
    let weights = tiny::weights(layout, layers, seed);
    let x = Numbers::new(77).tensor(rows(layout), layout.width(), 1.7);
    let (y, constants) = tiny::exact(layout, &weights, &x);
    (encoder(layout, &weights, &constants, pooling).expect("weights and constants fit"), x, y)
}

#[test]
fn the_plain_twin_follows_the_exact_encoder() {
    for layout in [narrow(1024), wide(1024), long(256)] {
        let (network, x, exact) = network(&layout, Pooling::None, 5);
        let run = network.plain(&x).expect("a plain run");
        assert_eq!(run.excursions, [], "values left their ranges");
        let error = run.output.max_difference(&exact);
        assert!(error < 0.02, "{error}");
        for (name, magnitude, bound) in run.magnitudes {
            assert!(magnitude <= bound, "{name}: {magnitude} exceeds its bound {bound}");
        }
    }
}

#[test]
fn an_excursion_is_reported_with_its_stage() {
    let (network, x, _) = network(&narrow(1024), Pooling::Mean, 5);
    let run = network.plain(&x.map(|_, v| 3.0 * v)).expect("a plain run");
    let first = run.excursions.first().expect("three times the input is outside").clone();
    assert!(first.stage.starts_with("layer 0"), "{first:?}");
    let refused = Error::from(first);
    assert!(matches!(refused, Error::OutOfRange { .. }), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Input);
}

/// What bootstraps add to a result by their stated errors: each moves what it refreshes by at most the budget of its
/// bound. What a network makes of an error the plain twin tells, its input moved by all of them at random signs: errors
/// of the input pass through every layer. Roundings of layers, below 1e-7 where `check` measures them, are far below.
fn stated_error(bootstrapper: &Bootstrapper, network: &Network, levels: &Levels, x: &Tensor) -> f64 {
    // Bootstraps in pairs divide by a power of two.
    let budget = |bound: f64| bootstrapper.budget(bound.log2().ceil().max(0.0).exp2()).max_error();
    let refreshed = levels.steps.iter().flat_map(|step| &step.bootstraps);
    let error: f64 = refreshed.map(|&value| budget(network.graph().get(value).bound)).sum();
    let signs = Numbers::new(3).tensor(x.rows(), x.cols(), 1.0);
    let moved = x.plus(&signs.map(|_, v| error.copysign(v)));
    let output = |x: &Tensor| network.plain(x).expect("a plain run").output;
    output(&moved).max_difference(&output(x))
}

/// Two layers on ciphertexts against the same on plain tensors, and zeros in the rows that are padding.
fn encrypted_follows_plain(layout: fn(usize) -> Layout, pooling: Pooling, seed: u64) {
    side_by_side_follow_plain(layout, pooling, seed, |layout| Rows::one(rows(layout)));
}

/// Texts of these lengths from the rows of `x`: row 0, whose values have a range of their own, is the first of each.
fn texts_of(x: &Tensor, rows: &Rows) -> Vec<Tensor> {
    let row = |text: usize, t: usize| if t == 0 { 0 } else { 1 + (10 * text + t - 1) % (x.rows() - 1) };
    let text = |(s, n): (usize, &usize)| Tensor::from_fn(*n, x.cols(), |t, c| x.at(row(s, t), c));
    rows.lengths().iter().enumerate().map(text).collect()
}

/// The same for texts in these rows, parts of one input, against the plain twin of each alone.
fn side_by_side_follow_plain(
    layout: fn(usize) -> Layout,
    pooling: Pooling,
    seed: u64,
    texts: fn(&Layout) -> Rows,
) {
    let ctx = insecure(insecure_bootstrap_spec(11));
    let layout = layout(ctx.params().slots());
    let (network, x, _) = network(&layout, pooling, seed);
    let rows = texts(&layout);
    let texts = texts_of(&x, &rows);
    let all = texts[1..].iter().fold(texts[0].clone(), |all, text| all.above(text));
    let plan = Plan::new(&network, &mut Catalog::new(ctx.params()).expect("a catalog")).expect("a plan");
    let bootstrapper = Bootstrapper::new(&ctx, ctx.params().slots()).expect("a bootstrapper");
    let keygen = KeyGenerator::new(&ctx, Seed::new([3; 32]));
    let secret = keygen.secret_key();
    let keys = Arc::new(keygen.evaluation_keys(&secret, plan.keys()).expect("keys"));
    let mut place = Place { ev: Evaluator::new(&ctx, keys), bootstrapper: None };
    let (fresh, shape) = (ctx.params().fresh_level(), Shape { layout, content: MODEL, rows });
    let input = encrypt(&ctx, &secret, shape, &all, fresh, &Seed::new([5; 32])).expect("encrypts");
    let refused = plan.run(&network, &place, input.clone(), &mut ());
    assert!(matches!(refused, Err(Error::NoBootstrapper)));

    let stated: Vec<f64> =
        texts.iter().map(|x| stated_error(&bootstrapper, &network, plan.levels(), x)).collect();
    place.bootstrapper = Some(Arc::new(bootstrapper));
    let output = plan.run(&network, &place, input, &mut ()).expect("runs");
    let slots = decrypt(&ctx, &secret, &output).expect("decrypts");
    let (got, mut first) = (output.shape().unpack(&slots).expect("unpacks"), 0);
    for (text, (x, stated)) in texts.iter().zip(stated).enumerate() {
        let run = network.plain(x).expect("a plain run");
        assert_eq!(run.excursions, [], "weights {seed}, text {text}: values left their ranges");
        let want = run.output;
        let error =
            Tensor::from_fn(want.rows(), want.cols(), |t, c| got.at(first + t, c)).max_difference(&want);
        assert!(error <= stated, "weights {seed}, text {text}: off by {error:e}, stated {stated:e}");
        first += want.rows();
    }
    if pooling == Pooling::None {
        let padding = output.shape().padding(&slots);
        assert!(padding < 1e-5, "{padding:e} in padded rows");
    }
}

/// What the dynamic program minimizes is what a run asks for; only bringing inputs down to their levels comes on top. The
/// memory of a run is known before it, to the byte.
#[test]
fn a_plan_costs_what_its_run_asks_for() {
    let params = Params::insecure(insecure_bootstrap_spec(11)).expect("test parameters");
    for layout in [narrow(params.slots()), wide(params.slots()), long(params.slots())] {
        let (network, _, _) = network(&layout, Pooling::Mean, 5);
        let plan = Plan::new(&network, &mut Catalog::new(&params).expect("a catalog")).expect("a plan");
        let planned: u64 = plan.stages().iter().map(|s| s.cost_ns).sum();
        assert_eq!(planned, plan.levels().cost_ns);

        let trace = Arc::new(Trace::of_shapes(params.rns().clone()));
        let ctx = Context::new(params.clone(), trace.clone()).expect("a context");
        let secret = KeyGenerator::new(&ctx, Seed::new([2; 32])).secret_key();
        let keys = Arc::new(EvaluationKeys::shapes(&ctx, plan.keys(), secret.id()).expect("keys of shapes"));
        let bootstrapper = Arc::new(Bootstrapper::new(&ctx, params.slots()).expect("a bootstrapper"));
        let place = Place { ev: Evaluator::new(&ctx, keys), bootstrapper: Some(bootstrapper) };
        let without = trace.totals().live_bytes;
        for rows in [layout.tokens(), 11] {
            let (x, shape) = (Tensor::zeros(rows, layout.width()), Shape::one(&layout, MODEL, rows));
            let (fresh, seed) = (params.fresh_level(), Seed::new([4; 32]));
            let x = encrypt(&ctx, &secret, shape, &x, fresh, &seed).expect("encrypts");
            trace.reset_peak();
            let before = trace.totals();
            plan.run(&network, &place, x, &mut ()).expect("runs");
            let (asked, peak) = (trace.totals() - before, trace.totals().peak_bytes - without);
            let more = KERNEL_COSTS.ns(&asked, params.n()) as f64 / planned as f64 - 1.0;
            // Token blocks of padding alone have polynomials that vanish.
            let least = if rows == layout.tokens() { 0.0 } else { -0.02 };
            assert!((least..0.02).contains(&more), "{rows} rows: {more:+.4} of {planned} ns");
            assert_eq!(peak, plan.memory().working, "{rows} rows: {:?}", plan.memory());
        }
    }
}

#[test]
fn two_layers_encrypted_follow_the_plain_twin() {
    encrypted_follows_plain(narrow, Pooling::Mean, 5);
}

#[test]
fn so_they_do_with_two_ciphertexts_an_activation() {
    encrypted_follows_plain(wide, Pooling::None, 8);
}

#[test]
fn so_they_do_with_three_token_blocks() {
    encrypted_follows_plain(long, Pooling::None, 3);
    encrypted_follows_plain(long, Pooling::Mean, 4);
}

/// Attention of a text ends at its last row, whatever stands beside it.
#[test]
fn so_do_texts_side_by_side() {
    side_by_side_follow_plain(narrow, Pooling::Mean, 378, |_| Rows::several(8, vec![8, 6]));
    side_by_side_follow_plain(narrow, Pooling::None, 378, |_| Rows::several(8, vec![8, 7]));
}
