//! Key switching: digits, inner product with a key, division by P; hoisting; ModRaise.
//!
//! Hybrid key switching (Han, Ki 2020) with digits balanced by bits, single and double hoisting (Bossuat et al. 2021,
//! section 4), and sparse-secret encapsulation for ModRaise (Bossuat, Troncoso-Pastoriza, Hubaux 2022).

use std::cmp::Ordering;

use aegis_hal::{Kernel, Poly, Shape, View};
use aegis_ring::{Basis, Galois};

use crate::keys::SwitchingKey;
use crate::{Ciphertext, Error, Evaluator, Level, Result};

/// The digits of a ciphertext's `c1` in evaluation form over the limbs of its level and the special ones: shared by all
/// rotations of that ciphertext.
#[derive(Debug)]
pub struct Hoisted {
    digits: Poly,
    level: Level,
}

impl Hoisted {
    /// Level of the ciphertext it was made from.
    pub fn level(&self) -> Level {
        self.level
    }
}

impl Evaluator {
    /// Decomposes `c1` once, for any number of rotations.
    pub fn hoist(&self, a: &Ciphertext) -> Result<Hoisted> {
        self.check_keys(a)?;
        self.decompose(a.poly().slice(1, 1), a.level())
    }

    /// Rotates with the digits of [`Evaluator::hoist`]. Level and scale unchanged.
    pub fn rotate_hoisted(&self, a: &Ciphertext, hoisted: &Hoisted, map: Galois) -> Result<Ciphertext> {
        if map == Galois::IDENTITY {
            return Ok(a.clone());
        }
        self.check_hoisted(a, hoisted)?;
        let (dev, basis) = (self.context().device(), self.params().basis(a.level()).clone());
        let extended = self.inner_product(hoisted, self.keys().galois(map, a.level())?)?;
        self.count_rotation();
        let mut switched = self.alloc(2, &basis)?;
        self.divide_special(&basis, &mut switched, extended.view())?;
        dev.launch(&Kernel::Add, &basis, switched.slice_mut(0, 1), &[a.poly().slice(0, 1)])?;
        let mut out = self.alloc(2, &basis)?;
        dev.launch(&Kernel::Automorphism(map), &basis, out.view_mut(), &[switched.view()])?;
        Ok(Ciphertext::new(out, a.level(), a.scale(), a.key_id()))
    }

    /// Raises a ciphertext from level 0 to the top of the chain. The message becomes `m + q0 I` with a small integer
    /// polynomial I, since the lift happens under the ephemeral sparse secret. Scale unchanged.
    pub fn mod_raise(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.check_keys(a)?;
        if a.level() != Level::BASE {
            return Err(Error::LevelTooHigh { have: a.level(), max: Level::BASE });
        }
        let keys = self.keys().encapsulation()?;
        let dev = self.context().device();
        let (base, top) = (self.params().basis(Level::BASE), self.params().max_level());
        let low = self.params().encapsulation_basis();
        let special = low.minus(base);

        // To the sparse secret, over the base limb and one special limb.
        let mut digit = self.alloc(1, &low)?;
        dev.launch(&Kernel::Copy, base, digit.view_mut(), &[a.poly().slice(1, 1)])?;
        let mut c1 = self.alloc(1, base)?;
        dev.launch(&Kernel::Intt, base, c1.view_mut(), &[a.poly().slice(1, 1)])?;
        dev.run(&Kernel::ModUp { from: base.clone() }, &special, digit.view_mut(), &[c1.view()])?;
        let mut switched = self.alloc(2, &low)?;
        let kernel = Kernel::InnerProduct { terms: 1, accumulate: false };
        dev.run(&kernel, &low, switched.view_mut(), &[digit.view(), keys.to_sparse.pairs(1)])?;
        let mut sparse = self.alloc(2, base)?;
        dev.run(&Kernel::ModDown { from: special }, base, sparse.view_mut(), &[switched.view()])?;
        dev.launch(&Kernel::Add, base, sparse.slice_mut(0, 1), &[a.poly().slice(0, 1)])?;

        // The lift: the centred representative modulo q0, seen modulo every prime.
        let all = self.params().basis(top);
        let mut raised = self.alloc(2, all)?;
        dev.launch(&Kernel::Copy, base, raised.view_mut(), &[sparse.view()])?;
        dev.launch(&Kernel::Intt, base, sparse.view_mut(), &[])?;
        dev.run(
            &Kernel::ModUp { from: base.clone() },
            &all.minus(base),
            raised.view_mut(),
            &[sparse.view()],
        )?;

        // Back to the dense secret, at the top.
        let digits = self.decompose(raised.slice(1, 1), top)?;
        let extended = self.inner_product(&digits, &keys.to_dense)?;
        let mut out = self.alloc(2, all)?;
        self.divide_special(all, &mut out, extended.view())?;
        dev.launch(&Kernel::Add, all, out.slice_mut(0, 1), &[raised.slice(0, 1)])?;
        Ok(Ciphertext::new(out, top, a.scale(), a.key_id()))
    }

