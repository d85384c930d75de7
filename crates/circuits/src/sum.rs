//! Sums of products and multiples with one relinearization and one rescale.

use aegis_ckks::{Ciphertext, Level, Product};

use crate::slots::Slots;
use crate::{Error, Result};

/// A sum under construction at one level and scale, not yet rescaled. Terms from higher levels join for free: their
/// surplus limbs are ignored, and constants are encoded at the scale that makes every term land on that of the sum.
pub(crate) struct Sum<'a> {
    pub(crate) slots: &'a Slots<'a>,
    level: Level,
    scale: f64,
    products: Option<Product>,
    linear: Option<Ciphertext>,
    constant: Option<Vec<f64>>,
}

impl<'a> Sum<'a> {
    pub(crate) fn new(slots: &'a Slots<'a>, level: Level, scale: f64) -> Self {
        Self { slots, level, scale, products: None, linear: None, constant: None }
    }

    /// `2 a b` as a sum.
    pub(crate) fn twice(slots: &'a Slots<'a>, a: &Ciphertext, b: &Ciphertext) -> Result<Self> {
        let ev = slots.ev;
        let mut sum = Self::new(slots, a.level().min(b.level()), a.scale() * b.scale());
        let mut product = ev.mul_no_relin(a, b)?;
        ev.scale_and_shift(&mut product, 2, 0.0)?;
        sum.products = Some(product);
        Ok(sum)
    }

    /// Adds `a b`, whose scales multiply to that of the sum.
    pub(crate) fn product(&mut self, a: &Ciphertext, b: &Ciphertext) -> Result<()> {
        let ev = self.slots.ev;
        let (a, b) = (ev.drop_to(a, self.level)?, ev.drop_to(b, self.level)?);
        match &mut self.products {
            Some(products) => ev.mul_accumulate(products, &a, &b)?,
            None => self.products = Some(ev.mul_no_relin(&a, &b)?),
        }
        Ok(())
    }

    /// Adds `c x`: one number, or one for each class of slots.
    pub(crate) fn multiple(&mut self, c: &[f64], x: &Ciphertext) -> Result<()> {
        let ev = self.slots.ev;
        let x = ev.drop_to(x, self.level)?;
        let scale = self.scale / x.scale();
        let term = match (c, &mut self.linear) {
            (&[c], Some(sum)) => return Ok(ev.mul_scalar_accumulate(sum, &x, c, scale)?),
            (&[c], None) => ev.mul_scalar(&x, c, scale)?,
            _ => ev.mul_plain(&x, &*self.slots.encode(c, scale, self.level)?)?,
        };
        match &mut self.linear {
            Some(sum) => ev.add_assign(sum, &term)?,
            None => self.linear = Some(term),
        }
        Ok(())
    }

    /// Sets the constant term: one number, or one for each class of slots.
    pub(crate) fn constant(&mut self, c: &[f64]) {
        self.constant = Some(c.to_vec());
    }

    /// The sum, one level lower.
    pub(crate) fn rescale(mut self) -> Result<Ciphertext> {
        let ev = self.slots.ev;
        let out = match (self.products, &self.linear) {
            (Some(mut products), linear) => {
                if let Some(linear) = linear {
                    ev.accumulate(&mut products, linear)?;
                }
                if let Some(&[c]) = self.constant.as_deref() {
                    ev.scale_and_shift(&mut products, 1, c)?;
                    self.constant = None;
                }
                ev.relinearize_rescale(products)?
            }
            (None, Some(linear)) => ev.rescale(linear)?,
            (None, None) => return Err(Error::NoResult { circuit: "a sum of products" }),
        };
        match &self.constant {
            Some(c) => constant(self.slots, &out, c),
            None => Ok(out),
        }
    }
}

/// `x` plus one number in every slot, or one for each class of slots.
pub(crate) fn constant(slots: &Slots<'_>, x: &Ciphertext, c: &[f64]) -> Result<Ciphertext> {
    Ok(match c {
        &[c] => slots.ev.add_scalar(x, c)?,
        _ => slots.ev.add_plain(x, &*slots.encode(c, x.scale(), x.level())?)?,
    })
}
