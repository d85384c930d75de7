//! What ranks of one process do beyond the suite.

use std::sync::Arc;

use aegis_comm::{Communicator, Error, Group, Limits, Local, Message, RankFault, Tag};
use aegis_hal::{Error as Failure, ErrorKind, Parcel, PeerFault};

fn message(from: usize, to: usize, number: u64) -> Message {
    Message { from, to, tag: Tag { channel: 0, number }, words: 3, reason: "test" }
}

fn gone(rank: usize) -> Failure {
    Failure::Peer { rank, fault: PeerFault::Gone }
}

#[test]
fn words_are_handed_over_and_not_copied() {
    let comm = Local::new(2);
    let parcel = Parcel::ready(vec![1, 2, 3]);
    comm.send(&message(0, 1, 0), &parcel).unwrap();
    let received = comm.receive(&message(0, 1, 0)).unwrap();
    assert!(Arc::ptr_eq(&parcel.wait().unwrap(), &received.wait().unwrap()));
}

#[test]
fn what_was_sent_arrives_after_its_sender_has_ended() {
    let [sender, receiver] = Local::split(2).try_into().unwrap();
    let (promise, parcel) = Parcel::promise();
    sender.send(&message(0, 1, 0), &parcel).unwrap();
    let (sent, unsent) = (message(0, 1, 0), message(0, 1, 1));
    let (sent, unsent) = (receiver.receive(&sent).unwrap(), receiver.receive(&unsent).unwrap());
    drop(sender);
    assert_eq!((sent.look(), unsent.look()), (None, None));
    promise.keep(Ok(vec![1, 2, 3]));
    assert_eq!(sent.look().unwrap().as_deref(), Ok(&vec![1, 2, 3]));
    assert_eq!(unsent.look(), Some(Err(gone(0))));
}

#[test]
fn a_promise_that_its_sender_breaks_is_a_failure_of_the_sender() {
    let [sender, receiver] = Local::split(2).try_into().unwrap();
    let (promise, parcel) = Parcel::promise();
    sender.send(&message(0, 1, 0), &parcel).unwrap();
    drop((promise, sender));
    let result = receiver.receive(&message(0, 1, 0)).unwrap().wait();
    assert!(matches!(result, Err(Failure::Peer { rank: 0, fault: PeerFault::Failed { .. } })), "{result:?}");
}

#[test]
fn a_parcel_outlives_all_communicators() {
    let comm = Local::new(2);
    let parcel = comm.receive(&message(0, 1, 0)).unwrap();
    drop(comm);
    assert_eq!(parcel.wait(), Err(gone(0)));
}

#[test]
fn a_thread_that_panics_is_a_rank_that_has_ended() {
    let [first, second] = Local::split(2).try_into().unwrap();
    let thread = std::thread::spawn(move || {
        let _comm = second;
        std::panic::resume_unwind(Box::new("on purpose"))
    });
    assert_eq!(first.receive(&message(1, 0, 0)).unwrap().wait(), Err(gone(1)));
    assert!(thread.join().is_err());
}

#[test]
fn groups_refuse_ranks_and_positions_that_there_are_not() {
    let comm: Arc<dyn Communicator> = Arc::new(Local::new(3));
    let refused =
        |members: &[usize]| Group::new(Arc::clone(&comm), 0, members.to_vec()).map(drop).unwrap_err();
    assert_eq!(refused(&[1, 3]), Error::Rank { rank: 3, fault: RankFault::Missing { ranks: 3 } });
    assert_eq!(refused(&[1, 2, 1]), Error::Rank { rank: 1, fault: RankFault::Twice });
    let group = Group::new(Arc::clone(&comm), 0, vec![2, 0]).unwrap();
    let error = group.broadcast("test", 2, 1, || Parcel::ready(vec![0])).map(drop).unwrap_err();
    assert_eq!((&error, error.kind()), (&Error::Position { position: 2, members: 2 }, ErrorKind::Input));
    assert_eq!(Failure::from(error.clone()), Failure::Device(error.to_string()));
}

/// A mesh: each rank stands in a row and in a column, which share one rank and so may share a channel; two rows share none.
#[test]
fn rows_and_columns_of_a_mesh() {
    let comm: Arc<dyn Communicator> = Arc::new(Local::new(6));
    let group = |members| Group::new(Arc::clone(&comm), 0, members).unwrap();
    let rows = [group(vec![0, 1, 2]), group(vec![3, 4, 5])];
    let columns = [group(vec![0, 3]), group(vec![1, 4]), group(vec![2, 5])];
    let share = |_, _| Parcel::ready(vec![1]);
    for group in rows.iter().chain(&columns) {
        let sums = group.reduce_scatter("sum", 1, |_| vec![97], share).unwrap();
        let want = vec![group.members().len() as u64];
        sums.iter().for_each(|sum| assert_eq!(*sum.wait().unwrap(), want, "{group:?}"));
    }
}

#[test]
fn limits_beyond_every_clock_are_no_limits() {
    use std::time::Duration;

    let limits = Limits { silence: Duration::MAX, wait: Duration::MAX };
    let [comm] = Local::hosts(&[2], &limits).try_into().unwrap();
    let parcel = comm.receive(&message(0, 1, 0)).unwrap();
    comm.send(&message(0, 1, 0), &Parcel::ready(vec![1, 2, 3])).unwrap();
    assert_eq!(parcel.wait().as_deref(), Ok(&vec![1, 2, 3]));
}
