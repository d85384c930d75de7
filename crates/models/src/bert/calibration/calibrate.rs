//! Making a calibration: ranges of a model on texts, and approximations fitted to them.
//!
//! Texts are run exactly, layer after layer, so that the memory is that of one layer's samples. Ranges get
//! the margins that all-MiniLM-L6-v2 was found to need on texts not calibrated on (variances 0.75 to 1.5 times,
//! GELU inputs 1.25 to 1.5 times, row sums 3 nats above and 1 below, before the scores are divided).

use aegis_nn::calibration::{
    Bounds, ExpPolynomial, GeluCalibration, InverseCalibration, LayerCalibration, NormCalibration,
    SoftmaxCalibration, TokenZero,
};
use aegis_nn::{Tensor, goldschmidt};
use rayon::prelude::*;

use super::Calibration;
use super::fit::{minimax, ridge};
use super::samples::{MARGIN, MAX_ROUNDS, Range, Row, Samples};
use crate::bert::encoder::{encode_layer, gelu};
use crate::bert::{Bert, Config};
use crate::error::{Error, Result};
use crate::hf::tokenizer::Tokens;

/// Part of the values, at an end, for which an approximation may be worse than for the others: inputs of GELU, and the
/// smallest row sums.
const TAIL: f64 = 2e-4;
/// Nats kept free above the largest row sum, and below the smallest, before the scores are divided: above 1 an inverse
/// diverges. Other texts went 0.6 beyond at most.
const ROOM: (f64, f64) = (3.0, 1.0);
/// Accuracy of the inverses, relative.
const INVERSE_TOLERANCE: f64 = 1e-3;
/// Steps of the first inverse at most. From 256 tokens on a ninth would cost a bootstrap of every ciphertext of scores:
/// they wait at the level that is left above it.
const FIRST_STEPS: usize = 8;
/// What those steps must bring all but a tail of the row sums to; if they do not, the scores are halved once more. Rows
/// that fall short are normalized again by the next inverse: two schedules that bring the smallest to 0.55 and to 0.90
/// gave equal cosines of all-MiniLM-L6-v2, to 1e-12.
const FIRST_REACHED: f64 = 0.5;

impl Bert {
    /// Constants for this model, fitted to inputs: to ranges of its values, and to the row sums of its scores.
    ///
    /// Give it texts of the kind and of all the lengths that will be encrypted, as
    /// [`calibration_inputs`](Self::calibration_inputs) makes them: 116 texts were too few for all-MiniLM-L6-v2 (1 in 100
    /// others left its ranges), 575 sufficed. The longest is what the calibration covers. Equal inputs give equal
    /// constants, on any number of threads.
    ///
    /// # Errors
    /// [`Error::NoTexts`]; [`Error::Tokens`] for tokens of another model; [`aegis_nn::Error::Calibration`] if the
    /// model's values spread too far for these approximations.
    pub fn calibrate(&self, name: &str, texts: &[Tokens]) -> Result<Calibration> {
        if texts.is_empty() {
            return Err(Error::NoTexts);
        }
        let config = self.config();
        let mut hidden: Vec<Tensor> =
            texts.iter().map(|t| self.embeddings().forward(t)).collect::<Result<_>>()?;
        let mut layers = vec![];
        for (i, weights) in self.layers().iter().enumerate() {
            let run = |x: &mut Tensor| {
                let mut seen = Samples::default();
                seen.bounds.input.add(x.data());
                *x = encode_layer(config, weights, x, &mut |probe, values| seen.see(probe, values));
                seen.bounds.input.add(x.data());
                seen
            };
            let each: Vec<Samples> = hidden.par_iter_mut().map(run).collect();
            let mut samples = Samples::default();
            each.into_iter().for_each(|seen| samples.merge(seen));
            layers.push(samples.fit(i, config));
        }
        let model =
            self.directory().file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let constants = aegis_nn::Calibration { name: name.to_owned(), model, layers };
        let calibration = Calibration { constants, tokens: texts.iter().map(Tokens::len).max().unwrap_or(0) };
        self.check_constants(&calibration)?;
        Ok(calibration)
    }
}

