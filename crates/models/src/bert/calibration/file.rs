//! The calibration file beside a model: the constants of its approximations, tied to its weights.

use std::path::Path;

use aegis_nn::calibration::LayerCalibration;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::Calibration;
use crate::bert::Bert;
use crate::error::{Error, Result};
use crate::hf::files;

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

/// The constants as they are written.
#[derive(Serialize)]
struct Written<'a> {
    tokens: usize,
    #[serde(flatten)]
    constants: &'a aegis_nn::Calibration,
}

/// The field beside the constants. Read apart, because what is flattened cannot have numbers as keys of a map.
#[derive(Deserialize)]
struct Covered {
    tokens: Option<usize>,
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

    /// The constants in a file elsewhere. One that does not say which lengths it covers is taken to cover those that its
    /// schedules serve, up to the position table: it was made before that was recorded.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::CalibrationChecksum`] and [`Error::CalibrationVersion`] for a damaged file or one of
    /// another version, [`Error::OtherModel`] for one of other weights, [`aegis_nn::Error::Calibration`] for constants
    /// that are out of range or do not approximate what they should.
    pub fn calibration_from(&self, path: impl AsRef<Path>) -> Result<Calibration> {
        let path = path.as_ref();
        let bytes = match files::read(path, files::SMALL) {
            Err(Error::Read { path, source }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::MissingCalibration { path });
            }
            other => other?,
        };
        let (weights, constants, tokens) = parse(&bytes, path)?;
        if weights != self.identity() {
            return Err(Error::OtherModel {
                made_for: constants.model,
                expected: weights,
                found: self.identity().to_owned(),
            });
        }
        let tokens = tokens.unwrap_or_else(|| scheduled(&constants).min(self.config().positions));
        let calibration = Calibration { constants, tokens };
        self.check_constants(&calibration)?;
        Ok(calibration)
    }
}

/// Whether a file that begins like this is a calibration file, of whatever version.
pub fn is_calibration(start: &[u8]) -> bool {
    let (name, _) = FORMAT.split_once('/').unwrap_or((FORMAT, ""));
    let begin = format!("{{\"format\":\"{name}/");
    start.iter().copied().filter(|byte| *byte != b' ').take(begin.len()).eq(begin.bytes())
}

/// The text of a calibration file for the weights with this SHA-256 (see [`Bert::identity`]).
///
/// # Errors
/// [`Error::CalibrationNotFinite`].
pub fn calibration_file(calibration: &Calibration, weights_sha256: &str) -> Result<String> {
    let failed = Error::CalibrationNotFinite;
    let written = Written { tokens: calibration.tokens, constants: &calibration.constants };
    let text = serde_json::to_string(&written).map_err(failed)?;
    // JSON has no NaN and no infinity: the writer makes them null, which only reading shows.
    serde_json::from_str::<aegis_nn::Calibration>(&text).map_err(failed)?;
    let file = File {
        format: FORMAT.into(),
        weights_sha256: weights_sha256.into(),
        constants_sha256: digest(&text),
        constants: RawValue::from_string(text).map_err(failed)?,
    };
    serde_json::to_string(&file).map_err(failed)
}

/// Identity of the weights, the constants, and the tokens that they cover where the file says it. `path` is named in the
/// error.
fn parse(bytes: &[u8], path: &Path) -> Result<(String, aegis_nn::Calibration, Option<usize>)> {
    let json = Error::json(path, "a calibration file of this version");
    let file: File = serde_json::from_slice(bytes).map_err(&json)?;
    let path = || path.to_owned();
    if file.format != FORMAT {
        return Err(Error::CalibrationVersion { path: path(), have: file.format, want: FORMAT });
    }
    let text = file.constants.get();
    if digest(text) != file.constants_sha256 {
        return Err(Error::CalibrationChecksum { path: path() });
    }
    let constants = serde_json::from_str(text).map_err(&json)?;
    let covered: Covered = serde_json::from_str(text).map_err(json)?;
    Ok((file.weights_sha256, constants, covered.tokens))
}

/// What a file covers that does not say it, as none did at first: all that its schedules serve.
fn scheduled(constants: &aegis_nn::Calibration) -> usize {
    let longest = |layer: &LayerCalibration| layer.softmax.inv_next.keys().last().copied();
    constants.layers.iter().filter_map(longest).min().unwrap_or(0) as usize
}

fn digest(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::super::constants::check_meaning;
    use super::*;

    #[test]
    fn the_committed_files_fit_the_model_and_approximate() {
        let files = [
            (include_str!("../../../calibration/minilm.json"), "minilm", Some(512)),
            // Of before lengths were recorded.
            (include_str!("../../../calibration/minilm-shallow.json"), "all-MiniLM-L6-v2", None),
        ];
        for (text, name, covered) in files {
            assert!(is_calibration(text.as_bytes()));
            let (weights, constants, tokens) = parse(text.as_bytes(), Path::new(name)).unwrap();
            assert_eq!((tokens, scheduled(&constants)), (covered, 512));
            assert_eq!(weights, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db");
            constants.validate(Some(name), 6, 12, 32).unwrap();
            constants.layers.iter().for_each(|layer| check_meaning(layer).unwrap());
        }
    }
}
