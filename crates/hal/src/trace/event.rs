//! What a trace keeps, and how it is written.

use std::fmt;

use aegis_ring::Basis;

use crate::{Kernel, Shape};

/// One thing that a device was asked for. Buffers have numbers, in the order of their making.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A buffer was made.
    Alloc {
        /// Its number.
        buffer: u64,
        /// What it holds.
        shape: Shape,
    },
    /// The buffer made last got its content from the host.
    Upload {
        /// Its number.
        buffer: u64,
        /// Bytes that left the host.
        bytes: u64,
    },
    /// A kernel ran.
    Launch(Launch),
    /// Polynomials went to the host.
    Download(Operand),
    /// Limbs left for another device.
    Export(Operand),
    /// Limbs came from another device.
    Adopt(Operand),
    /// A buffer was dropped.
    Free {
        /// Its number.
        buffer: u64,
    },
}

/// One launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The kernel with its arguments.
    pub kernel: Kernel,
    /// The limbs written.
    pub limbs: Basis,
    /// The output. Its limbs are those written and, in place, those read besides.
    pub out: Operand,
    /// The inputs; one fewer than the kernel takes when it ran in place.
    pub ins: Vec<Operand>,
}

/// What a launch or a download touches of one buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Number of the buffer.
    pub buffer: u64,
    /// First polynomial.
    pub first: usize,
    /// Number of polynomials.
    pub count: usize,
    /// The limbs touched, which may be some of those that the buffer holds.
    pub limbs: Basis,
    /// Words a limb.
    pub n: usize,
}

/// One line of a golden text, without the end of the line: kernel, limbs, output and inputs.
impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", described(&self.kernel), self.limbs, self.out)?;
        for (i, input) in self.ins.iter().enumerate() {
            write!(f, "{} {input}", if i == 0 { " <-" } else { "" })?;
        }
        Ok(())
    }
}

/// `buffer[first..end]xwords`.
impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}[{}..{}]x{}", self.buffer, self.first, self.first + self.count, self.n)
    }
}

/// Name and arguments, without the values of constants.
fn described(kernel: &Kernel) -> String {
    match kernel {
        Kernel::Automorphism(g) => format!("automorphism({})", g.exponent()),
        Kernel::InnerProduct { terms, accumulate: false } => format!("inner_product({terms})"),
        Kernel::InnerProduct { terms, accumulate: true } => format!("inner_product({terms}, accumulate)"),
        other => match other.gathers() {
            Some(from) => format!("{}({from:?})", other.name()),
            None => other.name().to_owned(),
        },
    }
}
