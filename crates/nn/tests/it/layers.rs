//! Every layer by `nn::check`: encrypted against plain, levels, keys, padding, operation counts.

use std::fmt::Write as _;
use std::sync::Arc;

use aegis_ckks::{Context, Level, insecure_levelled_spec};
use aegis_nn::layers::activation::Gelu;
use aegis_nn::layers::attention::{Attend, Scores};
use aegis_nn::layers::layer_norm::{GammaBeta, InverseSqrt, Moments};
use aegis_nn::layers::linear::Linear;
use aegis_nn::layers::pooling::MeanPool;
use aegis_nn::layers::residual::Residual;
use aegis_nn::layers::softmax::{Exp, Inverse, Normalize, RowSum, Square};
use aegis_nn::{
    CheckFailure, CheckReport, Content, Emitter, Error, ExpPolynomial, Layer, Layout, MODEL, NormCalibration,
    Port, Result, Rows, Tensor, TensorRef, check, check_texts,
};
use aegis_testing::{Numbers, insecure};
use expect_test::expect;

use crate::support::{Matrices, long, narrow, wide};

/// Real tokens; the other rows, 5 of 16, are padding.
fn rows(layout: &Layout) -> usize {
    layout.tokens() * 11 / 16
}

fn ring() -> Context {
    insecure(insecure_levelled_spec(11, 8))
}

