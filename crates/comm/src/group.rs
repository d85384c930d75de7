//! Collectives over messages between two ranks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aegis_hal::{Error as Failure, Misfit, Parcel, PeerFault, Words};

use crate::{Communicator, Error, Message, RankFault, Result, Tag};

/// What the [`Ledger`](crate::Ledger) counts the messages of [`Group::agree`] as.
pub const AGREEMENT: &str = "agreement";

/// Some ranks of a communicator, in an order, that do collectives among themselves.
///
/// **Positions and ranks.** A group counts its members from 0 in the order that it was made with; every number that a
/// collective takes or gives is such a position. Ranks, the communicator's own numbers, stand in [`Group::members`],
/// in errors and in the [`Ledger`](crate::Ledger).
///
/// **One program.** Every member makes the same calls in the same order, with the same sizes; positions driven by one
/// host take part in one call together. Threads that communicate side by side use a group each. Groups that share two
/// ranks need different channels, the same ones on every rank.
///
/// **Nothing waits** but [`Group::agree`]: parcels go in and parcels come out. A parcel that fails tells its receivers, so
/// a call that has nothing to send still takes part, with [`Parcel::failed`]. An `Err` of a collective is a mistake in
/// the call, and the same one on every member.
pub struct Group {
    comm: Arc<dyn Communicator>,
    channel: u32,
    members: Vec<usize>,
    /// Positions driven here, ascending.
    local: Vec<usize>,
    /// Messages so far, by the positions of sender and receiver.
    sent: Mutex<BTreeMap<(usize, usize), u64>>,
}

impl Group {
    /// The group of these ranks, in this order. Those that this host drives may be all, some or none of them.
    ///
    /// # Errors
    /// [`Error::Rank`] for one that does not exist or stands twice.
    pub fn new(comm: Arc<dyn Communicator>, channel: u32, members: Vec<usize>) -> Result<Self> {
        let ranks = comm.ranks();
        for (position, &rank) in members.iter().enumerate() {
            if rank >= ranks {
                return Err(Error::Rank { rank, fault: RankFault::Missing { ranks } });
            }
            if members[..position].contains(&rank) {
                return Err(Error::Rank { rank, fault: RankFault::Twice });
            }
        }
        let is_local = |&position: &usize| comm.local().contains(&members[position]);
        let local = (0..members.len()).filter(is_local).collect();
        Ok(Self { comm, channel, members, local, sent: Mutex::default() })
    }

    /// The group of all ranks, each at the position of its own number.
    pub fn of_all(comm: Arc<dyn Communicator>, channel: u32) -> Self {
        let (members, local): (Vec<usize>, _) = ((0..comm.ranks()).collect(), comm.local().to_vec());
        Self { comm, channel, members, local, sent: Mutex::default() }
    }

    /// The rank at each position.
    pub fn members(&self) -> &[usize] {
        &self.members
    }

    /// The positions that this host drives, ascending. Results come one for each, in this order.
    pub fn local(&self) -> &[usize] {
        &self.local
    }

    /// What the collectives go through.
    pub fn communicator(&self) -> &Arc<dyn Communicator> {
        &self.comm
    }

    /// The irregular all-to-all that all other collectives are made of: `words(from, to)` words go from each member to each
    /// other one, `mine(from, to)` from a local one. Where there are no words nothing is sent, and `mine` is not asked;
    /// members that have nothing to send or receive may leave the call out.
    ///
    /// Gives, for each local position, what came from each member: `None` where nothing was sent, as from itself.
    pub fn exchange(
        &self,
        reason: &'static str,
        words: impl Fn(usize, usize) -> usize,
        mut mine: impl FnMut(usize, usize) -> Parcel,
    ) -> Result<Vec<Vec<Option<Parcel>>>> {
        for &position in &self.local {
            self.comm.ledger().called(self.members[position], reason);
        }
        let mut received = vec![vec![None; self.members.len()]; self.local.len()];
        for (from, to, message) in self.messages(reason, words) {
            if self.local_number(from).is_some() {
                self.comm.send(&message, &mine(from, to))?;
            }
            if let Some(number) = self.local_number(to) {
                received[number][from] = Some(self.comm.receive(&message)?);
            }
        }
        Ok(received)
    }

    /// Every member gets what every member has: `words(member)` words, `mine(member)` at a local one. Gives, for each local
    /// position, the parcel of each member; its own is the one that it gave.
    pub fn all_gather(
        &self,
        reason: &'static str,
        words: impl Fn(usize) -> usize,
        mine: impl FnMut(usize) -> Parcel,
    ) -> Result<Vec<Vec<Parcel>>> {
        let nothing = || Parcel::ready(vec![]);
        let given: Vec<usize> = self.local.iter().copied().filter(|&member| words(member) > 0).collect();
        let parcels: Vec<Parcel> = given.iter().copied().map(mine).collect();
        let given: BTreeMap<usize, Parcel> = given.into_iter().zip(parcels).collect();
        let of = |member: usize| given.get(&member).cloned().unwrap_or_else(nothing);
        let received = self.exchange(reason, |from, _| words(from), |from, _| of(from))?;
        Ok(self.with_own(received, of))
    }

