//! Every layer by `nn::check`: encrypted against plain, levels, keys, padding, operation counts.

use aegis_ckks::{Context, Evaluator, KeyRequest, Level, Params, insecure_levelled_spec};
use aegis_nn::{
    Attend, Content, CtTensor, Error, Exp, ExpPolynomial, Gelu, Inverse, InverseSqrt, Layer, Layout, Linear,
    MODEL, MeanPool, Moments, NormCalibration, Normalise, Port, Residual, Result, RowSum, Scale, Scores,
    Square, Tensor, check,
};

use crate::support::{Numbers, context, narrow, wide};

/// Real tokens; the other five rows of 16 are padding.
const ROWS: usize = 11;

fn ring() -> Context {
    context(insecure_levelled_spec(11, 8))
}

fn both(test: impl Fn(&Context, &Layout)) {
    let ctx = ring();
    for layout in [narrow(ctx.params().slots()), wide(ctx.params().slots())] {
        test(&ctx, &layout);
    }
}

fn linear(layout: &Layout, input: Content, output: Content) -> Linear {
    let mut numbers = Numbers::new(5);
    let (rows, cols) = (layout.columns(input), layout.columns(output));
    let (weight, bias) = (numbers.tensor(rows, cols, 0.2), numbers.vector(cols, 1.0));
    Linear::new("linear", layout, (input, output), weight, bias, numbers.vector(cols, 1.0))
        .expect("shapes fit")
}

#[test]
fn linear_maps() {
    both(|ctx, layout| {
        for (input, output) in
            [(MODEL, Content::Model { parts: 2 }), (MODEL, Content::Hidden), (Content::Hidden, MODEL)]
        {
            let layer = linear(layout, input, output);
            let x = Numbers::new(8).tensor(ROWS, layout.columns(input), 1.0);
            let report = check(&layer, ctx, Level(1), &[&x], 1e-5).expect("the layer holds");
            println!("{input:?} -> {output:?}: {:e} {:e} {report}", report.max_error, report.max_padding);
            assert!(report.max_padding < 1e-5, "{}", report.max_padding);
        }
    });
}

#[test]
fn scores() {
    both(|ctx, layout| {
        let constants = Numbers::new(2).vector(layout.heads(), 0.5);
        let layer = Scores::new(layout, constants, 0.1, -0.7).expect("a layer");
        let x = Numbers::new(4).tensor(ROWS, 2 * layout.dim(), 0.5);
        let report = check(&layer, ctx, Level(1), &[&x], 1e-5).expect("the layer holds");
        println!("scores {:e} {report}", report.max_error);
    });
}

#[test]
fn attend() {
    both(|ctx, layout| {
        let layer = Attend::new(layout).expect("a layer");
        let mut numbers = Numbers::new(6);
        // Weights of padded keys are zero, as after the exponential.
        let raw = numbers.tensor(ROWS, layout.columns(Content::Scores), 0.3);
        let a =
            Tensor::from_fn(
                ROWS,
                raw.cols(),
                |t, c| if c % layout.tokens() < ROWS { raw.at(t, c) } else { 0.0 },
            );
        let v = numbers.tensor(ROWS, layout.dim(), 1.0);
        let report = check(&layer, ctx, Level(1), &[&a, &v], 1e-5).expect("the layer holds");
        println!("attend {:e} {:e} {report}", report.max_error, report.max_padding);
        assert!(report.max_padding < 1e-5);
    });
}

#[test]
fn softmax_parts() {
    both(|ctx, layout| {
        let mut numbers = Numbers::new(9);
        let scores = numbers.tensor(ROWS, layout.columns(Content::Scores), 1.0);
        // exp(4 (u - 1)) about, as a polynomial of degree 7 squared twice.
        let cheb = vec![0.466, -0.208, 0.0249, -0.002, 0.0001, 1e-5, 1e-5, 1e-6];
        let exp = Exp::new(layout, &ExpPolynomial { cheb, a: -8.0, b: 0.0, squarings: 2 }).expect("a layer");
        let report = check(&exp, ctx, Level(1), &[&scores], 1e-5).expect("the layer holds");
        println!("exp {:e} {report}", report.max_error);

        let positive = scores.map(|_, v| v.abs() / ROWS as f64);
        let masked = Tensor::from_fn(ROWS, positive.cols(), |t, c| {
            if c % layout.tokens() < ROWS { positive.at(t, c) } else { 0.0 }
        });
        let report = check(&RowSum::new(layout), ctx, Level(1), &[&masked], 1e-5).expect("the layer holds");
        println!("row sum {:e} {report}", report.max_error);
        assert!((report.max_padding - 0.5).abs() < 1e-5, "rows that do not exist sum to one half");

        let sums = numbers.tensor(ROWS, layout.heads(), 0.45).map(|_, v| v + 0.5);
        let inverse = Inverse::new(layout, &[1.8, 1.5, 1.1, 1.0], 0.05);
        check(&inverse, ctx, Level(1), &[&sums], 1e-4).expect("the layer holds");
        check(&Normalise::scores(layout), ctx, Level(1), &[&scores, &sums], 1e-5).expect("the layer holds");
        let context = numbers.tensor(ROWS, layout.dim(), 1.0);
        check(&Normalise::context(layout), ctx, Level(1), &[&context, &sums], 1e-5).expect("the layer holds");
        check(&Square::new(layout), ctx, Level(1), &[&scores], 1e-5).expect("the layer holds");
    });
}

