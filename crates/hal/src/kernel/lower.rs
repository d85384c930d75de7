//! Fused kernels taken apart.

use aegis_ring::{Basis, Rns};

use crate::{Backend, Error, Kernel, Result, Scalars, Shape, View, ViewMut};

impl Kernel {
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
    out: ViewMut<'_>,
    ins: &[View<'_>],
) -> Result<()> {
    let (n, batch) = (out.poly().shape().n(), out.count());
    let mut remainder = dev.alloc(Shape::new(batch, from.clone(), n))?;
    let mut lifted = dev.alloc(Shape::new(batch, limbs.clone(), n))?;
    let up = Kernel::ModUp { from: from.clone() };
    let source = ins.first().copied().unwrap_or(out.as_view());
    dev.launch(&Kernel::Intt, from, remainder.view_mut(), &[source])?;
    dev.run(&up, limbs, lifted.view_mut(), &[remainder.view()])?;
    let inverse = inverse_product(dev.rns(), from, limbs);
    match ins {
        // In place the operand comes first, and with it the sign.
        [] => {
            let moduli = limbs.iter().map(|l| dev.rns().modulus(l));
            let negated = moduli.zip(&*inverse).map(|(q, &c)| q.neg(c)).collect();
            dev.launch(&Kernel::SubScale(negated), limbs, out, &[lifted.view()])
        }
        [input, ..] => dev.launch(&Kernel::SubScale(inverse), limbs, out, &[lifted.view(), *input]),
    }
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
