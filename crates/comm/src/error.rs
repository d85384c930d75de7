use aegis_hal::ErrorKind;

use crate::Message;

/// Result of a call to a communicator.
pub type Result<T> = std::result::Result<T, Error>;

/// What a communicator refuses at once. What becomes of a message afterwards is told by its parcel, as
/// [`aegis_hal::Error::Peer`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A rank that cannot be meant.
    #[error("rank {rank} {fault}")]
    Rank {
        /// The rank that was named.
        rank: usize,
        /// Why it cannot be meant.
        fault: RankFault,
    },
    /// A position that a group does not have.
    #[error("a group of {members} has no position {position}; positions are counted from 0")]
    Position {
        /// The position that was named.
        position: usize,
        /// Members of the group.
        members: usize,
    },
    /// A message was asked for that was asked for before.
    #[error(
        "message {} of channel {} from rank {} to rank {} was asked for before; \
         groups that share two ranks need a channel each",
        .message.tag.number, .message.tag.channel, .message.from, .message.to
    )]
    Twice {
        /// The message.
        message: Message,
    },
    /// A modulus that sums of residues cannot be taken with.
    #[error(
        "sums of {members} residues modulo {modulus} are not exact in 64 bits; \
         the modulus must be at least 2 and below 2^64 / {members}"
    )]
    Sum {
        /// Residues in each sum.
        members: usize,
        /// The modulus.
        modulus: u64,
    },
    /// The system gave no thread for the time limits.
    #[error("no thread to keep the time limits could be started: {cause}; raise the limit of threads")]
    Thread {
        /// What the system said.
        cause: String,
    },
    /// Ranks cannot be joined by MPI.
    #[cfg(unix)]
    #[error(transparent)]
    Mpi(#[from] crate::MpiFault),
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Rank { .. } | Self::Position { .. } | Self::Twice { .. } | Self::Sum { .. } => {
                ErrorKind::Input
            }
            Self::Thread { .. } => ErrorKind::Device,
            #[cfg(unix)]
            Self::Mpi(fault) => fault.kind(),
        }
    }
}

/// A device that communicates is lost with its communicator; one that asks for what there is not has a bug.
impl From<Error> for aegis_hal::Error {
    fn from(error: Error) -> Self {
        Self::Device(error.to_string())
    }
}

/// Why a rank cannot be meant: see [`Error::Rank`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RankFault {
    /// There are fewer.
    #[error("does not exist: there are {ranks}, counted from 0")]
    Missing {
        /// Number of ranks.
        ranks: usize,
    },
    /// It would have to be driven here.
    #[error("is not driven by this communicator")]
    Elsewhere,
    /// It would send to itself.
    #[error("needs no message to itself")]
    Itself,
    /// It stands twice in a group.
    #[error("stands twice in the group")]
    Twice,
}
