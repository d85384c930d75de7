//! The operations on polynomials, as values: what they mean here, what is true of each in `facts`, what a launch of one
//! must be in `check`, and what fused ones are made of in `lower`.

use std::sync::Arc;

use aegis_ring::{Basis, Galois};

pub use facts::Facts;

mod check;
mod facts;
mod lower;

/// One constant for each limb of a launch, in the order of its limbs, each in `[0, q)`.
pub type Scalars = Arc<[u64]>;

/// An operation on residues. Inputs and outputs are canonical, in `[0, q)`.
///
/// A launch writes the limbs it names and no others. *Limb-wise* kernels read only the limbs that they write.
/// Where an input has a batch of one, it serves every polynomial of the output; where it is compact
/// ([`Shape::n`](crate::Shape::n) below N), each of its words serves a run of `N/n` consecutive words (word-by-word
/// kernels and [`Kernel::InnerProduct`] only). *In place*: with one input fewer than the kernel takes, the output
/// itself is the first input. [`Kernel::facts`] says which of this holds for a kernel.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kernel {
    /// Coefficient form to evaluation form: word `j` becomes the value at `psi^(2 brv(j) + 1)`. May be in place.
    Ntt,
    /// Evaluation form to coefficient form. May be in place.
    Intt,
    /// `out = a`.
    Copy,
    /// `out = a + b`. May be in place.
    Add,
    /// `out = a - b`. May be in place.
    Sub,
    /// `out = a * b`, word by word. May be in place.
    Mul,
    /// `out += a * b`, word by word.
    MulAdd,
    /// `out = c * a`. May be in place.
    ScalarMul(Scalars),
    /// `out += c * a`.
    ScalarMulAdd(Scalars),
    /// `out = c * (b - a)`. May be in place. What a division by P ends with.
    SubScale(Scalars),
    /// `out = a + c` in every word (in evaluation form: adds the constant polynomial `c`). May be in place.
    ScalarAdd(Scalars),
    /// `X -> X^g` on evaluation form.
    Automorphism(Galois),
    /// Fast base conversion with a centred representative (Halevi, Polyakov, Shoup 2019, section 2.2): coefficient
    /// form over `from` to coefficient form over the limbs written. The result is `x mod p` for the `x` in
    /// `[-Q/2, Q/2]` that the input denotes. The only primitive that reads limbs it does not write.
    BaseConv {
        /// The limbs of the input; none of them is written.
        from: Basis,
    },
    /// Fused [`Kernel::BaseConv`] and [`Kernel::Ntt`]: coefficient form over `from` to evaluation form.
    ModUp {
        /// The limbs of the input; none of them is written.
        from: Basis,
    },
    /// `out = (a - [a]_P) / P` for the product P of the primes of `from`, `[a]_P` centred: division by P with
    /// rounding. Evaluation form in and out; reads the limbs written and those of `from`. Both the end of a key
    /// switch and a rescale. May be in place.
    ModDown {
        /// The limbs divided away; none of them is written.
        from: Basis,
    },
    /// `out[j, e] = sum over i of w[j, i] * x[i, e]`, word by word, for `i < terms`. Inputs: weights `w` (batch
    /// `rows * terms`, row-major), then `x` (batch `terms * columns`); output batch `rows * columns`. Key switching
    /// (weights are digits, `x` is the key) and sums of plaintext products.
    InnerProduct {
        /// Number of products summed.
        terms: usize,
        /// Add to what the output holds.
        accumulate: bool,
    },
}

impl Kernel {
    /// The kernel of a launch on `limbs`, for a launch on some of them: its constants are those of `part`.
    pub fn restricted(&self, limbs: &Basis, part: &Basis) -> Self {
        let of_part = |c: &Scalars| {
            limbs.iter().zip(&**c).filter(|(l, _)| part.contains(*l)).map(|(_, c)| *c).collect()
        };
        match self {
            Self::ScalarMul(c) => Self::ScalarMul(of_part(c)),
            Self::ScalarMulAdd(c) => Self::ScalarMulAdd(of_part(c)),
            Self::SubScale(c) => Self::SubScale(of_part(c)),
            Self::ScalarAdd(c) => Self::ScalarAdd(of_part(c)),
            other => other.clone(),
        }
    }
}