    /// Every member has a part for every member: `words(from, to)` words, `mine(from, to)` at a local one. Gives, for each
    /// local position, the part from each member; its own is the one that it gave.
    pub fn all_to_all(
        &self,
        reason: &'static str,
        words: impl Fn(usize, usize) -> usize,
        mut mine: impl FnMut(usize, usize) -> Parcel,
    ) -> Result<Vec<Vec<Parcel>>> {
        let received = self.exchange(reason, &words, &mut mine)?;
        let own =
            |member| if words(member, member) == 0 { Parcel::ready(vec![]) } else { mine(member, member) };
        Ok(self.with_own(received, own))
    }

    /// Every member gets the `words` words of one, `mine()` where that one is local. Gives a parcel for each local position.
    ///
    /// # Errors
    /// [`Error::Position`] for a root that there is not.
    pub fn broadcast(
        &self,
        reason: &'static str,
        root: usize,
        words: usize,
        mine: impl FnOnce() -> Parcel,
    ) -> Result<Vec<Parcel>> {
        if root >= self.members.len() {
            return Err(Error::Position { position: root, members: self.members.len() });
        }
        let own = if self.local_number(root).is_some() && words > 0 { mine() } else { Parcel::ready(vec![]) };
        let of_root = |from, _| if from == root { words } else { 0 };
        let received = self.exchange(reason, of_root, |_, _| own.clone())?;
        Ok(received.into_iter().map(|mut row| row[root].take().unwrap_or_else(|| own.clone())).collect())
    }

    /// Sums over all members, each member a share of them: the share of `to` has a row of `n` words for each of the moduli
    /// `moduli(to)`, and each member adds the canonical residues `mine(member, to)` to it. Gives the share of each local
    /// position, as canonical residues.
    ///
    /// The members exchange their parts, and each adds up its own share on the thread that brings the last part. The sum of
    /// `P` residues modulo `q` is exact in 64 bits because `P q < 2^64`, and is reduced once. That would be wrong for
    /// words that are no residues: they fail the share.
    ///
    /// # Errors
    /// [`Error::Sum`] for a modulus with which `P q >= 2^64`, or below 2; nothing was sent then.
    pub fn reduce_scatter(
        &self,
        reason: &'static str,
        n: usize,
        moduli: impl Fn(usize) -> Vec<u64>,
        mut mine: impl FnMut(usize, usize) -> Parcel,
    ) -> Result<Vec<Parcel>> {
        let members = self.members.len();
        let moduli: Vec<Vec<u64>> = (0..members).map(moduli).collect();
        let is_exact = |q: u64| q >= 2 && q.checked_mul(members as u64).is_some();
        if let Some(&modulus) = moduli.iter().flatten().find(|&&q| !is_exact(q)) {
            return Err(Error::Sum { members, modulus });
        }
        let words = |to: usize| n * moduli[to].len();
        let received = self.exchange(reason, |_, to| words(to), &mut mine)?;
        let share = |(&to, row): (&usize, Vec<Option<Parcel>>)| {
            if words(to) == 0 {
                return Parcel::ready(vec![]);
            }
            let parts: Vec<Parcel> = row.into_iter().flatten().chain([mine(to, to)]).collect();
            let moduli = moduli[to].clone();
            Parcel::join(&parts, move |parts| sum(parts, n, &moduli))
        };
        Ok(self.local.iter().zip(received).map(share).collect())
    }

