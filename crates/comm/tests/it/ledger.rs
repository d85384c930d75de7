//! What is received against the formulas of key switching over devices.

use std::sync::Arc;

use aegis_comm::{Communicator, Count, Group, Local, Traffic};
use aegis_hal::Parcel;

const N: usize = 8;

/// Limbs of `limbs` that a rank owns where they are dealt round.
fn owned(limbs: usize, ranks: usize, rank: usize) -> usize {
    (rank..limbs).step_by(ranks).len()
}

/// Bytes that ranks receive in a call, by rank, and how many calls are counted for each.
fn received(comm: &Arc<dyn Communicator>, before: &Traffic, reason: &str) -> Vec<Count> {
    let traffic = comm.ledger().snapshot().since(before);
    (0..comm.ranks()).map(|rank| traffic.count(rank, reason)).collect()
}

/// An all-gather of `l` limbs brings every rank the limbs that it does not own; a reduce-scatter its own ones, from
/// every other rank.
#[test]
fn bytes_are_those_of_the_formulas() {
    for (ranks, limbs) in (1..=5).flat_map(|ranks| [1, 5, 10, 17, 36].map(|limbs| (ranks, limbs))) {
        let comm: Arc<dyn Communicator> = Arc::new(Local::new(ranks));
        let group = Group::of_all(Arc::clone(&comm), 0);
        let words = |rank: usize| N * owned(limbs, ranks, rank);
        let before = comm.ledger().snapshot();
        group.all_gather("gather", words, |rank| Parcel::ready(vec![0; words(rank)])).unwrap();
        let moduli = |rank: usize| vec![97; owned(limbs, ranks, rank)];
        group.reduce_scatter("sum", N, moduli, |_, to| Parcel::ready(vec![0; words(to)])).unwrap();
        group.broadcast("cast", 0, N, || Parcel::ready(vec![0; N])).unwrap();

        let bytes =
            |reason| received(&comm, &before, reason).iter().map(|count| count.bytes).collect::<Vec<_>>();
        let formula =
            |of: &dyn Fn(usize) -> usize| (0..ranks).map(|rank| 8 * of(rank) as u64).collect::<Vec<_>>();
        assert_eq!(bytes("gather"), formula(&|rank| N * limbs - words(rank)), "{limbs} limbs, {ranks} ranks");
        assert_eq!(bytes("sum"), formula(&|rank| (ranks - 1) * words(rank)), "{limbs} limbs, {ranks} ranks");
        assert_eq!(bytes("cast"), formula(&|rank| if rank == 0 { 0 } else { N }));
        let traffic = comm.ledger().snapshot().since(&before);
        assert_eq!(traffic.bytes_of("gather"), 8 * ((ranks - 1) * N * limbs) as u64);
        assert_eq!(traffic.total().calls, 3 * ranks as u64);
        let all: u64 = (0..ranks).map(|rank| traffic.bytes(rank)).sum();
        assert_eq!(traffic.total().bytes, all);
    }
}

/// Whatever comes when, the difference around a call is that call's.
#[test]
fn a_difference_is_known_before_anything_comes() {
    let comm: Arc<dyn Communicator> = Arc::new(Local::new(2));
    let group = Group::of_all(Arc::clone(&comm), 0);
    let (promises, parcels): (Vec<_>, Vec<_>) = (0..2).map(|_| Parcel::promise()).unzip();
    let first = comm.ledger().snapshot();
    group.all_gather("later", |_| 4, |rank| parcels[rank].clone()).unwrap();
    let second = comm.ledger().snapshot();
    group.all_gather("now", |_| 1, |_| Parcel::ready(vec![0])).unwrap();
    let third = comm.ledger().snapshot();

    let count = |bytes| Count { calls: 1, messages: 1, bytes };
    let rows = |traffic: Traffic| traffic.iter().collect::<Vec<_>>();
    assert_eq!(rows(second.since(&first)), [(0, "later", count(32)), (1, "later", count(32))]);
    assert_eq!(rows(third.since(&second)), [(0, "now", count(8)), (1, "now", count(8))]);
    assert_eq!(third.since(&third), Traffic::default());
    promises.into_iter().for_each(|promise| promise.keep(Ok(vec![0; 4])));
    assert_eq!(comm.ledger().snapshot(), third);
}
