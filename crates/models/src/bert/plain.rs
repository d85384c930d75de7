//! The exact encoder in `f64`: what the encrypted one is compared with.

use super::config::Config;
use super::weights::{LayerWeights, Linear, Norm};

/// Rows of `columns` values, row-major.
type Rows = Vec<f64>;

/// The last hidden states of `tokens` rows of `config.hidden` values.
///
/// Exact softmax, erf GELU and LayerNorm; no padding. Cost: about 2 x parameters x tokens operations.
pub(crate) fn encode(config: &Config, layers: &[LayerWeights], hidden: &[f64]) -> Rows {
    layers.iter().fold(hidden.to_vec(), |x, layer| encode_layer(config, layer, &x))
}

fn encode_layer(config: &Config, w: &LayerWeights, x: &[f64]) -> Rows {
    let (d, f, eps) = (config.hidden, config.intermediate, config.layer_norm_eps);
    let (q, k, v) = (linear(&w.query, x, d), linear(&w.key, x, d), linear(&w.value, x, d));
    let context = attention(&q, &k, &v, config.heads, d);
    let mut sum = linear(&w.attention_output, &context, d);
    add(&mut sum, x);
    let x1 = norm(&w.attention_norm, sum, eps);
    let mut inner = linear(&w.intermediate, &x1, d);
    inner.iter_mut().for_each(|v| *v = gelu(*v));
    let mut sum = linear(&w.output, &inner, f);
    add(&mut sum, &x1);
    norm(&w.output_norm, sum, eps)
}

/// `x / 2 * (1 + erf(x / sqrt 2))`.
fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

fn linear(map: &Linear, x: &[f64], inputs: usize) -> Rows {
    let mut y = Vec::with_capacity(x.len() / inputs * map.bias.len());
    for row in x.chunks_exact(inputs) {
        y.extend(map.weight.chunks_exact(inputs).zip(&map.bias).map(|(w, b)| dot(w, row) + b));
    }
    y
}

/// Four running sums, so that the additions do not wait for each other.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a4, a_rest) = a.as_chunks::<4>();
    let (b4, b_rest) = b.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (a, b) in a4.iter().zip(b4) {
        for i in 0..4 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

/// Softmax(q k^T / sqrt(d/heads)) v, head by head.
fn attention(q: &[f64], k: &[f64], v: &[f64], heads: usize, d: usize) -> Rows {
    let (tokens, size) = (q.len() / d, d / heads);
    let mut out = vec![0.0; q.len()];
    for head in (0..d).step_by(size) {
        for i in 0..tokens {
            let at = |m: &[f64], token: usize| token * d + head..token * d + head + m.len().min(size);
            let query = &q[at(q, i)];
            let scores: Vec<f64> =
                (0..tokens).map(|j| dot(query, &k[at(k, j)]) / (size as f64).sqrt()).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (j, weight) in weights.iter().enumerate() {
                let target = &mut out[i * d + head..i * d + head + size];
                target.iter_mut().zip(&v[at(v, j)]).for_each(|(o, v)| *o += weight / total * v);
            }
        }
    }
    out
}

/// LayerNorm of every row: `(x - mean) / sqrt(var + eps) * gamma + beta`.
pub(crate) fn norm(p: &Norm, mut x: Rows, eps: f64) -> Rows {
    let d = p.gamma.len();
    for row in x.chunks_exact_mut(d) {
        let mean = row.iter().sum::<f64>() / d as f64;
        let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / d as f64;
        let inverse = 1.0 / (variance + eps).sqrt();
        for ((v, g), b) in row.iter_mut().zip(&p.gamma).zip(&p.beta) {
            *v = (*v - mean) * inverse * g + b;
        }
    }
    x
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
