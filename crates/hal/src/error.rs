use aegis_ring::{Basis, ErrorKind, LimbId};

/// Result of an operation of a backend.
pub type Result<T> = std::result::Result<T, Error>;

/// What a backend refuses or fails to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A buffer of another device was passed.
    #[error("the buffer belongs to another device; copy it with download and upload")]
    WrongDevice,
    /// A limb that the launch reads or writes is not in a buffer.
    #[error("limb {} is missing: the buffer holds {have:?}", .limb.index())]
    MissingLimb {
        /// The limb that was looked for.
        limb: LimbId,
        /// The limbs of the buffer.
        have: Basis,
    },
    /// The operands do not fit the operation, which was not begun.
    #[error("operands do not fit {op}: {misfit}")]
    Operands {
        /// Name of the kernel, or `alloc` or `upload`.
        op: &'static str,
        /// What does not fit.
        misfit: Misfit,
    },
    /// This backend has no such fused kernel; [`Backend::run`](crate::Backend::run) lowers it.
    #[error("this backend has no fused kernel {0}")]
    Unsupported(&'static str),
    /// The device has no room for a buffer. It goes on working: see the contract of [`Backend`](crate::Backend).
    #[error(
        "out of device memory: {asked} bytes were asked for beside {live} in use{}; {}",
        bound(*limit), remedy(*limit)
    )]
    OutOfMemory {
        /// Bytes that did not fit.
        asked: u64,
        /// Most bytes that the device may use, where that was bounded; otherwise the system has no more.
        limit: Option<u64>,
        /// Bytes in use by other buffers. Together with `asked` they may be below the limit: free memory in pieces.
        live: u64,
    },
    /// Words that another rank was to send did not come. What waited for them is poisoned; the device goes on working.
    #[error("rank {rank} {fault}")]
    Peer {
        /// The other rank.
        rank: usize,
        /// What is the matter with it.
        fault: PeerFault,
    },
    /// The device could not be made, or it failed in a launch, perhaps an earlier one: it is unusable.
    #[error("the device failed: {0}; make another one")]
    Device(String),
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::WrongDevice | Self::MissingLimb { .. } | Self::Operands { .. } => ErrorKind::Input,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::OutOfMemory { .. } => ErrorKind::Memory,
            Self::Peer { .. } | Self::Device(_) => ErrorKind::Device,
        }
    }
}

/// Why another rank sends nothing of use: see [`Error::Peer`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// Nothing was heard of it for this long.
    #[error("was not heard of for {ms} ms: it is stopped, or lost with its network; start the run again")]
    Silent {
        /// Milliseconds.
        ms: u64,
    },
    /// It did not send what was expected, for this long.
    #[error("kept others waiting for {ms} ms: it hangs, or the limit is too short for what it computes")]
    Late {
        /// Milliseconds.
        ms: u64,
    },
    /// It ended before it sent what was expected.
    #[error("has ended; its own message says why")]
    Gone,
    /// It could not make the words that it was to send.
    #[error("failed: {cause}")]
    Failed {
        /// What it said.
        cause: String,
    },
    /// It sent another number of words than was agreed: it runs another program.
    #[error("sent {have} words where {want} were agreed; it runs another program")]
    Length {
        /// Words received.
        have: usize,
        /// Words expected.
        want: usize,
    },
    /// It does not agree on what is to be run.
    #[error("has {what} of its own; start all ranks with the same arguments and files")]
    Disagrees {
        /// What differs.
        what: &'static str,
    },
    /// The transport between processes failed.
    #[error("cannot be reached: {cause}")]
    Transport {
        /// What it said.
        cause: String,
    },
}

