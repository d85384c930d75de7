use super::*;

const LIMITS: Limits = Limits { silence: Duration::MAX, wait: Duration::MAX };

fn message(from: usize, number: u64, words: usize) -> Message {
    Message { from, to: 0, tag: Tag { channel: 1, number }, words, reason: "test" }
}

fn deliver(mailbox: &Mailbox, from: usize, number: u64, words: &[u64]) {
    mailbox.deliver(0, from, Tag { channel: 1, number }, Ok(words.to_vec().into()));
}

fn peer(rank: usize, fault: PeerFault) -> aegis_hal::Result<Words> {
    Err(Failure::Peer { rank, fault })
}

#[test]
fn messages_match_in_any_order() {
    let mailbox = Mailbox::new(&LIMITS);
    let second = mailbox.expect(&message(1, 1, 1)).unwrap();
    deliver(&mailbox, 1, 0, &[10]);
    deliver(&mailbox, 2, 1, &[21]);
    assert_eq!(second.look(), None);
    deliver(&mailbox, 1, 1, &[11]);
    let words = |parcel: Parcel| parcel.look().unwrap().unwrap()[0];
    assert_eq!(words(second), 11);
    assert_eq!(words(mailbox.expect(&message(2, 1, 1)).unwrap()), 21);
    assert_eq!(words(mailbox.expect(&message(1, 0, 1)).unwrap()), 10);
}

#[test]
fn a_message_is_asked_for_once_whether_it_came_or_not() {
    let mailbox = Mailbox::new(&LIMITS);
    let is_refused = |m: Message| mailbox.expect(&m).map(drop) == Err(Error::Twice { message: m });
    let _expected = mailbox.expect(&message(1, 3, 1)).unwrap();
    assert!(is_refused(message(1, 3, 1)));
    deliver(&mailbox, 1, 3, &[0]);
    assert!(is_refused(message(1, 3, 1)));
    deliver(&mailbox, 1, 0, &[0]);
    mailbox.expect(&message(1, 0, 1)).unwrap();
    assert!(is_refused(message(1, 0, 1)));
}

#[test]
fn a_message_that_comes_twice_is_taken_once() {
    let mailbox = Mailbox::new(&LIMITS);
    let parcel = mailbox.expect(&message(1, 0, 1)).unwrap();
    deliver(&mailbox, 1, 0, &[1]);
    deliver(&mailbox, 1, 0, &[2]);
    assert_eq!(parcel.look(), Some(Ok(vec![1].into())));
    assert!(mailbox.0.lock().arrived.is_empty());
}

/// However many ranks pass it on, its text does not grow.
#[test]
fn an_error_that_names_a_rank_stays_as_it_is() {
    let mailbox = Mailbox::new(&LIMITS);
    let fault = PeerFault::Failed { cause: "the device has no memory".into() };
    let fail = |number, error| mailbox.deliver(0, 1, Tag { channel: 1, number }, Err(error));
    fail(0, Failure::Device("lost".into()));
    fail(1, Failure::Peer { rank: 2, fault: fault.clone() });
    let [own, other] = [0, 1].map(|number| mailbox.expect(&message(1, number, 1)).unwrap().look());
    let cause = Failure::Device("lost".into()).to_string();
    assert_eq!((own, other), (Some(peer(1, PeerFault::Failed { cause })), Some(peer(2, fault))));
}

#[test]
fn a_lost_rank_fails_what_is_and_will_be_expected_and_keeps_what_came() {
    let mailbox = Mailbox::new(&LIMITS);
    let (expected, other) =
        (mailbox.expect(&message(1, 0, 1)).unwrap(), mailbox.expect(&message(2, 0, 1)).unwrap());
    deliver(&mailbox, 1, 1, &[5]);
    mailbox.lose(1, PeerFault::Gone);
    mailbox.lose(1, PeerFault::Silent { ms: 3 });
    deliver(&mailbox, 1, 2, &[6]);
    assert_eq!(expected.look(), Some(peer(1, PeerFault::Gone)));
    assert_eq!(mailbox.expect(&message(1, 1, 1)).unwrap().look(), Some(Ok(vec![5].into())));
    assert_eq!(mailbox.expect(&message(1, 2, 1)).unwrap().look(), Some(peer(1, PeerFault::Gone)));
    assert_eq!(other.look(), None);
}

#[test]
fn a_rank_that_is_late_is_lost() {
    let mailbox = Mailbox::new(&Limits { wait: Duration::from_secs(100), ..LIMITS });
    let parcel = mailbox.expect(&message(1, 0, 1)).unwrap();
    mailbox.0.expire(Instant::now());
    assert_eq!(parcel.look(), None);
    mailbox.0.expire(Instant::now() + Duration::from_secs(100));
    assert_eq!(parcel.look(), Some(peer(1, PeerFault::Late { ms: 100_000 })));
    assert_eq!(mailbox.expect(&message(1, 1, 1)).unwrap().look(), parcel.look());
}

#[test]
fn what_is_expected_when_the_mailbox_is_dropped_fails() {
    let mailbox = Mailbox::new(&LIMITS);
    let parcel = mailbox.expect(&message(1, 0, 1)).unwrap();
    drop(mailbox);
    assert!(matches!(
        parcel.look(),
        Some(Err(Failure::Peer { rank: 1, fault: PeerFault::Transport { .. } }))
    ));
}

/// Whoever waits may call the mailbox, which would deadlock if promises were kept under its lock.
#[test]
fn those_who_wait_may_ask_for_more() {
    let mailbox = std::sync::Arc::new(Mailbox::new(&LIMITS));
    for (number, ends) in [(0, false), (2, true)] {
        let again = Arc::clone(&mailbox);
        let (promise, next) = Parcel::promise();
        mailbox.expect(&message(1, number, 1)).unwrap().then(move |_| {
            promise.keep(
                again
                    .expect(&message(1, number + 1, 1))
                    .unwrap()
                    .look()
                    .map_or(Ok(vec![]), |r| r.map(|_| vec![])),
            );
        });
        if ends {
            mailbox.lose(1, PeerFault::Gone)
        } else {
            deliver(&mailbox, 1, number, &[0])
        }
        assert_eq!(next.look(), Some(if ends { peer(1, PeerFault::Gone) } else { Ok(Words::default()) }));
    }
}

#[test]
fn numbers_in_order_take_no_room() {
    let mut numbers = Numbers::default();
    for number in [2, 0, 1, 5, 3] {
        assert!(numbers.insert(number) && !numbers.insert(number));
    }
    assert_eq!((numbers.below, numbers.others.len()), (4, 1));
    assert!(numbers.contains(5) && !numbers.contains(4));
}
