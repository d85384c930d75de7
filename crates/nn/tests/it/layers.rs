//! Every layer by `nn::check`: encrypted against plain, levels, keys, padding, operation counts.

use std::fmt::Write as _;

use aegis_ckks::{Context, Evaluator, KeyRequest, Level, Params, insecure_levelled_spec};
use aegis_nn::layers::activation::Gelu;
use aegis_nn::layers::attention::{Attend, Scores};
use aegis_nn::layers::layer_norm::{GammaBeta, InverseSqrt, Moments};
use aegis_nn::layers::linear::Linear;
use aegis_nn::layers::pooling::MeanPool;
use aegis_nn::layers::residual::Residual;
use aegis_nn::layers::softmax::{Exp, Inverse, Normalize, RowSum, Square};
use aegis_nn::{
    CheckFailure, CheckReport, Content, CtTensor, Error, ExpPolynomial, Layer, Layout, MODEL,
    NormCalibration, Port, Result, Tensor, check,
};
use aegis_testing::{Numbers, insecure};
use expect_test::expect;

use crate::support::{Matrices, narrow, wide};

/// Real tokens; the other five rows of 16 are padding.
const ROWS: usize = 11;

fn ring() -> Context {
    insecure(insecure_levelled_spec(11, 8))
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
    let name = format!("linear {input:?} -> {output:?}");
    Linear::new(&name, layout, (input, output), weight, bias, numbers.vector(cols, 1.0)).expect("shapes fit")
}

#[test]
fn linear_maps() {
    both(|ctx, layout| {
        for (input, output) in [
            (MODEL, Content::Model { parts: 2 }),
            (MODEL, Content::Intermediate),
            (Content::Intermediate, MODEL),
        ] {
            let layer = linear(layout, input, output);
            let x = Numbers::new(8).tensor(ROWS, layout.columns(input), 1.0);
            let report = check(&layer, ctx, Level(1), &[&x], 1e-5).expect("the layer holds");
            assert!(report.max_padding < 1e-5, "{}", report.max_padding);
        }
    });
}

#[test]
fn scores() {
    both(|ctx, layout| {
        let constants = Numbers::new(2).vector(layout.heads(), 0.5);
        let layer = Scores::new(layout, constants, 0.1, -0.1).expect("a layer");
        let x = Numbers::new(4).tensor(ROWS, 2 * layout.width(), 0.5);
        let report = check(&layer, ctx, Level(1), &[&x], 1e-5).expect("the layer holds");
        assert!((report.max_padding - 0.1).abs() < 1e-5, "rows that do not exist are idle");
    });
}

/// Weights of padded keys are zero, as after the exponential.
fn attention_weights(numbers: &mut Numbers, layout: &Layout, size: f64) -> Tensor {
    let raw = numbers.tensor(ROWS, layout.columns(Content::Scores), size);
    let masked = |t, c| if c % layout.tokens() < ROWS { raw.at(t, c) } else { 0.0 };
    Tensor::from_fn(ROWS, raw.cols(), masked)
}

#[test]
fn attend() {
    both(|ctx, layout| {
        let layer = Attend::new(layout).expect("a layer");
        let mut numbers = Numbers::new(6);
        let a = attention_weights(&mut numbers, layout, 0.3);
        let v = numbers.tensor(ROWS, layout.width(), 1.0);
        let report = check(&layer, ctx, Level(1), &[&a, &v], 1e-5).expect("the layer holds");
        assert!(report.max_padding < 1e-5);
    });
}

/// exp(4 (u - 1)) about, as a polynomial of degree 7 squared twice.
fn exp_constants() -> ExpPolynomial {
    let cheb = vec![0.466, -0.208, 0.0249, -0.002, 0.0001, 1e-5, 1e-5, 1e-6];
    ExpPolynomial { cheb, a: -8.0, b: 0.0, squarings: 2 }
}

