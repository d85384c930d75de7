//! What was received, counted exactly.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Message;

/// Counts what the ranks driven here receive, by rank and reason.
///
/// A message counts when it is asked for, not when it comes: the difference between two snapshots around some calls is
/// what these calls asked for, though nothing has to have come by then.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Traffic>);

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a message, for its receiver. Every [`Communicator`](crate::Communicator) calls it once for each message
    /// that it promises.
    pub fn asked(&self, message: &Message) {
        let bytes = 8 * message.words as u64;
        self.lock().add(message.to, message.reason, Count { calls: 0, messages: 1, bytes });
    }

    /// Counts a rank's part in a collective.
    pub(crate) fn called(&self, rank: usize, reason: &'static str) {
        self.lock().add(rank, reason, Count { calls: 1, messages: 0, bytes: 0 });
    }

    /// All that was counted so far.
    pub fn snapshot(&self) -> Traffic {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Traffic> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What ranks received, or asked for: a plain value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic(BTreeMap<(usize, &'static str), Count>);

/// What one rank received for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Collectives that it took part in, whether it had anything to receive or not.
    pub calls: u64,
    /// Messages.
    pub messages: u64,
    /// Bytes in these messages, eight a word.
    pub bytes: u64,
}

impl Traffic {
    /// What came after an earlier snapshot of the same ledger.
    pub fn since(&self, earlier: &Self) -> Self {
        let difference = self.0.iter().map(|(&key, count)| {
            let before = earlier.0.get(&key).copied().unwrap_or_default();
            (key, count.minus(before))
        });
        Self(difference.filter(|(_, count)| *count != Count::default()).collect())
    }

    /// What a rank received for a reason.
    pub fn count(&self, rank: usize, reason: &str) -> Count {
        self.of(|r, why| r == rank && why == reason)
    }

    /// What all ranks driven here received for all reasons.
    pub fn total(&self) -> Count {
        self.of(|_, _| true)
    }

    /// Bytes that a rank received.
    pub fn bytes(&self, rank: usize) -> u64 {
        self.of(|r, _| r == rank).bytes
    }

    /// Bytes that all ranks driven here received for a reason.
    pub fn bytes_of(&self, reason: &str) -> u64 {
        self.of(|_, why| why == reason).bytes
    }

    /// All counts with their rank and reason, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'static str, Count)> {
        self.0.iter().map(|(&(rank, reason), &count)| (rank, reason, count))
    }

    fn of(&self, is_meant: impl Fn(usize, &str) -> bool) -> Count {
        let meant = self.iter().filter(|(rank, reason, _)| is_meant(*rank, reason));
        meant.fold(Count::default(), |sum, (_, _, count)| sum.plus(count))
    }

    fn add(&mut self, rank: usize, reason: &'static str, count: Count) {
        let entry = self.0.entry((rank, reason)).or_default();
        *entry = entry.plus(count);
    }
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            messages: self.messages + other.messages,
            bytes: self.bytes + other.bytes,
        }
    }

    /// Zero where the other is larger, which an earlier snapshot never is.
    fn minus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(other.calls),
            messages: self.messages.saturating_sub(other.messages),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}
