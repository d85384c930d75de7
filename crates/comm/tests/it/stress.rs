//! Many threads at once, in orders that nobody chose.

use std::sync::Arc;
use std::thread;

use aegis_comm::faulty::Fault;
use aegis_comm::{Communicator, Faulty, Group, Local};
use aegis_hal::Parcel;

const RANKS: usize = 4;
const LANES: u32 = 4;
const CALLS: u64 = 200;

/// A parcel whose words another thread brings.
fn brought<'scope>(words: Vec<u64>, keepers: &'scope thread::Scope<'scope, '_>) -> Parcel {
    let (promise, parcel) = Parcel::promise();
    keepers.spawn(move || promise.keep(Ok(words)));
    parcel
}

fn content(channel: u32, call: u64, from: usize, to: usize) -> Vec<u64> {
    vec![u64::from(channel), call, from as u64, to as u64]
}

/// One lane of one rank: calls that wait for nothing, and then for all.
fn lane(comm: &Arc<dyn Communicator>, channel: u32) {
    let group = Group::of_all(Arc::clone(comm), channel);
    let here = group.local()[0];
    let received: Vec<_> = thread::scope(|keepers| {
        let call = |call| {
            let mine = |from, to| match call % 8 {
                0 => brought(content(channel, call, from, to), keepers),
                _ => Parcel::ready(content(channel, call, from, to)),
            };
            group.exchange("stress", |_, _| 4, mine).unwrap().remove(0)
        };
        (0..CALLS).map(call).collect()
    });
    for (call, parcels) in received.into_iter().enumerate().rev() {
        for (from, parcel) in parcels.into_iter().enumerate().filter(|(from, _)| *from != here) {
            assert_eq!(*parcel.unwrap().wait().unwrap(), content(channel, call as u64, from, here));
        }
    }
}

/// Runs the lanes of every rank, each on a thread.
fn run(hosts: Vec<Arc<dyn Communicator>>) {
    thread::scope(|scope| {
        for comm in &hosts {
            (0..LANES).for_each(|channel| drop(scope.spawn(move || lane(comm, channel))));
        }
    });
    for comm in hosts {
        let count = comm.ledger().snapshot().total();
        let calls = u64::from(LANES) * CALLS;
        assert_eq!((count.calls, count.messages), (calls, (RANKS as u64 - 1) * calls));
        assert_eq!(count.bytes, 32 * count.messages);
    }
}

#[test]
fn lanes_of_all_ranks_get_their_own_words() {
    run(Local::split(RANKS).into_iter().map(|comm| Arc::new(comm) as Arc<dyn Communicator>).collect());
}

#[test]
fn lanes_get_their_own_words_in_every_order() {
    // All but the last message of a rank, which lets go of those that are held back.
    let breakable = u64::from(LANES) * CALLS * (RANKS as u64 - 1) - 1;
    let reordered = |(seed, comm)| {
        let comm = Faulty::seeded(comm, seed, &[Fault::Reorder], breakable, 3);
        Arc::new(comm) as Arc<dyn Communicator>
    };
    run((0..).zip(Local::split(RANKS)).map(reordered).collect());
}
