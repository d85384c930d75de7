//! What messages, keys, models and queries can be refused for.

use aegis_ckks::{ErrorKind, Excerpt, KeyId, Level};
use aegis_nn::{BlockId, LaneId};

use crate::checkpoint::{Name, Part};
use crate::message::Kind;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something is refused or failed, by what it was. [`Error::kind`] says whose fault it is. Every message names cause
/// and remedy; "it" is what was read, which the caller names.
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
    #[error("the message is truncated or damaged ({0}); make or copy it again")]
    DamagedMessage(MessageDamage),
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
    #[error("the header of the message is not one that could be read again: {0}")]
    BadHeader(MessageDamage),

    // ---- key sets
    /// Bytes that are no description of keys.
    #[error("it is not a description of keys; restore it from a copy or make the keys again")]
    NotAKeyset(#[source] Excerpt<serde_json::Error>),
    /// A description of keys that says what cannot be.
    #[error("the description of the keys is damaged ({0}); restore it from a copy or make the keys again")]
    DamagedKeyset(KeysetDamage),
    /// Description and secret key are of different key sets.
    #[error("the description is of key set {}, the secret key of {want}; restore the folder from a copy", Excerpt(.have))]
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
    /// A model, or the query that it was laid out for, has other slots than the parameters of the keys.
    #[error(
        "the model is laid out for {have} slots, the keys have {want}; lay it out, or encrypt the text, for the keys"
    )]
    OtherSlots {
        /// Slots of the layout.
        have: usize,
        /// Slots of the parameters.
        want: usize,
    },
    /// A query in another layout than that of the server's model.
    #[error(
        "the query is padded to {have} tokens or laid out otherwise, the server is made for {want}; make one for it"
    )]
    OtherLayout {
        /// Padded tokens of the query.
        have: usize,
        /// Padded tokens of the model.
        want: usize,
    },
    /// A result without the slots or the number of ciphertexts that its header says.
    #[error(
        "the result does not have the shape of its query in the ring of these keys; evaluate the query again"
    )]
    OtherResult,
    /// A query that somebody has computed on.
    #[error(
        "the query is at {level} with a scale of 2^{scale_log2:.2}, the model starts at {want} with 2^{want_log2:.2}; \
         encrypt the text again"
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

    // ---- checkpoints
    /// What stands in place of a manifest is something else.
    #[error("it is not a checkpoint of aegis; name the folder of one, or a new one")]
    NotACheckpoint,
    /// A run is to begin where a checkpoint stands.
    #[error("a checkpoint stands there; resume it, or remove it to begin anew")]
    CheckpointStands,
    /// A checkpoint of another run.
    #[error(
        "the checkpoint is of another {part}: {have}, not {want}; resume it with what it was begun with, or remove it"
    )]
    OtherCheckpoint {
        /// The first part that differs.
        part: Part,
        /// That of the checkpoint.
        have: String,
        /// That of this run.
        want: String,
    },
    /// Bytes of a checkpoint are missing or changed, or say what cannot be.
    #[error("the checkpoint is damaged ({0}); remove it and evaluate again")]
    DamagedCheckpoint(CheckpointDamage),
    /// A block of a checkpoint cannot be read as a ciphertext.
    #[error("the checkpoint holds a bad ciphertext, block {}", block.0)]
    BadBlock {
        /// The block.
        block: BlockId,
        /// What `ckks` said.
        source: aegis_ckks::Error,
    },
    /// The medium of a checkpoint fails: a full disk, say.
    #[error(
        "{name} of the checkpoint cannot be read or written; what was saved before stands: make room, or mend what \
         failed, and resume"
    )]
    Storage {
        /// What was to be read or written.
        name: Name,
        /// What the system said.
        source: std::io::Error,
    },

    // ---- the computation
    /// A run that would need more memory than there is.
    #[error(
        "{tokens} padded tokens need {} of memory on the device, keys included, {} may be taken; {}", size(*.need), size(*.have), remedy(*.fits)
    )]
    Memory {
        /// Padded tokens of the run.
        tokens: usize,
        /// Bytes that it needs.
        need: u64,
        /// Bytes that it may take.
        have: u64,
        /// Most padded tokens of which a run fits, where one was found.
        fits: Option<usize>,
    },
    /// A bootstrap cannot be made for these parameters.
    #[error(transparent)]
    Circuits(#[from] aegis_circuits::Error),
    /// A layer refused or failed.
    #[error(transparent)]
    Evaluation(#[from] aegis_nn::Error),
    /// The scheme refused or failed.
    #[error(transparent)]
    Ckks(#[from] aegis_ckks::Error),
    /// Devices cannot be made one.
    #[error(transparent)]
    Shards(#[from] aegis_shard::Error),
    /// Lanes that cannot be run here.
    #[error(transparent)]
    Lanes(#[from] LaneFault),
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Models(e) => e.kind(),
            Self::Circuits(e) => e.kind(),
            Self::Evaluation(e) => e.kind(),
            Self::Ckks(e) | Self::BadCiphertext { source: e, .. } | Self::BadBlock { source: e, .. } => {
                e.kind()
            }
            Self::Shards(e) => e.kind(),
            Self::Lanes(LaneFault::Thread { .. }) => ErrorKind::Device,
            Self::Lanes(_) => ErrorKind::Bug,
            Self::Storage { .. } => ErrorKind::Device,
            Self::OtherCheckpoint { part: Part::Keys, .. } => ErrorKind::KeySet,
            Self::OtherCheckpoint { part: Part::Release, .. } => ErrorKind::Unsupported,
            Self::OtherKeys { .. } | Self::ForeignKeys { .. } | Self::KeysMissing { .. } => ErrorKind::KeySet,
            Self::Version { .. } => ErrorKind::Unsupported,
            Self::Memory { .. } => ErrorKind::Memory,
            Self::NotAMessage
            | Self::OtherKind { .. }
            | Self::DamagedMessage(_)
            | Self::TooManyCiphertexts { .. }
            | Self::BadHeader(_)
            | Self::NotAKeyset(_)
            | Self::DamagedKeyset(_)
            | Self::OtherModel { .. }
            | Self::OtherSlots { .. }
            | Self::OtherLayout { .. }
            | Self::OtherResult
            | Self::NotFresh { .. }
            | Self::NotACheckpoint
            | Self::CheckpointStands
            | Self::OtherCheckpoint { .. }
            | Self::DamagedCheckpoint(_) => ErrorKind::Input,
        }
    }

    /// Fails unless two identities of keys are the same.
    pub(crate) fn check_keys(what: &'static str, have: KeyId, want: KeyId) -> Result<()> {
        if have == want { Ok(()) } else { Err(Self::ForeignKeys { what, have, want }) }
    }
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    match bytes as f64 / (1u64 << 30) as f64 {
        gib if gib >= 0.1 => format!("{gib:.1} GiB"),
        gib => format!("{:.1} MiB", gib * 1024.0),
    }
}

/// What would fit.
fn remedy(tokens: Option<usize>) -> String {
    match tokens {
        Some(tokens) => format!("texts of up to {tokens} tokens fit, or take a machine or a limit with more"),
        None => "take shorter texts, another preset, or a machine or a limit with more".to_owned(),
    }
}

/// Why lanes cannot be run here: see [`Error::Lanes`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaneFault {
    /// A lane that the division does not have, or that is to be run twice, or none at all.
    #[error("{have:?} of {lanes} lanes are to be run here; name each once, and at least one")]
    Seats {
        /// The lanes that were named.
        have: Vec<LaneId>,
        /// Lanes of the division.
        lanes: usize,
    },
    /// A lane that does not know the ranks of all lanes.
    #[error("{lane} knows {have} ranks of {lanes} lanes; name one for each")]
    Ranks {
        /// The lane.
        lane: LaneId,
        /// Ranks that it knows.
        have: usize,
        /// Lanes of the division.
        lanes: usize,
    },
    /// The first lane without a query, another one with it, or a query of other texts.
    #[error(
        "the query belongs to the first lane, and to the texts that the program was divided for; pass it there alone"
    )]
    Input,
    /// The system gave no thread for a lane.
    #[error("no thread for {lane} could be started: {cause}; raise the limit of threads")]
    Thread {
        /// The lane.
        lane: LaneId,
        /// What the system said.
        cause: String,
    },
}

