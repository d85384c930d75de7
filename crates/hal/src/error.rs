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
    /// The device has no memory left for a buffer.
    #[error("out of device memory: {bytes} bytes were asked for; free memory or use a smaller preset")]
    OutOfMemory {
        /// Size of the buffer that did not fit.
        bytes: u64,
    },
    /// The device could not be made, or a launch on it failed, perhaps an earlier one: it is unusable.
    #[error("the device failed: {0}; make another one")]
    Device(String),
}
