//! Which member of a group holds which limb.

use std::sync::Arc;

use aegis_ring::{Basis, LimbId};

use crate::Error;

/// Limb by limb, the members of a group that hold it: one, or several where a limb is *replicated*.
///
/// Whoever holds a limb computes it. A replicated limb is computed by all its holders and gathered by none of them: with
/// the special limbs of key switching on every member, the digits of a ciphertext are all that a key switch moves
/// ("input broadcast", Cinnamon, ASPLOS 2025); with every limb on one member, nothing is computed twice and the special
/// limbs move too ("basic").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    members: usize,
    /// By index of the limb: a bit for each member.
    holders: Arc<[u64]>,
}

impl Placement {
    /// Most members of a group.
    pub const MAX_MEMBERS: usize = u64::BITS as usize;

    /// A placement on `members` members: `holders[i]` lists those of limb `i`.
    ///
    /// # Errors
    /// [`Error::Size`], [`Error::Unplaced`], [`Error::NoMember`].
    pub fn new(members: usize, holders: &[Vec<usize>]) -> Result<Self, Error> {
        check_size(members)?;
        let mut bits = vec![];
        for (i, holders) in holders.iter().enumerate() {
            let limb = LimbId(u16::try_from(i).map_err(|_| Error::Unplaced(LimbId(u16::MAX)))?);
            if let Some(&member) = holders.iter().find(|&&member| member >= members) {
                return Err(Error::NoMember { limb, member, members });
            }
            bits.push(holders.iter().fold(0, |bits, member| bits | 1 << member));
            if holders.is_empty() {
                return Err(Error::Unplaced(limb));
            }
        }
        Ok(Self { members, holders: bits.into() })
    }

    /// Deals the limbs of a ring of `limbs` primes to the members in turn, in the order of `order` and then of their
    /// index. In the order in which a modulus grows from level to level the load stays balanced as limbs drop.
    ///
    /// # Errors
    /// [`Error::Size`].
    pub fn deal(members: usize, limbs: usize, order: &Basis) -> Result<Self, Error> {
        check_size(members)?;
        let all = Basis::new((0..limbs as u16).map(LimbId));
        let dealt = order.intersection(&all).union(&all.minus(order));
        let mut holders = vec![0; limbs];
        for (i, limb) in dealt.iter().enumerate() {
            holders[limb.index()] = 1 << (i % members);
        }
        Ok(Self { members, holders: holders.into() })
    }

    /// The same with these limbs on every member.
    #[must_use]
    pub fn replicated(&self, limbs: &Basis) -> Self {
        let everyone = u64::MAX >> (Self::MAX_MEMBERS - self.members);
        let mut holders = self.holders.to_vec();
        for limb in limbs.iter() {
            if let Some(bits) = holders.get_mut(limb.index()) {
                *bits = everyone;
            }
        }
        Self { holders: holders.into(), ..*self }
    }

    /// Size of the group.
    pub fn members(&self) -> usize {
        self.members
    }

    /// Number of limbs of the ring.
    pub fn limbs(&self) -> usize {
        self.holders.len()
    }

    /// Whether a member holds a limb.
    pub fn holds(&self, member: usize, limb: LimbId) -> bool {
        self.holders.get(limb.index()).is_some_and(|bits| bits >> member & 1 == 1)
    }

    /// The limbs of a basis that a member holds, in their order.
    pub fn part(&self, member: usize, basis: &Basis) -> Basis {
        if basis.iter().all(|limb| self.holds(member, limb)) {
            return basis.clone();
        }
        basis.iter().filter(|limb| self.holds(member, *limb)).collect()
    }

    /// The limbs of a basis that one member sends to another which needs all of them: those that the second does not
    /// hold, each from the lowest of its holders.
    pub fn sent(&self, basis: &Basis, from: usize, to: usize) -> Basis {
        let source = |limb: LimbId| self.holders[limb.index()].trailing_zeros() as usize;
        basis.iter().filter(|limb| source(*limb) == from && !self.holds(to, *limb)).collect()
    }

    /// Whether every member that holds any of `limbs` holds all of `from`.
    pub fn is_local(&self, limbs: &Basis, from: &Basis) -> bool {
        let writers = limbs.iter().fold(0, |bits, limb| bits | self.holders[limb.index()]);
        from.iter().all(|limb| self.holders[limb.index()] & writers == writers)
    }
}

fn check_size(members: usize) -> Result<(), Error> {
    if (1..=Placement::MAX_MEMBERS).contains(&members) { Ok(()) } else { Err(Error::Size(members)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basis(limbs: impl IntoIterator<Item = u16>) -> Basis {
        limbs.into_iter().map(LimbId).collect()
    }

    #[test]
    fn limbs_are_dealt_in_the_order_of_levels() {
        let placement = Placement::deal(2, 6, &basis([3, 0, 5])).unwrap();
        // In turn 3, 0, 5, and then the others.
        assert_eq!(placement.part(0, &basis(0..6)), basis([2, 3, 5]));
        assert_eq!(placement.part(1, &basis(0..6)), basis([0, 1, 4]));
    }

    #[test]
    fn what_a_member_holds_is_not_sent_to_it() {
        let placement = Placement::deal(3, 6, &basis(0..6)).unwrap().replicated(&basis([5]));
        assert_eq!(placement.sent(&basis(0..6), 0, 1), basis([0, 3]));
        assert_eq!(placement.sent(&basis(0..6), 2, 1), basis([2]));
        assert!(placement.is_local(&basis([1, 4]), &basis([1, 5])));
        assert!(!placement.is_local(&basis([1, 2]), &basis([4])));
        assert!(!placement.is_local(&basis([5]), &basis([4])));
    }

    #[test]
    fn placements_that_cannot_be_are_refused() {
        assert_eq!(Placement::deal(0, 4, &basis([])), Err(Error::Size(0)));
        assert_eq!(Placement::deal(65, 4, &basis([])), Err(Error::Size(65)));
        assert_eq!(Placement::new(2, &[vec![0], vec![]]), Err(Error::Unplaced(LimbId(1))));
        let beyond = Error::NoMember { limb: LimbId(0), member: 2, members: 2 };
        assert_eq!(Placement::new(2, &[vec![0, 2]]), Err(beyond));
        assert_eq!(
            Placement::new(64, &[(0..64).collect()]),
            Placement::deal(64, 1, &basis([])).map(|p| p.replicated(&basis([0])))
        );
    }
}
