use aegis_ckks::{ErrorKind, Level};

/// Result of a circuit.
pub type Result<T> = std::result::Result<T, Error>;

/// What a circuit refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A circuit was described by numbers that do not fit together.
    #[error("{0}")]
    Invalid(InvalidCircuit),
    /// The inputs of one circuit stand at different levels or scales.
    #[error("inputs at {left} and {right}, or of different scales; bring them together with `adjust`")]
    Unaligned {
        /// Level of the first input.
        left: Level,
        /// Level of the input that differs.
        right: Level,
    },
    /// A circuit takes more levels than the ciphertext has left.
    #[error("{circuit} takes {depth} levels, the ciphertext is at {have}; bootstrap it first")]
    TooDeep {
        /// The circuit.
        circuit: &'static str,
        /// Levels it takes.
        depth: u32,
        /// Level of the ciphertext.
        have: Level,
    },
    /// The parameter set has no levels for a bootstrap.
    #[error("the modulus chain of {params} has no levels for a bootstrap; choose a preset that has")]
    NoBootstrap {
        /// Name of the parameter set.
        params: String,
    },
    /// The parameter set has another number of levels for the modular reduction than its approximation takes.
    #[error("EvalMod takes {need} levels, the modulus chain of {params} has {have} for it; choose a preset")]
    EvalModLevels {
        /// Name of the parameter set.
        params: String,
        /// Levels of the approximation.
        need: u32,
        /// Levels of the chain.
        have: u32,
    },
    /// The matrices of a bootstrap would take more memory than any sensible division into levels.
    #[error(
        "the matrices of a bootstrap with {params} would take {bytes} bytes, at most {max} are allowed; give CoeffsToSlots \
         and SlotsToCoeffs more levels"
    )]
    TooLarge {
        /// Name of the parameter set.
        params: String,
        /// Bytes of the matrices, on the host and on the device.
        bytes: u64,
        /// Most that is allowed.
        max: u64,
    },
    /// A circuit came to its end without a result.
    #[error("{circuit} has no result; this is a bug, please report it")]
    NoResult {
        /// The circuit.
        circuit: &'static str,
    },
    /// The scheme refused or failed.
    #[error(transparent)]
    Ckks(#[from] aegis_ckks::Error),
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::Unaligned { .. } | Self::TooDeep { .. } => ErrorKind::Input,
            Self::NoBootstrap { .. } | Self::EvalModLevels { .. } | Self::TooLarge { .. } => {
                ErrorKind::Unsupported
            }
            Self::NoResult { .. } => ErrorKind::Bug,
            Self::Ckks(e) => e.kind(),
        }
    }
}

/// Which numbers do not describe a circuit: see [`Error::Invalid`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCircuit {
    /// A polynomial on no range.
    #[error("a polynomial on [{low}, {high}], which is empty or not finite")]
    Range {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// Polynomials of one ciphertext on several ranges.
    #[error("polynomials of one ciphertext on [{}, {}] and on [{}, {}]; give them one range", left.0, left.1, right.0, right.1)]
    OtherRange {
        /// The range of the first one.
        left: (f64, f64),
        /// The range that differs.
        right: (f64, f64),
    },
    /// Slots are assigned to polynomials with a period that divides no number of slots.
    #[error("polynomials for a period of {0} slots, which is not a power of two")]
    Period(usize),
    /// Slots are assigned to a polynomial that is not there.
    #[error("a slot has polynomial {class} of {count}")]
    Class {
        /// Index of the polynomial.
        class: usize,
        /// Polynomials that there are.
        count: usize,
    },
    /// A coefficient of a polynomial is NaN or infinite.
    #[error("a coefficient of a polynomial is not finite")]
    Coefficient,
    /// A stride that does not divide the indices of the diagonals.
    #[error("a linear transform with a stride of {0} that does not divide every index of its diagonals")]
    Stride(i64),
    /// A linear transform without inputs, outputs or diagonals.
    #[error("a linear transform of {inputs} inputs, {outputs} outputs and {diagonals} diagonals")]
    Empty {
        /// Number of inputs.
        inputs: usize,
        /// Number of outputs.
        outputs: usize,
        /// Number of diagonals.
        diagonals: usize,
    },
    /// Another number of ciphertexts than a linear transform has inputs.
    #[error("{have} ciphertexts for a linear transform of {want} inputs")]
    Inputs {
        /// Ciphertexts passed.
        have: usize,
        /// Inputs of the transform.
        want: usize,
    },
    /// A linear transform of no columns.
    #[error("a linear transform of no columns; give at least one")]
    NoColumns,
    /// Relaxation factors of an inverse that no schedule has.
    #[error("a relaxation factor of {0} in an inverse; they are finite and above zero")]
    Relaxation(f64),
    /// A bootstrap of vectors of another length than a power of two up to the number of slots.
    #[error("a bootstrap of {have} slots; give a power of two up to {max}")]
    Slots {
        /// Slots asked for.
        have: usize,
        /// Slots of the parameters.
        max: usize,
    },
    /// A bound of a message that bounds nothing.
    #[error("a bootstrap of a message bounded by {0}; give a bound that is finite and above zero")]
    Bound(f64),
}