#[test]
fn softmax_parts() {
    both(|ctx, layout| {
        let mut numbers = Numbers::new(9);
        let scores = numbers.tensor(ROWS, layout.columns(Content::Scores), 1.0);
        let exp = Exp::new(layout, &exp_constants()).expect("a layer");
        check(&exp, ctx, Level(1), &[&scores], 1e-5).expect("the layer holds");

        let weights = attention_weights(&mut numbers, layout, 1.0).map(|_, v| v.abs() / ROWS as f64);
        let report = check(&RowSum::new(layout), ctx, Level(1), &[&weights], 1e-5).expect("the layer holds");
        assert!((report.max_padding - 0.5).abs() < 1e-5, "rows that do not exist sum to one half");

        let sums = numbers.tensor(ROWS, layout.heads(), 0.45).map(|_, v| v + 0.5);
        let inverse = Inverse::new(layout, &[1.8, 1.5, 1.1, 1.0], 0.05);
        check(&inverse, ctx, Level(1), &[&sums], 1e-4).expect("the layer holds");
        check(&Normalize::scores(layout), ctx, Level(1), &[&scores, &sums], 1e-5).expect("the layer holds");
        let context = numbers.tensor(ROWS, layout.width(), 1.0);
        check(&Normalize::context(layout), ctx, Level(1), &[&context, &sums], 1e-5).expect("the layer holds");
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
        let x = numbers
            .tensor(ROWS, layout.width(), 1.5)
            .map(|t, v| if t == 0 { 2.0 * v + 0.1 } else { v - 0.05 });
        check(&Moments::new(layout, &constants, 0.5), ctx, Level(1), &[&x], 1e-4).expect("holds");
        let variances = numbers.tensor(ROWS, 1, 1.0);
        let inverse = InverseSqrt::new(layout, &constants).expect("a layer");
        check(&inverse, ctx, Level(1), &[&variances], 1e-5).expect("the layer holds");
        let weights = (numbers.vector(layout.width(), 1.0), numbers.vector(layout.width(), 1.0));
        let scale = GammaBeta::new(layout, weights, 0.5, vec![1.0, 0.3]).expect("a layer");
        let report = check(&scale, ctx, Level(1), &[&x, &variances], 1e-4).expect("holds");
        assert!(report.max_padding < 1e-5);
    });
}

#[test]
fn gelu() {
    both(|ctx, layout| {
        let mut numbers = Numbers::new(15);
        let layer = Gelu::new(layout, numbers.vector(16, 0.5), numbers.vector(16, 0.5)).expect("a layer");
        let x = numbers.tensor(ROWS, layout.intermediate(), 1.0);
        let report = check(&layer, ctx, Level(1), &[&x], 1e-4).expect("the layer holds");
        assert!(report.max_padding < 1e-5);
    });
}

#[test]
fn pooling_and_residual() {
    both(|ctx, layout| {
        let (x, y) = (
            Numbers::new(1).tensor(ROWS, layout.width(), 1.0),
            Numbers::new(2).tensor(ROWS, layout.width(), 1.0),
        );
        check(&Residual::new(layout), ctx, Level(1), &[&x, &y], 1e-5).expect("the layer holds");
        check(&MeanPool::new(layout), ctx, Level(1), &[&x], 1e-5).expect("the layer holds");
    });
}

