//! Slots that fall into classes, and the vectors that are constant on each class.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use aegis_ckks::{Evaluator, Level, Plaintext};

use crate::Result;

/// A coefficient by its bits, the scale by its bits, the level.
type Key = (Vec<u64>, u64, Level);

/// The class of every slot of a period, and what was encoded for some ciphertexts that are computed on one after the
/// other: blocks of a tensor, at one level and scale, meet the same vectors.
pub(crate) struct Slots<'a> {
    pub(crate) ev: &'a Evaluator,
    classes: &'a [usize],
    /// `None` for a single ciphertext, which meets each vector once.
    encoded: Option<RefCell<BTreeMap<Key, Rc<Plaintext>>>>,
}

impl<'a> Slots<'a> {
    /// All slots are alike.
    pub(crate) fn alike(ev: &'a Evaluator) -> Self {
        Self { ev, classes: &[0], encoded: None }
    }

    /// Slots of these classes, for so many ciphertexts.
    pub(crate) fn of_classes(ev: &'a Evaluator, classes: &'a [usize], ciphertexts: usize) -> Self {
        Self { ev, classes, encoded: (ciphertexts > 1).then(RefCell::default) }
    }

    /// The vector of slot j's `values[classes[j mod period]]`.
    pub(crate) fn encode(&self, values: &[f64], scale: f64, level: Level) -> Result<Rc<Plaintext>> {
        let fresh = || {
            let vector: Vec<f64> = self.classes.iter().map(|&class| values[class]).collect();
            Ok(Rc::new(Plaintext::encode_real(self.ev.context(), &vector, scale, level)?))
        };
        let Some(encoded) = &self.encoded else { return fresh() };
        let key = (values.iter().map(|v| v.to_bits()).collect(), scale.to_bits(), level);
        match encoded.borrow_mut().entry(key) {
            Entry::Occupied(kept) => Ok(Rc::clone(kept.get())),
            Entry::Vacant(room) => Ok(Rc::clone(room.insert(fresh()?))),
        }
    }
}
