//! What every transport offers.

use aegis_hal::Parcel;

use crate::{Error, Ledger, RankFault, Result};

/// Tells messages between two ranks apart: both ends name the same, in whatever order they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Whose messages they are: each [`Group`](crate::Group) has a channel of its own.
    pub channel: u32,
    /// Number among the messages of the channel between the two ranks.
    pub number: u64,
}

/// A message that both ends know to come: nothing is sent that nobody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The rank that sends.
    pub from: usize,
    /// The rank that receives, another one.
    pub to: usize,
    /// Which message.
    pub tag: Tag,
    /// How many words.
    pub words: usize,
    /// What it is for, in the [`Ledger`].
    pub reason: &'static str,
}

impl Message {
    /// Checks the ranks for a communicator that has to drive `here`, one of the two; gives its number among the local
    /// ranks.
    pub(crate) fn check(&self, here: usize, comm: &dyn Communicator) -> Result<usize> {
        let refused = |rank, fault| Err(Error::Rank { rank, fault });
        let ranks = comm.ranks();
        if let Some(&rank) = [self.from, self.to].iter().find(|&&rank| rank >= ranks) {
            return refused(rank, RankFault::Missing { ranks });
        }
        if self.from == self.to {
            return refused(self.to, RankFault::Itself);
        }
        comm.local().binary_search(&here).or_else(|_| refused(here, RankFault::Elsewhere))
    }
}

/// Ranks that exchange words: a transport. [`Group`](crate::Group) makes collectives of it.
///
/// # Contract
/// * Nothing waits: [`Communicator::send`] takes the words when the parcel has them, [`Communicator::receive`] gives a
///   parcel that will have them. A parcel that fails arrives as [`Error::Peer`](aegis_hal::Error::Peer) at the other
///   end.
/// * The transport owns time: every parcel that it promised is kept within its [`Limits`](crate::Limits), with the words
///   or with [`Error::Peer`](aegis_hal::Error::Peer), whatever happens to the other rank. A rank is lost once: all that is
///   and will be expected of it fails.
/// * A message of another length than was agreed fails at the receiver.
/// * Dropped, a communicator tells the others that its ranks have ended.
pub trait Communicator: Send + Sync {
    /// Number of ranks.
    fn ranks(&self) -> usize;

    /// The ranks that this value drives, in ascending order: all where one host drives every device, one where each
    /// process, or each thread, drives its own.
    fn local(&self) -> &[usize];

    /// Sends from a local rank.
    ///
    /// # Errors
    /// [`Error::Rank`](crate::Error::Rank) for ranks that there are not, that are not driven here, or a message to oneself.
    fn send(&self, message: &Message, parcel: &Parcel) -> Result<()>;

    /// The words of a message to a local rank.
    ///
    /// # Errors
    /// As [`Communicator::send`]; [`Error::Twice`](crate::Error::Twice) for a message that was asked for before.
    fn receive(&self, message: &Message) -> Result<Parcel>;

    /// What was received so far.
    fn ledger(&self) -> &Ledger;
}
