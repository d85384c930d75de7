//! The executor: runs jobs one at a time, in the order of their submission.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use aegis_hal::{Error, Result};

/// Jobs that may wait: enough to hide the host, few enough to bound what they hold.
const MAX_WAITING: usize = 256;

/// One launch, with handles of its buffers.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    closed: bool,
    failure: Option<String>,
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

    /// Runs a job; a panic becomes the failure that every later call reports.
    fn run(&self, job: Job) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
            self.lock().failure.get_or_insert(message(&*panic));
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
            let failed = state.failure.is_some();
            drop(state);
            self.taken.notify_one();
            if !failed {
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
            Some(std::thread::Builder::new().name("aegis-cpu".into()).spawn(move || shared.work())?)
        };
        Ok(Self { shared, worker, inline: Mutex::new(()) })
    }

    /// Enqueues a job; waits while too many wait. Fails when an earlier job failed.
    pub(crate) fn submit(&self, job: Job) -> Result<()> {
        if self.worker.is_none() {
            let _one_at_a_time = self.inline.lock().unwrap_or_else(PoisonError::into_inner);
            self.check()?;
            self.shared.run(job);
            return Ok(());
        }
        let mut state = self.shared.lock();
        while state.waiting.len() >= MAX_WAITING && state.failure.is_none() {
            state = self.shared.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(failure) = &state.failure {
            return Err(Error::Device(failure.clone()));
        }
        state.waiting.push_back(job);
        drop(state);
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// Runs `f` after all jobs so far and returns its result.
    pub(crate) fn wait_for<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        // The receiver lives until the job has run or was dropped, so the send cannot fail.
        self.submit(Box::new(move || drop(sender.send(f()))))?;
        let result = receiver.recv();
        self.check()?;
        result.map_err(|_| Error::Device("the queue was closed".into()))
    }

    fn check(&self) -> Result<()> {
        match &self.shared.lock().failure {
            Some(failure) => Err(Error::Device(failure.clone())),
            None => Ok(()),
        }
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

fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a job panicked".to_owned()
    }
}

#[cfg(test)]
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
                assert!(executor.submit(Box::new(|| ())).is_err(), "inline: {inline}");
            }
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
            executor.submit(Box::new(move || assert_eq!(count.fetch_add(1, Ordering::Relaxed), i))).unwrap();
        }
        executor.wait_for(|| ()).unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 4 * MAX_WAITING);
    }
}
