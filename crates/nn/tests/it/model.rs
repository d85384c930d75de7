//! Whole encoders: plain against exact, encrypted against plain.

use std::sync::Arc;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{Evaluator, KeyGenerator, Params, Recorder, Seed, insecure_bootstrap_spec};
use aegis_nn::{
    CtTensor, Error, ErrorKind, KERNEL_COSTS, Layout, MODEL, Network, Pooling, Tensor, decrypt, encoder,
    encrypt, largest,
};
use aegis_testing::{Numbers, insecure};

use crate::support::{Matrices, narrow, wide};
use crate::tiny;

const ROWS: usize = 11;

fn network(layout: &Layout, layers: usize, pooling: Pooling) -> (Network, Tensor, Tensor) {
    let weights = tiny::weights(layout, layers, 5);
    let x = Numbers::new(77).tensor(ROWS, layout.width(), 1.7);
    let (y, constants) = tiny::exact(layout, &weights, &x);
    (encoder(layout, &weights, &constants, pooling).expect("weights and constants fit"), x, y)
}

#[test]
fn the_plain_twin_follows_the_exact_encoder() {
    for layout in [narrow(1024), wide(1024)] {
        let (network, x, exact) = network(&layout, 2, Pooling::None);
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
    let (network, x, _) = network(&narrow(1024), 2, Pooling::Mean);
    let run = network.plain(&x.map(|_, v| 3.0 * v)).expect("a plain run");
    let first = run.excursions.first().expect("three times the input is outside").clone();
    assert!(first.stage.starts_with("layer 0"), "{first:?}");
    let refused = Error::from(first);
    assert!(matches!(refused, Error::OutOfRange { .. }), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Input);
}

/// Two layers on ciphertexts against the same on plain tensors, and zeros in the rows that are padding.
fn encrypted_follows_plain(layout: fn(usize) -> Layout, pooling: Pooling) {
    let ctx = insecure(insecure_bootstrap_spec(11));
    let layout = layout(ctx.params().slots());
    let (network, x, _) = network(&layout, 2, pooling);
    let schedule = network.schedule(ctx.params()).expect("a schedule");
    let bootstrapper = Bootstrapper::new(&ctx, ctx.params().slots()).expect("a bootstrapper");
    let keygen = KeyGenerator::new(&ctx, Seed::new([3; 32]));
    let secret = keygen.secret_key();
    let request = network.keys(ctx.params(), &schedule).merge(&bootstrapper.keys());
    let keys = Arc::new(keygen.evaluation_keys(&secret, &request).expect("keys"));
    let ev = Evaluator::new(&ctx, keys);
    let fresh = ctx.params().fresh_level();
    let input = encrypt(&ctx, &secret, &layout, MODEL, &x, fresh, &Seed::new([5; 32])).expect("encrypts");
    let refused = network.run(&ev, &schedule, None, &input, &mut ());
    assert!(matches!(refused, Err(Error::NoBootstrapper { .. })));

    let output = network.run(&ev, &schedule, Some(&bootstrapper), &input, &mut ()).expect("runs");
    let slots = decrypt(&ctx, &secret, &output).expect("decrypts");
    let want = network.plain(&x).expect("a plain run").output;
    let got = layout.unpack(MODEL, &slots, want.rows()).expect("unpacks");
    let error = got.max_difference(&want);
    assert!(error < 1e-3, "{error}");
    if pooling == Pooling::None {
        let padding = largest(slots.iter().flat_map(|s| &s[layout.slot(ROWS, 0)..]).copied());
        assert!(padding < 1e-5, "{padding:e} in padded rows");
    }
}

/// What the dynamic program minimizes is what a run asks for, however many of its rows are real; only bringing inputs
/// down to their levels comes on top.
#[test]
fn a_schedule_costs_what_its_run_asks_for() {
    let params = Params::insecure(insecure_bootstrap_spec(11)).expect("test parameters");
    for layout in [narrow(params.slots()), wide(params.slots())] {
        let (network, _, _) = network(&layout, 2, Pooling::Mean);
        let schedule = network.schedule(&params).expect("a schedule");
        let stages = network.stages(&params, &schedule);
        assert_eq!(stages.iter().map(|s| s.cost_ns).sum::<u64>(), schedule.cost_ns);

        let recorder = Recorder::new(&params).expect("a recorder");
        let bootstrapper = Bootstrapper::new(recorder.context(), params.slots()).expect("a bootstrapper");
        let keys = network.keys(&params, &schedule).merge(&bootstrapper.keys());
        let ev = recorder.evaluator(&keys).expect("keys of shapes");
        let block = |_| recorder.ciphertext(params.fresh_level()).expect("a ciphertext");
        let blocks = (0..layout.blocks(MODEL)).map(block).collect();
        let x = CtTensor::new(&layout, MODEL, ROWS, blocks).expect("a tensor");
        let run = || network.run(&ev, &schedule, Some(&bootstrapper), &x, &mut ());
        let run_ns = KERNEL_COSTS.ns(&recorder.count(run).expect("runs"), params.n());
        let more = run_ns as f64 / schedule.cost_ns as f64 - 1.0;
        assert!((0.0..0.02).contains(&more), "{run_ns} ns asked for, {} scheduled", schedule.cost_ns);
    }
}

#[test]
fn two_layers_encrypted_follow_the_plain_twin() {
    encrypted_follows_plain(narrow, Pooling::Mean);
}

#[test]
fn so_they_do_with_two_ciphertexts_an_activation() {
    encrypted_follows_plain(wide, Pooling::None);
}
