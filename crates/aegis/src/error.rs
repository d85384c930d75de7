//! What a message or a description of keys can be refused for.

use aegis_ckks::KeyId;

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

    // ---- the scheme
    /// A ciphertext cannot be written.
    #[error("a ciphertext cannot be written")]
    Ckks(#[from] aegis_ckks::Error),
}
