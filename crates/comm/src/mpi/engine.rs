//! The thread that makes all calls of MPI.
//!
//! The words of a message travel after an envelope that announces them, on a lane of their own, and only once both are
//! there: the envelope and somebody who expects the message. So nothing is ever allocated by a number that another rank
//! sent, words go straight to where they stay, and messages need no order among each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use aegis_hal::{Error as Failure, PeerFault, Words};

use super::transfers::{Done, Network, Transfers};
use super::wire::{ENVELOPE_WORDS, Envelope, MAX_LANE};
use crate::mailbox::Mailbox;

use crate::Tag;

#[cfg(test)]
mod tests;

/// Words that travel at once, 8 MiB. MPI counts in 31 bits; between pieces other messages and signs of life get through.
const PIECE_WORDS: usize = 1 << 20;
/// Messages of one rank that were announced and are not expected yet. Half of the lanes: no two of them share one.
const MAX_OFFERS: usize = MAX_LANE as usize / 2;
/// Waits while nothing moves, doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_micros(20);
const LAST_WAIT: Duration = Duration::from_millis(1);
/// Signs of life in each [`Limits::silence`].
const SIGNS_OF_LIFE: u32 = 5;
/// How long messages that nobody takes hold up the end.
const GRACE: Duration = Duration::from_secs(1);

/// What the engine is asked for.
pub(super) enum Command {
    /// Words for another rank, or why there are none.
    Send { to: usize, tag: Tag, words: aegis_hal::Result<Words> },
    /// A message that the mailbox expects.
    Expect { from: usize, tag: Tag, words: usize },
}

/// What a transfer is for.
pub(super) enum Purpose {
    EnvelopeOut,
    EnvelopeIn,
    PieceOut,
    PieceIn(Incoming),
}

/// A message of which pieces are on their way to this rank.
pub(super) struct Incoming {
    tag: Tag,
    lane: u16,
    words: usize,
    /// Words of the pieces that came or are on their way.
    asked: usize,
    /// A message of another length than was agreed is received, for it is being sent, and dropped.
    is_agreed: bool,
}

/// A message that was announced and that nobody expects yet.
enum Offer {
    Words { words: usize, lane: u16 },
    Failure(Failure),
}

/// Another rank.
struct Peer {
    heard: Instant,
    /// When it was last told that this rank lives.
    told: Instant,
    has_ended: bool,
    is_lost: bool,
    expected: BTreeMap<Tag, usize>,
    offers: BTreeMap<Tag, Offer>,
    /// The lane of the last message that was sent to it.
    lane: u16,
    /// On their way to it.
    envelopes_out: usize,
    pieces_out: usize,
    /// On their way from it.
    messages_in: usize,
}

/// Messages of this rank, and what it knows of the others.
pub(super) struct Engine {
    rank: usize,
    transfers: Box<dyn Transfers<Purpose>>,
    mailbox: Arc<Mailbox>,
    silence: Duration,
    peers: BTreeMap<usize, Peer>,
    is_ending: bool,
    /// When this thread last looked.
    now: Instant,
    /// When a transfer last ended.
    moved: Instant,
}

impl Engine {
    pub(super) fn new(
        network: Network<Purpose>,
        mailbox: Arc<Mailbox>,
        silence: Duration,
        now: Instant,
    ) -> Self {
        let Network { rank, ranks, transfers, .. } = network;
        let others = (0..ranks).filter(|&other| other != rank);
        let peers = others.clone().map(|other| (other, Peer::new(now))).collect();
        let mut engine = Self { rank, transfers, mailbox, silence, peers, is_ending: false, now, moved: now };
        others.for_each(|other| engine.await_envelope(other));
        engine
    }

