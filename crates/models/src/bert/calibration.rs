//! Calibration: fitting a model's constants to texts, keeping them in a file, and checking what a file says.
//!
//! Their types are in `aegis-nn`: the encoder and its layers are made from them, and must not know of files.

mod calibrate;
mod constants;
mod file;
mod fit;
mod inputs;
mod samples;

pub use file::{CALIBRATION_FILE, calibration_file, is_calibration};

use crate::error::{Error, Result};

/// The constants of a model's approximations, and the lengths of text that they serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Polynomials, ranges and schedules, one entry a layer.
    pub constants: aegis_nn::Calibration,
    /// Tokens of the longest text that they were made from, special ones included, at most the position table.
    pub tokens: usize,
}

impl Calibration {
    /// Whether texts of so many tokens are covered, special ones included.
    ///
    /// # Errors
    /// [`Error::LongerThanCalibration`].
    pub fn check_length(&self, tokens: usize) -> Result<()> {
        match tokens <= self.tokens {
            true => Ok(()),
            false => Err(Error::LongerThanCalibration { tokens, max: self.tokens }),
        }
    }
}
