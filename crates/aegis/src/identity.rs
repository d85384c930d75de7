//! What a run is of: what decides its bits, as digests that are compared before it goes on or begins on several ranks.

use std::io::Write as _;

use aegis_ckks::{KeyId, Params};
use aegis_comm::Group;
use aegis_nn::{Program, Schedule};
use serde::{Deserialize, Serialize};
use sha2::digest::Output;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::is_identity;
use crate::model::Model;

/// Longest name of a release.
const MAX_RELEASE_BYTES: usize = 64;

/// What a run is of: two runs with equal ones make equal bits. Digests are SHA-256 in lower-case hexadecimal where nothing
/// else is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The release of this crate: another one may compute the same to other bits.
    pub(crate) release: String,
    /// Digest of the parameters, as `ckks` makes it.
    pub(crate) parameters: String,
    /// The model's weights.
    pub(crate) model: String,
    /// The constants of its approximations.
    pub(crate) calibration: String,
    /// What is computed, and in which order: layout, blocks, tasks and steps.
    pub(crate) plan: String,
    /// The key set: 32 digits.
    pub(crate) keys: String,
    /// The encrypted input, and the lengths of its texts.
    pub(crate) query: String,
}

/// A part of what a run is of: where two runs have all in common, they make equal bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The release of this crate.
    Release,
    /// The parameters.
    Parameters,
    /// The model's weights.
    Model,
    /// The constants of its approximations.
    Calibration,
    /// Levels, tasks and their order.
    Plan,
    /// The key set.
    Keys,
    /// The query.
    Query,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Release => "release of aegis",
            Self::Parameters => "parameter set",
            Self::Model => "model",
            Self::Calibration => "calibration",
            Self::Plan => "plan",
            Self::Keys => "key set",
            Self::Query => "query",
        })
    }
}

impl Part {
    /// For "has ... of its own".
    fn with_article(self) -> &'static str {
        match self {
            Self::Release => "a release of aegis",
            Self::Parameters => "a parameter set",
            Self::Model => "a model",
            Self::Calibration => "a calibration",
            Self::Plan => "a plan",
            Self::Keys => "a key set",
            Self::Query => "a query",
        }
    }
}

impl Identity {
    /// What a run at this place computes for this query, which `query` is a digest of.
    pub(crate) fn new(
        model: &Model,
        (params, keys): (&Params, KeyId),
        (program, schedule): (&Program, &Schedule),
        query: String,
    ) -> Self {
        Self {
            release: env!("CARGO_PKG_VERSION").into(),
            parameters: format!("{:x}", Output::<Sha256>::from(params.digest())),
            model: model.bert().identity().into(),
            calibration: model.calibration_digest(),
            plan: plan(model, program, schedule),
            keys: keys.to_string(),
            query,
        }
    }

    fn parts(&self) -> [(Part, &str); 7] {
        [
            (Part::Release, &self.release),
            (Part::Parameters, &self.parameters),
            (Part::Model, &self.model),
            (Part::Calibration, &self.calibration),
            (Part::Plan, &self.plan),
            (Part::Keys, &self.keys),
            (Part::Query, &self.query),
        ]
    }

    /// Whether every part could be one: what is refused is shown.
    pub(crate) fn is_possible(&self) -> bool {
        self.parts().into_iter().all(|(part, text)| match part {
            Part::Release => text.len() <= MAX_RELEASE_BYTES && text.bytes().all(|b| b.is_ascii_graphic()),
            Part::Keys => is_identity(text, 16),
            _ => is_identity(text, 32),
        })
    }

    /// Fails, naming the first part that differs, unless this is `want`.
    pub(crate) fn check(&self, want: &Self) -> Result<()> {
        match self.parts().into_iter().zip(want.parts()).find(|(have, want)| have != want) {
            None => Ok(()),
            Some(((part, have), (_, want))) => {
                Err(Error::OtherCheckpoint { part, have: have.into(), want: want.into() })
            }
        }
    }

    /// Fails on every rank of a group alike, naming the first part that one of them has otherwise, unless all are at one.
    /// Waits for all of them.
    pub(crate) fn agree(&self, group: &Group) -> Result<()> {
        for (part, text) in self.parts() {
            group
                .agree(part.with_article(), &Sha256::digest(text).into())
                .map_err(aegis_ckks::Error::from)?;
        }
        Ok(())
    }
}

/// Digest of what is computed and in which order, lane by lane. Digests of one release are compared, so that the text that
/// Rust derives will do.
fn plan(model: &Model, program: &Program, schedule: &Schedule) -> String {
    let results = program.result_blocks().collect::<Vec<_>>();
    let mut hash = Sha256::new();
    // A hash takes all that is written.
    let _ = write!(hash, "{:?} {:?} {:?}", model.layout(), program.blocks(), program.tasks());
    let _ = write!(hash, "{results:?} ");
    schedule.lanes().iter().for_each(|steps| drop(write!(hash, "{steps:?}")));
    format!("{:x}", hash.finalize())
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_differs_is_named() {
        let digest = |digit: &str| digit.repeat(64);
        let own = Identity {
            release: "0.1.0".into(),
            parameters: digest("1"),
            model: digest("2"),
            calibration: digest("3"),
            plan: digest("4"),
            keys: "5".repeat(32),
            query: digest("6"),
        };
        assert!(own.check(&own).is_ok());
        let other = Identity { keys: "0".repeat(32), query: "0".repeat(64), ..own.clone() };
        let refused = other.check(&own).expect_err("other keys");
        assert!(refused.to_string().contains("another key set"), "{refused}");
        assert!(matches!(refused, Error::OtherCheckpoint { part: Part::Keys, .. }));
    }
}
