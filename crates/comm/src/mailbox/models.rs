//! The mailbox under loom, which runs each model in every order of its events: `cargo xtask loom`. Parcels are not
//! modelled: each of their operations is one critical section that calls nothing.

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::*;

const LIMITS: Limits = Limits { silence: Duration::MAX, wait: Duration::from_secs(3600) };

fn message(from: usize, number: u64) -> Message {
    Message { from, to: 0, tag: Tag { channel: 0, number }, words: 1, reason: "model" }
}

fn deliver(mailbox: &Mailbox, from: usize, number: u64) {
    mailbox.deliver(0, from, Tag { channel: 0, number }, Ok(vec![number].into()));
}

/// Runs two things side by side, and gives the mailbox back.
fn beside(first: impl FnOnce(&Mailbox) + Send + 'static, second: impl FnOnce(&Mailbox)) -> Arc<Mailbox> {
    let mailbox = Arc::new(Mailbox::new(&LIMITS));
    let other = Arc::clone(&mailbox);
    let thread = thread::spawn(move || first(&other));
    second(&mailbox);
    thread.join().unwrap();
    mailbox
}

#[test]
fn a_message_comes_whether_it_is_asked_for_before_or_after() {
    loom::model(|| {
        let mut parcels = vec![];
        let ask =
            |mailbox: &Mailbox| parcels = [1, 0].map(|n| mailbox.expect(&message(1, n)).unwrap()).to_vec();
        let mailbox = beside(|mailbox| (0..2).for_each(|n| deliver(mailbox, 1, n)), ask);
        let words = parcels.iter().map(|parcel| parcel.look().unwrap().unwrap()[0]).collect::<Vec<_>>();
        assert_eq!(words, [1, 0]);
        assert!(mailbox.0.lock().arrived.is_empty() && mailbox.0.lock().expected.is_empty());
    });
}

#[test]
fn a_message_and_the_end_of_its_sender_settle_every_promise_once() {
    loom::model(|| {
        let settled = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&settled);
        let end = |mailbox: &Mailbox| {
            deliver(mailbox, 1, 0);
            mailbox.lose(1, PeerFault::Gone);
        };
        beside(end, |mailbox| {
            for number in 0..2 {
                let counter = Arc::clone(&counter);
                mailbox.expect(&message(1, number)).unwrap().then(move |words| {
                    assert_eq!(
                        words.is_ok(),
                        number == 0,
                        "what came before the end stays, nothing comes after it"
                    );
                    counter.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(settled.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn a_message_at_its_deadline_comes_or_is_late() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::new(&LIMITS));
        let parcel = mailbox.expect(&message(1, 0)).unwrap();
        let other = Arc::clone(&mailbox);
        let watcher = thread::spawn(move || other.0.expire(Instant::now() + 2 * LIMITS.wait));
        deliver(&mailbox, 1, 0);
        watcher.join().unwrap();
        let late = Failure::Peer { rank: 1, fault: PeerFault::Late { ms: 3_600_000 } };
        assert!([Ok(Words::new(vec![0])), Err(late)].contains(&parcel.look().unwrap()));
        assert!(mailbox.0.lock().arrived.is_empty());
    });
}

#[test]
fn the_last_handle_ends_every_wait() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::new(&LIMITS));
        let other = Arc::clone(&mailbox);
        let parcel = mailbox.expect(&message(1, 0)).unwrap();
        let thread = thread::spawn(move || drop(other));
        drop(mailbox);
        thread.join().unwrap();
        assert!(matches!(parcel.look(), Some(Err(Failure::Peer { rank: 1, .. }))));
    });
}
