//! The calibration file beside a model: the constants of its approximations, tied to its weights and checked
//! for their meaning.

use std::path::Path;

use aegis_nn::calibration::{Calibration, ExpPolynomial, LayerCalibration, NormCalibration};
use aegis_nn::{chebyshev, goldschmidt, largest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::bert::Bert;
use crate::error::{Error, Result};
use crate::files;

/// Name of the calibration file in a model directory.
pub const CALIBRATION_FILE: &str = "aegis-calibration.json";

/// What the field `format` says; another version has another text.
const FORMAT: &str = "aegis-calibration/1";

/// The file. `constants` is kept as text, so that its digest does not depend on how a version of this crate
/// writes numbers.
#[derive(Serialize, Deserialize)]
struct File {
    format: String,
    weights_sha256: String,
    constants_sha256: String,
    constants: Box<RawValue>,
}

impl Bert {
    /// The constants in [`CALIBRATION_FILE`] of the model's directory.
    ///
    /// # Errors
    /// [`Error::MissingCalibration`] without the file; else those of
    /// [`calibration_from`](Self::calibration_from).
    pub fn calibration(&self) -> Result<Calibration> {
        self.calibration_from(self.directory().join(CALIBRATION_FILE))
    }

    /// The constants in a file elsewhere.
    ///
    /// # Errors
    /// [`Error::CalibrationFormat`] for a damaged file or one of another version, [`Error::OtherModel`] for
    /// one of other weights, [`Error::CalibrationConstant`] for constants that are out of range or do not
    /// approximate what they should.
    pub fn calibration_from(&self, path: impl AsRef<Path>) -> Result<Calibration> {
        let path = path.as_ref();
        let bytes = match files::read(path, files::SMALL) {
            Err(Error::Read { path, source }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::MissingCalibration { path });
            }
            other => other?,
        };
        let failed = |reason| Error::CalibrationFormat { path: path.to_owned(), reason };
        let (weights, constants) = parse(&bytes).map_err(failed)?;
        if weights != self.identity() {
            return Err(Error::OtherModel {
                made_for: constants.model,
                expected: weights,
                found: self.identity().to_owned(),
            });
        }
        self.check_constants(&constants)?;
        Ok(constants)
    }

    /// Checks constants that come from elsewhere against this model: counts, ranges, and that every
    /// polynomial and schedule approximates its function at all.
    ///
    /// # Errors
    /// [`Error::CalibrationConstant`].
    pub fn check_constants(&self, constants: &Calibration) -> Result<()> {
        let c = self.config();
        constants.validate(None, c.layers, c.heads, c.head_size()).map_err(|error| match error {
            aegis_nn::Error::Calibration { place, reason } => Error::CalibrationConstant { place, reason },
            other => other.into(),
        })?;
        for (i, layer) in constants.layers.iter().enumerate() {
            check_meaning(layer).map_err(|(place, reason)| Error::CalibrationConstant {
                place: format!("layer {i}, {place}"),
                reason,
            })?;
        }
        Ok(())
    }
}

/// The text of a calibration file for the weights with this SHA-256 (see [`Bert::identity`]).
///
/// # Errors
/// [`Error::CalibrationConstant`] for constants that are not finite.
pub fn calibration_file(constants: &Calibration, weights_sha256: &str) -> Result<String> {
    let failed =
        |e: serde_json::Error| Error::CalibrationConstant { place: "file".into(), reason: e.to_string() };
    let text = serde_json::to_string(constants).map_err(failed)?;
    // JSON has no NaN and no infinity: the writer makes them null, which only reading shows.
    serde_json::from_str::<Calibration>(&text).map_err(failed)?;
    let file = File {
        format: FORMAT.into(),
        weights_sha256: weights_sha256.into(),
        constants_sha256: digest(&text),
        constants: RawValue::from_string(text).map_err(failed)?,
    };
    serde_json::to_string(&file).map_err(failed)
}

