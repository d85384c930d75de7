//! What a message or a description of keys can be refused for.

use aegis_ckks::{KeyId, Level};

use crate::message::Kind;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why bytes are refused, grouped by what they should have been. Every message names cause and remedy; "it" is what was
/// read, which the caller names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ---- messages
    /// The bytes are something else.
    #[error("it is not a message of aegis; pass what `aegis encrypt` or `aegis eval` wrote")]
    NotAMessage,
    /// A message of another release.
    #[error("it has version {have}, this program reads version {want}; use the matching release")]
    Version {
        /// Its version.
        have: u16,
        /// The version that this crate reads and writes.
        want: u16,
    },
    /// A query where a result is expected, or the other way round.
    #[error("it holds {have}, not {want}; the server takes queries, the client results")]
    OtherKind {
        /// What it is.
        have: Kind,
        /// What was asked for.
        want: Kind,
    },
    /// Bytes are missing, changed or too many.
    #[error("the message is truncated or damaged ({reason}); make or copy it again")]
    DamagedMessage {
        /// The first thing that is wrong.
        reason: &'static str,
    },
    /// A ciphertext of the message is damaged or of other parameters.
    #[error("the message holds a bad ciphertext, number {index}")]
    BadCiphertext {
        /// Its index.
        index: usize,
        /// What `ckks` said.
        source: aegis_ckks::Error,
    },
    /// More ciphertexts than any message has.
    #[error("a message of {have} ciphertexts is refused, at most {max} go into one; split the text")]
    TooManyCiphertexts {
        /// How many there are.
        have: usize,
        /// How many there may be.
        max: usize,
    },
    /// The header cannot be written.
    #[error("the header of the message is not one that could be read again: {reason}")]
    BadHeader {
        /// What is wrong with it.
        reason: &'static str,
    },

    // ---- key sets
    /// A description of keys that cannot be understood.
    #[error(
        "the description of the keys is damaged ({reason}); restore it from a copy or make the keys again"
    )]
    DamagedKeyset {
        /// What is wrong with it.
        reason: String,
    },
    /// Description and secret key are of different key sets.
    #[error("the description is of key set {have}, the secret key of {want}; restore the folder from a copy")]
    OtherKeys {
        /// The key set of the description.
        have: String,
        /// The key set of the secret key.
        want: KeyId,
    },

    /// A query, a result or keys of two key sets.
    #[error("{what} belongs to key set {have}, these are the keys of {want}; use the keys it was made with")]
    ForeignKeys {
        /// What does not belong here.
        what: &'static str,
        /// Its key set.
        have: KeyId,
        /// The key set of the keys.
        want: KeyId,
    },
    /// Evaluation keys that were made for something else.
    #[error(
        "these keys do not serve this model with {tokens} padded tokens; make keys with `aegis keygen` for it"
    )]
    KeysMissing {
        /// Padded tokens of the query.
        tokens: usize,
    },

    // ---- models and queries
    /// A query for other weights.
    #[error(
        "it was made for the model with sha256 {have}, this one has {want}; use the same model on both sides"
    )]
    OtherModel {
        /// SHA-256 of the weights that it was made for.
        have: String,
        /// SHA-256 of these weights.
        want: String,
    },
    /// Something of other slots, another number of ciphertexts or another length.
    #[error("the shape of {what} does not fit these keys and this model; {remedy}")]
    OtherShape {
        /// What does not fit.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A query that somebody has computed on.
    #[error(
        "the query is at level {} with a scale of 2^{scale_log2:.3}, the model starts at level {} with 2^{want_log2:.3}; \
         encrypt the text again",
        .level.0, .want.0
    )]
    NotFresh {
        /// Its level.
        level: Level,
        /// log2 of its scale.
        scale_log2: f64,
        /// The level where the network starts.
        want: Level,
        /// log2 of the scale there.
        want_log2: f64,
    },
    /// A model directory, a calibration or a text is refused.
    #[error(transparent)]
    Models(#[from] aegis_models::Error),

    // ---- the computation
    /// A bootstrap cannot be made for these parameters.
    #[error(transparent)]
    Circuits(#[from] aegis_circuits::Error),
    /// A layer refused or failed.
    #[error(transparent)]
    Evaluation(#[from] aegis_nn::Error),
    /// The scheme refused or failed.
    #[error(transparent)]
    Ckks(#[from] aegis_ckks::Error),
}

impl Error {
    /// Fails unless two identities of keys are the same.
    pub(crate) fn check_keys(what: &'static str, have: KeyId, want: KeyId) -> Result<()> {
        if have == want { Ok(()) } else { Err(Self::ForeignKeys { what, have, want }) }
    }
}

/// True for a device that failed or has no memory left, in an error of this crate or of any below it: nobody's input is to
/// blame. Looks at this error alone; walk [`source`](std::error::Error::source) for those behind it.
pub fn is_of_device(error: &(dyn std::error::Error + 'static)) -> bool {
    fn ckks(error: &aegis_ckks::Error) -> bool {
        use aegis_hal::Error::{Device, OutOfMemory};
        matches!(error, aegis_ckks::Error::Device(Device(_) | OutOfMemory { .. }))
    }
    fn circuits(error: &aegis_circuits::Error) -> bool {
        matches!(error, aegis_circuits::Error::Ckks(inner) if ckks(inner))
    }
    fn nn(error: &aegis_nn::Error) -> bool {
        match error {
            aegis_nn::Error::Ckks(inner) => ckks(inner),
            aegis_nn::Error::Circuits(inner) => circuits(inner),
            _ => false,
        }
    }
    fn models(error: &aegis_models::Error) -> bool {
        matches!(error, aegis_models::Error::Nn(inner) if nn(inner))
    }
    match error.downcast_ref() {
        Some(Error::Ckks(inner) | Error::BadCiphertext { source: inner, .. }) => ckks(inner),
        Some(Error::Circuits(inner)) => circuits(inner),
        Some(Error::Evaluation(inner)) => nn(inner),
        Some(Error::Models(inner)) => models(inner),
        Some(_) => false,
        None => {
            error.downcast_ref().is_some_and(ckks)
                || error.downcast_ref().is_some_and(circuits)
                || error.downcast_ref().is_some_and(nn)
                || error.downcast_ref().is_some_and(models)
        }
    }
}
