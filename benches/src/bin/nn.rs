//! Encrypted layers of the size of all-MiniLM-L6-v2 on 64 tokens, each at a level of its use.
#![forbid(unsafe_code)]

use std::sync::Arc;

use aegis_benches::{Bench, Options};
use aegis_ckks::{
    Ciphertext, Context, Evaluator, KeyGenerator, Level, N16_B13_S40, Params, Seed, insecure_bootstrap_spec,
};
use aegis_nn::layers::activation::Gelu;
use aegis_nn::layers::attention::{Attend, Scores};
use aegis_nn::layers::linear::Linear;
use aegis_nn::layers::pooling::MeanPool;
use aegis_nn::layers::softmax::RowSum;
use aegis_nn::{Catalog, Content, Lane, Layer, Layout, MODEL, Place, Program, Rows, Schedule, Shape, Tensor};
use clap::Parser;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let params = if options.test {
        Params::insecure(insecure_bootstrap_spec(10))?
    } else {
        Params::try_from(N16_B13_S40)?
    };
    let bench = Bench::new("nn", &options, params.name());
    let device = options.device(&params)?;
    let ctx = Context::new(params.clone(), device)?;
    let (tokens, width, heads, intermediate) =
        if options.test { (16, 16, 2, 32) } else { (64, 384, 12, 1536) };
    let layout = Layout::new(params.slots(), tokens, width, heads, intermediate)?;

    measure(&bench, &ctx, "linear", 10, linear(&layout, MODEL, width)?)?;
    measure(&bench, &ctx, "linear_up", 8, linear(&layout, Content::Intermediate, intermediate)?)?;
    measure(&bench, &ctx, "scores", 8, Scores::new(&layout, vec![0.0; heads], 1.0)?)?;
    measure(&bench, &ctx, "row_sum", 4, RowSum::new(&layout))?;
    measure(&bench, &ctx, "attend", 4, Attend::new(&layout)?)?;
    let coefficients: Vec<f64> = (0..32).map(|i| 0.5 / f64::from(1 + i * i)).collect();
    measure(&bench, &ctx, "gelu", 4, Gelu::new(&layout, coefficients.clone(), coefficients)?)?;
    measure(&bench, &ctx, "mean_pool", 1, MeanPool::new(&layout))
}

/// A square map or one to the intermediate features, with small weights.
fn linear(layout: &Layout, output: Content, columns: usize) -> anyhow::Result<Linear> {
    let weight =
        Tensor::from_fn(layout.width(), columns, |i, o| wave(i * columns + o) / layout.width() as f64);
    let bias = vec![0.1; columns];
    Ok(Linear::new("linear", layout, (MODEL, output), weight, bias.clone(), bias)?)
}

/// One evaluation of `layer` with its outputs at `level`.
fn measure(
    bench: &Bench,
    ctx: &Context,
    name: &str,
    level: u32,
    layer: impl Layer + 'static,
) -> anyhow::Result<()> {
    if !bench.wants(name) {
        return Ok(());
    }
    let (level, layout, ports) = (Level(level), *layer.layout(), layer.inputs());
    let rows = Rows::one(layout.tokens());
    let program = Program::of_layer(&Arc::new(layer), level, &rows)?;
    let schedule = Schedule::deepest_first(&program);
    let keygen = KeyGenerator::new(ctx, Seed::new([7; 32]));
    let secret = keygen.secret_key();
    let keys = keygen.evaluation_keys(&secret, &Catalog::new(ctx.params())?.keys(&program)?)?;
    let place = Place { ev: Evaluator::new(ctx, Arc::new(keys)), bootstrapper: None };
    let mut inputs: Vec<Ciphertext> = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let x = Tensor::from_fn(layout.tokens(), layout.columns(port.content), |r, c| wave(r * 7919 + c));
        let shape = Shape::one(&layout, port.content, layout.tokens());
        let seed = Seed::new([9; 32]).derive("input", &(i as u64).to_le_bytes());
        let x = aegis_nn::encrypt(ctx, &secret, shape, &x, level.up(port.above), &seed)?;
        inputs.extend(x.into_blocks());
    }
    bench.measure(name, 3, 1, || {
        let mut lane = Lane::start(&program, &schedule, inputs.clone())?;
        while lane.step(&place, &mut ())? {}
        Ok(ctx.device().sync()?)
    })
}

/// A value in `[-1, 1]`.
fn wave(i: usize) -> f64 {
    (0.37 * i as f64).cos()
}