/// The table: every layer with inputs that it takes. What it costs and asks for stands in the golden text below.
fn layers(layout: &Layout) -> Vec<(Box<dyn Layer>, Vec<Tensor>)> {
    let (mut numbers, norm) = (Numbers::new(21), norm_constants());
    let width = layout.width();
    let x = numbers.tensor(ROWS, width, 0.5);
    let pair = numbers.tensor(ROWS, 2 * width, 0.5);
    let inner = numbers.tensor(ROWS, layout.intermediate(), 0.5);
    let scores = attention_weights(&mut numbers, layout, 0.5);
    let sums = numbers.tensor(ROWS, layout.heads(), 0.3).map(|_, v| v + 0.5);
    let stats = numbers.tensor(ROWS, 1, 0.5);
    let (others, first) = (numbers.vector(16, 0.2), numbers.vector(16, 0.2));
    let weights = (numbers.vector(width, 1.0), numbers.vector(width, 1.0));
    let pairs = Content::Model { parts: 2 };
    vec![
        (Box::new(linear(layout, MODEL, pairs)), vec![x.clone()]),
        (Box::new(linear(layout, MODEL, Content::Intermediate)), vec![x.clone()]),
        (Box::new(linear(layout, Content::Intermediate, MODEL)), vec![inner.clone()]),
        (Box::new(Scores::new(layout, vec![0.0; layout.heads()], 0.1, -0.7).expect("a layer")), vec![pair]),
        (Box::new(Exp::new(layout, &exp_constants()).expect("a layer")), vec![scores.clone()]),
        (Box::new(RowSum::new(layout)), vec![scores.clone()]),
        (Box::new(Inverse::new(layout, &[1.8, 1.5, 1.1, 1.0], 0.05)), vec![sums.clone()]),
        (Box::new(Normalize::scores(layout)), vec![scores.clone(), sums.clone()]),
        (Box::new(Normalize::context(layout)), vec![x.clone(), sums]),
        (Box::new(Square::new(layout)), vec![scores.clone()]),
        (Box::new(Attend::new(layout).expect("a layer")), vec![scores, x.clone()]),
        (Box::new(Moments::new(layout, &norm, 0.5)), vec![x.clone()]),
        (Box::new(InverseSqrt::new(layout, &norm).expect("a layer")), vec![stats.clone()]),
        (
            Box::new(GammaBeta::new(layout, weights, 0.5, vec![1.0, 0.3]).expect("a layer")),
            vec![x.clone(), stats],
        ),
        (Box::new(Gelu::new(layout, others, first).expect("a layer")), vec![inner]),
        (Box::new(Residual::new(layout)), vec![x.clone(), x.clone()]),
        (Box::new(MeanPool::new(layout)), vec![x.clone()]),
    ]
}

fn run(layer: &dyn Layer, ctx: &Context, inputs: &[Tensor]) -> CheckReport {
    check(layer, ctx, Level(1), &inputs.iter().collect::<Vec<_>>(), 1e-4).expect("the layer holds")
}

