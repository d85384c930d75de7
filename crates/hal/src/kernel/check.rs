//! What a launch must be.

use aegis_ring::{Basis, Rns};

use crate::{Error, Facts, Kernel, Misfit, Poly, Result, Shape, View, ViewMut};

impl Kernel {
    /// Checks a launch: number of operands, runs of polynomials, batches, words and limbs. Every backend calls it first, and
    /// what it lets pass stays inside the buffers.
    pub fn check(&self, rns: &Rns, limbs: &Basis, out: &ViewMut<'_>, ins: &[View<'_>]) -> Result<()> {
        let facts = self.facts();
        let refuse = |misfit| Err(Error::Operands { op: facts.name, misfit });
        let in_place = facts.in_place && ins.len() + 1 == facts.inputs;
        if ins.len() != facts.inputs && !in_place {
            return refuse(Misfit::Inputs { have: ins.len(), want: facts.inputs });
        }
        if let Some(scalars) = facts.scalars {
            check_scalars(rns, scalars, limbs).or_else(refuse)?;
        }
        if let Some(from) = facts.gathers {
            if from.is_empty() {
                return refuse(Misfit::NoLimbs);
            }
            if let Some(limb) = limbs.iter().find(|&l| from.contains(l)) {
                return refuse(Misfit::ReadAndWritten(limb));
            }
        }
        out.as_view().check().or_else(refuse)?;
        ins.iter().try_for_each(View::check).or_else(refuse)?;
        self.check_batches(out, ins).or_else(refuse)?;
        facts.check_words(out.poly().shape(), ins).or_else(refuse)?;
        out.poly().check_limbs(limbs)?;
        if in_place {
            facts.check_limbs(out.poly(), limbs)?;
        }
        ins.iter().try_for_each(|input| facts.check_limbs(input.poly(), limbs))
    }

    fn check_batches(&self, out: &ViewMut<'_>, ins: &[View<'_>]) -> std::result::Result<(), Misfit> {
        if let Self::InnerProduct { terms, .. } = *self {
            let (w, x) = (ins[0].count(), ins[1].count());
            let whole = terms > 0 && w % terms == 0 && x % terms == 0;
            let fits = whole && (w / terms).checked_mul(x / terms) == Some(out.count());
            return if fits {
                Ok(())
            } else {
                Err(Misfit::InnerProduct { w, x, terms, output: out.count() })
            };
        }
        for input in ins {
            let (input, output) = (input.count(), out.count());
            let serves_all = input == 1 && self.facts().word_by_word;
            if input != output && !serves_all {
                return Err(Misfit::Batches { input, output });
            }
        }
        Ok(())
    }
}

impl Facts<'_> {
    fn check_words(&self, out: &Shape, ins: &[View<'_>]) -> std::result::Result<(), Misfit> {
        for (i, input) in ins.iter().enumerate() {
            let n = input.poly().shape().n();
            let fits = n == out.n() || (i < self.compact && n < out.n() && out.n().is_multiple_of(n));
            if !fits {
                return Err(Misfit::Words { input: n, output: out.n() });
            }
        }
        Ok(())
    }

    /// An input holds the limbs that are read of it.
    fn check_limbs(&self, input: &Poly, limbs: &Basis) -> Result<()> {
        self.gathers.map_or(Ok(()), |from| input.check_limbs(from))?;
        if self.reads_written { input.check_limbs(limbs) } else { Ok(()) }
    }
}

/// One canonical constant a limb. A limb outside the ring is in no buffer, so that later checks refuse it.
fn check_scalars(rns: &Rns, scalars: &[u64], limbs: &Basis) -> std::result::Result<(), Misfit> {
    if scalars.len() != limbs.len() {
        return Err(Misfit::Constants { have: scalars.len(), limbs: limbs.len() });
    }
    let moduli = rns.moduli();
    for (&c, limb) in scalars.iter().zip(limbs.iter()) {
        if let Some(q) = moduli.get(limb.index())
            && c >= q.value()
        {
            return Err(Misfit::NotAResidue { value: c, modulus: q.value() });
        }
    }
    Ok(())
}