fn norm_constants() -> NormCalibration {
    NormCalibration {
        var_range: (0.2, 1.4),
        cheb: vec![1.2, -0.5, 0.2, -0.1, 0.05, -0.02],
        token0_scale: 0.5,
    }
}

#[test]
fn layernorm_parts() {
    both(|ctx, layout| {
        let (mut numbers, constants) = (Numbers::new(12), norm_constants());
        let x =
            numbers.tensor(ROWS, layout.dim(), 1.5).map(|t, v| if t == 0 { 2.0 * v + 0.1 } else { v - 0.05 });
        let report =
            check(&Moments::new(layout, &constants, 0.5), ctx, Level(1), &[&x], 1e-4).expect("holds");
        println!("moments {:e} {report}", report.max_error);
        let variances = numbers.tensor(ROWS, 1, 1.0);
        let inverse = InverseSqrt::new(layout, &constants).expect("a layer");
        check(&inverse, ctx, Level(1), &[&variances], 1e-5).expect("the layer holds");
        let weights = (numbers.vector(layout.dim(), 1.0), numbers.vector(layout.dim(), 1.0));
        let scale = Scale::new(layout, weights, 0.5, vec![1.0, 0.3]).expect("a layer");
        let report = check(&scale, ctx, Level(1), &[&x, &variances], 1e-4).expect("holds");
        println!("scale {:e} {report}", report.max_error);
        assert!(report.max_padding < 1e-5);
    });
}

#[test]
fn gelu() {
    both(|ctx, layout| {
        let mut numbers = Numbers::new(15);
        let layer = Gelu::new(layout, numbers.vector(16, 0.5), numbers.vector(16, 0.5)).expect("a layer");
        let x = numbers.tensor(ROWS, layout.hidden(), 1.0);
        let report = check(&layer, ctx, Level(1), &[&x], 1e-4).expect("the layer holds");
        println!("gelu {:e} {report}", report.max_error);
        assert!(report.max_padding < 1e-5);
    });
}

#[test]
fn pooling_and_residual() {
    both(|ctx, layout| {
        let (x, y) = (
            Numbers::new(1).tensor(ROWS, layout.dim(), 1.0),
            Numbers::new(2).tensor(ROWS, layout.dim(), 1.0),
        );
        check(&Residual::new(layout), ctx, Level(1), &[&x, &y], 1e-5).expect("the layer holds");
        let report = check(&MeanPool::new(layout), ctx, Level(1), &[&x], 1e-5).expect("the layer holds");
        println!("pool {:e} {report}", report.max_error);
    });
}

#[test]
fn traces_do_not_change_unnoticed() {
    let ctx = ring();
    let layout = narrow(ctx.params().slots());
    let mut numbers = Numbers::new(4);
    let (pair, x) = (numbers.tensor(ROWS, 2 * layout.dim(), 0.5), numbers.tensor(ROWS, layout.dim(), 0.5));
    let weights = numbers.tensor(ROWS, layout.columns(Content::Scores), 0.1);
    let scores = Scores::new(&layout, vec![0.0; 4], 0.1, -0.7).expect("a layer");
    let snapshots: [(&dyn Layer, &[&Tensor], &str); 4] = [
        (
            &linear(&layout, MODEL, Content::Hidden),
            &[&x],
            "rotations 35 products 0 plain 128 switches 4 keys 33",
        ),
        (&scores, &[&pair], "rotations 46 products 28 plain 11 switches 28 keys 13"),
        (&RowSum::new(&layout), &[&weights], "rotations 4 products 0 plain 1 switches 4 keys 4"),
        (
            &Moments::new(&layout, &norm_constants(), 1.0),
            &[&x],
            "rotations 24 products 2 plain 3 switches 26 keys 13",
        ),
    ];
    for (layer, inputs, snapshot) in snapshots {
        // Only the operations matter here: the tests above compare the values.
        let report = check(layer, &ctx, Level(1), inputs, 1.0).expect("the layer runs");
        assert_eq!(report.to_string(), snapshot, "{}", layer.name());
    }
}

#[test]
fn check_refuses_what_does_not_hold() {
    let ctx = ring();
    let layout = narrow(ctx.params().slots());
    let x = Numbers::new(4).tensor(ROWS, layout.dim(), 0.5);
    let wrong = check(&Lying(MeanPool::new(&layout)), &ctx, Level(1), &[&x], 1e-5);
    assert!(matches!(wrong, Err(Error::Check { layer, .. }) if layer == "mean pool"));
}

/// A layer whose meaning is not what it computes.
struct Lying(MeanPool);

impl Layer for Lying {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn layout(&self) -> &Layout {
        self.0.layout()
    }

    fn inputs(&self) -> Vec<Port> {
        self.0.inputs()
    }

    fn outputs(&self) -> Vec<Port> {
        self.0.outputs()
    }

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        self.0.keys(params, level)
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![self.0.plain(inputs)?[0].map(|_, v| v + 1.0)])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        self.0.forward(ev, inputs)
    }
}
