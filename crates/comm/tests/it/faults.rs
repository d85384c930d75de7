//! Every fault of a message ends in right words or in an error that names a rank; nothing hangs.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use aegis_comm::faulty::Fault;
use aegis_comm::{Communicator, Faulty, Group, Limits, Local};
use aegis_hal::{Error, Parcel, PeerFault, Result};

const RANKS: usize = 3;
const ROUNDS: u64 = 6;
/// Messages of a rank in all rounds: two collectives each.
const MESSAGES: u64 = ROUNDS * 2 * (RANKS as u64 - 1);

/// Too short for nothing here, long enough that tests of lost messages end soon.
const SHORT: Limits = Limits { silence: Duration::from_millis(50), wait: Duration::from_millis(50) };
/// Never reached.
const LONG: Limits = Limits { silence: Duration::from_secs(600), wait: Duration::from_secs(600) };

fn content(round: u64, from: usize, to: usize) -> Vec<u64> {
    vec![round, from as u64, to as u64]
}

/// A program of some rounds, each of which needs the one before. Wrong words are a panic.
fn rounds(comm: Arc<dyn Communicator>) -> Result<()> {
    let group = Group::of_all(comm, 0);
    let here = group.local()[0];
    for round in 0..ROUNDS {
        let mine = |from, to| Parcel::ready(content(round, from, to));
        let received = group.exchange("words", |_, _| 3, mine)?.remove(0);
        for (from, parcel) in received.into_iter().enumerate().filter(|(from, _)| *from != here) {
            assert_eq!(*parcel.unwrap().wait()?, content(round, from, here));
        }
        let part = |from: usize, _| Parcel::ready(vec![round + from as u64]);
        let sum = group.reduce_scatter("sums", 1, |_| vec![97], part)?.remove(0).wait()?;
        assert_eq!(*sum, [(0..RANKS as u64).map(|from| round + from).sum::<u64>()]);
    }
    Ok(())
}

/// Runs the program on all ranks. A rank that fails ends; what each says.
fn run(limits: &Limits, broken: impl Fn(usize, Local) -> Faulty<Local>) -> Vec<Result<()>> {
    let hosts = Local::hosts(&[1; RANKS], limits).into_iter().enumerate();
    let threads: Vec<_> = hosts
        .map(|(rank, comm)| {
            let comm = Arc::new(broken(rank, comm));
            thread::spawn(move || rounds(comm))
        })
        .collect();
    threads.into_iter().map(|rank| rank.join().expect("no wrong words")).collect()
}

/// Breaks one message of a rank, the others send theirs as they are.
fn one(limits: &Limits, rank: usize, number: u64, fault: Fault) -> Vec<Result<()>> {
    run(limits, |r, comm| Faulty::new(comm, (r == rank).then_some((number, fault))))
}

/// A rank and a message of it, early, in between and last.
fn places() -> impl Iterator<Item = (usize, u64)> {
    [(0, 0), (1, MESSAGES / 2 + 1), (2, MESSAGES - 1)].into_iter()
}

fn is_typed(results: &[Result<()>]) -> bool {
    results.iter().all(|result| matches!(result, Ok(()) | Err(Error::Peer { .. })))
}

fn is_late(result: &Result<()>) -> bool {
    matches!(result, Err(Error::Peer { fault: PeerFault::Late { .. }, .. }))
}

#[test]
fn a_message_that_is_lost_is_late_or_its_sender_has_ended() {
    for (rank, number) in places() {
        let results = one(&SHORT, rank, number, Fault::Drop);
        let has_ended =
            |result: &Result<()>| matches!(result, Err(Error::Peer { fault: PeerFault::Gone, .. }));
        assert!(is_typed(&results), "{results:?}");
        assert!(results.iter().any(|result| is_late(result) || has_ended(result)), "{results:?}");
    }
}

#[test]
fn a_rank_that_dies_without_a_word_is_late() {
    for (rank, number) in places() {
        let results = one(&SHORT, rank, number, Fault::Die);
        assert!(is_typed(&results) && results.iter().any(is_late), "{results:?}");
    }
}

#[test]
fn a_message_cut_short_names_its_sender_and_both_lengths() {
    for (rank, number) in places() {
        let results = one(&LONG, rank, number, Fault::Cut);
        let is_cut = |result: &Result<()>| match result {
            Err(Error::Peer { rank: named, fault: PeerFault::Length { have, want } }) => {
                *named == rank && have + 1 == *want
            }
            _ => false,
        };
        assert!(is_typed(&results) && results.iter().any(is_cut), "{results:?}");
    }
}

#[test]
fn delays_and_other_orders_change_nothing() {
    for (rank, number) in places() {
        for fault in [Fault::Delay(Duration::from_millis(3)), Fault::Reorder] {
            assert_eq!(one(&LONG, rank, number, fault), vec![Ok(()); RANKS], "{fault:?} of {number}");
        }
    }
}

#[test]
fn many_faults_of_all_ranks_end_typed() {
    let kinds = [Fault::Drop, Fault::Delay(Duration::from_millis(3)), Fault::Reorder, Fault::Cut, Fault::Die];
    for seed in 0..8 {
        let broken = |rank: usize, comm| Faulty::seeded(comm, 100 * seed + rank as u64, &kinds, MESSAGES, 6);
        let results = run(&SHORT, broken);
        assert!(is_typed(&results), "seed {seed}: {results:?}");
    }
}

#[test]
fn no_agreement_with_the_dead() {
    let hosts = Local::hosts(&[1; 2], &SHORT).into_iter();
    let threads: Vec<_> = hosts
        .map(|comm| {
            let dies = (comm.local() == [1]).then_some((0, Fault::Die));
            let group = Group::of_all(Arc::new(Faulty::new(comm, dies)), 0);
            thread::spawn(move || group.agree("the program", &[0; 32]))
        })
        .collect();
    let results: Vec<_> = threads.into_iter().map(|rank| rank.join().unwrap()).collect();
    assert!(matches!(results[0], Err(Error::Peer { rank: 1, fault: PeerFault::Late { .. } })), "{results:?}");
}
