use aegis_ckks::Level;

/// Result of a circuit.
pub type Result<T> = std::result::Result<T, Error>;

/// What a circuit refuses, grouped by whose fault it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A circuit was described by numbers that do not fit together.
    #[error("{what}: {reason}")]
    Shape {
        /// What was described.
        what: &'static str,
        /// What does not fit, with the numbers.
        reason: String,
    },
    /// The inputs of one circuit stand at different levels or scales.
    #[error(
        "inputs at levels {left:?} and {right:?}, or of different scales; bring them together with `adjust`"
    )]
    Unaligned {
        /// Level of the first input.
        left: Level,
        /// Level of the input that differs.
        right: Level,
    },
    /// A circuit takes more levels than the ciphertext has left.
    #[error("{circuit} takes {depth} levels, the ciphertext is at {have:?}; bootstrap it first")]
    TooDeep {
        /// The circuit.
        circuit: &'static str,
        /// Levels it takes.
        depth: u32,
        /// Level of the ciphertext.
        have: Level,
    },
    /// The parameter set has no bootstrapping levels, or not those that this circuit needs.
    #[error("the parameter set {params} cannot bootstrap: {reason}")]
    NoBootstrap {
        /// Name of the parameter set.
        params: String,
        /// What is missing.
        reason: String,
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
    /// The scheme refused or failed.
    #[error(transparent)]
    Ckks(#[from] aegis_ckks::Error),
}
