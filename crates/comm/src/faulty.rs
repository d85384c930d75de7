//! Messages broken on purpose: how code above a communicator is tested for what networks and processes do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use aegis_hal::Parcel;

use crate::{Communicator, Ledger, Message, Result};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is lost.
    Drop,
    /// It leaves this much later than its words are there.
    Delay(Duration),
    /// It leaves after the next message that is not held up too; at the latest when its communicator is dropped.
    Reorder,
    /// Its last word is missing.
    Cut,
    /// Its sender dies: neither this message nor any later one is sent, and nobody is told.
    Die,
}

/// A communicator that breaks the messages with certain numbers. Messages are counted from 0 in the order in which they
/// are sent here, whoever they are for.
pub struct Faulty<C: Communicator> {
    inner: Arc<C>,
    faults: BTreeMap<u64, Fault>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sent: u64,
    is_dead: bool,
    held: Vec<(Message, Parcel)>,
}

impl<C: Communicator> Faulty<C> {
    /// Breaks these messages of a communicator.
    pub fn new(inner: C, faults: impl IntoIterator<Item = (u64, Fault)>) -> Self {
        Self { inner: Arc::new(inner), faults: faults.into_iter().collect(), state: Mutex::default() }
    }

    /// Breaks one of `of` messages in `one_in`, on average, in a manner of these; a seed breaks the same ones again.
    pub fn seeded(inner: C, seed: u64, kinds: &[Fault], of: u64, one_in: u64) -> Self {
        let number = |i: u64| splitmix(seed.wrapping_mul(1 << 32).wrapping_add(i));
        let is_broken = |i: &u64| one_in > 0 && number(2 * i).is_multiple_of(one_in) && !kinds.is_empty();
        let kind = |i: u64| (i, kinds[(number(2 * i + 1) % kinds.len() as u64) as usize]);
        Self::new(inner, (0..of).filter(is_broken).map(kind))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Communicator> Communicator for Faulty<C> {
    fn ranks(&self) -> usize {
        self.inner.ranks()
    }

    fn local(&self) -> &[usize] {
        self.inner.local()
    }

    fn send(&self, message: &Message, parcel: &Parcel) -> Result<()> {
        message.check(message.from, self)?;
        let mut state = self.lock();
        let fault = self.faults.get(&state.sent).copied();
        state.sent += 1;
        if fault == Some(Fault::Die) {
            // Not to be dropped by anyone, which would tell the others.
            std::mem::forget(Arc::clone(&self.inner));
            state.is_dead = true;
        }
        if state.is_dead {
            return Ok(());
        }
        if fault == Some(Fault::Reorder) {
            state.held.push((*message, parcel.clone()));
            return Ok(());
        }
        let held = std::mem::take(&mut state.held);
        drop(state);
        match fault {
            Some(Fault::Drop) => {}
            Some(Fault::Delay(by)) => self.inner.send(message, &delayed(parcel, by))?,
            Some(Fault::Cut) => self.inner.send(message, &cut(parcel))?,
            _ => self.inner.send(message, parcel)?,
        }
        held.iter().try_for_each(|(message, parcel)| self.inner.send(message, parcel))
    }

    fn receive(&self, message: &Message) -> Result<Parcel> {
        self.inner.receive(message)
    }

    fn ledger(&self) -> &Ledger {
        self.inner.ledger()
    }
}

impl<C: Communicator> Drop for Faulty<C> {
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.lock().held);
        if !self.lock().is_dead {
            // They were checked when they were held; there is nobody to tell of another failure.
            held.iter().for_each(|(message, parcel)| drop(self.inner.send(message, parcel)));
        }
    }
}

impl<C: Communicator> fmt::Debug for Faulty<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({:?})", self.faults)
    }
}

/// The parcel, kept this much later.
fn delayed(parcel: &Parcel, by: Duration) -> Parcel {
    let (promise, delayed) = Parcel::promise();
    parcel.then(move |words| {
        let later = move || {
            thread::sleep(by);
            promise.keep_shared(words);
        };
        // Without a thread the promise is broken, which is a fault too.
        drop(thread::Builder::new().spawn(later));
    });
    delayed
}

/// The parcel without its last word.
fn cut(parcel: &Parcel) -> Parcel {
    Parcel::join(std::slice::from_ref(parcel), |words| {
        Ok(words[0].split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default())
    })
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014).
fn splitmix(seed: u64) -> u64 {
    let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
