use aegis_ring::{Basis, LimbId};

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
    #[error("limb {limb:?} is missing: the buffer holds {have:?}")]
    MissingLimb {
        /// The limb that was looked for.
        limb: LimbId,
        /// The limbs of the buffer.
        have: Basis,
    },
    /// The operands do not fit the kernel.
    #[error("operands do not fit the kernel {kernel}: {reason}")]
    Operands {
        /// Name of the kernel.
        kernel: &'static str,
        /// What does not fit, with the numbers.
        reason: String,
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
    /// The device could not be made, or it failed in a launch, perhaps an earlier one: it is unusable.
    #[error("the device failed: {0}; make another one")]
    Device(String),
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
}