    /// Serves until nobody can give commands any more.
    pub(super) fn serve(&mut self, commands: &Receiver<Command>) {
        let mut wait = FIRST_WAIT;
        loop {
            match commands.recv_timeout(wait) {
                Ok(command) => {
                    self.obey(command);
                    commands.try_iter().for_each(|command| self.obey(command));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            wait = if self.turn(Instant::now()) { Duration::ZERO } else { longer(wait) };
        }
    }

    /// Tells the others that nothing more will be announced and waits until they have ended too, as MPI wants it: a
    /// launcher takes a rank that leaves without `MPI_Finalize` for a failed one. After a loss there is nothing to wait
    /// for: `MPI_Finalize` would wait for the lost rank.
    ///
    /// True where all ended well.
    pub(super) fn end(&mut self) -> bool {
        self.is_ending = true;
        self.live().into_iter().for_each(|rank| self.tell(rank, &Envelope::End));
        let (start, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            let has_moved = self.turn(Instant::now());
            let is_lost = self.peers.values().any(|peer| peer.is_lost);
            let live = || self.peers.values().filter(|peer| !peer.is_lost);
            let is_done = live().all(Peer::is_quiet);
            if is_lost && (is_done || self.now - start > GRACE) {
                return false;
            }
            if live().all(|peer| peer.has_ended) && (is_done || self.now - self.moved > GRACE) {
                return is_done;
            }
            wait = if has_moved { Duration::ZERO } else { longer(wait) };
            std::thread::sleep(wait);
        }
    }

    /// Ends MPI: only after [`Engine::end`] went well.
    pub(super) fn finalize(&mut self) {
        self.transfers.finalize();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Send { to, tag, words: Ok(words) } => self.send(to, tag, &words),
            Command::Send { to, tag, words: Err(error) } => {
                self.tell(to, &Envelope::failure(tag, self.rank, error));
            }
            Command::Expect { from, tag, words } => self.expect(from, tag, words),
        }
    }

    /// Handles one transfer that has ended; without one, looks who is silent. True where something moved.
    fn turn(&mut self, now: Instant) -> bool {
        // Whoever did not listen cannot say who was silent.
        if now - self.now > self.silence / 2 {
            self.peers.values_mut().for_each(|peer| peer.heard = now);
        }
        self.now = now;
        let ended = self.transfers.poll();
        let has_moved = match ended {
            Ok(Some(done)) => {
                self.moved = now;
                self.done(done);
                true
            }
            Ok(None) => {
                self.lose_the_silent();
                false
            }
            Err(cause) => {
                let fault = PeerFault::Transport { cause };
                self.live().into_iter().for_each(|rank| self.lose(rank, fault.clone()));
                false
            }
        };
        self.show_life();
        has_moved
    }

    fn done(&mut self, done: Done<Purpose>) {
        let Done { peer: rank, purpose, outcome } = done;
        let Some(peer) = self.peers.get_mut(&rank).filter(|peer| !peer.is_lost) else { return };
        let words = match outcome {
            Ok(words) => words,
            Err(cause) => return self.lose(rank, PeerFault::Transport { cause }),
        };
        match purpose {
            Purpose::EnvelopeOut => peer.envelopes_out -= 1,
            Purpose::PieceOut => peer.pieces_out -= 1,
            Purpose::EnvelopeIn => {
                peer.heard = self.now;
                match Envelope::decode(&words) {
                    Ok(envelope) => self.read(rank, envelope),
                    Err(cause) => self.lose(rank, PeerFault::Transport { cause }),
                }
            }
            Purpose::PieceIn(incoming) => {
                peer.heard = self.now;
                self.receive(rank, incoming, words);
            }
        }
    }

    fn read(&mut self, rank: usize, envelope: Envelope) {
        match envelope {
            Envelope::Alive => {}
            Envelope::Words { tag, words, lane } => self.offered(rank, tag, Offer::Words { words, lane }),
            Envelope::Failure { tag, rank: culprit, fault } => {
                let error = Failure::Peer { rank: culprit, fault };
                self.offered(rank, tag, Offer::Failure(error));
            }
            Envelope::End => {
                let Some(peer) = self.peers.get_mut(&rank) else { return };
                peer.has_ended = true;
                for tag in std::mem::take(&mut peer.expected).into_keys() {
                    self.deliver(rank, tag, Err(gone(rank)));
                }
                return;
            }
        }
        if self.peers.get(&rank).is_some_and(|peer| !peer.is_lost) {
            self.await_envelope(rank);
        }
    }

    fn offered(&mut self, rank: usize, tag: Tag, offer: Offer) {
        let Some(peer) = self.peers.get_mut(&rank) else { return };
        if let Some(words) = peer.expected.remove(&tag) {
            return self.accept(rank, tag, words, offer);
        }
        let is_new = peer.offers.insert(tag, offer).is_none();
        let count = peer.offers.len();
        if !is_new || count > MAX_OFFERS {
            let cause = format!("it announces what nobody asks for, {count} messages by now");
            self.lose(rank, PeerFault::Transport { cause });
        }
    }

    fn expect(&mut self, rank: usize, tag: Tag, words: usize) {
        let Some(peer) = self.peers.get_mut(&rank).filter(|peer| !peer.is_lost) else { return };
        if let Some(offer) = peer.offers.remove(&tag) {
            self.accept(rank, tag, words, offer);
        } else if peer.has_ended {
            self.deliver(rank, tag, Err(gone(rank)));
        } else {
            peer.expected.insert(tag, words);
        }
    }

    /// A message is announced and expected.
    fn accept(&mut self, rank: usize, tag: Tag, want: usize, offer: Offer) {
        let (words, lane) = match offer {
            Offer::Words { words, lane } => (words, lane),
            Offer::Failure(error) => return self.deliver(rank, tag, Err(error)),
        };
        let is_agreed = words == want;
        if !is_agreed {
            let fault = PeerFault::Length { have: words, want };
            self.deliver(rank, tag, Err(Failure::Peer { rank, fault }));
        }
        if let Some(peer) = self.peers.get_mut(&rank) {
            peer.messages_in += 1;
            // A rank that has ended gives no other sign of life than its pieces.
            peer.heard = self.now;
        }
        let buffer = if is_agreed { vec![0; words] } else { vec![] };
        self.receive(rank, Incoming { tag, lane, words, asked: 0, is_agreed }, buffer);
    }

    /// Asks for the next piece of a message, or delivers it.
    fn receive(&mut self, rank: usize, mut incoming: Incoming, mut buffer: Vec<u64>) {
        let Incoming { tag, lane, words, asked, is_agreed } = incoming;
        if asked == words {
            if let Some(peer) = self.peers.get_mut(&rank) {
                peer.messages_in -= 1;
            }
            if is_agreed {
                self.deliver(rank, tag, Ok(buffer.into()));
            }
            return;
        }
        let count = (words - asked).min(PIECE_WORDS);
        incoming.asked += count;
        let part = if is_agreed { asked..asked + count } else { 0..count };
        buffer.resize(buffer.len().max(part.end), 0);
        let purpose = Purpose::PieceIn(incoming);
        if let Err(cause) = self.transfers.receive(rank, lane, buffer, part, purpose) {
            self.lose(rank, PeerFault::Transport { cause });
        }
    }

    fn send(&mut self, to: usize, tag: Tag, words: &Words) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        peer.lane = peer.lane % MAX_LANE + 1;
        let lane = peer.lane;
        self.tell(to, &Envelope::Words { tag, words: words.len(), lane });
        for start in (0..words.len()).step_by(PIECE_WORDS) {
            let part = start..words.len().min(start + PIECE_WORDS);
            let Some(peer) = self.peers.get_mut(&to).filter(|peer| !peer.is_lost) else { return };
            peer.pieces_out += 1;
            if let Err(cause) = self.transfers.send(to, lane, Words::clone(words), part, Purpose::PieceOut) {
                return self.lose(to, PeerFault::Transport { cause });
            }
        }
    }

