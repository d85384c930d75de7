//! The executor: runs jobs one at a time, in the order of their submission.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use aegis_hal::{Error, Result};

use crate::sync::{Arc, Builder, Condvar, JoinHandle, Mutex, MutexGuard};

/// Jobs that may wait: enough to hide the host, few enough to bound what they hold.
const MAX_WAITING: usize = if cfg!(aegis_loom) { 1 } else { 256 };

/// One launch, with handles of its buffers. An error is the launch's own: later jobs run all the same.
pub(crate) type Job = Box<dyn FnOnce() -> Result<()> + Send>;

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    closed: bool,
    /// The first error of a job since the last [`Executor::sync`].
    failure: Option<Error>,
    /// A job panicked, which is a bug: nothing runs any more, and every call says so.
    broken: Option<Error>,
}

impl State {
    fn check(&self) -> Result<()> {
        self.broken.clone().map_or(Ok(()), Err)
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
    taken: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a job and keeps its error or panic for those who ask.
    fn run(&self, job: Job) {
        match catch_unwind(AssertUnwindSafe(job)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.lock().failure.get_or_insert(error);
            }
            Err(panic) => {
                self.lock().broken.get_or_insert(Error::Device(message(&*panic)));
                // Nobody who waits for room will use it: one wake-up for each job taken may be too few.
                self.taken.notify_all();
            }
        }
    }

    fn work(&self) {
        loop {
            let mut state = self.lock();
            let job = loop {
                if let Some(job) = state.waiting.pop_front() {
                    break job;
                }
                if state.closed {
                    return;
                }
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            let broken = state.broken.is_some();
            drop(state);
            self.taken.notify_one();
            if !broken {
                self.run(job);
            }
        }
    }
}

/// Orders all work of a device.
pub(crate) struct Executor {
    shared: Arc<Shared>,
    /// `None`: jobs run on the calling thread, one caller at a time.
    worker: Option<JoinHandle<()>>,
    inline: Mutex<()>,
}

impl Executor {
    /// An executor with a thread of its own, or one that runs jobs on the calling thread.
    pub(crate) fn new(inline: bool) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = if inline {
            None
        } else {
            let shared = Arc::clone(&shared);
            Some(Builder::new().name("aegis-cpu".into()).spawn(move || shared.work())?)
        };
        Ok(Self { shared, worker, inline: Mutex::new(()) })
    }

    /// Enqueues a job; waits while too many wait. Fails when an earlier job panicked.
    pub(crate) fn submit(&self, job: Job) -> Result<()> {
        if self.worker.is_none() {
            let _one_at_a_time = self.inline.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.lock().check()?;
            self.shared.run(job);
            return Ok(());
        }
        let mut state = self.shared.lock();
        while state.waiting.len() >= MAX_WAITING && state.broken.is_none() {
            state = self.shared.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check()?;
        state.waiting.push_back(job);
        drop(state);
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// Runs `f` after all jobs so far and returns its result. Fails when a job panicked.
    pub(crate) fn wait_for<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (promise, reply) = promise();
        self.submit(Box::new(move || {
            promise.keep(f());
            Ok(())
        }))?;
        let result = reply.wait();
        self.shared.lock().check()?;
        // Only a broken executor drops a job that it has taken.
        result.ok_or_else(|| Error::Device("a job was dropped".into()))
    }

    /// Waits for all jobs so far. Reports the first error since the last call, once.
    pub(crate) fn sync(&self) -> Result<()> {
        self.wait_for(|| ())?;
        self.shared.lock().failure.take().map_or(Ok(()), Err)
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Jobs that wait are still run: the overwriting of a secret may be among them.
        self.shared.lock().closed = true;
        self.shared.arrived.notify_all();
        if let Some(worker) = self.worker.take() {
            // The worker catches the panics of jobs; it ends when the queue is closed.
            drop(worker.join());
        }
    }
}

/// Where the result of one job arrives: a channel for one message that ends when the job is dropped, which the channels
/// of loom do not.
struct Reply<T>(Arc<Slot<T>>);

/// To be kept, or dropped by a job that does not run.
struct Promise<T>(Arc<Slot<T>>);

struct Slot<T> {
    /// The result, and whether it can still come.
    state: Mutex<(Option<T>, bool)>,
    settled: Condvar,
}

fn promise<T>() -> (Promise<T>, Reply<T>) {
    let slot = Arc::new(Slot { state: Mutex::new((None, true)), settled: Condvar::new() });
    (Promise(Arc::clone(&slot)), Reply(slot))
}

impl<T> Promise<T> {
    fn keep(self, result: T) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(result);
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).1 = false;
        self.0.settled.notify_one();
    }
}

impl<T> Reply<T> {
    /// The result; `None` when the promise was dropped.
    fn wait(self) -> Option<T> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.1 {
            state = self.0.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.0.take()
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a job panicked".to_owned()
    }
}

#[cfg(all(test, aegis_loom))]
mod models;

#[cfg(all(test, not(aegis_loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_panic_is_reported_and_does_not_hang() {
        for inline in [true, false] {
            let executor = Executor::new(inline).unwrap();
            executor.submit(Box::new(|| panic!("on purpose"))).unwrap();
            let error = executor.wait_for(|| ()).unwrap_err();
            assert_eq!(error, Error::Device("on purpose".into()), "inline: {inline}");
            // Long after the queue would be full.
            for _ in 0..3 * MAX_WAITING {
                assert!(executor.submit(Box::new(|| Ok(()))).is_err(), "inline: {inline}");
            }
            assert_eq!(executor.sync(), Err(error), "inline: {inline}");
        }
    }

    #[test]
    fn a_failure_is_reported_once_and_later_jobs_run() {
        for inline in [true, false] {
            let executor = Executor::new(inline).unwrap();
            for error in [Error::WrongDevice, Error::Unsupported("second")] {
                executor.submit(Box::new(|| Err(error))).unwrap();
            }
            assert_eq!(executor.wait_for(|| 7), Ok(7), "inline: {inline}");
            assert_eq!(executor.sync(), Err(Error::WrongDevice), "inline: {inline}");
            assert_eq!(executor.sync(), Ok(()), "inline: {inline}");
        }
    }

    #[test]
    fn drop_runs_what_waits() {
        let count = Arc::new(AtomicUsize::new(0));
        let executor = Executor::new(false).unwrap();
        for _ in 0..MAX_WAITING {
            let count = Arc::clone(&count);
            let job = move || {
                std::thread::yield_now();
                count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            executor.submit(Box::new(job)).unwrap();
        }
        drop(executor);
        assert_eq!(count.load(Ordering::Relaxed), MAX_WAITING);
    }

    #[test]
    fn jobs_run_in_order() {
        let count = Arc::new(AtomicUsize::new(0));
        let executor = Executor::new(false).unwrap();
        for i in 0..4 * MAX_WAITING {
            let count = Arc::clone(&count);
            let job = move || {
                assert_eq!(count.fetch_add(1, Ordering::Relaxed), i);
                Ok(())
            };
            executor.submit(Box::new(job)).unwrap();
        }
        executor.wait_for(|| ()).unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 4 * MAX_WAITING);
    }
}
