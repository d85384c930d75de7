use aegis_hal::ErrorKind;

/// Why ranks cannot be joined by MPI: see [`Error::Mpi`](crate::Error::Mpi).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MpiFault {
    /// The environment shows no launcher.
    #[error("this process was started by no MPI launcher; start it as `mpirun -n <ranks> <program>`")]
    NoLauncher,
    /// No library can be opened.
    #[error(
        "no MPI library can be opened ({tried}); install Open MPI or MPICH, the one that the launcher belongs to, \
         and put its folder on the library path"
    )]
    NoLibrary {
        /// What the system said of each name.
        tried: String,
    },
    /// The library is not one of MPI, or too old.
    #[error("{library} has no {symbol}; it is no MPI library of version 3 or later")]
    NoSymbol {
        /// The library.
        library: String,
        /// What it lacks.
        symbol: &'static str,
    },
    /// The library and the launcher belong to different installations.
    #[error(
        "the launcher started {launched} ranks and {library} sees {seen}; use both from one installation of MPI"
    )]
    AnotherMpi {
        /// The library.
        library: String,
        /// Ranks that the launcher started.
        launched: usize,
        /// Ranks that the library knows.
        seen: usize,
    },
    /// The library was built without threads.
    #[error("{library} was built without support of threads; install another build")]
    NoThreads {
        /// The library.
        library: String,
    },
    /// MPI is in use, or was, in this process.
    #[error("this process has joined MPI before, which it can do once; keep the first communicator")]
    InUse,
    /// Not all ranks came.
    #[error("the other ranks did not start within {seconds} s; see what the launcher says of them")]
    NoStart {
        /// Seconds.
        seconds: u64,
    },
    /// A call failed.
    #[error("{call} failed: {cause}")]
    Call {
        /// The function.
        call: &'static str,
        /// What MPI said.
        cause: String,
    },
}

impl MpiFault {
    /// Whose fault it is.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::NoLauncher | Self::InUse => ErrorKind::Input,
            _ => ErrorKind::Device,
        }
    }
}
