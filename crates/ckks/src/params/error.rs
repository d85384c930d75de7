use aegis_hal::ErrorKind;

use super::chain::MAX_LIMBS;

/// Why a [`ParamsSpec`](crate::ParamsSpec) is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// Fewer than 128 bits of security.
    #[error(
        "log2 QP = {log2_qp:.1} at N = 2^{log_n} has fewer than 128 bits of security; take away levels until it is at most \
         {bound}, or take a larger ring"
    )]
    Insecure {
        /// log2 of the ring degree.
        log_n: u32,
        /// log2 of the largest modulus.
        log2_qp: f64,
        /// The largest allowed.
        bound: f64,
    },
    /// No security bound is known for this ring.
    #[error("no 128-bit bound is known for N = 2^{0}; use N = 2^13 to 2^17")]
    UnknownRing(u32),
    /// The switching key to the sparse secret would leak it.
    #[error(
        "the encapsulation key (weight {weight}, modulus of {log2_modulus:.1} bits) has fewer than 128 bits of security; \
         it needs N >= 2^16, a weight of 32 to 64 and at most 121 bits"
    )]
    InsecureEncapsulation {
        /// Hamming weight of the sparse secret.
        weight: u32,
        /// log2 of the modulus of the key.
        log2_modulus: f64,
    },
    /// A bootstrap fails too often.
    #[error(
        "a bootstrap fails with probability 2^{failure_log2:.1}, at most 2^-110 is allowed; raise the range or lower the weight"
    )]
    Failure {
        /// log2 of the probability.
        failure_log2: f64,
    },
    /// The numbers contradict each other.
    #[error("parameters contradict each other: {0}; start from one of the presets")]
    Inconsistent(Contradiction),
    /// No primes of this form.
    #[error(transparent)]
    Ring(#[from] aegis_ring::Error),
    /// The set has no form in bytes, which every set has.
    #[error("the parameters cannot be written down; please report it")]
    Unwritable(#[source] postcard::Error),
}

impl ParamsError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Ring(e) => e.kind(),
            Self::Unwritable(_) => ErrorKind::Bug,
            _ => ErrorKind::Input,
        }
    }
}

/// Which numbers of a set do not go together: see [`ParamsError::Inconsistent`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Contradiction {
    /// The name is none that could be shown.
    #[error("a name of other than 1 to 64 visible ASCII characters")]
    Name,
    /// The ring degree is out of range.
    #[error("log_n = {log_n} is outside 4..=17")]
    Degree {
        /// log2 of the ring degree.
        log_n: u32,
    },
    /// Too many limbs, or too few.
    #[error(
        "{levels} levels of {limbs} limbs and {special} special primes; at most {MAX_LIMBS} limbs, at least one a level, and \
         1 to 32 special primes are possible"
    )]
    Chain {
        /// Levels above the base.
        levels: u64,
        /// Their limbs.
        limbs: u64,
        /// Special primes.
        special: u32,
    },
    /// A level drops nothing.
    #[error("a level without limbs")]
    EmptyLevel,
    /// A prime of a size that does not exist in this ring or on the devices.
    #[error("a prime of {bits} bits; primes have {min} to 50 bits at this ring")]
    PrimeBits {
        /// Its size.
        bits: u32,
        /// The smallest size in this ring.
        min: u32,
    },
    /// The scale is out of range.
    #[error("a scale of 2^{scale_log2}; it is 2^1 to 2^100")]
    Scale {
        /// log2 of the scale.
        scale_log2: u32,
    },
    /// A digit is smaller than the base prime or larger than P.
    #[error(
        "digits of {digit_bits} bits with a base prime of {base_bits} bits and a P of {special_bits} bits"
    )]
    Digits {
        /// Largest size of a digit.
        digit_bits: u32,
        /// Size of the base prime.
        base_bits: u32,
        /// Size of P.
        special_bits: u32,
    },
    /// Bootstrapping leaves no level for computation.
    #[error("bootstrapping takes {taken} of {levels} levels")]
    BootstrapLevels {
        /// Levels of the bootstrap.
        taken: u64,
        /// All levels above the base.
        levels: u64,
    },
    /// A number of the bootstrap is out of range.
    #[error("bootstrapping with {field} = {value}; it is {min} to {max}")]
    Bootstrap {
        /// Field of [`BootstrapSpec`](crate::BootstrapSpec).
        field: &'static str,
        /// Its value.
        value: u32,
        /// The least possible.
        min: u32,
        /// The largest possible.
        max: u32,
    },
    /// The primes that exist do not keep the scale.
    #[error("a scale of 2^{scale_log2:.2} where 2^{nominal_log2} should be kept")]
    Drift {
        /// log2 of the scale that some level would have.
        scale_log2: f64,
        /// log2 of the scale to keep.
        nominal_log2: u32,
    },
}