/// Why operands do not fit an operation: see [`Error::Operands`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// The kernel takes another number of inputs.
    #[error("{have} inputs, it takes {want}")]
    Inputs {
        /// Inputs passed.
        have: usize,
        /// Inputs that it takes.
        want: usize,
    },
    /// Scalars come one a limb.
    #[error("{have} constants for {limbs} limbs")]
    Constants {
        /// Constants passed.
        have: usize,
        /// Limbs to write.
        limbs: usize,
    },
    /// A constant or a word is not below the prime of its limb.
    #[error("{value} is not a residue modulo {modulus}")]
    NotAResidue {
        /// The first such value.
        value: u64,
        /// The prime.
        modulus: u64,
    },
    /// A base conversion from no limbs.
    #[error("no limbs to convert from")]
    NoLimbs,
    /// A base conversion reads a limb that it writes.
    #[error("limb {} is both read and written", .0.index())]
    ReadAndWritten(LimbId),
    /// A run of polynomials ends beyond its batch.
    #[error("{count} polynomials from {first} of a batch of {batch}")]
    Run {
        /// First polynomial of the run.
        first: usize,
        /// Number of polynomials.
        count: usize,
        /// Polynomials that there are.
        batch: usize,
    },
    /// Two batches that must be equal are not.
    #[error("an input batch of {input}, an output batch of {output}")]
    Batches {
        /// Polynomials of the input.
        input: usize,
        /// Polynomials of the output.
        output: usize,
    },
    /// The batches of an inner product are not rows and columns of its number of terms.
    #[error("batches {w} and {x}, {terms} terms, output {output}")]
    InnerProduct {
        /// Polynomials of the first input.
        w: usize,
        /// Polynomials of the second input.
        x: usize,
        /// Products in each sum.
        terms: usize,
        /// Polynomials of the output.
        output: usize,
    },
    /// An input has another number of words a limb than the output, and is no compact one.
    #[error("an input of {input} words a limb, an output of {output}")]
    Words {
        /// Words of the input.
        input: usize,
        /// Words of the output.
        output: usize,
    },
    /// Words a limb that are no power of two of at most the ring degree.
    #[error("{n} words a limb in a ring of degree {degree}")]
    Degree {
        /// Words a limb.
        n: usize,
        /// The ring degree.
        degree: usize,
    },
    /// The ring has no such limb.
    #[error("limb {} in a ring of {primes} primes", .limb.index())]
    UnknownLimb {
        /// The limb.
        limb: LimbId,
        /// Primes of the ring.
        primes: usize,
    },
    /// A buffer of more bytes than any address reaches.
    #[error("{batch} polynomials of {limbs} limbs of {n} words exceed isize::MAX bytes")]
    TooLarge {
        /// Number of polynomials.
        batch: usize,
        /// Limbs of each.
        limbs: usize,
        /// Words a limb.
        n: usize,
    },
    /// Data of another length than its shape.
    #[error("{have} words for a shape that takes {want}")]
    DataLength {
        /// Words passed.
        have: usize,
        /// Words that the shape takes.
        want: usize,
    },
}

fn bound(limit: Option<u64>) -> String {
    limit.map_or_else(String::new, |limit| format!(" of {limit}"))
}

fn remedy(limit: Option<u64>) -> &'static str {
    match limit {
        Some(_) => "drop buffers, raise the limit or use a smaller preset",
        None => "drop buffers or use a smaller preset",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_memory_names_its_numbers_and_a_remedy() {
        let text = |limit| Error::OutOfMemory { asked: 64, limit, live: 128 }.to_string();
        let want = "out of device memory: 64 bytes were asked for beside 128 in use";
        assert_eq!(text(None), format!("{want}; drop buffers or use a smaller preset"));
        let bounded = format!("{want} of 150; drop buffers, raise the limit or use a smaller preset");
        assert_eq!(text(Some(150)), bounded);
    }

    #[test]
    fn a_kind_says_who_can_mend_it() {
        let misfit = Misfit::Inputs { have: 1, want: 2 };
        let cases = [
            (Error::WrongDevice, ErrorKind::Input),
            (Error::Operands { op: "mul", misfit }, ErrorKind::Input),
            (Error::Unsupported("mod_up"), ErrorKind::Unsupported),
            (Error::OutOfMemory { asked: 8, limit: None, live: 0 }, ErrorKind::Memory),
            (Error::Peer { rank: 1, fault: PeerFault::Gone }, ErrorKind::Device),
            (Error::Device("gone".into()), ErrorKind::Device),
        ];
        cases.iter().for_each(|(error, kind)| assert_eq!(error.kind(), *kind, "{error}"));
    }
}
