//! Making a calibration: ranges of a model on texts, and approximations fitted to them.
//!
//! Texts are run exactly, layer after layer, so that the memory is that of one layer's samples. Ranges get
//! the margins that all-MiniLM-L6-v2 was found to need on texts not calibrated on (variances 0.6 to 2 times,
//! GELU inputs 1.25 to 1.5 times, row sums 5 nats above and 1 below, before the scores are divided).

use aegis_nn::calibration::{
    Bounds, Calibration, ExpPolynomial, GeluCalibration, InverseCalibration, LayerCalibration,
    NormCalibration, SoftmaxCalibration, TokenZero,
};
use aegis_nn::{Tensor, chebyshev, goldschmidt};

use super::fit::ridge;
use crate::bert::encoder::{Probe, encode_layer, gelu, moments};
use crate::bert::{Bert, Config};
use crate::error::{Error, Result};
use crate::hf::tokenizer::Tokens;

/// Bounds of values that may be bootstrapped are widened by this factor.
const MARGIN: f64 = 1.25;
/// The polynomial of the exponential is squared so often.
const SQUARINGS: u32 = 2;
/// Accuracy of the inverses, relative.
const INVERSE_TOLERANCE: f64 = 1e-3;
/// More nats than this between the largest and the smallest row sum, and the scores are halved once more.
const MAX_WIDTH: f64 = 5.5;
/// Halvings tried at most.
const MAX_ROUNDS: u32 = 3;

impl Bert {
    /// Constants for this model, fitted to `texts`.
    ///
    /// Use thousands of texts of the kind and the lengths that will be encrypted: 116 texts were too few for
    /// all-MiniLM-L6-v2 (1 in 100 others left its ranges), 575 sufficed. The polynomials interpolate; the
    /// committed constants of that model, by weighted minimax fits, are better at the same depth.
    ///
    /// # Errors
    /// [`Error::NoTexts`]; [`Error::Tokens`] for tokens of another model; [`aegis_nn::Error::Calibration`] if the
    /// model's values spread too far for these approximations.
    pub fn calibrate(&self, name: &str, texts: &[Tokens]) -> Result<Calibration> {
        if texts.is_empty() {
            return Err(Error::NoTexts);
        }
        let config = self.config();
        let mut hidden = texts.iter().map(|t| self.embeddings().forward(t)).collect::<Result<Vec<_>>>()?;
        let mut layers = vec![];
        for (i, weights) in self.layers().iter().enumerate() {
            let mut samples = Samples::default();
            for x in &mut hidden {
                samples.bounds.input.add(x.data());
                *x = encode_layer(config, weights, x, &mut |probe, values| samples.see(probe, values));
                samples.bounds.input.add(x.data());
            }
            layers.push(samples.fit(i, config));
        }
        let model =
            self.directory().file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let constants = Calibration { name: name.to_owned(), model, layers };
        self.check_constants(&constants)?;
        Ok(constants)
    }
}

/// Smallest and largest value.
#[derive(Clone, Copy)]
struct Range(f64, f64);

impl Default for Range {
    fn default() -> Self {
        Range(f64::INFINITY, f64::NEG_INFINITY)
    }
}

impl Range {
    fn add(&mut self, values: &[f64]) {
        values.iter().for_each(|&v| *self = Range(self.0.min(v), self.1.max(v)));
    }

    /// The magnitude with its margin; at least 1/16, so that a layer of zeros has a bound.
    fn bound(&self) -> f64 {
        (MARGIN * self.0.abs().max(self.1.abs())).clamp(0.0625, f64::MAX)
    }

    /// Lower and upper end moved away from each other. No range is narrower than 1/4: the polynomial needs
    /// one.
    fn widened(&self, factor_low: f64, factor_high: f64) -> (f64, f64) {
        let stretch = |v: f64, factor: f64| if v > 0.0 { v * factor } else { v / factor };
        let (a, b) = (stretch(self.0, 1.0 / factor_low), stretch(self.1, factor_high));
        if b - a < 0.25 { ((a + b) / 2.0 - 0.125, (a + b) / 2.0 + 0.125) } else { (a, b) }
    }
}

/// Ranges of the values that may be bootstrapped.
#[derive(Default)]
struct Seen {
    input: Range,
    query_key: Range,
    context: Range,
    residual1: Range,
}

/// What is kept of one layer's values on all texts.
#[derive(Default)]
struct Samples {
    bounds: Seen,
    /// Queries of all tokens, whole rows.
    queries: Vec<f64>,
    /// For every head, of every token: the row of scores reduced to its smallest, and log mean exp of it over
    /// 2^k for each k.
    rows: Vec<Vec<Row>>,
    variance1: Range,
    /// Variances ahead of the second LayerNorm, token 0 and the others.
    variance2: [Vec<f64>; 2],
    /// Largest magnitudes ahead of the second LayerNorm, token 0 and the others.
    residual2: [f64; 2],
    gelu_output: [f64; 2],
    feed_forward: [f64; 2],
    gelu_input: [Range; 2],
    /// Largest magnitudes after the first LayerNorm, token 0 and the others.
    norm1: [f64; 2],
}

