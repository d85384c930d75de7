use aegis_ring::Galois;

use crate::{Level, ParamsError};

/// Result of an operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong, grouped by whose fault it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The parameters are not usable.
    #[error(transparent)]
    Params(#[from] ParamsError),

    /// An operation needs more levels than the ciphertext has left.
    #[error("{op} needs level {need:?}, the ciphertext is at {have:?}; bootstrap it first")]
    LevelTooLow {
        /// The operation.
        op: &'static str,
        /// Lowest level it works at.
        need: Level,
        /// Level of the ciphertext.
        have: Level,
    },
    /// A level above the highest that an operation takes.
    #[error(
        "level {have:?} is above {max:?}, the highest for this; bring the ciphertext down with `drop_to`"
    )]
    LevelTooHigh {
        /// The level asked for.
        have: Level,
        /// The highest level.
        max: Level,
    },
    /// Operands at different levels where one is needed.
    #[error("operands at levels {left:?} and {right:?}; bring them together with `adjust`")]
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
        "scales 2^{:.6} and 2^{:.6} at level {level:?} do not match; rescale products, or `adjust` one operand from a level above",
        .left.log2(), .right.log2()
    )]
    ScaleMismatch {
        /// Scale of the first operand.
        left: f64,
        /// Scale of the second operand, or the scale asked for.
        right: f64,
        /// Their common level.
        level: Level,
    },
    /// No key for this map at this level was made.
    #[error("no switching key for {what} at level {level:?}; declare it in the KeyRequest")]
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
        have: crate::KeyId,
        /// The key set expected.
        want: crate::KeyId,
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
    /// A device that computes in another ring, or modulo other primes, than those of the parameters.
    #[error("the device was opened for another ring or other primes than those of {params}; open it with `Params::rns`")]
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
    #[error("cannot encode: {0}")]
    Encoding(String),
    /// Bytes that are not what they should be.
    #[error("{what} cannot be read: {reason}")]
    Format {
        /// Kind of object.
        what: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("input or output failed: {0}")]
    Io(#[from] std::io::Error),
    /// The device refused or failed.
    #[error(transparent)]
    Device(#[from] aegis_hal::Error),
}

/// What a switching key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPurpose {
    /// From `s^2` back to `s`.
    Relinearization,
    /// From `s` after a Galois map back to `s`.
    Galois(Galois),
    /// From the dense secret to the sparse one of a bootstrap, and back.
    Encapsulation,
}

impl std::fmt::Display for KeyPurpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Relinearization => write!(f, "relinearization"),
            Self::Galois(g) => write!(f, "the Galois map X -> X^{}", g.exponent()),
            Self::Encapsulation => write!(f, "sparse-secret encapsulation"),
        }
    }
}
