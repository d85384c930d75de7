/// Whose fault an error is, and so who can do something about it. The errors of every crate of this workspace have a
/// method `kind`, which answers for the errors behind them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was passed in cannot be used: an argument, a file, a message, a text. Other input will do.
    Input,
    /// Keys are missing, or do not belong to what they are used with. Other keys will do.
    KeySet,
    /// The input makes sense, but not with these parameters, this model or this machine.
    Unsupported,
    /// Memory ran out. With fewer buffers, a higher limit or a larger machine the same call succeeds.
    Memory,
    /// A device, a disk or the system failed. The same call may succeed on another one.
    Device,
    /// An invariant of this workspace does not hold. Nobody outside can mend it: please report it.
    Bug,
}

/// What can be wrong with the moduli of a ring.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a prime in `(2, 2^50)`.
    #[error("{0} is not a prime in (2, 2^50)")]
    NotAPrime(u64),
    /// The prime has no primitive `2N`-th root of unity.
    #[error("{prime} is not 1 mod 2N for N = 2^{log_n}")]
    NoRoot {
        /// The prime at fault.
        prime: u64,
        /// Logarithm of the ring degree.
        log_n: u32,
    },
    /// A prime stands twice.
    #[error("the prime {0} stands twice in the basis")]
    Duplicate(u64),
    /// The ring degree is out of range.
    #[error("log2 of the ring degree is {0}; it must be in 3..=17")]
    Degree(u32),
    /// No prime is left in the range that was searched.
    #[error("no free prime of the form 1 mod 2^{} near {target}", .log_n + 1)]
    NoPrime {
        /// Where the search began.
        target: f64,
        /// Logarithm of the ring degree.
        log_n: u32,
    },
}

impl Error {
    /// Whose fault it is: always that of the numbers passed in.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}
