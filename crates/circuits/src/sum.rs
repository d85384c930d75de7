//! Sums of products and multiples with one relinearization and one rescale.

use aegis_ckks::{Ciphertext, Evaluator, Level, Plaintext, Product};

use crate::{Error, Result};

/// A sum under construction at one level and scale, not yet rescaled. Terms from higher levels join for free: their
/// surplus limbs are ignored, and constants are encoded at the scale that makes every term land on that of the sum.
pub(crate) struct Sum<'a> {
    ev: &'a Evaluator,
    level: Level,
    scale: f64,
    products: Option<Product>,
    linear: Option<Ciphertext>,
    constant: Option<Vec<f64>>,
}

impl<'a> Sum<'a> {
    pub(crate) fn new(ev: &'a Evaluator, level: Level, scale: f64) -> Self {
        Self { ev, level, scale, products: None, linear: None, constant: None }
    }

    /// `2 a b` as a sum.
    pub(crate) fn twice(ev: &'a Evaluator, a: &Ciphertext, b: &Ciphertext) -> Result<Self> {
        let mut sum = Self::new(ev, a.level().min(b.level()), a.scale() * b.scale());
        let mut product = ev.mul_no_relin(a, b)?;
        ev.scale_and_shift(&mut product, 2, 0.0)?;
        sum.products = Some(product);
        Ok(sum)
    }

    /// Adds `a b`, whose scales multiply to that of the sum.
    pub(crate) fn product(&mut self, a: &Ciphertext, b: &Ciphertext) -> Result<()> {
        let (a, b) = (self.ev.drop_to(a, self.level)?, self.ev.drop_to(b, self.level)?);
        match &mut self.products {
            Some(products) => self.ev.mul_accumulate(products, &a, &b)?,
            None => self.products = Some(self.ev.mul_no_relin(&a, &b)?),
        }
        Ok(())
    }

    /// Adds `c x`: one number, or a vector that repeats over the slots.
    pub(crate) fn multiple(&mut self, c: &[f64], x: &Ciphertext) -> Result<()> {
        let x = self.ev.drop_to(x, self.level)?;
        let scale = self.scale / x.scale();
        let term = match (c, &mut self.linear) {
            (&[c], Some(sum)) => return Ok(self.ev.mul_scalar_accumulate(sum, &x, c, scale)?),
            (&[c], None) => self.ev.mul_scalar(&x, c, scale)?,
            _ => self.ev.mul_plain(&x, &Plaintext::encode_real(self.ev.context(), c, scale, self.level)?)?,
        };
        match &mut self.linear {
            Some(sum) => self.ev.add_assign(sum, &term)?,
            None => self.linear = Some(term),
        }
        Ok(())
    }

    /// Sets the constant term: one number, or a vector that repeats over the slots.
    pub(crate) fn constant(&mut self, c: &[f64]) {
        self.constant = Some(c.to_vec());
    }

    /// The sum, one level lower.
    pub(crate) fn rescale(mut self) -> Result<Ciphertext> {
        let out = match (self.products, &self.linear) {
            (Some(mut products), linear) => {
                if let Some(linear) = linear {
                    self.ev.accumulate(&mut products, linear)?;
                }
                if let Some(&[c]) = self.constant.as_deref() {
                    self.ev.scale_and_shift(&mut products, 1, c)?;
                    self.constant = None;
                }
                self.ev.relinearize_rescale(products)?
            }
            (None, Some(linear)) => self.ev.rescale(linear)?,
            (None, None) => return Err(Error::NoResult { circuit: "a sum of products" }),
        };
        match &self.constant {
            Some(c) => constant(self.ev, &out, c),
            None => Ok(out),
        }
    }
}

/// `x` plus a constant in every slot, or a vector that repeats over the slots.
pub(crate) fn constant(ev: &Evaluator, x: &Ciphertext, c: &[f64]) -> Result<Ciphertext> {
    Ok(match c {
        &[c] => ev.add_scalar(x, c)?,
        _ => ev.add_plain(x, &Plaintext::encode_real(ev.context(), c, x.scale(), x.level())?)?,
    })
}
