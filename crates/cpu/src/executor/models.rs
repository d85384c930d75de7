//! The queue under loom, which runs each model in every order of its events: `cargo xtask loom`. One job may wait.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::*;

/// A job that counts.
fn count(counter: &Arc<AtomicUsize>) -> Job {
    let counter = Arc::clone(counter);
    Box::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}

/// A job that panics, without the message that a panic prints.
fn panic() -> Job {
    Box::new(|| std::panic::resume_unwind(Box::new("on purpose")))
}

fn is_broken<T: std::fmt::Debug>(result: Result<T>) {
    assert_eq!(result.unwrap_err(), Error::Device("on purpose".into()));
}

#[test]
fn results_come_after_all_jobs_before() {
    loom::model(|| {
        let (executor, counter) = (Executor::new(false).unwrap(), Arc::new(AtomicUsize::new(0)));
        executor.submit(count(&counter)).unwrap();
        executor.submit(count(&counter)).unwrap();
        let seen = Arc::clone(&counter);
        assert_eq!(executor.wait_for(move || seen.load(Ordering::Relaxed)), Ok(2));
        assert_eq!(executor.sync(), Ok(()));
    });
}

#[test]
fn drop_runs_every_job_that_was_taken() {
    loom::model(|| {
        let (executor, counter) = (Executor::new(false).unwrap(), Arc::new(AtomicUsize::new(0)));
        executor.submit(count(&counter)).unwrap();
        executor.submit(count(&counter)).unwrap();
        drop(executor);
        assert_eq!(counter.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn two_hosts_beyond_the_limit_lose_no_job() {
    loom::model(|| {
        let (executor, counter) = (Arc::new(Executor::new(false).unwrap()), Arc::new(AtomicUsize::new(0)));
        let host = {
            let (executor, counter) = (Arc::clone(&executor), Arc::clone(&counter));
            thread::spawn(move || executor.submit(count(&counter)).unwrap())
        };
        executor.submit(count(&counter)).unwrap();
        executor.submit(count(&counter)).unwrap();
        host.join().unwrap();
        executor.wait_for(|| ()).unwrap();
        assert_eq!(counter.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn of_two_hosts_one_hears_of_a_failure() {
    loom::model(|| {
        let executor = Arc::new(Executor::new(false).unwrap());
        executor.submit(Box::new(|| Err(Error::WrongDevice))).unwrap();
        let other = Arc::clone(&executor);
        let host = thread::spawn(move || other.sync());
        let results = [executor.sync(), host.join().unwrap()];
        assert!(results.contains(&Err(Error::WrongDevice)) && results.contains(&Ok(())), "{results:?}");
    });
}

/// More hosts wait for room than jobs are left to make it.
#[test]
fn a_panic_wakes_every_host_that_waits() {
    loom::model(|| {
        let executor = Arc::new(Executor::new(false).unwrap());
        let host = |executor: &Arc<Executor>| {
            let executor = Arc::clone(executor);
            thread::spawn(move || drop(executor.submit(Box::new(|| Ok(())))))
        };
        executor.submit(panic()).unwrap();
        let hosts = [host(&executor), host(&executor)];
        is_broken(executor.wait_for(|| ()));
        hosts.into_iter().for_each(|host| host.join().unwrap());
        is_broken(executor.submit(Box::new(|| Ok(()))));
    });
}

#[test]
fn inline_jobs_of_two_hosts_run_one_at_a_time() {
    loom::model(|| {
        let (executor, counter) = (Arc::new(Executor::new(true).unwrap()), Arc::new(AtomicUsize::new(0)));
        // Two steps that another job would come between.
        let twice = |counter: &Arc<AtomicUsize>| -> Job {
            let counter = Arc::clone(counter);
            Box::new(move || {
                let before = counter.load(Ordering::Relaxed);
                counter.store(before + 1, Ordering::Relaxed);
                Ok(())
            })
        };
        let (other, job) = (Arc::clone(&executor), twice(&counter));
        let host = thread::spawn(move || other.submit(job));
        executor.submit(twice(&counter)).unwrap();
        host.join().unwrap().unwrap();
        assert_eq!(executor.wait_for(|| 7), Ok(7));
        assert_eq!(counter.load(Ordering::Relaxed), 2);
    });
}