fn every(test: impl Fn(&Context, &Layout)) {
    let ctx = ring();
    let slots = ctx.params().slots();
    for layout in [narrow(slots), wide(slots), long(slots)] {
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
    every(|ctx, layout| {
        for (input, output) in [
            (MODEL, Content::Model { parts: 2 }),
            (MODEL, Content::Intermediate),
            (Content::Intermediate, MODEL),
        ] {
            let layer = linear(layout, input, output);
            let x = Numbers::new(8).tensor(rows(layout), layout.columns(input), 1.0);
            let report = check(&Arc::new(layer), ctx, Level(1), &[&x], 1e-5).expect("the layer holds");
            assert!(report.max_padding < 1e-5, "{}", report.max_padding);
        }
    });
}

#[test]
fn scores() {
    every(|ctx, layout| {
        let constants = Numbers::new(2).vector(layout.heads(), 0.5);
        let layer = Scores::new(layout, constants, 0.1).expect("a layer");
        let x = Numbers::new(4).tensor(rows(layout), 2 * layout.width(), 0.5);
        let report = check(&Arc::new(layer), ctx, Level(1), &[&x], 1e-5).expect("the layer holds");
        assert!(report.max_padding < 1e-5, "{}", report.max_padding);
    });
}

/// Weights of padded keys are zero, as after the exponential.
fn attention_weights(numbers: &mut Numbers, layout: &Layout, size: f64) -> Tensor {
    let raw = numbers.tensor(rows(layout), layout.columns(Content::Scores), size);
    let masked = |t, c| if c % layout.tokens() < rows(layout) { raw.at(t, c) } else { 0.0 };
    Tensor::from_fn(rows(layout), raw.cols(), masked)
}

#[test]
fn attend() {
    every(|ctx, layout| {
        let layer = Attend::new(layout).expect("a layer");
        let mut numbers = Numbers::new(6);
        let a = attention_weights(&mut numbers, layout, 0.3);
        let v = numbers.tensor(rows(layout), layout.width(), 1.0);
        let report = check(&Arc::new(layer), ctx, Level(1), &[&a, &v], 1e-5).expect("the layer holds");
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
    every(|ctx, layout| {
        let mut numbers = Numbers::new(9);
        let scores = attention_weights(&mut numbers, layout, 1.0);
        let exp = Exp::new(layout, &exp_constants()).expect("a layer");
        check(&Arc::new(exp), ctx, Level(1), &[&scores], 1e-5).expect("the layer holds");

        let weights = attention_weights(&mut numbers, layout, 1.0).map(|_, v| v.abs() / rows(layout) as f64);
        check(&Arc::new(RowSum::new(layout)), ctx, Level(1), &[&weights], 1e-5).expect("the layer holds");

        let sums = numbers.tensor(rows(layout), layout.heads(), 0.45).map(|_, v| v + 0.5);
        let inverse = Inverse::new(layout, &[1.8, 1.5, 1.1, 1.0], 0.05);
        check(&Arc::new(inverse), ctx, Level(1), &[&sums], 1e-4).expect("the layer holds");
        check(&Arc::new(Normalize::scores(layout)), ctx, Level(1), &[&scores, &sums], 1e-5)
            .expect("the layer holds");
        let context = numbers.tensor(rows(layout), layout.width(), 1.0);
        check(&Arc::new(Normalize::context(layout)), ctx, Level(1), &[&context, &sums], 1e-5)
            .expect("the layer holds");
        check(&Arc::new(Square::new(layout)), ctx, Level(1), &[&scores], 1e-5).expect("the layer holds");
    });
}

/// Once they weighed as much as the lowest score: five of them put results of an encoder off by 3e-3, and the plain twin
/// knew nothing of it.
#[test]
fn padded_keys_weigh_nothing() {
    every(|ctx, layout| {
        let flat = ExpPolynomial { cheb: vec![1.0, 0.1], a: -0.1, b: 0.1, squarings: 2 };
        let exp = Arc::new(Exp::new(layout, &flat).expect("a layer"));
        // As scores leave them: zeros at padded keys.
        let scores = attention_weights(&mut Numbers::new(12), layout, 1.0);
        let weights = exp.plain(&[&scores]).expect("a plain run").swap_remove(0);
        let padded = |c: usize| c % layout.tokens() >= rows(layout);
        assert!(
            (0..rows(layout)).all(|t| (0..weights.cols()).all(|c| (weights.at(t, c) == 0.0) == padded(c)))
        );
        let report = check(&exp, ctx, Level(1), &[&scores], 1e-5).expect("the layer holds");
        assert!(report.max_padding < 1e-5, "{:e} at padded queries", report.max_padding);
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
    every(|ctx, layout| {
        let (mut numbers, constants) = (Numbers::new(12), norm_constants());
        let x = numbers
            .tensor(rows(layout), layout.width(), 1.5)
            .map(|t, v| if t == 0 { 2.0 * v + 0.1 } else { v - 0.05 });
        check(&Arc::new(Moments::new(layout, &constants, 0.5)), ctx, Level(1), &[&x], 1e-4).expect("holds");
        let variances = numbers.tensor(rows(layout), 1, 1.0);
        let inverse = InverseSqrt::new(layout, &constants).expect("a layer");
        check(&Arc::new(inverse), ctx, Level(1), &[&variances], 1e-5).expect("the layer holds");
        let weights = (numbers.vector(layout.width(), 1.0), numbers.vector(layout.width(), 1.0));
        let scale = GammaBeta::new(layout, weights, 0.5, vec![1.0, 0.3]).expect("a layer");
        let report = check(&Arc::new(scale), ctx, Level(1), &[&x, &variances], 1e-4).expect("holds");
        assert!(report.max_padding < 1e-5);
    });
}

#[test]
fn gelu() {
    every(|ctx, layout| {
        let mut numbers = Numbers::new(15);
        let layer = Gelu::new(layout, numbers.vector(16, 0.5), numbers.vector(16, 0.5)).expect("a layer");
        let x = numbers.tensor(rows(layout), layout.intermediate(), 1.0);
        let report = check(&Arc::new(layer), ctx, Level(1), &[&x], 1e-4).expect("the layer holds");
        assert!(report.max_padding < 1e-5);
    });
}

#[test]
fn pooling_and_residual() {
    every(|ctx, layout| {
        let (x, y) = (
            Numbers::new(1).tensor(rows(layout), layout.width(), 1.0),
            Numbers::new(2).tensor(rows(layout), layout.width(), 1.0),
        );
        check(&Arc::new(Residual::new(layout)), ctx, Level(1), &[&x, &y], 1e-5).expect("the layer holds");
        check(&Arc::new(MeanPool::new(layout)), ctx, Level(1), &[&x], 1e-5).expect("the layer holds");
    });
}

/// The table: every layer with inputs that it takes. What it costs and asks for stands in the golden text below.
fn layers(layout: &Layout) -> Vec<(Arc<dyn Layer>, Vec<Tensor>)> {
    let (mut numbers, norm) = (Numbers::new(21), norm_constants());
    let width = layout.width();
    let x = numbers.tensor(rows(layout), width, 0.5);
    let pair = numbers.tensor(rows(layout), 2 * width, 0.5);
    let inner = numbers.tensor(rows(layout), layout.intermediate(), 0.5);
    let scores = attention_weights(&mut numbers, layout, 0.5);
    let sums = numbers.tensor(rows(layout), layout.heads(), 0.3).map(|_, v| v + 0.5);
    let stats = numbers.tensor(rows(layout), 1, 0.5);
    let (others, first) = (numbers.vector(16, 0.2), numbers.vector(16, 0.2));
    let weights = (numbers.vector(width, 1.0), numbers.vector(width, 1.0));
    let pairs = Content::Model { parts: 2 };
    vec![
        (Arc::new(linear(layout, MODEL, pairs)), vec![x.clone()]),
        (Arc::new(linear(layout, MODEL, Content::Intermediate)), vec![x.clone()]),
        (Arc::new(linear(layout, Content::Intermediate, MODEL)), vec![inner.clone()]),
        (Arc::new(Scores::new(layout, vec![0.0; layout.heads()], 0.1).expect("a layer")), vec![pair]),
        (Arc::new(Exp::new(layout, &exp_constants()).expect("a layer")), vec![scores.clone()]),
        (Arc::new(RowSum::new(layout)), vec![scores.clone()]),
        (Arc::new(Inverse::new(layout, &[1.8, 1.5, 1.1, 1.0], 0.05)), vec![sums.clone()]),
        (Arc::new(Normalize::scores(layout)), vec![scores.clone(), sums.clone()]),
        (Arc::new(Normalize::context(layout)), vec![x.clone(), sums]),
        (Arc::new(Square::new(layout)), vec![scores.clone()]),
        (Arc::new(Attend::new(layout).expect("a layer")), vec![scores, x.clone()]),
        (Arc::new(Moments::new(layout, &norm, 0.5)), vec![x.clone()]),
        (Arc::new(InverseSqrt::new(layout, &norm).expect("a layer")), vec![stats.clone()]),
        (
            Arc::new(GammaBeta::new(layout, weights, 0.5, vec![1.0, 0.3]).expect("a layer")),
            vec![x.clone(), stats],
        ),
        (Arc::new(Gelu::new(layout, others, first).expect("a layer")), vec![inner]),
        (Arc::new(Residual::new(layout)), vec![x.clone(), x.clone()]),
        (Arc::new(MeanPool::new(layout)), vec![x.clone()]),
    ]
}

fn run(layer: &Arc<dyn Layer>, ctx: &Context, inputs: &[Tensor]) -> CheckReport {
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
        row sum: rotations 2 products 0 plain 1 switches 2 keys 2
        inverse: rotations 2 products 6 plain 1 switches 8 keys 3
        normalize: rotations 0 products 4 plain 0 switches 4 keys 1
        normalize: rotations 0 products 1 plain 0 switches 1 keys 1
        square: rotations 0 products 4 plain 0 switches 4 keys 1
        attend: rotations 46 products 28 plain 32 switches 35 keys 11
        moments: rotations 24 products 2 plain 3 switches 26 keys 13
        inverse sqrt: rotations 0 products 4 plain 0 switches 3 keys 1
        gamma beta: rotations 0 products 2 plain 2 switches 2 keys 1
        gelu: rotations 0 products 8 plain 11 switches 7 keys 1
        residual: rotations 0 products 0 plain 0 switches 0 keys 0
        mean pool: rotations 4 products 0 plain 1 switches 4 keys 4
    "#]];
    let wide_layout = expect![[r#"
        linear Model { parts: 1 } -> Model { parts: 2 }: rotations 60 products 0 plain 1024 switches 30 keys 17
        linear Model { parts: 1 } -> Intermediate: rotations 46 products 0 plain 512 switches 16 keys 17
        linear Intermediate -> Model { parts: 1 }: rotations 46 products 0 plain 512 switches 16 keys 17
        scores: rotations 144 products 62 plain 94 switches 38 keys 26
        exp: rotations 0 products 14 plain 0 switches 12 keys 1
        row sum: rotations 9 products 0 plain 2 switches 9 keys 5
        inverse: rotations 9 products 9 plain 2 switches 18 keys 6
        normalize: rotations 0 products 2 plain 0 switches 2 keys 1
        normalize: rotations 0 products 2 plain 0 switches 2 keys 1
        square: rotations 0 products 2 plain 0 switches 2 keys 1
        attend: rotations 144 products 62 plain 94 switches 146 keys 19
        moments: rotations 24 products 3 plain 3 switches 27 keys 13
        inverse sqrt: rotations 0 products 4 plain 0 switches 3 keys 1
        gamma beta: rotations 0 products 4 plain 4 switches 4 keys 1
        gelu: rotations 0 products 16 plain 22 switches 14 keys 1
        residual: rotations 0 products 0 plain 0 switches 0 keys 0
        mean pool: rotations 8 products 0 plain 2 switches 8 keys 4
    "#]];
    let long_layout = expect![[r#"
        linear Model { parts: 1 } -> Model { parts: 2 }: rotations 42 products 0 plain 192 switches 21 keys 9
        linear Model { parts: 1 } -> Intermediate: rotations 42 products 0 plain 192 switches 21 keys 9
        linear Intermediate -> Model { parts: 1 }: rotations 57 products 0 plain 192 switches 15 keys 9
        scores: rotations 939 products 1008 plain 75 switches 657 keys 13
        exp: rotations 0 products 1008 plain 0 switches 864 keys 1
        row sum: rotations 7 products 0 plain 3 switches 7 keys 3
        inverse: rotations 7 products 15 plain 3 switches 22 keys 4
        normalize: rotations 0 products 144 plain 0 switches 144 keys 1
        normalize: rotations 0 products 3 plain 0 switches 3 keys 1
        square: rotations 0 products 144 plain 0 switches 144 keys 1
        attend: rotations 891 products 1008 plain 684 switches 522 keys 11
        moments: rotations 38 products 6 plain 9 switches 44 keys 9
        inverse sqrt: rotations 14 products 8 plain 9 switches 19 keys 7
        gamma beta: rotations 0 products 6 plain 6 switches 6 keys 1
        gelu: rotations 0 products 48 plain 44 switches 42 keys 1
        residual: rotations 0 products 0 plain 0 switches 0 keys 0
        mean pool: rotations 6 products 0 plain 3 switches 6 keys 6
    "#]];
    let layouts = [(narrow(slots), narrow_layout), (wide(slots), wide_layout), (long(slots), long_layout)];
    for (layout, golden) in layouts {
        let mut traces = String::new();
        for (layer, inputs) in layers(&layout) {
            writeln!(traces, "{}: {}", layer.name(), run(&layer, &ctx, &inputs)).expect("a string");
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

/// The first rows of an input, as a text of its own: without the scores of keys that it does not have.
fn shortened(layout: &Layout, content: Content, x: &Tensor, rows: usize) -> Tensor {
    let there = |c: usize| content != Content::Scores || c % layout.tokens() < rows;
    Tensor::from_fn(rows, x.cols(), |t, c| if there(c) { x.at(t, c) } else { 0.0 })
}

/// Texts side by side are as each by itself.
#[test]
fn several_texts_in_one_ciphertext() {
    let ctx = ring();
    for layout in [narrow(ctx.params().slots()), wide(ctx.params().slots())] {
        let texts = Rows::several(4, vec![3, 4, 1, 2]);
        for (layer, inputs) in layers(&layout) {
            let of_text = |n: &usize| -> Vec<Tensor> {
                let ports = layer.inputs();
                inputs.iter().zip(ports).map(|(x, port)| shortened(&layout, port.content, x, *n)).collect()
            };
            let inputs: Vec<_> = texts.lengths().iter().map(of_text).collect();
            let inputs: Vec<Vec<&Tensor>> = inputs.iter().map(|text| text.iter().collect()).collect();
            let inputs: Vec<&[&Tensor]> = inputs.iter().map(Vec::as_slice).collect();
            let report = check_texts(&layer, &ctx, Level(1), &texts, &inputs, 1e-4);
            let padding = report.unwrap_or_else(|e| panic!("{}: {e}", layer.name())).max_padding;
            assert!(padding < 1e-4 || !keeps_zeros(&*layer), "{}: {padding:e}", layer.name());
        }
    }
}

/// Token blocks without a token have polynomials that vanish: keys made for all lengths serve them.
#[test]
fn a_text_shorter_than_its_token_blocks() {
    let ctx = ring();
    let layout = long(ctx.params().slots());
    for (layer, inputs) in layers(&layout) {
        let ports = layer.inputs();
        let short: Vec<_> =
            inputs.iter().zip(ports).map(|(x, port)| shortened(&layout, port.content, x, 5)).collect();
        let report = check(&layer, &ctx, Level(1), &short.iter().collect::<Vec<_>>(), 1e-4);
        report.unwrap_or_else(|e| panic!("{}: {e}", layer.name()));
    }
}

/// Pooling leaves copies, and inverse deviations meet zeros.
fn keeps_zeros(layer: &dyn Layer) -> bool {
    !["mean pool", "inverse sqrt"].contains(&layer.name())
}

#[test]
fn padded_rows_stay_zero() {
    every(|ctx, layout| {
        for (layer, inputs) in layers(layout) {
            if keeps_zeros(&*layer) {
                let padding = run(&layer, ctx, &inputs).max_padding;
                assert!(padding < 1e-5, "{}: {padding:e}", layer.name());
            }
        }
    });
}

#[test]
fn check_refuses_what_does_not_hold() {
    let ctx = ring();
    let layout = narrow(ctx.params().slots());
    let x = Numbers::new(4).tensor(rows(&layout), layout.width(), 0.5);
    type Lie = fn(&Tensor) -> Vec<Tensor>;
    let lies: [(Lie, bool); 4] = [
        (|t| vec![t.map(|_, v| v + 1.0)], true),
        (|t| vec![t.map(|_, v| if v < 0.0 { f64::NAN } else { v })], true),
        (|_| vec![], false),
        (|t| vec![t.columns(0, 3)], false),
    ];
    for (lie, differs) in lies {
        let wrong =
            check(&Arc::new(Lying(Arc::new(MeanPool::new(&layout)), lie)), &ctx, Level(1), &[&x], 1e-5);
        let Err(Error::Check { layer, failure }) = wrong else { panic!("{wrong:?}") };
        assert_eq!(layer, "mean pool");
        assert_eq!(matches!(failure, CheckFailure::Difference { .. }), differs, "{failure}");
        assert_eq!(matches!(failure, CheckFailure::Outputs { .. }), !differs, "{failure}");
    }
}

/// A layer whose meaning is not what it computes.
struct Lying(Arc<MeanPool>, fn(&Tensor) -> Vec<Tensor>);

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

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok((self.1)(&self.0.plain(inputs)?[0]))
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        Arc::clone(&self.0).emit(program, inputs)
    }
}