    /// The digits of one polynomial in evaluation form: each digit keeps its own limbs and is lifted to all others.
    pub(crate) fn decompose(&self, c: View<'_>, level: Level) -> Result<Hoisted> {
        self.count_key_switch();
        let (dev, basis, ext) =
            (self.context().device(), self.params().basis(level), self.params().extended_basis(level));
        let parts = self.params().digits(level);
        let mut coefficients = self.alloc(1, basis)?;
        dev.launch(&Kernel::Intt, basis, coefficients.view_mut(), &[c])?;
        let mut digits = dev.alloc(Shape::new(parts.len(), ext.clone(), self.params().n()))?;
        for (d, part) in parts.iter().enumerate() {
            dev.launch(&Kernel::Copy, part, digits.slice_mut(d, 1), &[c])?;
            let up = Kernel::ModUp { from: part.clone() };
            dev.run(&up, &ext.minus(part), digits.slice_mut(d, 1), &[coefficients.view()])?;
        }
        Ok(Hoisted { digits, level })
    }

    /// The sum over digits of digit times key pair: an extended pair.
    pub(crate) fn inner_product(&self, hoisted: &Hoisted, key: &SwitchingKey) -> Result<Poly> {
        let ext = self.params().extended_basis(hoisted.level);
        let terms = hoisted.digits.batch();
        let mut out = self.alloc(2, &ext)?;
        let kernel = Kernel::InnerProduct { terms, accumulate: false };
        let ins = [hoisted.digits.view(), key.pairs(terms)];
        self.context().device().run(&kernel, &ext, out.view_mut(), &ins)?;
        Ok(out)
    }

    pub(crate) fn divide_special(&self, basis: &Basis, out: &mut Poly, extended: View<'_>) -> Result<()> {
        let kernel = Kernel::ModDown { from: self.params().special().clone() };
        Ok(self.context().device().run(&kernel, basis, out.view_mut(), &[extended])?)
    }

    /// The quotient by P times the primes of `level`, at the level below. `scale`: that before.
    pub(crate) fn divide_special_rescale(
        &self,
        extended: View<'_>,
        (level, below): (Level, Level),
        scale: f64,
    ) -> Result<Ciphertext> {
        let (dropped, kept) = (self.params().dropped(level), self.params().basis(below));
        let mut out = self.alloc(2, kept)?;
        let kernel = Kernel::ModDown { from: dropped.union(self.params().special()) };
        self.context().device().run(&kernel, kept, out.view_mut(), &[extended])?;
        Ok(Ciphertext::new(out, below, scale / self.params().rescale_factor(level), self.keys().id()))
    }

    fn check_hoisted(&self, a: &Ciphertext, hoisted: &Hoisted) -> Result<()> {
        self.check_keys(a)?;
        match a.level().cmp(&hoisted.level) {
            Ordering::Equal => Ok(()),
            Ordering::Less => {
                Err(Error::LevelTooLow { op: "a hoisted rotation", need: hoisted.level, have: a.level() })
            }
            Ordering::Greater => Err(Error::LevelTooHigh { have: a.level(), max: hoisted.level }),
        }
    }
}
