//! Where messages meet those who wait for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use aegis_hal::{Error as Failure, Parcel, PeerFault, Promise, Words};

use crate::sync::{Arc, Builder, Condvar, Mutex, MutexGuard};
use crate::{Error, Limits, Message, Result, Tag};

#[cfg(all(test, aegis_loom))]
mod models;
#[cfg(all(test, not(aegis_loom)))]
mod tests;

/// Limits are cut to these: a clock cannot count with longer waits, and the watcher would spin with shorter ones.
const WAITS: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(u32::MAX as u64)];

/// Matches the messages that ranks of this process expect with those that arrive, in whatever order both happen. Shared
/// by all who ask and all who deliver.
///
/// Promises are kept outside of the lock: those who wait for a parcel may run anything, this mailbox's own calls among
/// it.
pub(crate) struct Mailbox(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    closed: Condvar,
    /// [`Limits::wait`].
    wait: Duration,
}

/// Which message, where it is received.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    to: usize,
    from: usize,
    tag: Tag,
}

/// A message that was asked for and has not come.
struct Expected {
    promise: Promise,
    words: usize,
    deadline: Instant,
}

#[derive(Default)]
struct State {
    expected: BTreeMap<Key, Expected>,
    /// Came before anyone asked.
    arrived: BTreeMap<Key, aegis_hal::Result<Words>>,
    /// Numbers asked for so far, by receiver, sender and channel.
    asked: BTreeMap<(usize, usize, u32), Numbers>,
    lost: BTreeMap<usize, PeerFault>,
    is_watched: bool,
    is_closed: bool,
}

impl Mailbox {
    pub(crate) fn new(limits: &Limits) -> Self {
        let wait = limits.wait.clamp(WAITS[0], WAITS[1]);
        Self(Arc::new(Shared { state: Mutex::default(), closed: Condvar::new(), wait }))
    }

    /// The parcel of a message: its words if it came already, otherwise a promise.
    pub(crate) fn expect(&self, message: &Message) -> Result<Parcel> {
        let key = Key { to: message.to, from: message.from, tag: message.tag };
        let mut state = self.0.lock();
        if !state.asked.entry(key.pair()).or_default().insert(key.tag.number) {
            return Err(Error::Twice { message: *message });
        }
        if let Some(result) = state.arrived.remove(&key) {
            return Ok(parcel(fit(result, key.from, message.words)));
        }
        if let Some(fault) = state.lost.get(&key.from) {
            return Ok(Parcel::failed(Failure::Peer { rank: key.from, fault: fault.clone() }));
        }
        self.watch(&mut state)?;
        let (promise, parcel) = Parcel::promise();
        let deadline = Instant::now() + self.0.wait;
        state.expected.insert(key, Expected { promise, words: message.words, deadline });
        Ok(parcel)
    }

    /// A message arrived, or the sender could not make it. An error that names a rank stays as it is, so that the first
    /// cause is told however many ranks it stopped.
    pub(crate) fn deliver(&self, to: usize, from: usize, tag: Tag, words: aegis_hal::Result<Words>) {
        let key = Key { to, from, tag };
        let mut state = self.0.lock();
        if let Some(expected) = state.expected.remove(&key) {
            drop(state);
            expected.promise.keep_shared(fit(words, from, expected.words));
        } else if !state.has_ended(&key) {
            state.arrived.insert(key, words);
        }
    }

    /// A rank will send no more: all that is and will be expected of it fails. What came before stays. The first fault
    /// of a rank counts.
    pub(crate) fn lose(&self, rank: usize, fault: PeerFault) {
        self.0.lose(rank, &fault);
    }

