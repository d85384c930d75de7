use std::ops::Range;
use std::sync::Mutex;

use aegis_hal::Parcel;

use super::*;
use crate::{Limits, Message};

const SILENCE: Duration = Duration::from_secs(5);
const TAG: Tag = Tag { channel: 1, number: 2 };

/// Rank 0 of two, whose MPI is a script.
struct Rank {
    engine: Engine,
    mailbox: Arc<Mailbox>,
    wire: Arc<Mutex<Wire>>,
    start: Instant,
}

/// What goes between rank 0 and rank 1.
#[derive(Default)]
struct Wire {
    /// Sent by rank 0: the lane and the words.
    sent: Vec<(u16, Vec<u64>)>,
    /// Awaited by rank 0.
    awaited: Vec<Awaited>,
    done: Vec<Done<Purpose>>,
}

struct Awaited {
    lane: u16,
    buffer: Vec<u64>,
    part: Range<usize>,
    purpose: Purpose,
}

struct Script(Arc<Mutex<Wire>>);

impl Transfers<Purpose> for Script {
    fn send(
        &mut self,
        to: usize,
        lane: u16,
        words: Words,
        part: Range<usize>,
        purpose: Purpose,
    ) -> Result<(), String> {
        let mut wire = self.0.lock().unwrap();
        wire.sent.push((lane, words[part].to_vec()));
        wire.done.push(Done { peer: to, purpose, outcome: Ok(vec![]) });
        Ok(())
    }

    fn receive(
        &mut self,
        _from: usize,
        lane: u16,
        buffer: Vec<u64>,
        part: Range<usize>,
        purpose: Purpose,
    ) -> Result<(), String> {
        self.0.lock().unwrap().awaited.push(Awaited { lane, buffer, part, purpose });
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Done<Purpose>>, String> {
        Ok(self.0.lock().unwrap().done.pop())
    }

    fn finalize(&mut self) {}
}

impl Rank {
    fn new() -> Self {
        let (wire, mailbox, start) =
            (Arc::default(), Arc::new(Mailbox::new(&Limits::default())), Instant::now());
        let transfers = Box::new(Script(Arc::clone(&wire)));
        let network = Network { rank: 0, ranks: 2, library: String::new(), transfers };
        let engine = Engine::new(network, Arc::clone(&mailbox), SILENCE, start);
        Self { engine, mailbox, wire, start }
    }

    /// Rank 0 expects a message.
    fn expect(&mut self, tag: Tag, words: usize) -> Parcel {
        let message = Message { from: 1, to: 0, tag, words, reason: "test" };
        let parcel = self.mailbox.expect(&message).expect("not asked for before");
        self.engine.obey(Command::Expect { from: 1, tag, words });
        parcel
    }

    /// Rank 1 sends words on a lane; rank 0 has to await them.
    fn arrive(&mut self, lane: u16, words: &[u64]) {
        {
            let mut wire = self.wire.lock().unwrap();
            let index = wire.awaited.iter().position(|a| a.lane == lane).expect("awaited");
            let Awaited { mut buffer, part, purpose, .. } = wire.awaited.remove(index);
            buffer[part].copy_from_slice(words);
            wire.done.push(Done { peer: 1, purpose, outcome: Ok(buffer) });
        }
        self.settle(self.start);
    }

    fn announce(&mut self, tag: Tag, words: usize, lane: u16) {
        self.arrive(0, &Envelope::Words { tag, words, lane }.encode());
    }

    fn settle(&mut self, now: Instant) {
        while self.engine.turn(now) {}
    }

    /// Words that rank 0 awaits in one transfer, by lane.
    fn awaits(&self) -> Vec<(u16, usize)> {
        let wire = self.wire.lock().unwrap();
        wire.awaited.iter().map(|awaited| (awaited.lane, awaited.part.len())).collect()
    }

