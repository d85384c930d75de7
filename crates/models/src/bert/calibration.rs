//! Calibration: fitting a model's constants to texts, keeping them in a file, and checking what a file says.
//!
//! Their types are in `aegis-nn`: the encoder and its layers are made from them, and must not know of files.

mod calibrate;
mod constants;
mod file;
mod fit;

pub use file::{CALIBRATION_FILE, calibration_file};
