//! A small encoder with made-up weights, its exact meaning, and constants fitted to it.

use aegis_circuits::{chebyshev, goldschmidt};
use aegis_nn::{
    Affine, Bounds, Calibration, EncoderWeights, ExpPolynomial, GeluCalibration, InverseCalibration,
    LayerCalibration, LayerWeights, Layout, Norm, NormCalibration, SoftmaxCalibration, Tensor, TokenZero,
};
use aegis_testing::Numbers;

use crate::support::Matrices;

/// Sums in `[smallest, 1]` are inverted to this.
const TOLERANCE: f64 = 1e-3;

/// A smooth activation; the polynomials are fitted to it, so that any one serves.
fn activation(x: f64) -> f64 {
    x / (1.0 + (-1.702 * x).exp())
}

fn affine(numbers: &mut Numbers, inputs: usize, outputs: usize, size: f64) -> Affine {
    let size = size / (inputs as f64).sqrt();
    Affine { weight: numbers.tensor(inputs, outputs, size), bias: numbers.vector(outputs, 0.3) }
}

fn norm(numbers: &mut Numbers, width: usize) -> Norm {
    let gamma = numbers.vector(width, 0.3).iter().map(|v| v + 1.0).collect();
    Norm { gamma, beta: numbers.vector(width, 0.3) }
}

pub(crate) fn weights(layout: &Layout, layers: usize, seed: u64) -> EncoderWeights {
    let (d, f, mut numbers) = (layout.width(), layout.intermediate(), Numbers::new(seed));
    let n = &mut numbers;
    let mut layer = || LayerWeights {
        query: affine(n, d, d, 2.0),
        key: affine(n, d, d, 2.0),
        value: affine(n, d, d, 1.5),
        output: affine(n, d, d, 1.5),
        norm1: norm(n, d),
        up: affine(n, d, f, 1.5),
        down: affine(n, f, d, 1.5),
        norm2: norm(n, d),
    };
    EncoderWeights { layers: (0..layers).map(|_| layer()).collect() }
}

/// The smallest and largest value seen.
#[derive(Clone, Copy)]
struct Seen(f64, f64);

impl Seen {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        values.into_iter().fold(Self(f64::INFINITY, f64::NEG_INFINITY), |s, v| Self(s.0.min(v), s.1.max(v)))
    }

    /// Wider by a tenth of its width on both sides.
    fn widened(self) -> (f64, f64) {
        let margin = 0.1 * (self.1 - self.0) + 0.05;
        (self.0 - margin, self.1 + margin)
    }
}

fn exact_norm(x: &Tensor, w: &Norm) -> (Tensor, Vec<f64>) {
    let n = x.cols() as f64;
    let mean = |t: usize| x.row(t).iter().sum::<f64>() / n;
    let variance = |t: usize| x.row(t).iter().map(|v| (v - mean(t)).powi(2)).sum::<f64>() / n;
    let y = Tensor::from_fn(x.rows(), x.cols(), |t, c| {
        (x.at(t, c) - mean(t)) / variance(t).sqrt() * w.gamma[c] + w.beta[c]
    });
    (y, (0..x.rows()).map(variance).collect())
}

/// What exact attention saw.
struct Attended {
    context: Tensor,
    scores: Seen,
    row_constant: Vec<f64>,
    smallest_sum: f64,
}

/// A shift of the keys: it changes no probability, and the constants of rows must follow it.
fn delta(head: usize, coordinate: usize) -> f64 {
    0.05 * (head as f64 - coordinate as f64)
}

fn exact_attention(layout: &Layout, q: &Tensor, k: &Tensor, v: &Tensor) -> Attended {
    let (rows, g) = (q.rows(), layout.head_dim());
    let score = |h: usize, t: usize, key: usize| {
        let shifted = |c: usize| k.at(key, h * g + c) - 2.0 * delta(h, c);
        (0..g).map(|c| q.at(t, h * g + c) * shifted(c)).sum::<f64>() / (g as f64).sqrt()
    };
    let mut context = Tensor::zeros(rows, layout.width());
    let (mut row_constant, mut all_scores, mut smallest_sum) = (vec![], vec![], 1.0f64);
    for h in 0..layout.heads() {
        let half_sum = |t: usize| (0..rows).map(|key| (0.5 * score(h, t, key)).exp()).sum::<f64>();
        let sums: Vec<f64> = (0..rows).map(half_sum).collect();
        let shift = Seen::of(sums.iter().copied()).1.ln() + 0.3;
        row_constant.push(shift - (rows as f64).ln());
        smallest_sum = sums.iter().fold(smallest_sum, |m, s| m.min(s * (-shift).exp()));
        for t in 0..rows {
            all_scores.extend((0..rows).map(|key| 0.5 * score(h, t, key) - shift));
            let weights: Vec<f64> = (0..rows).map(|key| score(h, t, key).exp()).collect();
            let total: f64 = weights.iter().sum();
            for c in h * g..(h + 1) * g {
                *context.at_mut(t, c) = (0..rows).map(|key| weights[key] * v.at(key, c)).sum::<f64>() / total;
            }
        }
    }
    Attended { context, scores: Seen::of(all_scores), row_constant, smallest_sum }
}