/// Identity of the weights, and the constants.
fn parse(bytes: &[u8]) -> std::result::Result<(String, Calibration), String> {
    let file: File = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if file.format != FORMAT {
        return Err(format!("its format is {:?}, this version reads {FORMAT:?}", file.format));
    }
    let text = file.constants.get();
    if digest(text) != file.constants_sha256 {
        return Err("its constants do not fit their checksum: the file is damaged".into());
    }
    let constants = serde_json::from_str(text).map_err(|e| e.to_string())?;
    Ok((file.weights_sha256, constants))
}

fn digest(text: &str) -> String {
    crate::hex(&Sha256::digest(text))
}

type Checked = std::result::Result<(), (String, String)>;

/// Points at which an approximation is compared with its function; more than twice the largest degree in use
/// (63).
const POINTS: u32 = 257;

/// Compares every approximation with its function.
///
/// The limits refuse constants of something else, not coarse ones. The worst layers of the committed sets
/// come to 0.052 (GELU), 0.010 (1/sqrt), 0.017 (exp) and 0.003 (inverse).
fn check_meaning(layer: &LayerCalibration) -> Checked {
    let softmax = &layer.softmax;
    exponential(&softmax.exp_poly)?;
    inverse("softmax.inv0", &softmax.inv0.schedule, softmax.inv0.eps)?;
    for (&tokens, schedule) in &softmax.inv_next {
        inverse("softmax.inv_next", schedule, 1.0 / f64::from(tokens.max(1)))?;
    }
    norm("ln1", &layer.ln1)?;
    norm("ln2", &layer.ln2)?;
    let gelu = &layer.gelu;
    close("gelu", gelu.range, 0.25, |x| {
        chebyshev::evaluate(&gelu.cheb, gelu.range, x) - crate::bert::gelu(x)
    })?;
    let first = &gelu.token0;
    close("gelu.token0", first.range, 0.25, |x| {
        chebyshev::evaluate(&first.cheb, first.range, x) - crate::bert::gelu(x)
    })
}

fn exponential(p: &ExpPolynomial) -> Checked {
    close("softmax.exp_poly", (p.a, p.b), 0.1, |x| chebyshev::evaluate(&p.cheb, (p.a, p.b), x) - x.exp())
}

/// Relative error of `1/sqrt` over the range of the variance.
fn norm(place: &str, p: &NormCalibration) -> Checked {
    close(place, p.var_range, 0.1, |v| chebyshev::evaluate(&p.cheb, p.var_range, v) * v.sqrt() - 1.0)
}

/// Relative error of the inverse of sums in `low..=1`, spaced by a constant factor.
fn inverse(place: &str, schedule: &[f64], low: f64) -> Checked {
    close(place, (low.ln(), 0.0), 0.1, |log| log.exp() * goldschmidt::plain(log.exp(), schedule) - 1.0)
}

/// Whether `|error(x)|` stays below `limit` at points spread evenly over the range.
fn close(place: &str, (a, b): (f64, f64), limit: f64, error: impl Fn(f64) -> f64) -> Checked {
    let worst = largest((0..POINTS).map(|i| error(a + (b - a) * f64::from(i) / f64::from(POINTS - 1))));
    match worst <= limit {
        true => Ok(()),
        false => Err((
            place.into(),
            format!("its approximation is off by {worst:.3}, more than {limit}, in [{a}, {b}]"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_files_fit_the_model_and_approximate() {
        let files =
            [include_str!("../calibration/minilm.json"), include_str!("../calibration/minilm-shallow.json")];
        for (text, name) in files.into_iter().zip(["C", "D"]) {
            let (weights, constants) = parse(text.as_bytes()).unwrap();
            assert_eq!(weights, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db");
            assert_eq!(constants.name, name);
            constants.validate(Some("all-MiniLM-L6-v2"), 6, 12, 32).unwrap();
            constants.layers.iter().for_each(|layer| check_meaning(layer).unwrap());
        }
    }
}