/// One query's scores.
struct Row {
    smallest: f64,
    tokens: f64,
    /// `log(mean(exp(s / 2^k)))` for k = 1, 2, ...
    log_mean_exp: [f64; MAX_ROUNDS as usize],
}

impl Samples {
    fn see(&mut self, probe: Probe, x: &Tensor) {
        let (first, others) = x.data().split_at(x.cols());
        let magnitude = |part: &[f64], m: f64| part.iter().fold(m, |m, v| m.max(v.abs()));
        let grow = |[a, b]: [f64; 2]| [magnitude(first, a), magnitude(others, b)];
        match probe {
            Probe::Query => {
                self.queries.extend_from_slice(x.data());
                self.bounds.query_key.add(x.data());
            }
            Probe::Key => self.bounds.query_key.add(x.data()),
            Probe::Value | Probe::Context => self.bounds.context.add(x.data()),
            Probe::Scores(head) => self.see_scores(head, x),
            Probe::Residual1 => {
                self.bounds.residual1.add(x.data());
                (0..x.rows()).for_each(|r| self.variance1.add(&[moments(x.row(r)).1]));
            }
            Probe::Norm1 => self.norm1 = grow(self.norm1),
            Probe::GeluInput => {
                self.gelu_input[0].add(first);
                self.gelu_input[1].add(others);
            }
            Probe::GeluOutput => self.gelu_output = grow(self.gelu_output),
            Probe::FeedForward => self.feed_forward = grow(self.feed_forward),
            Probe::Residual2 => {
                self.residual2 = grow(self.residual2);
                (0..x.rows()).for_each(|r| self.variance2[r.min(1)].push(moments(x.row(r)).1));
            }
        }
    }

    fn see_scores(&mut self, head: usize, scores: &Tensor) {
        if self.rows.len() <= head {
            self.rows.resize_with(head + 1, Vec::new);
        }
        let tokens = scores.cols() as f64;
        for row in (0..scores.rows()).map(|r| scores.row(r)) {
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_mean_exp = std::array::from_fn(|k| {
                let f = 0.5f64.powi(k as i32 + 1);
                let sum: f64 = row.iter().map(|s| (f * (s - max)).exp()).sum();
                f * max + (sum / tokens).ln()
            });
            let smallest = row.iter().copied().fold(f64::INFINITY, f64::min);
            self.rows[head].push(Row { smallest, tokens, log_mean_exp });
        }
    }

    fn fit(&self, layer: usize, config: &Config) -> LayerCalibration {
        let scale = self.token0_scale();
        let scaled = |[first, others]: [f64; 2]| MARGIN * (scale * first).max(others);
        let mut variance2 = Range::default();
        variance2.add(&self.variance2[1]);
        variance2.add(&self.variance2[0].iter().map(|v| v * scale * scale).collect::<Vec<_>>());
        let seen = &self.bounds;
        let gelu = self.gelu();
        // The encoder multiplies row 0 so that the activation's two ranges coincide.
        let width = |(a, b): (f64, f64)| b - a;
        let onto_others = width(gelu.range) / width(gelu.token0.range);
        LayerCalibration {
            layer,
            ln1: norm(self.variance1, 1.0),
            ln2: norm(variance2, scale),
            gelu,
            residual_bound: scaled(self.residual2),
            bounds: Bounds {
                input: seen.input.bound(),
                query_key: seen.query_key.bound(),
                context: seen.context.bound(),
                residual1: seen.residual1.bound(),
                norm1: MARGIN * self.norm1[1].max(self.norm1[0] * scale.max(onto_others)),
                gelu: scaled(self.gelu_output),
                feed_forward: scaled(self.feed_forward),
            },
            softmax: self.softmax(config),
        }
    }

    /// 1, or what brings the variance of token 0 to that of the others where it is ten times theirs: \[CLS\]
    /// carries a feature a hundred times the rest in many BERT models.
    fn token0_scale(&self) -> f64 {
        let median = |values: &[f64]| {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted.get(sorted.len() / 2).copied()
        };
        match (median(&self.variance2[0]), median(&self.variance2[1])) {
            (Some(first), Some(others)) if first > 10.0 * others => (others / first).sqrt(),
            _ => 1.0,
        }
    }

