//! Ranks in one process.

use std::fmt;

use aegis_hal::{Parcel, PeerFault};

use crate::mailbox::Mailbox;
use crate::sync::Arc;
use crate::{Communicator, Ledger, Limits, Message, Result};

#[cfg(all(test, aegis_loom))]
mod models;

/// Ranks of one process: words are handed over, not copied.
///
/// One value drives all ranks ([`Local::new`]), or each of several values drives some of them, on threads of their own
/// ([`Local::split`], [`Local::hosts`]). Of the [`Limits`] only `wait` means something here: threads of one process do
/// not fall silent, they end.
///
/// A message that was sent arrives even when its sender is dropped before the words are there.
pub struct Local {
    ranks: usize,
    local: Vec<usize>,
    mailbox: Arc<Mailbox>,
    /// One for each local rank.
    presences: Vec<Arc<Presence>>,
    ledger: Ledger,
}

/// A rank that may still send: held by its communicator and by every message on its way. With the last of them the
/// others learn that it has ended.
struct Presence {
    rank: usize,
    mailbox: Arc<Mailbox>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.mailbox.lose(self.rank, PeerFault::Gone);
    }
}

impl Local {
    /// One communicator that drives all ranks.
    pub fn new(ranks: usize) -> Self {
        let mailbox = Arc::new(Mailbox::new(&Limits::default()));
        Self::host(ranks, (0..ranks).collect(), &mailbox)
    }

    /// A communicator for each rank.
    pub fn split(ranks: usize) -> Vec<Self> {
        Self::hosts(&vec![1; ranks], &Limits::default())
    }

    /// A communicator for each of these numbers, which drives so many ranks, the first ones the lowest.
    pub fn hosts(ranks_driven: &[usize], limits: &Limits) -> Vec<Self> {
        let (ranks, mailbox) = (ranks_driven.iter().sum(), Arc::new(Mailbox::new(limits)));
        let mut first = 0;
        let host = |&driven: &usize| {
            let local = (first..first + driven).collect();
            first += driven;
            Self::host(ranks, local, &mailbox)
        };
        ranks_driven.iter().map(host).collect()
    }

    fn host(ranks: usize, local: Vec<usize>, mailbox: &Arc<Mailbox>) -> Self {
        let presence = |&rank: &usize| Arc::new(Presence { rank, mailbox: Arc::clone(mailbox) });
        let presences = local.iter().map(presence).collect();
        Self { ranks, local, mailbox: Arc::clone(mailbox), presences, ledger: Ledger::new() }
    }
}

impl Communicator for Local {
    fn ranks(&self) -> usize {
        self.ranks
    }

    fn local(&self) -> &[usize] {
        &self.local
    }

    fn send(&self, message: &Message, parcel: &Parcel) -> Result<()> {
        let sender = message.check(message.from, self)?;
        let (sender, Message { from, to, tag, .. }) = (Arc::clone(&self.presences[sender]), *message);
        parcel.then(move |words| sender.mailbox.deliver(to, from, tag, words));
        Ok(())
    }

    fn receive(&self, message: &Message) -> Result<Parcel> {
        message.check(message.to, self)?;
        let parcel = self.mailbox.expect(message)?;
        self.ledger.asked(message);
        Ok(parcel)
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Local(ranks {:?} of {})", self.local, self.ranks)
    }
}