/// The first damage found in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageDamage {
    /// It ends too early.
    #[error("it is cut off")]
    CutOff,
    /// Its checksum is not that of the bytes before it.
    #[error("its checksum does not match")]
    Checksum,
    /// A header that cannot be decoded, or longer than any.
    #[error("its header cannot be decoded")]
    Header,
    /// The model is not named by a SHA-256.
    #[error("its model is not a SHA-256")]
    Model,
    /// The shape is one of no model.
    #[error("its shape is not one of a model")]
    Shape,
    /// More ciphertexts are announced than a message may have.
    #[error("it says that it has more ciphertexts than a message may have")]
    Ciphertexts,
    /// Bytes follow its last ciphertext.
    #[error("bytes follow its last ciphertext")]
    Trailing,
}

/// The first damage found in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointDamage {
    /// The manifest ends too early.
    #[error("its manifest is cut off")]
    CutOff,
    /// The manifest's checksum is not that of the bytes before it.
    #[error("the checksum of its manifest does not match")]
    Checksum,
    /// A manifest that cannot be decoded, or longer than any.
    #[error("its manifest cannot be decoded")]
    Manifest,
    /// What names model, plan, keys or query is no digest.
    #[error("its manifest names what it belongs to by no digest")]
    Identity,
    /// A run never stops there.
    #[error("no run stops where it stands")]
    Position,
    /// Other blocks than those that a run has where it stands.
    #[error("its blocks are not those that a run has there")]
    Blocks,
    /// A block is not there.
    #[error("block {} is missing", .0.0)]
    Missing(BlockId),
    /// A block has other bytes than were written, or more than a block can have.
    #[error("block {} has changed", .0.0)]
    Changed(BlockId),
    /// A ciphertext of another level, scale or key set.
    #[error("block {} is another ciphertext than the run made", .0.0)]
    Misfit(BlockId),
}

