//! The constants of a model's approximations: polynomials, ranges, inverse schedules. One file belongs to
//! one model.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::{BadConstant, Error, Result};

/// Calibrated constants of a whole encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Name of the set of constants.
    pub name: String,
    /// The model they belong to.
    pub model: String,
    /// One entry a layer.
    pub layers: Vec<LayerCalibration>,
}

/// Calibrated constants of one encoder layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerCalibration {
    /// Index of the layer.
    pub layer: usize,
    /// Attention probabilities.
    pub softmax: SoftmaxCalibration,
    /// LayerNorm after attention.
    pub ln1: NormCalibration,
    /// LayerNorm after the feed-forward network.
    pub ln2: NormCalibration,
    /// The activation of the feed-forward network.
    pub gelu: GeluCalibration,
    /// Largest residual before `ln2`, token 0 scaled.
    #[serde(rename = "residual_bound_after_token0_scale")]
    pub residual_bound: f64,
    /// Largest magnitudes of the values that may be bootstrapped.
    pub bounds: Bounds,
}

/// Largest magnitude of each kind of value, as measured on the calibration texts and widened by a quarter;
/// the error of a bootstrap is relative to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Input and output of a layer.
    pub input: f64,
    /// Query and key, key bias included.
    pub query_key: f64,
    /// Values and attention context.
    pub context: f64,
    /// Residual before the first LayerNorm.
    pub residual1: f64,
    /// Output of the first LayerNorm.
    pub norm1: f64,
    /// Output of the activation.
    pub gelu: f64,
    /// Output of the feed-forward network's second matrix.
    pub feed_forward: f64,
}

/// A polynomial in Chebyshev form on `[a, b]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpPolynomial {
    /// Chebyshev coefficients on `[a, b]`.
    pub cheb: Vec<f64>,
    /// Lower end.
    pub a: f64,
    /// Upper end.
    pub b: f64,
    /// How often the result is squared: the polynomial approximates `exp(x)` at `x = score / 2^squarings`.
    pub squarings: u32,
}

/// A schedule of factors for the Goldschmidt inverse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InverseCalibration {
    /// Smallest sum the schedule is right for; the largest is 1.
    pub eps: f64,
    /// One factor a step.
    pub schedule: Vec<f64>,
}

/// Softmax by normalize-and-square: `exp(s / 2^k)` normalized and squared `k` times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SoftmaxCalibration {
    /// k.
    #[serde(rename = "normalise_and_square_rounds")]
    pub normalize_and_square_rounds: u32,
    /// `2^-k`, by which scores are multiplied.
    pub score_scale: f64,
    /// For each head what is subtracted from the keys (after `score_scale`): it shifts rows and changes no
    /// probability.
    pub key_bias_offset_delta: Vec<Vec<f64>>,
    /// For each head what is subtracted from its scores, with log n.
    pub row_constant: Vec<f64>,
    /// The exponential.
    pub exp_poly: ExpPolynomial,
    /// The inverse of the first sum.
    pub inv0: InverseCalibration,
    /// Schedules of the later inverses by largest number of tokens: their sums lie in `[1/n, 1]`.
    pub inv_next: BTreeMap<u32, Vec<f64>>,
}

impl SoftmaxCalibration {
    /// The schedule for sums over at most `tokens` tokens.
    pub fn next_schedule(&self, tokens: usize) -> Result<&[f64]> {
        let fits = self.inv_next.iter().find(|(n, _)| **n as usize >= tokens);
        fits.map(|(_, schedule)| schedule.as_slice()).ok_or_else(|| Error::Calibration {
            place: "softmax.inv_next".into(),
            fault: BadConstant::NoSchedule { tokens },
        })
    }
}

/// The inverse square root of LayerNorm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NormCalibration {
    /// Range of the variance.
    pub var_range: (f64, f64),
    /// Chebyshev coefficients of `1/sqrt` on the range.
    pub cheb: Vec<f64>,
    /// Factor on token 0 ahead of the normalization, which LayerNorm cancels: CLS has a variance far above
    /// the others'.
    pub token0_scale: f64,
}

/// The activation: a polynomial for all tokens but the first, and one for the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeluCalibration {
    /// Range of the input, tokens after the first.
    pub range: (f64, f64),
    /// Chebyshev coefficients on the range.
    pub cheb: Vec<f64>,
    /// Token 0.
    pub token0: TokenZero,
}

/// The activation of token 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenZero {
    /// Range of its input.
    pub range: (f64, f64),
    /// Chebyshev coefficients on the range, as many as for the others.
    pub cheb: Vec<f64>,
}