    fn tell(&mut self, to: usize, envelope: &Envelope) {
        let Some(peer) = self.peers.get_mut(&to).filter(|peer| !peer.is_lost) else { return };
        (peer.told, peer.envelopes_out) = (self.now, peer.envelopes_out + 1);
        let sent = self.transfers.send(to, 0, envelope.encode(), 0..ENVELOPE_WORDS, Purpose::EnvelopeOut);
        if let Err(cause) = sent {
            self.lose(to, PeerFault::Transport { cause });
        }
    }

    fn await_envelope(&mut self, from: usize) {
        let buffer = vec![0; ENVELOPE_WORDS];
        let begun = self.transfers.receive(from, 0, buffer, 0..ENVELOPE_WORDS, Purpose::EnvelopeIn);
        if let Err(cause) = begun {
            self.lose(from, PeerFault::Transport { cause });
        }
    }

    /// Tells the others that this rank lives, where nothing else did. Nothing may follow the end; and signs do not pile up
    /// before a rank that takes none.
    fn show_life(&mut self) {
        let interval = self.silence / SIGNS_OF_LIFE;
        for rank in self.live() {
            let waits = |peer: &Peer| peer.envelopes_out == 0 && self.now - peer.told >= interval;
            if !self.is_ending && self.peers.get(&rank).is_some_and(waits) {
                self.tell(rank, &Envelope::Alive);
            }
        }
    }

    fn lose_the_silent(&mut self) {
        let fault = PeerFault::Silent { ms: self.silence.as_millis().try_into().unwrap_or(u64::MAX) };
        for rank in self.live() {
            let is_silent = |peer: &Peer| {
                self.now - peer.heard > self.silence && (!peer.has_ended || peer.messages_in > 0)
            };
            if self.peers.get(&rank).is_some_and(is_silent) {
                self.lose(rank, fault.clone());
            }
        }
    }

    /// Nothing is sent to this rank or heard of it any more. What is under way stays with MPI.
    fn lose(&mut self, rank: usize, fault: PeerFault) {
        let Some(peer) = self.peers.get_mut(&rank) else { return };
        peer.is_lost = true;
        (peer.expected, peer.offers) = (BTreeMap::new(), BTreeMap::new());
        self.mailbox.lose(rank, fault);
    }

    fn live(&self) -> Vec<usize> {
        self.peers.iter().filter(|(_, peer)| !peer.is_lost).map(|(&rank, _)| rank).collect()
    }

    fn deliver(&self, from: usize, tag: Tag, words: aegis_hal::Result<Words>) {
        self.mailbox.deliver(self.rank, from, tag, words);
    }
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            heard: now,
            told: now,
            has_ended: false,
            is_lost: false,
            expected: BTreeMap::new(),
            offers: BTreeMap::new(),
            lane: 0,
            envelopes_out: 0,
            pieces_out: 0,
            messages_in: 0,
        }
    }

    /// Whether nothing is on its way between it and this rank.
    fn is_quiet(&self) -> bool {
        self.envelopes_out + self.pieces_out + self.messages_in == 0
    }
}

fn gone(rank: usize) -> Failure {
    Failure::Peer { rank, fault: PeerFault::Gone }
}

fn longer(wait: Duration) -> Duration {
    (2 * wait).clamp(FIRST_WAIT, LAST_WAIT)
}
