//! The operations on polynomials, as values.

use std::sync::Arc;

use aegis_ring::{Basis, Galois, Rns};

use crate::{Backend, Error, Poly, Result, Shape, View, ViewMut};

/// One constant for each limb of a launch, in the order of its limbs, each in `[0, q)`.
pub type Scalars = Arc<[u64]>;

/// An operation on residues. Inputs and outputs are canonical, in `[0, q)`.
///
/// A launch writes the limbs it names and no others. *Limb-wise* kernels read only the limbs that they write.
/// Where an input has a batch of one, it serves every polynomial of the output; where it is compact
/// ([`Shape::n`] below N), each of its words serves a run of `N/n` consecutive words (element-wise kernels and
/// [`Kernel::InnerProduct`] only). *In place*: with one input fewer than the kernel takes, the output itself is the
/// first input.
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
    /// The kernel's name, for traces and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ntt => "ntt",
            Self::Intt => "intt",
            Self::Copy => "copy",
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::MulAdd => "mul_add",
            Self::ScalarMul(_) => "scalar_mul",
            Self::ScalarMulAdd(_) => "scalar_mul_add",
            Self::ScalarAdd(_) => "scalar_add",
            Self::Automorphism(_) => "automorphism",
            Self::BaseConv { .. } => "base_conv",
            Self::ModUp { .. } => "mod_up",
            Self::ModDown { .. } => "mod_down",
            Self::InnerProduct { .. } => "inner_product",
        }
    }

    /// The limbs that every output limb needs besides its own; `None` where the kernel is limb-wise.
    pub fn gathers(&self) -> Option<&Basis> {
        match self {
            Self::BaseConv { from } | Self::ModUp { from } | Self::ModDown { from } => Some(from),
            _ => None,
        }
    }

    /// True for the kernels that have a [`Kernel::lower`]ing: a backend may leave them out.
    pub fn is_fused(&self) -> bool {
        matches!(self, Self::ModUp { .. } | Self::ModDown { .. } | Self::InnerProduct { .. })
    }

    /// Number of inputs when not in place, and whether the kernel may run in place.
    fn arity(&self) -> (usize, bool) {
        match self {
            Self::Add | Self::Sub | Self::Mul => (2, true),
            Self::MulAdd | Self::InnerProduct { .. } => (2, false),
            Self::Ntt | Self::Intt | Self::ScalarMul(_) | Self::ScalarAdd(_) | Self::ModDown { .. } => {
                (1, true)
            }
            Self::Copy | Self::ScalarMulAdd(_) | Self::Automorphism(_) => (1, false),
            Self::BaseConv { .. } | Self::ModUp { .. } => (1, false),
        }
    }

    /// True for kernels that work word by word, so that inputs may be compact or serve a whole batch.
    fn is_elementwise(&self) -> bool {
        use Kernel::{Add, Copy, Mul, MulAdd, ScalarAdd, ScalarMul, ScalarMulAdd, Sub};
        matches!(self, Copy | Add | Sub | Mul | MulAdd | ScalarMul(_) | ScalarMulAdd(_) | ScalarAdd(_))
    }

    /// Checks a launch: number of operands, runs of polynomials, batches, words and limbs. Every backend calls it first, and
    /// what it lets pass stays inside the buffers.
    pub fn check(&self, rns: &Rns, limbs: &Basis, out: &ViewMut<'_>, ins: &[View<'_>]) -> Result<()> {
        let refuse = |reason: String| Err(Error::Operands { kernel: self.name(), reason });
        let (arity, in_place) = self.arity();
        if ins.len() != arity && !(in_place && ins.len() + 1 == arity) {
            return refuse(format!("{} inputs, it takes {arity}", ins.len()));
        }
        if let Self::ScalarMul(c) | Self::ScalarMulAdd(c) | Self::ScalarAdd(c) = self {
            check_scalars(rns, c, limbs).or_else(refuse)?;
        }
        if self.gathers().is_some_and(Basis::is_empty) {
            return refuse("no limbs to convert from".into());
        }
        if let Some(from) = self.gathers()
            && let Some(limb) = limbs.iter().find(|&l| from.contains(l))
        {
            return refuse(format!("limb {limb:?} is both read and written"));
        }
        out.as_view().check().or_else(refuse)?;
        ins.iter().try_for_each(View::check).or_else(refuse)?;
        self.check_batches(out, ins).or_else(refuse)?;
        self.check_words(out.poly().shape(), ins).or_else(refuse)?;
        contains(out.poly(), limbs)?;
        if ins.is_empty()
            && let Self::ModDown { from } = self
        {
            contains(out.poly(), from)?;
        }
        for input in ins {
            match self {
                Self::BaseConv { from } | Self::ModUp { from } => contains(input.poly(), from)?,
                Self::ModDown { from } => {
                    contains(input.poly(), from)?;
                    contains(input.poly(), limbs)?;
                }
                _ => contains(input.poly(), limbs)?,
            }
        }
        Ok(())
    }

    fn check_batches(&self, out: &ViewMut<'_>, ins: &[View<'_>]) -> std::result::Result<(), String> {
        if let Self::InnerProduct { terms, .. } = *self {
            let (w, x) = (ins[0].count(), ins[1].count());
            let whole = terms > 0 && w % terms == 0 && x % terms == 0;
            let fits = whole && (w / terms).checked_mul(x / terms) == Some(out.count());
            return if fits {
                Ok(())
            } else {
                Err(format!("batches {w} and {x}, {terms} terms, output {}", out.count()))
            };
        }
        for input in ins {
            let (have, want) = (input.count(), out.count());
            let serves_all = have == 1 && self.is_elementwise();
            if have != want && !serves_all {
                return Err(format!("an input batch of {have}, an output batch of {want}"));
            }
        }
        Ok(())
    }

    fn check_words(&self, out: &Shape, ins: &[View<'_>]) -> std::result::Result<(), String> {
        for (i, input) in ins.iter().enumerate() {
            let n = input.poly().shape().n();
            let compact = self.is_elementwise() || (matches!(self, Self::InnerProduct { .. }) && i == 0);
            let fits = n == out.n() || (compact && n < out.n() && out.n().is_multiple_of(n));
            if !fits {
                return Err(format!("an input of {n} words a limb, an output of {}", out.n()));
            }
        }
        Ok(())
    }

    /// A fused kernel as a sequence of primitive ones with the same bits. Not an oracle: the reference of
    /// [`crate::conformance`] is, and lowerings are checked against it as fused kernels are.
    ///
    /// Fails as [`Kernel::check`] does, and with [`Error::Unsupported`] on a primitive: every backend has those.
    pub fn lower<B: Backend + ?Sized>(
        &self,
        dev: &B,
        limbs: &Basis,
        out: ViewMut<'_>,
        ins: &[View<'_>],
    ) -> Result<()> {
        self.check(dev.rns(), limbs, &out, ins)?;
        match self {
            Self::ModUp { from } => {
                let shape = Shape::new(out.count(), limbs.clone(), out.poly().shape().n());
                let mut coefficients = dev.alloc(shape)?;
                dev.launch(&Self::BaseConv { from: from.clone() }, limbs, coefficients.view_mut(), ins)?;
                dev.launch(&Self::Ntt, limbs, out, &[coefficients.view()])
            }
            Self::ModDown { from } => lower_mod_down(dev, from, limbs, out, ins),
            Self::InnerProduct { terms, accumulate } => {
                lower_inner_product(dev, *terms, *accumulate, limbs, out, [ins[0], ins[1]])
            }
            _ => Err(Error::Unsupported(self.name())),
        }
    }
}

fn lower_mod_down<B: Backend + ?Sized>(
    dev: &B,
    from: &Basis,
    limbs: &Basis,
    mut out: ViewMut<'_>,
    ins: &[View<'_>],
) -> Result<()> {
    let (n, batch) = (out.poly().shape().n(), out.count());
    let mut remainder = dev.alloc(Shape::new(batch, from.clone(), n))?;
    let mut lifted = dev.alloc(Shape::new(batch, limbs.clone(), n))?;
    let up = Kernel::ModUp { from: from.clone() };
    match ins {
        [] => {
            dev.launch(&Kernel::Intt, from, remainder.view_mut(), &[out.as_view()])?;
            dev.run(&up, limbs, lifted.view_mut(), &[remainder.view()])?;
            dev.launch(&Kernel::Sub, limbs, out.reborrow(), &[lifted.view()])?;
        }
        [input, ..] => {
            dev.launch(&Kernel::Intt, from, remainder.view_mut(), &[*input])?;
            dev.run(&up, limbs, lifted.view_mut(), &[remainder.view()])?;
            dev.launch(&Kernel::Sub, limbs, out.reborrow(), &[*input, lifted.view()])?;
        }
    }
    dev.launch(&Kernel::ScalarMul(inverse_product(dev.rns(), from, limbs)), limbs, out, &[])
}

/// The inverse of the product of `from` modulo each of `limbs`.
fn inverse_product(rns: &Rns, from: &Basis, limbs: &Basis) -> Scalars {
    limbs
        .iter()
        .map(|l| {
            let q = rns.modulus(l);
            let product = from.iter().fold(1, |m, f| q.mul(m, q.reduce(rns.modulus(f).value())));
            q.inv(product).expect("distinct primes are invertible modulo each other")
        })
        .collect()
}

fn lower_inner_product<B: Backend + ?Sized>(
    dev: &B,
    terms: usize,
    accumulate: bool,
    limbs: &Basis,
    mut out: ViewMut<'_>,
    [w, x]: [View<'_>; 2],
) -> Result<()> {
    let (rows, columns) = (w.count() / terms, x.count() / terms);
    for row in 0..rows {
        for term in 0..terms {
            let target = out.slice_mut(row * columns, columns);
            let kernel = if term == 0 && !accumulate { Kernel::Mul } else { Kernel::MulAdd };
            let inputs = [w.slice(row * terms + term, 1), x.slice(term * columns, columns)];
            dev.launch(&kernel, limbs, target, &inputs)?;
        }
    }
    Ok(())
}

/// One canonical constant a limb. A limb outside the ring is in no buffer, so that later checks refuse it.
fn check_scalars(rns: &Rns, scalars: &[u64], limbs: &Basis) -> std::result::Result<(), String> {
    if scalars.len() != limbs.len() {
        return Err(format!("{} constants for {} limbs", scalars.len(), limbs.len()));
    }
    let moduli = rns.moduli();
    for (&c, limb) in scalars.iter().zip(limbs.iter()) {
        if let Some(q) = moduli.get(limb.index())
            && c >= q.value()
        {
            return Err(format!("the constant {c} is not a residue modulo {}", q.value()));
        }
    }
    Ok(())
}

fn contains(poly: &Poly, limbs: &Basis) -> Result<()> {
    match limbs.iter().find(|&l| !poly.basis().contains(l)) {
        Some(limb) => Err(Error::MissingLimb { limb, have: poly.basis().clone() }),
        None => Ok(()),
    }
}