    /// Starts the one thread that keeps the limit.
    fn watch(&self, state: &mut State) -> Result<()> {
        // Models call `expire` themselves: loom knows no time.
        if state.is_watched || cfg!(aegis_loom) {
            return Ok(());
        }
        let shared = Arc::clone(&self.0);
        let watcher = Builder::new().name("aegis-comm-wait".into()).spawn(move || shared.watch());
        watcher.map_err(|error| Error::Thread { cause: error.to_string() })?;
        state.is_watched = true;
        Ok(())
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        let left = std::mem::take(&mut state.expected);
        drop(state);
        // The watcher ends by itself. It is not waited for: this may run on it, for one who waited held the last handle.
        self.0.closed.notify_all();
        for (key, expected) in left {
            let cause = "its messages were still awaited when the communicator was dropped here".to_owned();
            let fault = PeerFault::Transport { cause };
            expected.promise.keep(Err(Failure::Peer { rank: key.from, fault }));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, rank: usize, fault: &PeerFault) {
        let mut state = self.lock();
        if state.lost.contains_key(&rank) {
            return;
        }
        state.lost.insert(rank, fault.clone());
        let failed: Vec<Expected> =
            state.expected.extract_if(.., |key, _| key.from == rank).map(|(_, expected)| expected).collect();
        drop(state);
        for expected in failed {
            expected.promise.keep(Err(Failure::Peer { rank, fault: fault.clone() }));
        }
    }

    /// Loses every rank that has kept somebody waiting until now.
    fn expire(&self, now: Instant) {
        let is_late = |(key, expected): (&Key, &Expected)| (expected.deadline <= now).then_some(key.from);
        let late: BTreeSet<usize> = self.lock().expected.iter().filter_map(is_late).collect();
        let fault = PeerFault::Late { ms: self.wait.as_millis().try_into().unwrap_or(u64::MAX) };
        late.into_iter().for_each(|rank| self.lose(rank, &fault));
    }

    /// What the watcher does. It needs no wake-up for a new message: all wait equally long, so that none asked for while
    /// it sleeps is due before it wakes.
    fn watch(&self) {
        loop {
            self.expire(Instant::now());
            let state = self.lock();
            if state.is_closed {
                return;
            }
            let now = Instant::now();
            let earliest = state.expected.values().map(|expected| expected.deadline).min();
            let sleep = earliest.map_or(self.wait, |deadline| deadline.saturating_duration_since(now));
            drop(self.closed.wait_timeout(state, sleep).unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl State {
    /// Whether nobody will ever ask for this message, because it was given up, or came twice.
    fn has_ended(&self, key: &Key) -> bool {
        let was_asked =
            || self.asked.get(&key.pair()).is_some_and(|numbers| numbers.contains(key.tag.number));
        self.lost.contains_key(&key.from) || was_asked()
    }
}

impl Key {
    fn pair(&self) -> (usize, usize, u32) {
        (self.to, self.from, self.tag.channel)
    }
}

/// A set of numbers, most of which come in ascending order: all below `below`, and `others`.
#[derive(Default)]
struct Numbers {
    below: u64,
    others: BTreeSet<u64>,
}

impl Numbers {
    fn contains(&self, number: u64) -> bool {
        number < self.below || self.others.contains(&number)
    }

    /// Whether the number is new.
    fn insert(&mut self, number: u64) -> bool {
        if self.contains(number) {
            return false;
        }
        self.others.insert(number);
        while self.others.remove(&self.below) {
            self.below += 1;
        }
        true
    }
}

/// What a message becomes for its receiver.
fn fit(result: aegis_hal::Result<Words>, from: usize, want: usize) -> aegis_hal::Result<Words> {
    let fault = match result {
        Ok(words) if words.len() == want => return Ok(words),
        Ok(words) => PeerFault::Length { have: words.len(), want },
        Err(error @ Failure::Peer { .. }) => return Err(error),
        Err(error) => PeerFault::Failed { cause: error.to_string() },
    };
    Err(Failure::Peer { rank: from, fault })
}

fn parcel(result: aegis_hal::Result<Words>) -> Parcel {
    let (promise, parcel) = Parcel::promise();
    promise.keep_shared(result);
    parcel
}
