//! Ciphertexts.

use std::sync::Arc;

use aegis_hal::Poly;

use crate::{KeyId, Level};

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
}
