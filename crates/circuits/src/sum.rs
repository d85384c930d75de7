//! Sums of products and multiples with one relinearisation and one rescale.

use aegis_ckks::{Ciphertext, Evaluator, Level, Plaintext, Product};

use crate::Result;

/// A sum under construction at one level and scale, not yet rescaled. Terms from higher levels join for free: their
/// surplus limbs are ignored, and constants are encoded at the scale that makes every term land on that of the sum.
pub(crate) struct Sum<'a> {
    ev: &'a Evaluator,
    level: Level,
    scale: f64,
    products: Option<Product>,
    linear: Option<Ciphertext>,
}

impl<'a> Sum<'a> {
    pub(crate) fn new(ev: &'a Evaluator, level: Level, scale: f64) -> Self {
        Self { ev, level, scale, products: None, linear: None }
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
        self.add(term)
    }

    /// Adds a constant to every slot, or a vector that repeats over the slots. The sum is not empty.
    pub(crate) fn constant(&mut self, c: &[f64]) -> Result<()> {
        self.relinearize()?;
        if let Some(sum) = &self.linear {
            self.linear = Some(constant(self.ev, sum, c)?);
        }
        Ok(())
    }

    /// Twice the sum so far.
    pub(crate) fn double(&mut self) -> Result<()> {
        self.relinearize()?;
        if let Some(sum) = &self.linear {
            self.linear = Some(self.ev.add(sum, sum)?);
        }
        Ok(())
    }

    /// The sum, one level lower. The sum is not empty.
    pub(crate) fn rescale(mut self) -> Result<Ciphertext> {
        self.relinearize()?;
        let sum =
            self.linear.ok_or_else(|| crate::Error::Shape { what: "sum", reason: "no terms".into() })?;
        Ok(self.ev.rescale(&sum)?)
    }

    fn relinearize(&mut self) -> Result<()> {
        if let Some(products) = self.products.take() {
            let term = self.ev.relinearize(products)?;
            self.add(term)?;
        }
        Ok(())
    }

    fn add(&mut self, term: Ciphertext) -> Result<()> {
        match &mut self.linear {
            Some(sum) => self.ev.add_assign(sum, &term)?,
            None => self.linear = Some(term),
        }
        Ok(())
    }
}

/// `x` plus a constant in every slot, or a vector that repeats over the slots.
pub(crate) fn constant(ev: &Evaluator, x: &Ciphertext, c: &[f64]) -> Result<Ciphertext> {
    Ok(match c {
        &[c] => ev.add_scalar(x, c)?,
        _ => ev.add_plain(x, &Plaintext::encode_real(ev.context(), c, x.scale(), x.level())?)?,
    })
}
