//! What constants must fulfil: counts and ranges of the model, and approximations that approximate.

use aegis_nn::calibration::{ExpPolynomial, LayerCalibration, NormCalibration};
use aegis_nn::{BadConstant, chebyshev, goldschmidt, largest};

use super::Calibration;
use crate::bert::Bert;
use crate::bert::encoder;
use crate::error::Result;

impl Bert {
    /// Checks constants that come from elsewhere against this model: lengths, counts, ranges, and that every
    /// polynomial and schedule approximates its function at all.
    ///
    /// # Errors
    /// [`aegis_nn::Error::Calibration`].
    pub fn check_constants(&self, calibration: &Calibration) -> Result<()> {
        let (c, constants) = (self.config(), &calibration.constants);
        let (have, max) = (calibration.tokens, c.positions);
        if have == 0 || have > max {
            let fault = BadConstant::Count { have, min: 1, max };
            return Err(aegis_nn::Error::Calibration { place: "tokens".into(), fault }.into());
        }
        constants.validate(None, c.layers, c.heads, c.head_size())?;
        for (i, layer) in constants.layers.iter().enumerate() {
            check_meaning(layer).map_err(|(place, fault)| {
                let place = format!("layer {i}, {place}");
                aegis_nn::Error::Calibration { place, fault }
            })?;
        }
        Ok(())
    }
}

type Checked = std::result::Result<(), (&'static str, BadConstant)>;

/// Points at which an approximation is compared with its function; more than twice the largest degree in use
/// (63).
const POINTS: u32 = 257;

/// Compares every approximation with its function.
///
/// The limits refuse constants of something else, not coarse ones. The worst layers of the committed sets
/// come to 0.052 (GELU), 0.010 (1/sqrt), 0.017 (exp) and 0.003 (inverse).
pub(super) fn check_meaning(layer: &LayerCalibration) -> Checked {
    let softmax = &layer.softmax;
    exponential(&softmax.exp_poly)?;
    // The smallest sums are rare, and what the first inverse leaves undone a later one does, where there is one.
    let (low, limit) = match softmax.normalize_and_square_rounds {
        0 => (softmax.inv0.eps, 0.1),
        _ => (softmax.inv0.eps.sqrt(), 0.25),
    };
    inverse("softmax.inv0", &softmax.inv0.schedule, low, limit)?;
    for (&tokens, schedule) in &softmax.inv_next {
        inverse("softmax.inv_next", schedule, 1.0 / f64::from(tokens.max(1)), 0.1)?;
    }
    norm("ln1", &layer.ln1)?;
    norm("ln2", &layer.ln2)?;
    let gelu = &layer.gelu;
    close("gelu", gelu.range, 0.25, |x| chebyshev::evaluate(&gelu.cheb, gelu.range, x) - encoder::gelu(x))?;
    let first = &gelu.token0;
    close("gelu.token0", first.range, 0.25, |x| {
        chebyshev::evaluate(&first.cheb, first.range, x) - encoder::gelu(x)
    })
}

fn exponential(p: &ExpPolynomial) -> Checked {
    close("softmax.exp_poly", (p.a, p.b), 0.1, |x| chebyshev::evaluate(&p.cheb, (p.a, p.b), x) - x.exp())
}

/// Relative error of `1/sqrt` over the range of the variance.
fn norm(place: &'static str, p: &NormCalibration) -> Checked {
    close(place, p.var_range, 0.1, |v| chebyshev::evaluate(&p.cheb, p.var_range, v) * v.sqrt() - 1.0)
}

/// Relative error of the inverse of sums in `low..=1`, spaced by a constant factor.
fn inverse(place: &'static str, schedule: &[f64], low: f64, limit: f64) -> Checked {
    close(place, (low.ln(), 0.0), limit, |log| log.exp() * goldschmidt::plain(log.exp(), schedule) - 1.0)
}

/// Whether `|error(x)|` stays below `limit` at points spread evenly over the range.
fn close(place: &'static str, (low, high): (f64, f64), limit: f64, error: impl Fn(f64) -> f64) -> Checked {
    let at = |i| low + (high - low) * f64::from(i) / f64::from(POINTS - 1);
    let worst = largest((0..POINTS).map(|i| error(at(i))));
    match worst <= limit {
        true => Ok(()),
        false => Err((place, BadConstant::Approximation { error: worst, limit, low, high })),
    }
}