    fn gelu(&self) -> GeluCalibration {
        // A model that has only seen one-token texts has no others.
        let others = if self.gelu_input[1].0.is_finite() { self.gelu_input[1] } else { self.gelu_input[0] };
        let (range, first) = (others.widened(1.25, 1.5), self.gelu_input[0].widened(1.1, 1.1));
        let width = (range.1 - range.0).max(first.1 - first.0);
        // Degree 31 reaches 0.003 on an interval of width 20, 47 on one of 30 (measured on all-MiniLM-L6-v2).
        let degree = if width < 20.0 { 31 } else { 47 };
        let token0 = TokenZero { range: first, cheb: chebyshev::interpolate(gelu, degree, first) };
        GeluCalibration { range, cheb: chebyshev::interpolate(gelu, degree, range), token0 }
    }

    fn softmax(&self, config: &Config) -> SoftmaxCalibration {
        let shifts = (1..=MAX_ROUNDS).map(|k| self.shift(k, config));
        let mut best = None;
        for shift in shifts {
            let enough = shift.width < MAX_WIDTH;
            best = Some(shift);
            if enough {
                break;
            }
        }
        let Some(shift) = best else { unreachable!("at least one round is tried") };
        let scale = 0.5f64.powi(shift.rounds as i32);
        let (top, bottom) = (5.0 * scale, scale);
        let eps = (-(shift.width + top + bottom)).exp();
        let low = 1.15 * (shift.lowest - top) - 2.0;
        let unit = 0.5f64.powi(SQUARINGS as i32);
        let range = (low * unit, 0.5 * unit);
        let degree = if low > -24.0 { 7 } else { 15 };
        let lengths = (3..).map(|i| 1u32 << i).take_while(|n| *n < 2 * config.positions.max(8) as u32);
        SoftmaxCalibration {
            normalize_and_square_rounds: shift.rounds,
            score_scale: scale,
            row_constant: shift.constants.iter().map(|c| c + top).collect(),
            key_bias_offset_delta: shift.deltas,
            exp_poly: ExpPolynomial {
                cheb: chebyshev::interpolate(f64::exp, degree, range),
                a: range.0,
                b: range.1,
                squarings: SQUARINGS,
            },
            inv0: InverseCalibration { eps, schedule: goldschmidt::schedule(eps, INVERSE_TOLERANCE) },
            inv_next: lengths
                .map(|n| (n, goldschmidt::schedule(0.8 / f64::from(n), INVERSE_TOLERANCE)))
                .collect(),
        }
    }

    /// The key shifts that make the row sums of scores over 2^rounds most alike.
    fn shift(&self, rounds: u32, config: &Config) -> Shift {
        let (size, d) = (config.head_size(), config.width);
        let root = (size as f64).sqrt();
        let scale = 0.5f64.powi(rounds as i32);
        let mut shift = Shift { rounds, deltas: vec![], constants: vec![], width: 0.0, lowest: 0.0 };
        for (head, rows) in self.rows.iter().enumerate() {
            let queries: Vec<&[f64]> =
                self.queries.chunks_exact(d).map(|q| &q[head * size..][..size]).collect();
            let y: Vec<f64> = rows.iter().map(|r| r.log_mean_exp[rounds as usize - 1]).collect();
            let w = ridge(&queries, &y);
            let product = |q: &[f64]| q.iter().zip(&w).map(|(q, w)| q * w).sum::<f64>();
            let mut rest = Range::default();
            queries.iter().zip(&y).for_each(|(q, y)| rest.add(&[y - product(q)]));
            let lowest = queries
                .iter()
                .zip(rows)
                .map(|(q, r)| scale * r.smallest - product(q) - rest.1 - r.tokens.ln());
            shift.lowest = lowest.fold(shift.lowest, f64::min);
            shift.width = shift.width.max(rest.1 - rest.0);
            shift.constants.push(rest.1);
            shift.deltas.push(w.iter().map(|w| w * root).collect());
        }
        shift
    }
}

/// Subtracted from scores so that row sums come to at most 1.
struct Shift {
    rounds: u32,
    deltas: Vec<Vec<f64>>,
    constants: Vec<f64>,
    /// Nats between the largest and the smallest row sum, worst head.
    width: f64,
    /// The smallest score after the shift.
    lowest: f64,
}

/// `1 / sqrt` on a widened range, of the degree that its ends' ratio needs: 15 below 25, 31 below 60, else
/// 63.
fn norm(seen: Range, token0_scale: f64) -> NormCalibration {
    let var_range = (0.6 * seen.0.max(1e-6), 2.0 * seen.1.max(2e-6));
    let degree = match var_range.1 / var_range.0 {
        ratio if ratio < 25.0 => 15,
        ratio if ratio < 60.0 => 31,
        _ => 63,
    };
    NormCalibration {
        var_range,
        cheb: chebyshev::interpolate(|v| 1.0 / v.sqrt(), degree, var_range),
        token0_scale,
    }
}
