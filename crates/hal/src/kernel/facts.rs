//! The table of kernels.

use aegis_ring::Basis;

use crate::{Kernel, Scalars};

/// What is true of a kernel whatever its operands. Checks, traces, the cases of the conformance suite and the table of
/// `docs/kernels.md` follow from it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Facts<'a> {
    /// Name in traces and errors.
    pub name: &'static str,
    /// Number of inputs when not in place.
    pub inputs: usize,
    /// With one input fewer, the output itself is the first input.
    pub in_place: bool,
    /// Adds to what the output holds.
    pub accumulates: bool,
    /// Word `j` of the output depends on word `j` of the operands alone. An input with a batch of one then serves every
    /// polynomial of the output.
    pub word_by_word: bool,
    /// As many of the first inputs may be compact: have fewer words a limb than the output, each serving a run.
    pub compact: usize,
    /// Of its inputs it reads the limbs that it writes.
    pub reads_written: bool,
    /// The limbs that every output limb needs besides its own; `None` where the kernel is limb-wise.
    pub gathers: Option<&'a Basis>,
    /// Constants, one for each limb written.
    pub scalars: Option<&'a Scalars>,
    /// Has a lowering ([`Kernel::lower`]): a backend may leave it out.
    pub fused: bool,
}

impl Facts<'_> {
    /// The limbs read of each input by a launch that writes `limbs`. The two sets that a kernel may read are disjoint.
    pub fn reads(&self, limbs: &Basis) -> Basis {
        match self.gathers {
            Some(from) if self.reads_written => limbs.union(from),
            Some(from) => from.clone(),
            None => limbs.clone(),
        }
    }
}

/// A limb-wise kernel of whole rows.
fn by_rows(name: &'static str, inputs: usize) -> Facts<'static> {
    Facts {
        name,
        inputs,
        in_place: false,
        accumulates: false,
        word_by_word: false,
        compact: 0,
        reads_written: true,
        gathers: None,
        scalars: None,
        fused: false,
    }
}

/// A kernel whose words do not see each other: all inputs may be compact.
fn word_by_word(name: &'static str, inputs: usize) -> Facts<'static> {
    Facts { word_by_word: true, compact: inputs, ..by_rows(name, inputs) }
}

/// A kernel that reads the limbs of `from` and no others.
fn conversion<'a>(name: &'static str, from: &'a Basis) -> Facts<'a> {
    Facts { reads_written: false, gathers: Some(from), ..by_rows(name, 1) }
}

impl Kernel {
    /// The kernel's row of the table.
    pub fn facts(&self) -> Facts<'_> {
        match self {
            Self::Ntt => Facts { in_place: true, ..by_rows("ntt", 1) },
            Self::Intt => Facts { in_place: true, ..by_rows("intt", 1) },
            Self::Copy => word_by_word("copy", 1),
            Self::Add => Facts { in_place: true, ..word_by_word("add", 2) },
            Self::Sub => Facts { in_place: true, ..word_by_word("sub", 2) },
            Self::Mul => Facts { in_place: true, ..word_by_word("mul", 2) },
            Self::MulAdd => Facts { accumulates: true, ..word_by_word("mul_add", 2) },
            Self::ScalarMul(c) => Facts { in_place: true, scalars: Some(c), ..word_by_word("scalar_mul", 1) },
            Self::ScalarMulAdd(c) => {
                Facts { accumulates: true, scalars: Some(c), ..word_by_word("scalar_mul_add", 1) }
            }
            Self::SubScale(c) => Facts { in_place: true, scalars: Some(c), ..word_by_word("sub_scale", 2) },
            Self::ScalarAdd(c) => Facts { in_place: true, scalars: Some(c), ..word_by_word("scalar_add", 1) },
            Self::Automorphism(_) => by_rows("automorphism", 1),
            Self::BaseConv { from } => conversion("base_conv", from),
            Self::ModUp { from } => Facts { fused: true, ..conversion("mod_up", from) },
            Self::ModDown { from } => {
                Facts { in_place: true, gathers: Some(from), fused: true, ..by_rows("mod_down", 1) }
            }
            Self::InnerProduct { accumulate, .. } => {
                Facts { accumulates: *accumulate, compact: 1, fused: true, ..by_rows("inner_product", 2) }
            }
        }
    }

    /// The kernel's name, for traces and errors.
    pub fn name(&self) -> &'static str {
        self.facts().name
    }

    /// The limbs that every output limb needs besides its own; `None` where the kernel is limb-wise.
    pub fn gathers(&self) -> Option<&Basis> {
        self.facts().gathers
    }

    /// True for the kernels that have a [`Kernel::lower`]ing: a backend may leave them out.
    pub fn is_fused(&self) -> bool {
        self.facts().fused
    }
}