/// What is wrong with a description of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysetDamage {
    /// It is longer than any.
    #[error("{bytes} bytes, at most {max}")]
    Length {
        /// Its length.
        bytes: u64,
        /// The largest possible.
        max: u64,
    },
    /// A field has a value that cannot be.
    #[error("{0} has no possible value")]
    Field(&'static str),
}

/// Whose fault an error is: the kind of the first error of this crate or of one below it, from `error` down its sources.
/// `None` where there is none.
pub fn kind_of(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    std::iter::successors(Some(error), |e| e.source()).find_map(|e| {
        let kind = e.downcast_ref().map(Error::kind);
        let kind = kind.or_else(|| e.downcast_ref().map(aegis_models::Error::kind));
        let kind = kind.or_else(|| e.downcast_ref().map(aegis_nn::Error::kind));
        let kind = kind.or_else(|| e.downcast_ref().map(aegis_circuits::Error::kind));
        let kind = kind.or_else(|| e.downcast_ref().map(aegis_ckks::Error::kind));
        let kind = kind.or_else(|| e.downcast_ref().map(aegis_ckks::ParamsError::kind));
        let kind = kind.or_else(|| e.downcast_ref().map(aegis_shard::Error::kind));
        let kind = kind.or_else(|| e.downcast_ref().map(aegis_comm::Error::kind));
        kind.or_else(|| e.downcast_ref().map(aegis_hal::Error::kind))
    })
}
