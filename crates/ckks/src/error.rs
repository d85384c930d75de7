//! What operations, keys and files are refused for.

use std::fmt;

use aegis_hal::ErrorKind;
use aegis_ring::Galois;

use crate::{Excerpt, FileKind, KeyId, Level, ParamsError};

/// Result of an operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The parameters are not usable.
    #[error(transparent)]
    Params(#[from] ParamsError),

    /// An operation needs more levels than the ciphertext has left.
    #[error("{op} needs {need}, the ciphertext is at {have}; bootstrap it first")]
    LevelTooLow {
        /// The operation.
        op: &'static str,
        /// Lowest level it works at.
        need: Level,
        /// Level of the ciphertext.
        have: Level,
    },
    /// A level above the highest that an operation takes.
    #[error("{have} is above {max}, the highest for this; bring the ciphertext down with `drop_to`")]
    LevelTooHigh {
        /// The level asked for.
        have: Level,
        /// The highest level.
        max: Level,
    },
    /// Operands at different levels where one is needed.
    #[error("operands at {left} and {right}; bring them together with `adjust`")]
    LevelMismatch {
        /// Level of the first operand.
        left: Level,
        /// Level of the second operand.
        right: Level,
    },
    /// Too many operands, or too few.
    #[error("{have} {what}, expected {want}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        have: usize,
        /// How many are needed.
        want: usize,
    },
    /// Operands at one level have different scales, so that their sum would mean nothing.
    #[error(
        "scales 2^{:.2} and 2^{:.2} at {level} do not match (relative difference {:.1e}); rescale products, or `adjust` one \
         operand from a level above",
        .left.log2(), .right.log2(), (.left / .right - 1.0).abs()
    )]
    ScaleMismatch {
        /// Scale of the first operand.
        left: f64,
        /// Scale of the second operand, or the scale asked for.
        right: f64,
        /// Their common level.
        level: Level,
    },
    /// No key for this purpose at this level was made.
    #[error("no switching key for {what} at {level}; declare it in the KeyRequest")]
    MissingKey {
        /// What the key is for.
        what: KeyPurpose,
        /// The level it is needed at.
        level: Level,
    },
    /// Operands or keys of different secret keys.
    #[error("{what} belongs to key set {have}, expected {want}; use the keys it was made with")]
    ForeignKey {
        /// What does not belong here.
        what: &'static str,
        /// Its key set.
        have: KeyId,
        /// The key set expected.
        want: KeyId,
    },
    /// A key under other parameters than those of the context.
    #[error("{what} was made under other parameters than {want}; use the context that it was made with")]
    ForeignParams {
        /// What does not belong here.
        what: &'static str,
        /// Name of the context's parameters.
        want: String,
    },
    /// Keys asked for in another ring than that of the parameters.
    #[error(
        "keys for a ring of degree {have} in one of {want}; make the request with the degree of the parameters"
    )]
    WrongRing {
        /// Degree of the request.
        have: usize,
        /// Degree of the parameters.
        want: usize,
    },
    /// Keys for a bootstrap, which these parameters have no levels for.
    #[error(
        "{params} has no bootstrapping; take parameters that have, or ask for keys without encapsulation"
    )]
    NoBootstrapping {
        /// Name of the parameters.
        params: String,
    },
    /// A device that computes in another ring, or modulo other primes, than those of the parameters.
    #[error(
        "the device was opened for another ring or other primes than those of {params}; open it with `Params::rns`"
    )]
    ForeignDevice {
        /// Name of the parameters.
        params: String,
    },
    /// A number that is no scale.
    #[error("{scale} is not a scale; it must be finite and above zero, and is usually that of the level")]
    InvalidScale {
        /// The number.
        scale: f64,
    },
    /// A message of one, or the values given, at their scale do not fit the modulus: they would wrap around it.
    #[error(
        "{op} needs a modulus of {need_log2:.1} bits, the one of these limbs has {have_log2:.1}; use a higher level, or a \
         smaller scale or smaller values"
    )]
    ModulusTooSmall {
        /// The operation.
        op: &'static str,
        /// log2 of the smallest modulus that holds the result, with its sign.
        need_log2: f64,
        /// log2 of the modulus there is.
        have_log2: f64,
    },
    /// A rounding that would leave the noise in the result.
    #[error(
        "rounding to 2^-{bits} hides nothing: the noise of a fresh encryption is as large; keep at most {max} bits, and \
         far fewer after a computation"
    )]
    RoundingTooFine {
        /// Bits after the point that were asked for.
        bits: u32,
        /// Most bits that this ciphertext's scale allows.
        max: u32,
    },
    /// Values that do not fit a plaintext.
    #[error("cannot encode {0}")]
    Encoding(Unencodable),
    /// Bytes that are not what they should be.
    #[error("{what} cannot be read: {fault}")]
    Format {
        /// What was to be read.
        what: &'static str,
        /// What is wrong with the bytes, and what to do.
        fault: InvalidFile,
    },
    /// Reading or writing failed.
    #[error("input or output failed: {0}")]
    Io(#[from] std::io::Error),
    /// The device refused or failed.
    #[error(transparent)]
    Device(#[from] aegis_hal::Error),
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Params(e) => e.kind(),
            Self::Format { fault, .. } => fault.kind(),
            Self::Device(e) => e.kind(),
            Self::MissingKey { .. } | Self::ForeignKey { .. } | Self::ForeignParams { .. } => {
                ErrorKind::KeySet
            }
            Self::NoBootstrapping { .. } => ErrorKind::Unsupported,
            Self::Io(_) => ErrorKind::Device,
            Self::LevelTooLow { .. }
            | Self::LevelTooHigh { .. }
            | Self::LevelMismatch { .. }
            | Self::Count { .. }
            | Self::ScaleMismatch { .. }
            | Self::WrongRing { .. }
            | Self::ForeignDevice { .. }
            | Self::InvalidScale { .. }
            | Self::ModulusTooSmall { .. }
            | Self::RoundingTooFine { .. }
            | Self::Encoding(_) => ErrorKind::Input,
        }
    }
}