impl Calibration {
    /// Checks that every constant is finite and makes sense, and that the file is for this model: its name
    /// (unless `model` is `None`), number of layers, heads and head dimension.
    pub fn validate(&self, model: Option<&str>, layers: usize, heads: usize, head_dim: usize) -> Result<()> {
        let fail = |place: &str, fault| Err(Error::Calibration { place: place.into(), fault });
        if let Some(model) = model
            && self.model != model
        {
            let (have, want) = (self.model.clone(), model.to_owned());
            return fail("model", BadConstant::OtherModel { have, want });
        }
        check_count(self.layers.len(), layers..=layers, "layers").or_else(|(place, why)| fail(place, why))?;
        for (entry, layer) in self.layers.iter().enumerate() {
            if layer.layer != entry {
                return fail("layers", BadConstant::Order { entry, layer: layer.layer });
            }
            let named = |(place, why)| fail(&format!("layer {entry}, {place}"), why);
            layer.check(heads, head_dim).or_else(named)?;
        }
        Ok(())
    }
}

type Checked = std::result::Result<(), (&'static str, BadConstant)>;

fn ensure(holds: bool, place: &'static str, fault: BadConstant) -> Checked {
    if holds { Ok(()) } else { Err((place, fault)) }
}

fn check_range((low, high): (f64, f64), place: &'static str) -> Checked {
    // `abs` also refuses infinities and NaN, whose comparison fails.
    let holds = low < high && low.abs() < 1e6 && high.abs() < 1e6;
    ensure(holds, place, BadConstant::Range { low, high })
}

fn check_count(have: usize, range: RangeInclusive<usize>, place: &'static str) -> Checked {
    let (&min, &max) = (range.start(), range.end());
    ensure(range.contains(&have), place, BadConstant::Count { have, min, max })
}

/// All values lie strictly between two others; NaN does not.
fn check_numbers<'a>(
    values: impl IntoIterator<Item = &'a f64>,
    (low, high): (f64, f64),
    place: &'static str,
) -> Checked {
    match values.into_iter().find(|&&v| !(low < v && v < high)) {
        Some(&value) => Err((place, BadConstant::Number { value, low, high })),
        None => Ok(()),
    }
}

fn check_coefficients(c: &[f64], place: &'static str) -> Checked {
    check_count(c.len(), 2..=256, place)?;
    check_numbers(c, (-1e6, 1e6), place)
}

fn check_schedule(schedule: &[f64], place: &'static str) -> Checked {
    check_count(schedule.len(), 1..=32, place)?;
    // k = 2/(1 + e) for an error e in [0, 1): anything else diverges.
    let (low, high) = (1.0, 2.0);
    match schedule.iter().find(|k| !(low..=high).contains(*k)) {
        Some(&value) => Err((place, BadConstant::Number { value, low, high })),
        None => Ok(()),
    }
}

impl LayerCalibration {
    fn check(&self, heads: usize, head_dim: usize) -> Checked {
        self.softmax.check(heads, head_dim)?;
        for (norm, place) in [(&self.ln1, "ln1"), (&self.ln2, "ln2")] {
            check_range(norm.var_range, place)?;
            check_numbers([&norm.var_range.0], (0.0, 1e6), place)?;
            check_coefficients(&norm.cheb, place)?;
            check_numbers([&norm.token0_scale], (1e-3, 1e3), place)?;
        }
        let gelu = &self.gelu;
        check_range(gelu.range, "gelu.range")?;
        check_range(gelu.token0.range, "gelu.token0.range")?;
        check_coefficients(&gelu.cheb, "gelu.cheb")?;
        check_coefficients(&gelu.token0.cheb, "gelu.token0.cheb")?;
        let b = &self.bounds;
        let bounds = [
            self.residual_bound,
            b.input,
            b.query_key,
            b.context,
            b.residual1,
            b.norm1,
            b.gelu,
            b.feed_forward,
        ];
        check_numbers(&bounds, (0.0, 1e6), "bounds")
    }
}

impl SoftmaxCalibration {
    fn check(&self, heads: usize, head_dim: usize) -> Checked {
        let exp = &self.exp_poly;
        check_range((exp.a, exp.b), "softmax.exp_poly")?;
        check_coefficients(&exp.cheb, "softmax.exp_poly.cheb")?;
        check_count(exp.squarings as usize, 0..=8, "softmax.exp_poly.squarings")?;
        let rounds = self.normalize_and_square_rounds;
        check_count(rounds as usize, 0..=4, "softmax.normalize_and_square_rounds")?;
        let (have, want) = (self.score_scale, 0.5f64.powi(rounds as i32));
        ensure((have - want).abs() < 1e-12, "softmax.score_scale", BadConstant::Fixed { have, want })?;
        let (deltas, rows) = (&self.key_bias_offset_delta, &self.row_constant);
        check_count(rows.len(), heads..=heads, "softmax.row_constant")?;
        check_count(deltas.len(), heads..=heads, "softmax.key_bias_offset_delta")?;
        for delta in deltas {
            check_count(delta.len(), head_dim..=head_dim, "softmax.key_bias_offset_delta")?;
        }
        check_numbers(rows.iter().chain(deltas.iter().flatten()), (-1e4, 1e4), "softmax")?;
        check_numbers([&self.inv0.eps], (0.0, 1.0), "softmax.inv0")?;
        check_schedule(&self.inv0.schedule, "softmax.inv0")?;
        self.inv_next.values().try_for_each(|s| check_schedule(s, "softmax.inv_next"))
    }
}
