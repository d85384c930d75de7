//! Limb identities and ordered sets of limbs.

use std::fmt;
use std::sync::Arc;

/// Index of one prime in an [`Rns`](crate::Rns).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimbId(pub u16);

impl LimbId {
    /// The position of the prime in the table of its [`Rns`](crate::Rns).
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// An ordered set of distinct limbs. Cheap to clone: the list is shared.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Basis(Arc<[LimbId]>);

impl Basis {
    /// A basis of these limbs in this order. Panics when a limb stands twice: that is a bug of the caller.
    pub fn new(limbs: impl IntoIterator<Item = LimbId>) -> Self {
        let limbs: Arc<[LimbId]> = limbs.into_iter().collect();
        let mut sorted = limbs.to_vec();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|w| w[0] != w[1]), "a limb stands twice in {limbs:?}");
        Self(limbs)
    }

    /// The limbs in order.
    pub fn limbs(&self) -> &[LimbId] {
        &self.0
    }

    /// Number of limbs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for the basis without limbs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the limbs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = LimbId> + DoubleEndedIterator + Clone + '_ {
        self.0.iter().copied()
    }

    /// Where `limb` stands in this basis.
    pub fn position(&self, limb: LimbId) -> Option<usize> {
        // A basis is nearly always a run of consecutive ids or two of them: guess before searching.
        let guess = limb.index().wrapping_sub(self.0.first()?.index());
        if self.0.get(guess) == Some(&limb) {
            return Some(guess);
        }
        self.0.iter().position(|&l| l == limb)
    }

    /// True when `limb` is in this basis.
    pub fn contains(&self, limb: LimbId) -> bool {
        self.position(limb).is_some()
    }

    /// True when every limb of this basis is in `other`.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.iter().all(|l| other.contains(l))
    }

    /// The limbs of `self`, then those of `other`; the two share none.
    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.iter().chain(other.iter()))
    }

    /// The limbs of `self` that are not in `other`, in order.
    pub fn minus(&self, other: &Self) -> Self {
        Self::new(self.iter().filter(|&l| !other.contains(l)))
    }

    /// The limbs of `self` that are in `other`, in the order of `self`.
    pub fn intersection(&self, other: &Self) -> Self {
        Self::new(self.iter().filter(|&l| other.contains(l)))
    }
}

impl fmt::Debug for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Runs of consecutive limbs print as `a..=b`, so that traces stay readable.
        let ids: Vec<u16> = self.0.iter().map(|l| l.0).collect();
        write!(f, "{{")?;
        let mut i = 0;
        while i < ids.len() {
            let mut j = i;
            while j + 1 < ids.len() && ids[j + 1] == ids[j] + 1 {
                j += 1;
            }
            let sep = if i == 0 { "" } else { "," };
            if j > i {
                write!(f, "{sep}{}..={}", ids[i], ids[j])?;
            } else {
                write!(f, "{sep}{}", ids[i])?;
            }
            i = j + 1;
        }
        write!(f, "}}")
    }
}

impl FromIterator<LimbId> for Basis {
    fn from_iter<I: IntoIterator<Item = LimbId>>(iter: I) -> Self {
        Self::new(iter)
    }
}
