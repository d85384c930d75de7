//! Words on their way from one device to another.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

/// Words that many may read.
pub type Words = Arc<Vec<u64>>;

/// What [`Parcel::then`] waits with.
type Waiter = Box<dyn FnOnce(Result<Words>) + Send>;

enum State {
    Promised(Vec<Waiter>),
    Kept(Result<Words>),
}

struct Slot {
    state: Mutex<State>,
    kept: Condvar,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Words that are there or will come: what leaves one device ([`Backend::export`](crate::Backend::export)), travels, and
/// enters another ([`Backend::adopt`](crate::Backend::adopt)). Cheap to clone: all clones are one promise.
///
/// Whoever makes a promise keeps it, with words or with an error, within a time of its own: nothing here waits for ever
/// unless the maker does. Words that were kept stay until the last clone is dropped.
#[derive(Clone)]
pub struct Parcel(Arc<Slot>);

/// The other end of a [`Parcel`]: to be kept once. Dropped, it is broken, and the parcel holds an error.
pub struct Promise(Option<Arc<Slot>>);

impl Parcel {
    /// A parcel to come.
    pub fn promise() -> (Promise, Self) {
        let slot = Arc::new(Slot { state: Mutex::new(State::Promised(vec![])), kept: Condvar::new() });
        (Promise(Some(Arc::clone(&slot))), Self(slot))
    }

    /// A parcel that is there.
    pub fn ready(words: Vec<u64>) -> Self {
        Self::settled(Ok(Arc::new(words)))
    }

    /// A parcel that will never come.
    pub fn failed(error: Error) -> Self {
        Self::settled(Err(error))
    }

    fn settled(result: Result<Words>) -> Self {
        Self(Arc::new(Slot { state: Mutex::new(State::Kept(result)), kept: Condvar::new() }))
    }

    /// Waits for the words.
    ///
    /// # Errors
    /// Whatever kept them from coming.
    pub fn wait(&self) -> Result<Words> {
        let mut state = self.0.lock();
        loop {
            if let State::Kept(result) = &*state {
                return result.clone();
            }
            state = self.0.kept.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The words, where they are there already.
    pub fn look(&self) -> Option<Result<Words>> {
        match &*self.0.lock() {
            State::Kept(result) => Some(result.clone()),
            State::Promised(_) => None,
        }
    }

    /// Calls `f` with the words when they are there: at once, or on the thread that keeps the promise, which it must
    /// not hold up.
    pub fn then(&self, f: impl FnOnce(Result<Words>) + Send + 'static) {
        let mut state = self.0.lock();
        match &mut *state {
            State::Promised(waiters) => waiters.push(Box::new(f)),
            State::Kept(result) => {
                let result = result.clone();
                drop(state);
                f(result);
            }
        }
    }

    /// The parcel of what `f` makes of all of these, once the last of them is there; or of the first error.
    pub fn join<F>(parcels: &[Self], f: F) -> Self
    where
        F: FnOnce(&[Words]) -> Result<Vec<u64>> + Send + 'static,
    {
        let (promise, joined) = Self::promise();
        if parcels.is_empty() {
            promise.keep(f(&[]));
            return joined;
        }
        let words = vec![Words::default(); parcels.len()];
        let join = Arc::new(Mutex::new(Some(Join { promise, f, words, missing: parcels.len() })));
        for (i, parcel) in parcels.iter().enumerate() {
            let join = Arc::clone(&join);
            parcel.then(move |result| Join::arrived(&join, i, result));
        }
        joined
    }
}

/// Parcels of which some are missing.
struct Join<F> {
    promise: Promise,
    f: F,
    words: Vec<Words>,
    missing: usize,
}

impl<F: FnOnce(&[Words]) -> Result<Vec<u64>>> Join<F> {
    /// The parcel with this number is there. Nothing is done twice: after the last one or an error there is no join.
    fn arrived(this: &Mutex<Option<Self>>, number: usize, result: Result<Words>) {
        let mut guard = this.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(join) = &mut *guard else { return };
        let failure = match result {
            Ok(words) => {
                join.words[number] = words;
                join.missing -= 1;
                None
            }
            Err(error) => Some(error),
        };
        if failure.is_none() && join.missing > 0 {
            return;
        }
        let join = guard.take();
        drop(guard);
        if let Some(Self { promise, f, words, .. }) = join {
            promise.keep(failure.map_or_else(|| f(&words), Err));
        }
    }
}

impl Promise {
    /// Hands over the words, or why there are none.
    pub fn keep(mut self, result: Result<Vec<u64>>) {
        self.settle(result.map(Arc::new));
    }

    /// [`Promise::keep`] with words that others have too.
    pub fn keep_shared(mut self, result: Result<Words>) {
        self.settle(result);
    }

    fn settle(&mut self, result: Result<Words>) {
        let Some(slot) = self.0.take() else { return };
        let before = std::mem::replace(&mut *slot.lock(), State::Kept(result.clone()));
        slot.kept.notify_all();
        if let State::Promised(waiters) = before {
            waiters.into_iter().for_each(|waiter| waiter(result.clone()));
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.settle(Err(Error::Device("a promise of words was dropped".into())));
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.look() {
            None => write!(f, "Parcel(promised)"),
            Some(Ok(words)) => write!(f, "Parcel({} words)", words.len()),
            Some(Err(error)) => write!(f, "Parcel({error})"),
        }
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Promise")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn all_who_wait_get_the_words() {
        let (promise, parcel) = Parcel::promise();
        let seen = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let seen = Arc::clone(&seen);
            parcel.then(move |words| {
                seen.fetch_add(words.unwrap().len(), Ordering::Relaxed);
            });
        }
        assert!(parcel.look().is_none());
        let waiting = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| parcel.clone().wait());
            promise.keep(Ok(vec![7, 8]));
            waiting.join().unwrap()
        });
        assert_eq!((waiting.as_deref(), seen.load(Ordering::Relaxed)), (Ok(&vec![7, 8]), 6));
        parcel.then(|words| assert_eq!(words.as_deref(), Ok(&vec![7, 8])));
    }

    #[test]
    fn a_promise_that_is_dropped_is_an_error() {
        let (promise, parcel) = Parcel::promise();
        drop(promise);
        assert!(matches!(parcel.wait(), Err(Error::Device(_))));
    }

    #[test]
    fn a_join_has_the_words_in_order_or_the_first_error() {
        let concat = |all: &[Words]| Ok(all.iter().flat_map(|words| words.iter().copied()).collect());
        let ((first, a), (second, b)) = (Parcel::promise(), Parcel::promise());
        let joined = Parcel::join(&[a, Parcel::ready(vec![3]), b], concat);
        second.keep(Ok(vec![4, 5]));
        assert!(joined.look().is_none());
        first.keep(Ok(vec![1, 2]));
        assert_eq!(joined.wait().as_deref(), Ok(&vec![1, 2, 3, 4, 5]));

        assert_eq!(Parcel::join(&[], concat).wait().as_deref(), Ok(&vec![]));
        let (late, waiting) = Parcel::promise();
        let failed = [waiting, Parcel::failed(Error::WrongDevice), Parcel::failed(Error::Unsupported("x"))];
        assert_eq!(Parcel::join(&failed, concat).wait(), Err(Error::WrongDevice));
        late.keep(Ok(vec![]));
    }
}