#[test]
fn traces_do_not_change_unnoticed() {
    let ctx = ring();
    let slots = ctx.params().slots();
    let narrow_layout = expect![[r#"
        linear Model { parts: 1 } -> Model { parts: 2 }: rotations 30 products 0 plain 256 switches 15 keys 17
        linear Model { parts: 1 } -> Intermediate: rotations 23 products 0 plain 128 switches 8 keys 17
        linear Intermediate -> Model { parts: 1 }: rotations 23 products 0 plain 128 switches 8 keys 17
        scores: rotations 46 products 28 plain 11 switches 28 keys 13
        exp: rotations 0 products 28 plain 0 switches 24 keys 1
        row sum: rotations 4 products 0 plain 1 switches 4 keys 4
        inverse: rotations 0 products 6 plain 0 switches 6 keys 1
        normalize: rotations 0 products 4 plain 0 switches 4 keys 1
        normalize: rotations 0 products 1 plain 0 switches 1 keys 1
        square: rotations 0 products 4 plain 0 switches 4 keys 1
        attend: rotations 70 products 28 plain 32 switches 37 keys 10
        moments: rotations 24 products 2 plain 3 switches 26 keys 13
        inverse sqrt: rotations 0 products 4 plain 0 switches 3 keys 1
        gamma beta: rotations 0 products 2 plain 2 switches 2 keys 1
        gelu: rotations 0 products 8 plain 11 switches 7 keys 1
        residual: rotations 0 products 0 plain 0 switches 0 keys 0
        mean pool: rotations 4 products 0 plain 0 switches 4 keys 4
    "#]];
    let wide_layout = expect![[r#"
        linear Model { parts: 1 } -> Model { parts: 2 }: rotations 60 products 0 plain 1024 switches 30 keys 17
        linear Model { parts: 1 } -> Intermediate: rotations 46 products 0 plain 512 switches 16 keys 17
        linear Intermediate -> Model { parts: 1 }: rotations 46 products 0 plain 512 switches 16 keys 17
        scores: rotations 144 products 62 plain 94 switches 38 keys 26
        exp: rotations 0 products 14 plain 0 switches 12 keys 1
        row sum: rotations 16 products 0 plain 2 switches 16 keys 8
        inverse: rotations 0 products 12 plain 0 switches 12 keys 1
        normalize: rotations 0 products 2 plain 0 switches 2 keys 1
        normalize: rotations 0 products 2 plain 0 switches 2 keys 1
        square: rotations 0 products 2 plain 0 switches 2 keys 1
        attend: rotations 142 products 62 plain 94 switches 36 keys 18
        moments: rotations 24 products 3 plain 3 switches 27 keys 13
        inverse sqrt: rotations 0 products 4 plain 0 switches 3 keys 1
        gamma beta: rotations 0 products 4 plain 4 switches 4 keys 1
        gelu: rotations 0 products 16 plain 22 switches 14 keys 1
        residual: rotations 0 products 0 plain 0 switches 0 keys 0
        mean pool: rotations 8 products 0 plain 0 switches 8 keys 4
    "#]];
    for (layout, golden) in [(narrow(slots), narrow_layout), (wide(slots), wide_layout)] {
        let mut traces = String::new();
        for (layer, inputs) in layers(&layout) {
            writeln!(traces, "{}: {}", layer.name(), run(&*layer, &ctx, &inputs)).expect("a string");
        }
        golden.assert_eq(&traces);
    }
}

#[test]
fn every_layer_of_the_crate_is_in_the_table() {
    let table = include_str!("layers.rs").split("\nfn layers(").nth(1).expect("the table");
    let table = table.split("\n}\n").next().expect("its end");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/layers");
    for file in std::fs::read_dir(folder).expect("the folder of the layers") {
        let text = std::fs::read_to_string(file.expect("an entry").path()).expect("a file");
        for line in text.lines().filter_map(|line| line.strip_prefix("impl Layer for ")) {
            let layer = line.trim_end_matches(" {");
            let row = if layer == "Linear" { "linear(".into() } else { format!("{layer}::") };
            assert!(table.contains(&row), "{layer} has no row in the table of layers");
        }
    }
}

/// Scores, sums and statistics may hold idle values there, and pooling leaves copies.
#[test]
fn padded_rows_of_activations_stay_zero() {
    both(|ctx, layout| {
        for (layer, inputs) in layers(layout) {
            let activation = |p: &Port| matches!(p.content, Content::Model { .. } | Content::Intermediate);
            if layer.outputs().iter().any(activation) && layer.name() != "mean pool" {
                let padding = run(&*layer, ctx, &inputs).max_padding;
                assert!(padding < 1e-5, "{}: {padding:e}", layer.name());
            }
        }
    });
}

#[test]
fn check_refuses_what_does_not_hold() {
    let ctx = ring();
    let layout = narrow(ctx.params().slots());
    let x = Numbers::new(4).tensor(ROWS, layout.width(), 0.5);
    type Lie = fn(&Tensor) -> Vec<Tensor>;
    let lies: [(Lie, bool); 4] = [
        (|t| vec![t.map(|_, v| v + 1.0)], true),
        (|t| vec![t.map(|_, v| if v < 0.0 { f64::NAN } else { v })], true),
        (|_| vec![], false),
        (|t| vec![t.columns(0, 3)], false),
    ];
    for (lie, differs) in lies {
        let wrong = check(&Lying(MeanPool::new(&layout), lie), &ctx, Level(1), &[&x], 1e-5);
        let Err(Error::Check { layer, failure }) = wrong else { panic!("{wrong:?}") };
        assert_eq!(layer, "mean pool");
        assert_eq!(matches!(failure, CheckFailure::Difference { .. }), differs, "{failure}");
        assert_eq!(matches!(failure, CheckFailure::Outputs { .. }), !differs, "{failure}");
    }
}

/// A layer whose meaning is not what it computes.
struct Lying(MeanPool, fn(&Tensor) -> Vec<Tensor>);

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
        Ok((self.1)(&self.0.plain(inputs)?[0]))
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        self.0.forward(ev, inputs)
    }
}