impl Samples {
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
        // The few values far out may be ten times as wrong.
        let core = self.gelu_values.without(TAIL);
        let weight = |x: f64| if core.0 <= x && x <= core.1 { 1.0 } else { 0.1 };
        let token0 = TokenZero { range: first, cheb: minimax(gelu, |_| 1.0, degree, first) };
        GeluCalibration { range, cheb: minimax(gelu, weight, degree, range), token0 }
    }

    fn softmax(&self, config: &Config) -> SoftmaxCalibration {
        let mut shift = self.shift(1, config);
        while shift.first_inverse().1 < FIRST_REACHED && shift.rounds < MAX_ROUNDS {
            shift = self.shift(shift.rounds + 1, config);
        }
        let lengths = (3..).map(|i| 1u32 << i).take_while(|n| *n < 2 * config.positions.max(8) as u32);
        SoftmaxCalibration {
            normalize_and_square_rounds: shift.rounds,
            score_scale: shift.scale(),
            row_constant: shift.constants.iter().map(|c| c + shift.top()).collect(),
            exp_poly: shift.exponential(),
            inv0: shift.first_inverse().0,
            key_bias_offset_delta: shift.deltas,
            inv_next: lengths.map(|n| (n, inverse_schedule(0.8 / f64::from(n)))).collect(),
        }
    }

    /// The key shifts that make the row sums of scores over 2^rounds most alike.
    fn shift(&self, rounds: u32, config: &Config) -> Shift {
        let (size, d) = (config.head_size(), config.width);
        let root = (size as f64).sqrt();
        let scale = 0.5f64.powi(rounds as i32);
        let fit = |(head, rows): (usize, &Vec<Row>)| {
            let queries: Vec<&[f64]> =
                self.queries.chunks_exact(d).map(|q| &q[head * size..][..size]).collect();
            let y: Vec<f64> = rows.iter().map(|r| r.log_mean_exp[rounds as usize - 1]).collect();
            let w = ridge(&queries, &y);
            let product = |q: &[f64]| q.iter().zip(&w).map(|(q, w)| q * w).sum::<f64>();
            let mut rest: Vec<f64> = queries.iter().zip(&y).map(|(q, y)| y - product(q)).collect();
            rest.sort_by(f64::total_cmp);
            let tail = (TAIL * rest.len() as f64) as usize;
            let (least, core, most) = (rest[0], rest[tail], rest[rest.len() - 1]);
            let smallest = queries.iter().zip(rows);
            let lowest = smallest.map(|(q, r)| scale * r.smallest - product(q) - most - r.tokens.ln());
            Shift {
                rounds,
                deltas: vec![w.iter().map(|w| w * root).collect()],
                constants: vec![most],
                width: most - least,
                core: most - core,
                lowest: lowest.fold(0.0, f64::min),
            }
        };
        let heads: Vec<Shift> = self.rows.par_iter().enumerate().map(fit).collect();
        let none = Shift { rounds, deltas: vec![], constants: vec![], width: 0.0, core: 0.0, lowest: 0.0 };
        heads.into_iter().fold(none, Shift::with)
    }
}

/// Subtracted from scores so that row sums come to at most 1.
struct Shift {
    rounds: u32,
    deltas: Vec<Vec<f64>>,
    constants: Vec<f64>,
    /// Nats between the largest and the smallest row sum, worst head.
    width: f64,
    /// The same without the tail of the smallest.
    core: f64,
    /// The smallest score after the shift.
    lowest: f64,
}

impl Shift {
    /// With another head.
    fn with(mut self, head: Self) -> Self {
        self.deltas.extend(head.deltas);
        self.constants.extend(head.constants);
        self.width = self.width.max(head.width);
        self.core = self.core.max(head.core);
        self.lowest = self.lowest.min(head.lowest);
        self
    }

    fn scale(&self) -> f64 {
        0.5f64.powi(self.rounds as i32)
    }

    fn top(&self) -> f64 {
        ROOM.0 * self.scale()
    }

    /// The exponential of shifted scores, by a polynomial of 4 or 3 levels that is squared once or twice: 5 levels.
    fn exponential(&self) -> ExpPolynomial {
        let low = 1.1 * (self.lowest - self.top()) - 1.0;
        // Degree 7 is within 0.8 % of exp(x / 4) down to x = -40, and 3 % down to -56. Degree 15 has two products more.
        let (degree, squarings) = if low > -40.0 { (7, 2) } else { (15, 1) };
        let unit = 0.5f64.powi(squarings as i32);
        let (a, b) = (low * unit, 0.5 * unit);
        // Relative to the exponential down to that of the smallest row sums, relative to theirs below.
        let smallest = (-(self.core + self.top()) * unit).exp();
        let cheb = minimax(f64::exp, |x| 1.0 / x.exp().max(smallest), degree, (a, b));
        ExpPolynomial { cheb, a, b, squarings }
    }

    /// The inverse of the first row sums, and what it brings the smallest but the tail to. It is for sums as small as its
    /// steps reach; the fewer below them come out short.
    fn first_inverse(&self) -> (InverseCalibration, f64) {
        let core = (-(self.core + self.top())).exp();
        let mut schedule = inverse_schedule(core);
        let mut low = core.max(f64::MIN_POSITIVE);
        while schedule.len() > FIRST_STEPS {
            low *= 1.1;
            schedule = inverse_schedule(low);
        }
        let eps = (-(self.width + self.top() + ROOM.1 * self.scale())).exp();
        let reached = core * goldschmidt::plain(core, &schedule);
        (InverseCalibration { eps, schedule }, reached)
    }
}

/// The schedule for sums in `low..=1`. It ends: from zero it would not.
fn inverse_schedule(low: f64) -> Vec<f64> {
    goldschmidt::schedule(low.max(f64::MIN_POSITIVE), INVERSE_TOLERANCE)
}

/// `1 / sqrt` on a widened range, of the degree that its ends' ratio needs: 15 below 25, 31 below 60, else
/// 63.
fn norm(seen: Range, token0_scale: f64) -> NormCalibration {
    let var_range = (0.75 * seen.0.max(1e-6), 1.5 * seen.1.max(2e-6));
    let degree = match var_range.1 / var_range.0 {
        ratio if ratio < 25.0 => 15,
        ratio if ratio < 60.0 => 31,
        _ => 63,
    };
    NormCalibration {
        var_range,
        cheb: minimax(|v| 1.0 / v.sqrt(), f64::sqrt, degree, var_range),
        token0_scale,
    }
}