    /// Whether all members have the same digest of something; `what` names it in the error. The one call that waits, within
    /// the limits of the communicator.
    ///
    /// # Errors
    /// [`PeerFault::Disagrees`] on every member alike, with the rank of the first member whose digest differs from that
    /// of the first of all; any other [`Failure::Peer`] if a digest does not come.
    pub fn agree(&self, what: &'static str, digest: &[u8; 32]) -> aegis_hal::Result<()> {
        let words: Vec<u64> = digest.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes)).collect();
        let own = Parcel::ready(words);
        for parcels in self.all_gather(AGREEMENT, |_| digest.len() / 8, |_| own.clone())? {
            let digests = parcels.iter().map(Parcel::wait).collect::<aegis_hal::Result<Vec<Words>>>()?;
            if let Some(other) = digests.iter().position(|digest| *digest != digests[0]) {
                let fault = PeerFault::Disagrees { what };
                return Err(Failure::Peer { rank: self.members[other], fault });
            }
        }
        Ok(())
    }

    /// The messages of one exchange that touch this host, with the positions of sender and receiver.
    fn messages(
        &self,
        reason: &'static str,
        words: impl Fn(usize, usize) -> usize,
    ) -> Vec<(usize, usize, Message)> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let members = self.members.len();
        let mut messages = vec![];
        for (from, to) in (0..members).flat_map(|from| (0..members).map(move |to| (from, to))) {
            let is_here = self.local_number(from).is_some() || self.local_number(to).is_some();
            if from == to || !is_here {
                continue;
            }
            let words = words(from, to);
            if words == 0 {
                continue;
            }
            let next = sent.entry((from, to)).or_default();
            let tag = Tag { channel: self.channel, number: *next };
            *next += 1;
            messages.push((
                from,
                to,
                Message { from: self.members[from], to: self.members[to], tag, words, reason },
            ));
        }
        messages
    }

    /// The number of a position among the local ones.
    fn local_number(&self, position: usize) -> Option<usize> {
        self.local.binary_search(&position).ok()
    }

    /// Puts each local member's own parcel beside those that it received, and nothing where nothing was sent.
    fn with_own(
        &self,
        received: Vec<Vec<Option<Parcel>>>,
        mut own: impl FnMut(usize) -> Parcel,
    ) -> Vec<Vec<Parcel>> {
        let rows = self.local.iter().zip(received);
        rows.map(|(&here, row)| {
            let parcel = |(member, parcel): (usize, Option<Parcel>)| match parcel {
                Some(parcel) => parcel,
                None if member == here => own(here),
                None => Parcel::ready(vec![]),
            };
            row.into_iter().enumerate().map(parcel).collect()
        })
        .collect()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group(channel {}, ranks {:?})", self.channel, self.members)
    }
}

/// Sums of canonical residues, a row of `n` words for each modulus. Out: canonical. Needs `parts.len() * q < 2^64`.
fn sum(parts: &[Words], n: usize, moduli: &[u64]) -> aegis_hal::Result<Vec<u64>> {
    let misfits = |misfit| Err(Failure::Operands { op: "reduce_scatter", misfit });
    let mut total = vec![0; n * moduli.len()];
    for part in parts {
        if part.len() != total.len() {
            return misfits(Misfit::DataLength { have: part.len(), want: total.len() });
        }
        for ((sums, row), &modulus) in total.chunks_exact_mut(n).zip(part.chunks_exact(n)).zip(moduli) {
            if let Some(&value) = row.iter().find(|&&word| word >= modulus) {
                return misfits(Misfit::NotAResidue { value, modulus });
            }
            sums.iter_mut().zip(row).for_each(|(sum, word)| *sum += word);
        }
    }
    for (sums, &modulus) in total.chunks_exact_mut(n).zip(moduli) {
        let reciprocal = ((1u128 << 64) / u128::from(modulus)) as u64;
        sums.iter_mut().for_each(|sum| *sum = barrett(*sum, modulus, reciprocal));
    }
    Ok(total)
}

/// `x mod q` for any word, with `reciprocal = floor(2^64 / q)`, `q >= 2`. The quotient is at most one too small:
/// `x / q - x reciprocal / 2^64 < 1`.
fn barrett(x: u64, q: u64, reciprocal: u64) -> u64 {
    let quotient = ((u128::from(x) * u128::from(reciprocal)) >> 64) as u64;
    let r = x - quotient * q;
    if r >= q { r - q } else { r }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_barrett_reduction_is_enough() {
        for q in [2, 3, 97, (1 << 50) - 27, (1 << 62) - 57, (1 << 63) + 29, u64::MAX] {
            let reciprocal = ((1u128 << 64) / u128::from(q)) as u64;
            let around = |x: u64| (0..40).flat_map(move |d| [x.wrapping_add(d), x.wrapping_sub(d)]);
            for x in
                [0, 1 << 32, 1 << 63].into_iter().chain((1..9).map(|k| q.wrapping_mul(k))).flat_map(around)
            {
                assert_eq!(barrett(x, q, reciprocal), x % q, "{x} mod {q}");
            }
        }
    }

    #[test]
    fn sums_are_exact_up_to_the_bound() {
        let q = u64::MAX / 5;
        let part = || Words::new(vec![q - 1; 4]);
        let want = (5 * u128::from(q - 1) % u128::from(q)) as u64;
        assert_eq!(sum(&vec![part(); 5], 2, &[q, q]), Ok(vec![want; 4]));
        let misfit = Misfit::NotAResidue { value: q - 1, modulus: 7 };
        assert_eq!(sum(&[part()], 2, &[q, 7]), Err(Failure::Operands { op: "reduce_scatter", misfit }));
        let misfit = Misfit::DataLength { have: 4, want: 6 };
        assert_eq!(sum(&[part()], 2, &[q, q, q]), Err(Failure::Operands { op: "reduce_scatter", misfit }));
    }
}