/// Constants for a softmax that saw these values.
fn softmax_constants(layout: &Layout, seen: &Attended) -> SoftmaxCalibration {
    let (a, b) = ((seen.scores.0 - 1.0) / 4.0, 0.1);
    let eps = seen.smallest_sum * 0.8;
    let deltas = |h: usize| (0..layout.head_dim()).map(|c| delta(h, c)).collect();
    SoftmaxCalibration {
        normalize_and_square_rounds: 1,
        score_scale: 0.5,
        key_bias_offset_delta: (0..layout.heads()).map(deltas).collect(),
        row_constant: seen.row_constant.clone(),
        exp_poly: ExpPolynomial { cheb: chebyshev::interpolate(f64::exp, 7, (a, b)), a, b, squarings: 2 },
        inv0: InverseCalibration { eps, schedule: goldschmidt::schedule(eps, TOLERANCE) },
        inv_next: [16, 64, 256].map(|n| (n, goldschmidt::schedule(f64::from(n).recip(), TOLERANCE))).into(),
    }
}

/// Constants for a LayerNorm that saw these variances.
fn norm_constants(variances: &[f64], first: f64) -> NormCalibration {
    let scaled = variances.iter().enumerate().map(|(t, v)| if t == 0 { v * first * first } else { *v });
    let seen = Seen::of(scaled);
    let range = (seen.0 * 0.8, seen.1 * 1.2);
    NormCalibration {
        var_range: range,
        cheb: chebyshev::interpolate(|v| v.sqrt().recip(), 15, range),
        token0_scale: first,
    }
}

/// One exact layer, and constants for the values it saw.
fn exact_layer(layout: &Layout, w: &LayerWeights, x: &Tensor, index: usize) -> (Tensor, LayerCalibration) {
    let map = |x: &Tensor, a: &Affine| x.affine(&a.weight, &a.bias);
    let (q, k, v) = (map(x, &w.query), map(x, &w.key), map(x, &w.value));
    let attended = exact_attention(layout, &q, &k, &v);
    let r1 = x.plus(&map(&attended.context, &w.output));
    let (x1, var1) = exact_norm(&r1, &w.norm1);
    let inner = map(&x1, &w.up);
    let active = inner.map(|_, v| activation(v));
    let r2 = x1.plus(&map(&active, &w.down));
    let (y, var2) = exact_norm(&r2, &w.norm2);

    let others = Seen::of((1..x.rows()).flat_map(|t| inner.row(t).to_vec())).widened();
    let first = Seen::of(inner.row(0).to_vec()).widened();
    let largest = |t: &Tensor| 1.25 * t.max_abs();
    let constants = LayerCalibration {
        layer: index,
        softmax: softmax_constants(layout, &attended),
        ln1: norm_constants(&var1, 1.0),
        ln2: norm_constants(&var2, 0.5),
        gelu: GeluCalibration {
            range: others,
            cheb: chebyshev::interpolate(activation, 15, others),
            token0: TokenZero { range: first, cheb: chebyshev::interpolate(activation, 15, first) },
        },
        residual_bound: largest(&r2),
        bounds: Bounds {
            input: largest(x).max(largest(&y)),
            query_key: largest(&q.beside(&k)),
            context: largest(&v),
            residual1: largest(&r1),
            norm1: 2.0 * largest(&x1),
            gelu: largest(&active),
            feed_forward: largest(&r2) + largest(&x1),
        },
    };
    (y, constants)
}

/// The exact encoder on `x`, and constants that hold for it.
pub(crate) fn exact(layout: &Layout, weights: &EncoderWeights, x: &Tensor) -> (Tensor, Calibration) {
    let (mut x, mut layers) = (x.clone(), vec![]);
    for (i, w) in weights.layers.iter().enumerate() {
        let (y, constants) = exact_layer(layout, w, &x, i);
        layers.push(constants);
        x = y;
    }
    (x, Calibration { name: "tiny".into(), model: "tiny".into(), layers })
}