    /// Envelopes that rank 0 sent.
    fn told(&self) -> Vec<Envelope> {
        let wire = self.wire.lock().unwrap();
        let envelopes = wire.sent.iter().filter(|(lane, _)| *lane == 0);
        envelopes.map(|(_, words)| Envelope::decode(words).unwrap()).collect()
    }
}

fn peer<T>(fault: PeerFault) -> Option<aegis_hal::Result<T>> {
    Some(Err(Failure::Peer { rank: 1, fault }))
}

#[test]
fn words_come_after_announcement_and_request_in_either_order() {
    for announced_first in [false, true] {
        let mut rank = Rank::new();
        if announced_first {
            rank.announce(TAG, 3, 9);
            assert_eq!(rank.awaits(), [(0, ENVELOPE_WORDS)], "nothing is allocated before it is expected");
        }
        let parcel = rank.expect(TAG, 3);
        if !announced_first {
            rank.announce(TAG, 3, 9);
        }
        rank.arrive(9, &[5, 6, 7]);
        assert_eq!(parcel.look().map(|words| words.map(|words| words.to_vec())), Some(Ok(vec![5, 6, 7])));
    }
}

#[test]
fn a_long_message_travels_in_pieces() {
    let (mut rank, words) = (Rank::new(), 2 * PIECE_WORDS + 1);
    let parcel = rank.expect(TAG, words);
    rank.announce(TAG, words, 1);
    for piece in [PIECE_WORDS, PIECE_WORDS, 1] {
        rank.arrive(1, &vec![piece as u64; piece]);
    }
    let sum: u64 = parcel.wait().unwrap().iter().sum();
    assert_eq!(sum, 2 * (PIECE_WORDS * PIECE_WORDS) as u64 + 1);

    rank.engine.obey(Command::Send { to: 1, tag: TAG, words: Ok(vec![4; words].into()) });
    let sent: Vec<(u16, usize)> =
        rank.wire.lock().unwrap().sent.iter().map(|(lane, words)| (*lane, words.len())).collect();
    assert_eq!(sent, [(0, ENVELOPE_WORDS), (1, PIECE_WORDS), (1, PIECE_WORDS), (1, 1)]);
}

#[test]
fn a_message_of_another_length_fails_and_is_received_in_a_buffer_of_one_piece() {
    let (mut rank, huge) = (Rank::new(), usize::MAX / 2);
    let parcel = rank.expect(TAG, 3);
    rank.announce(TAG, huge, 1);
    assert_eq!(parcel.look(), peer(PeerFault::Length { have: huge, want: 3 }));
    rank.arrive(1, &vec![0; PIECE_WORDS]);
    let buffers: Vec<usize> = rank.wire.lock().unwrap().awaited.iter().map(|a| a.buffer.len()).collect();
    assert_eq!(buffers, [ENVELOPE_WORDS, PIECE_WORDS]);
}

#[test]
fn a_broken_envelope_loses_its_sender() {
    let mut rank = Rank::new();
    let parcel = rank.expect(TAG, 3);
    rank.arrive(0, &[7; ENVELOPE_WORDS]);
    let Some(Err(Failure::Peer { rank: 1, fault: PeerFault::Transport { cause } })) = parcel.look() else {
        panic!("{parcel:?}");
    };
    assert!(cause.contains("another protocol"), "{cause}");
    assert!(rank.awaits().is_empty(), "nothing more is heard of it");
}

#[test]
fn messages_that_nobody_asks_for_are_bounded() {
    let mut rank = Rank::new();
    for number in 0..MAX_OFFERS as u64 {
        rank.announce(Tag { channel: 0, number }, 1 << 40, 1);
    }
    assert!(rank.engine.live() == [1]);
    rank.announce(TAG, 1, 1);
    assert!(rank.engine.live().is_empty());
}

#[test]
fn a_silent_rank_is_lost_and_one_that_shows_life_is_not() {
    let mut rank = Rank::new();
    let parcel = rank.expect(TAG, 3);
    let at = |ms| rank.start + Duration::from_millis(ms);
    let times: [Instant; 4] = [2000, 4000, 5000, 5001].map(at);
    for now in &times[..3] {
        rank.settle(*now);
    }
    assert_eq!((parcel.look(), rank.told()), (None, vec![Envelope::Alive; 3]));
    rank.settle(times[3]);
    assert_eq!(parcel.look(), peer(PeerFault::Silent { ms: 5000 }));
}

#[test]
fn whoever_was_stopped_itself_does_not_call_others_silent() {
    let mut rank = Rank::new();
    let parcel = rank.expect(TAG, 3);
    rank.settle(rank.start + 10 * SILENCE);
    assert_eq!(parcel.look(), None);
}

#[test]
fn what_was_announced_before_the_end_arrives_and_nothing_else() {
    let mut rank = Rank::new();
    let other = Tag { number: 3, ..TAG };
    let never = rank.expect(other, 3);
    rank.announce(TAG, 2, 1);
    rank.arrive(0, &Envelope::End.encode());
    assert_eq!(never.look(), peer(PeerFault::Gone));
    let announced = rank.expect(TAG, 2);
    rank.arrive(1, &[8, 9]);
    assert_eq!(announced.wait().as_deref(), Ok(&vec![8, 9]));
    assert_eq!(rank.expect(Tag { number: 4, ..TAG }, 1).look(), peer(PeerFault::Gone));
    assert!(rank.engine.end(), "all went well");
    assert_eq!(rank.told(), [Envelope::End]);
}

#[test]
fn a_rank_that_stops_in_the_middle_of_its_last_message_is_silent() {
    let mut rank = Rank::new();
    let parcel = rank.expect(TAG, 2);
    rank.announce(TAG, 2, 1);
    rank.arrive(0, &Envelope::End.encode());
    for seconds in [2, 4, 6] {
        rank.settle(rank.start + Duration::from_secs(seconds));
    }
    assert_eq!(parcel.look(), peer(PeerFault::Silent { ms: 5000 }));
}

#[test]
fn a_failure_keeps_the_rank_that_it_names() {
    let mut rank = Rank::new();
    let error = Failure::Peer { rank: 5, fault: PeerFault::Silent { ms: 1 } };
    rank.engine.obey(Command::Send { to: 1, tag: TAG, words: Err(error.clone()) });
    let told = rank.told().remove(0);
    let parcel = rank.expect(TAG, 2);
    rank.arrive(0, &told.encode());
    assert_eq!(parcel.look(), Some(Err(error)));
}
