//! The targets, one a file.

mod calibration;
mod checkpoint;
mod ciphertext;
mod config;
mod evaluation_keys;
mod keyset;
mod launches;
mod message;
mod parameters;
mod public_key;
mod secret_key;
mod selftest;
mod tokenizer;
mod weights;

use anyhow::{Result, bail};

use crate::Target;

/// Opens a target: a context, keys, whatever its runs share.
type Open = fn() -> Box<dyn Target>;

/// Every target by name, in the order of a campaign.
pub const TARGETS: &[(&str, Open)] = &[
    ("ciphertext", ciphertext::open),
    ("evaluation-keys", evaluation_keys::open),
    ("secret-key", secret_key::open),
    ("public-key", public_key::open),
    ("parameters", parameters::open),
    ("message", message::open),
    ("keyset", keyset::open),
    ("checkpoint", checkpoint::open),
    ("config", config::open),
    ("tokenizer", tokenizer::open),
    ("weights", weights::open),
    ("calibration", calibration::open),
    ("launches", launches::open),
];

/// Tries the runner itself: found by name only.
pub const SELFTEST: &str = "selftest";

/// The target of this name.
///
/// # Errors
/// A name that stands nowhere, with those that do.
pub fn open(name: &str) -> Result<Box<dyn Target>> {
    if name == SELFTEST {
        return Ok(Box::new(selftest::Selftest));
    }
    match TARGETS.iter().find(|(known, _)| *known == name) {
        Some((_, open)) => Ok(open()),
        None => {
            let known: Vec<&str> = TARGETS.iter().map(|(known, _)| *known).collect();
            bail!("no target is called {name}; there are: {}", known.join(", "))
        }
    }
}
