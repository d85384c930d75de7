//! Ciphertexts.

use std::sync::Arc;

use aegis_hal::{Parcel, Poly, Shape};

use crate::{Context, Error, KeyId, Level, Result};

/// A pair `(c0, c1)` with `c0 + c1 s = scale * message + noise` modulo the primes of its level.
///
/// Immutable and cheap to clone. Level and scale change in the [`Evaluator`](crate::Evaluator) only.
#[derive(Clone, Debug)]
pub struct Ciphertext {
    /// Batch of two, evaluation form, over at least the limbs of `level`.
    poly: Arc<Poly>,
    level: Level,
    scale: f64,
    key_id: KeyId,
}

impl Ciphertext {
    pub(crate) fn new(poly: Poly, level: Level, scale: f64, key_id: KeyId) -> Self {
        debug_assert_eq!(poly.batch(), 2);
        Self { poly: Arc::new(poly), level, scale, key_id }
    }

    /// The same residues seen at another level and scale; the level is not above that of `self`.
    pub(crate) fn relabel(&self, level: Level, scale: f64) -> Self {
        debug_assert!(level <= self.level);
        Self { poly: Arc::clone(&self.poly), level, scale, key_id: self.key_id }
    }

    /// The residues, to overwrite, when no other ciphertext shares them.
    pub(crate) fn poly_mut(&mut self) -> Option<&mut Poly> {
        Arc::get_mut(&mut self.poly)
    }

    /// Levels left.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Factor between the message and the integers it is stored as.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The residues: a batch of two in evaluation form. Limbs above [`Ciphertext::level`] may be there and mean nothing.
    pub fn poly(&self) -> &Poly {
        &self.poly
    }

    /// Whose key decrypts it.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Starts to copy the residues of its level out of the device, for [`Ciphertext::adopt`] on another. The host does not
    /// wait; the parcel fails where the device does.
    ///
    /// # Errors
    /// [`Error::ScaleMismatch`] for another scale than the canonical one of its level, which alone the other end can know;
    /// [`Error::Device`] for a ciphertext of another device.
    pub fn export(&self, ctx: &Context) -> Result<Parcel> {
        let (level, want) = (self.level, ctx.params().scale(self.level));
        if self.scale.to_bits() != want.to_bits() {
            return Err(Error::ScaleMismatch { left: self.scale, right: want, level });
        }
        Ok(ctx.device().export(self.poly.view(), ctx.params().basis(level))?)
    }

    /// What [`Ciphertext::export`] gave, on this device: at this level, at its canonical scale, under the key `key_id`. Who
    /// evaluates waits for the words, the host does not. Words that are no residues, or not as many as a ciphertext of the
    /// level has, make it a ciphertext that every use fails on.
    ///
    /// # Errors
    /// [`Error::LevelTooHigh`] above the chain; [`Error::Device`].
    pub fn adopt(ctx: &Context, level: Level, key_id: KeyId, parcel: &Parcel) -> Result<Self> {
        let params = ctx.params();
        params.check_level(level)?;
        let basis = params.basis(level);
        let mut poly = ctx.device().alloc(Shape::new(2, basis.clone(), params.n()))?;
        ctx.device().adopt(poly.view_mut(), basis, parcel)?;
        Ok(Self::new(poly, level, params.scale(level), key_id))
    }
}