/// What a switching key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyPurpose {
    /// From `s^2` back to `s`.
    Relinearization,
    /// Rotation of the slots to the left by this many steps; to the right where negative.
    Rotation(i64),
    /// Complex conjugation of every slot.
    Conjugation,
    /// A rotation by this many steps together with a conjugation, in one map.
    RotationAndConjugation(i64),
    /// From the dense secret to the sparse one of a bootstrap, and back.
    Encapsulation,
}

impl KeyPurpose {
    /// What a key for this map is for, in a ring of degree `n`.
    pub fn of_map(map: Galois, n: usize) -> Self {
        match map.to_rotation(n) {
            (steps, false) => Self::Rotation(steps),
            (0, true) => Self::Conjugation,
            (steps, true) => Self::RotationAndConjugation(steps),
        }
    }
}

impl fmt::Display for KeyPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relinearization => write!(f, "relinearization"),
            Self::Rotation(steps) => write!(f, "rotation by {steps}"),
            Self::Conjugation => write!(f, "conjugation"),
            Self::RotationAndConjugation(steps) => write!(f, "rotation by {steps} with conjugation"),
            Self::Encapsulation => write!(f, "the encapsulation of a bootstrap"),
        }
    }
}

/// What does not fit a plaintext: see [`Error::Encoding`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unencodable {
    /// A vector of another length than a power of two up to the number of slots.
    #[error("{have} values; give a power of two from 1 to {max}")]
    Length {
        /// Values passed.
        have: usize,
        /// The number of slots.
        max: usize,
    },
    /// A vector of another length than its neighbours.
    #[error("a vector of {have} values among those of {period}; give all vectors one period")]
    Period {
        /// Values of this vector.
        have: usize,
        /// Values of the others.
        period: usize,
    },
    /// A value is NaN, infinite or too large.
    #[error("a value that is not finite, or beyond 2^62 at scale 2^{scale_log2:.2}")]
    TooLarge {
        /// log2 of the scale.
        scale_log2: f64,
    },
    /// A constant is NaN, infinite or too large.
    #[error("the constant {value}: at its scale it is not finite, or beyond 2^120")]
    Constant {
        /// The constant times its scale.
        value: f64,
    },
}

/// Why bytes are not the object that was to be read: see [`Error::Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidFile {
    /// The first bytes are not those of any object of this crate.
    #[error("it is not a file of aegis, or damaged; pass the right file")]
    NotOurs,
    /// An object of another kind; `None` for one that this release does not know.
    #[error("the file holds {}; pass the right file", .0.map_or("something unknown", FileKind::name))]
    OtherKind(Option<FileKind>),
    /// An object of another release.
    #[error("version {have}, this program reads version {want}; use the matching release")]
    Version {
        /// Version of the file.
        have: u16,
        /// The version that this release reads and writes.
        want: u16,
    },
    /// An object under other parameters.
    #[error("it was made for the preset {}, expected {want}; use one set of keys", Excerpt(.have))]
    OtherParams {
        /// Name of the file's parameters, as the file has it.
        have: String,
        /// Name of the parameters expected.
        want: String,
    },
    /// Parameters from which this release makes other primes.
    #[error("this release builds another chain from them; make the keys again with one release")]
    OtherChain,
    /// A file of the right kind whose content cannot be.
    #[error("{0}: the file is damaged; restore it from a copy or make it again")]
    Damaged(Damage),
}

impl InvalidFile {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::OtherParams { .. } => ErrorKind::KeySet,
            Self::Version { .. } | Self::OtherChain => ErrorKind::Unsupported,
            Self::NotOurs | Self::OtherKind(_) | Self::Damaged(_) => ErrorKind::Input,
        }
    }
}

/// The first damage found in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The file ends too early.
    #[error("it is truncated")]
    Truncated,
    /// The length of the header is impossible.
    #[error("its header is impossible")]
    Header,
    /// The parameters cannot be decoded.
    #[error("its parameters cannot be decoded")]
    Spec,
    /// A residue is not below its prime.
    #[error("a residue is out of range")]
    Residue,
    /// A coefficient of a secret is none of -1, 0 and 1.
    #[error("a coefficient is not ternary")]
    Coefficient,
    /// The key set named in a secret key is not that of the secret.
    #[error("its identity is not that of the key in it")]
    Identity,
    /// A level above the top of the chain.
    #[error("its level is above the top of the chain")]
    Level,
    /// A scale that no ciphertext of its level has.
    #[error("its scale makes no sense")]
    Scale,
    /// An entry of evaluation keys of an unknown kind.
    #[error("it has an entry of unknown kind")]
    Entry,
    /// A Galois exponent is even, or that of the map that changes nothing.
    #[error("a Galois exponent is even or 1")]
    Galois,
    /// Two keys for one purpose.
    #[error("a key appears twice")]
    RepeatedKey,
    /// One of the two encapsulation keys is missing.
    #[error("one of its two encapsulation keys is missing")]
    HalfEncapsulation,
    /// An encapsulation key that is not at its end of the chain.
    #[error("an encapsulation key has the wrong level")]
    EncapsulationLevel,
    /// The length of the file is not that of its entries.
    #[error("its length is not that of its entries")]
    Length,
    /// The checksum is not that of the bytes before it.
    #[error("its checksum does not match")]
    Checksum,
    /// Bytes follow the checksum.
    #[error("bytes follow its end")]
    Trailing,
}
