//! The exact encoder in `f64`: what the encrypted one is compared with.

use aegis_nn::{LayerWeights, Norm, Tensor};

use super::config::Config;

/// A value inside a layer that is looked at; the rows of all but scores are tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Query,
    Key,
    Value,
    /// `q k^T / sqrt(head size)` of one head, queries x keys; one call a head, in order.
    Scores(usize),
    Context,
    /// The sum that enters the first LayerNorm.
    Residual1,
    Norm1,
    GeluInput,
    GeluOutput,
    FeedForward,
    /// The sum that enters the second LayerNorm.
    Residual2,
}

/// Sees every intermediate value of a layer.
type Observer<'a> = &'a mut dyn FnMut(Probe, &Tensor);

/// The last hidden states, tokens x width.
///
/// Exact softmax, erf GELU and LayerNorm; no padding. Cost: about 2 x parameters x tokens operations.
pub(crate) fn encode(config: &Config, layers: &[LayerWeights], hidden: Tensor) -> Tensor {
    layers.iter().fold(hidden, |x, layer| encode_layer(config, layer, &x, &mut |_, _| ()))
}

/// One layer.
pub(crate) fn encode_layer(config: &Config, w: &LayerWeights, x: &Tensor, see: Observer<'_>) -> Tensor {
    let eps = config.layer_norm_eps;
    let mut seen = |probe: Probe, value: Tensor| {
        see(probe, &value);
        value
    };
    let q = seen(Probe::Query, x.affine(&w.query.weight, &w.query.bias));
    let k = seen(Probe::Key, x.affine(&w.key.weight, &w.key.bias));
    let v = seen(Probe::Value, x.affine(&w.value.weight, &w.value.bias));
    let mut context = Tensor::zeros(x.rows(), x.cols());
    for head in 0..config.heads {
        let scores = seen(Probe::Scores(head), scores(&q, &k, head, config.head_size()));
        attend(&scores, &v, head, &mut context, config.head_size());
    }
    let context = seen(Probe::Context, context);
    let sum = seen(Probe::Residual1, context.affine(&w.output.weight, &w.output.bias).plus(x));
    let x1 = seen(Probe::Norm1, norm(&w.norm1, &sum, eps));
    let inner = seen(Probe::GeluInput, x1.affine(&w.up.weight, &w.up.bias));
    let inner = seen(Probe::GeluOutput, inner.map(|_, v| gelu(v)));
    let output = seen(Probe::FeedForward, inner.affine(&w.down.weight, &w.down.bias));
    norm(&w.norm2, &seen(Probe::Residual2, output.plus(&x1)), eps)
}

/// `x / 2 * (1 + erf(x / sqrt 2))`.
pub(crate) fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

/// `q k^T / sqrt(size)` of one head.
fn scores(q: &Tensor, k: &Tensor, head: usize, size: usize) -> Tensor {
    let scale = 1.0 / (size as f64).sqrt();
    Tensor::from_fn(q.rows(), k.rows(), |i, j| {
        let (q, k) = (&q.row(i)[head * size..][..size], &k.row(j)[head * size..][..size]);
        q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() * scale
    })
}

/// Softmax of each row of scores, times the values of its head, into that head's columns of `out`.
fn attend(scores: &Tensor, v: &Tensor, head: usize, out: &mut Tensor, size: usize) {
    for query in 0..scores.rows() {
        let row = scores.row(query);
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = row.iter().map(|s| (s - max).exp()).collect();
        let total: f64 = weights.iter().sum();
        let target = &mut out.row_mut(query)[head * size..][..size];
        for (key, weight) in weights.iter().enumerate() {
            let value = &v.row(key)[head * size..][..size];
            target.iter_mut().zip(value).for_each(|(o, v)| *o += weight / total * v);
        }
    }
}

/// LayerNorm of every row: `(x - mean) / sqrt(var + eps) * gamma + beta`.
pub(crate) fn norm(p: &Norm, x: &Tensor, eps: f64) -> Tensor {
    let mut out = x.clone();
    for r in 0..x.rows() {
        let (mean, variance) = moments(x.row(r));
        let inverse = 1.0 / (variance + eps).sqrt();
        for ((v, g), b) in out.row_mut(r).iter_mut().zip(&p.gamma).zip(&p.beta) {
            *v = (*v - mean) * inverse * g + b;
        }
    }
    out
}

/// Mean and variance of a row.
pub(crate) fn moments(row: &[f64]) -> (f64, f64) {
    let n = row.len() as f64;
    let mean = row.iter().sum::<f64>() / n;
    (mean, row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n)
}
