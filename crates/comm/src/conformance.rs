//! The suite that every communicator passes. One function runs on every host, as one program does:
//!
//! ```
//! use std::sync::Arc;
//! use aegis_comm::{Communicator, Local, conformance};
//!
//! let hosts = Local::split(3).into_iter().map(|comm| Arc::new(comm) as Arc<dyn Communicator>);
//! conformance::check(hosts.collect()).unwrap(); // A thread for each; processes call `check_host`.
//! ```

use std::sync::Arc;
use std::thread;

use aegis_hal::{Error as Lost, Parcel, PeerFault, Promise};

use crate::{Communicator, Error, Group, Message, RankFault, Tag};

/// Channels of the suite begin here.
const CHANNEL: u32 = 1 << 31;
const REASON: &str = "conformance";
/// Messages of these lengths go between any two ranks: none, one, odd, and more than any transport sends eagerly.
const LENGTHS: [usize; 4] = [0, 1, 1001, 100_000];
/// Close below 2^50: residues as large as they come.
const PRIME: u64 = (1 << 50) - 27;

/// Why a communicator does not conform.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// It refused what the contract allows.
    #[error("{case}: {error}")]
    Refused {
        /// What was tried.
        case: &'static str,
        /// What it said.
        error: Error,
    },
    /// Words did not come.
    #[error("{case}: {error}")]
    Lost {
        /// What was tried.
        case: &'static str,
        /// What the parcel said.
        error: Lost,
    },
    /// It did something else than the contract says.
    #[error("{case}: {have}, not {want}")]
    Wrong {
        /// What was tried.
        case: &'static str,
        /// What it did.
        have: String,
        /// What it was to do.
        want: String,
    },
    /// The check of a host panicked.
    #[error("the check of a host panicked")]
    Panicked,
}

/// What a case says about itself.
type Outcome = Result<(), Failure>;

/// Checks communicators of one process, each on a thread of its own; together they drive all ranks.
pub fn check(hosts: Vec<Arc<dyn Communicator>>) -> Result<(), Failure> {
    let threads: Vec<_> = hosts.into_iter().map(|comm| thread::spawn(move || check_host(comm))).collect();
    let outcomes: Vec<Outcome> =
        threads.into_iter().map(|host| host.join().unwrap_or(Err(Failure::Panicked))).collect();
    outcomes.into_iter().collect()
}

/// Checks a communicator from one of its hosts, while all others do the same. It must be the last handle: the suite ends
/// with dropping it.
pub fn check_host(comm: Arc<dyn Communicator>) -> Result<(), Failure> {
    let suite = Suite { steps: Group::of_all(Arc::clone(&comm), CHANNEL), comm };
    suite.refusals()?;
    suite.any_order()?;
    suite.late_words()?;
    suite.lengths()?;
    suite.failures()?;
    suite.collectives()?;
    suite.agreement()?;
    suite.end()
}

/// Numbers that tell every message of the suite from every other one, below [`PRIME`].
fn content(from: usize, to: usize, number: usize, words: usize) -> Vec<u64> {
    let seed = ((from * 1000 + to) * 1000 + number) as u64;
    (0..words as u64).map(|i| (seed << 24 | i).wrapping_mul(0x9e37_79b9_7f4a_7c15) % PRIME).collect()
}

struct Suite {
    comm: Arc<dyn Communicator>,
    steps: Group,
}

impl Suite {
    fn is_local(&self, rank: usize) -> bool {
        self.comm.local().contains(&rank)
    }

    /// All pairs of different ranks.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let ranks = self.comm.ranks();
        (0..ranks).flat_map(move |from| (0..ranks).map(move |to| (from, to))).filter(|(from, to)| from != to)
    }

    /// A group of the same ranks on another channel.
    fn group(&self, channel: u32, members: Vec<usize>) -> Result<Group, Failure> {
        let case = "a group";
        Group::new(Arc::clone(&self.comm), CHANNEL + channel, members)
            .map_err(|error| Failure::Refused { case, error })
    }

    /// Every host has come so far.
    fn step(&self, case: &'static str) -> Outcome {
        self.steps.agree(case, &[0; 32]).map_err(|error| Failure::Lost { case, error })
    }

    fn send(&self, case: &'static str, message: &Message, parcel: &Parcel) -> Outcome {
        self.comm.send(message, parcel).map_err(|error| Failure::Refused { case, error })
    }

    fn receive(&self, case: &'static str, message: &Message) -> Result<Parcel, Failure> {
        self.comm.receive(message).map_err(|error| Failure::Refused { case, error })
    }

    /// Ranks that cannot be meant.
    fn refusals(&self) -> Outcome {
        let case = "calls that must be refused";
        let (ranks, here) = (self.comm.ranks(), self.comm.local().first().copied().unwrap_or(0));
        let call = |from, to, sends: bool| {
            let message = message(1, 0, from, to, 1);
            if sends {
                self.comm.send(&message, &Parcel::ready(vec![0]))
            } else {
                self.comm.receive(&message).map(drop)
            }
        };
        let missing = Error::Rank { rank: ranks, fault: RankFault::Missing { ranks } };
        equal(case, call(here, ranks, true), Err(missing.clone()))?;
        equal(case, call(ranks, here, false), Err(missing))?;
        let itself = Error::Rank { rank: here, fault: RankFault::Itself };
        equal(case, call(here, here, true), Err(itself.clone()))?;
        equal(case, call(here, here, false), Err(itself))?;
        if let Some(rank) = (0..ranks).find(|&rank| !self.is_local(rank)) {
            let elsewhere = Error::Rank { rank, fault: RankFault::Elsewhere };
            equal(case, call(rank, here, true), Err(elsewhere.clone()))?;
            equal(case, call(here, rank, false), Err(elsewhere))?;
        }
        Ok(())
    }

    /// Messages of every length, asked for before and after they come, in another order than they were sent; and none of
    /// them twice. The ledger counts them when they are asked for.
    fn any_order(&self) -> Outcome {
        let case = "messages in any order";
        let of_pair = |from, to| {
            let number = |(number, &words): (usize, &usize)| message(2, number as u64, from, to, words);
            LENGTHS.iter().enumerate().map(number).collect::<Vec<Message>>()
        };
        // Those of higher ranks are asked for before they are sent, those of lower ranks afterwards.
        let ask = |from: usize, to: usize| {
            let messages = of_pair(from, to);
            let (even, odd): (Vec<Message>, Vec<Message>) =
                messages.iter().partition(|m| m.tag.number % 2 == 0);
            let asked =
                odd.into_iter().chain(even).map(|message| Ok((message, self.receive(case, &message)?)));
            asked.collect::<Result<Vec<_>, Failure>>()
        };
        let before = self.comm.ledger().snapshot();
        let mut asked = vec![];
        for (from, to) in self.pairs().filter(|&(from, to)| from > to && self.is_local(to)) {
            asked.extend(ask(from, to)?);
        }
        self.step(case)?;
        for (from, to) in self.pairs().filter(|&(from, _)| self.is_local(from)) {
            for m in of_pair(from, to) {
                self.send(case, &m, &Parcel::ready(content(from, to, m.tag.number as usize, m.words)))?;
            }
        }
        self.step(case)?;
        for (from, to) in self.pairs().filter(|&(from, to)| from < to && self.is_local(to)) {
            asked.extend(ask(from, to)?);
        }
        let received = self.comm.ledger().snapshot().since(&before);
        let others = self.comm.ranks() as u64 - 1;
        for &rank in self.comm.local() {
            let count = received.count(rank, REASON);
            let bytes = 8 * LENGTHS.iter().sum::<usize>() as u64;
            equal(case, (count.messages, count.bytes), (others * LENGTHS.len() as u64, others * bytes))?;
        }
        for (m, parcel) in asked {
            same_words(case, &parcel, &content(m.from, m.to, m.tag.number as usize, m.words))?;
            equal(case, self.comm.receive(&m).map(drop), Err(Error::Twice { message: m }))?;
        }
        Ok(())
    }

    /// A message that was sent first and has no words yet holds up no other one.
    fn late_words(&self) -> Outcome {
        let case = "words that come later than those sent after them";
        let mut promises: Vec<(Promise, Message)> = vec![];
        let mut asked = vec![];
        for (from, to) in self.pairs() {
            let (late, early) = (message(3, 0, from, to, 5), message(3, 1, from, to, 6));
            if self.is_local(from) {
                let (promise, parcel) = Parcel::promise();
                self.send(case, &late, &parcel)?;
                self.send(case, &early, &Parcel::ready(content(from, to, 1, 6)))?;
                promises.push((promise, late));
            }
            if self.is_local(to) {
                asked.push((from, to, self.receive(case, &late)?, self.receive(case, &early)?));
            }
        }
        for (from, to, late, early) in &asked {
            same_words(case, early, &content(*from, *to, 1, 6))?;
            equal(case, late.look(), None)?;
        }
        self.step(case)?;
        for (promise, message) in promises {
            promise.keep(Ok(content(message.from, message.to, 0, 5)));
        }
        asked.iter().try_for_each(|(from, to, late, _)| same_words(case, late, &content(*from, *to, 0, 5)))
    }

    /// A word too few and a word too many fail at the receiver, and only they.
    fn lengths(&self) -> Outcome {
        let case = "messages of another length than agreed";
        let sent = [4, 6, 5];
        self.each_number(case, 4, &sent.map(|words| Ok(vec![1; words])), |from, number| match sent[number] {
            5 => Ok(vec![1; 5]),
            have => Err(Lost::Peer { rank: from, fault: PeerFault::Length { have, want: 5 } }),
        })
    }

    /// An error instead of words arrives as one of the sender; one that names a rank stays as it is.
    fn failures(&self) -> Outcome {
        let case = "parcels that fail at the sender";
        let own = Lost::OutOfMemory { asked: 7, limit: None, live: 5 };
        let other = Lost::Peer { rank: 0, fault: PeerFault::Gone };
        let sent = [Err(own.clone()), Ok(vec![1; 5]), Err(other.clone())];
        self.each_number(case, 5, &sent, |from, number| match number {
            0 => Err(Lost::Peer { rank: from, fault: PeerFault::Failed { cause: own.to_string() } }),
            1 => Ok(vec![1; 5]),
            _ => Err(other.clone()),
        })
    }

    /// Every rank sends these to every other one, as messages of five words, which come as these.
    fn each_number(
        &self,
        case: &'static str,
        channel: u32,
        sent: &[aegis_hal::Result<Vec<u64>>],
        want: impl Fn(usize, usize) -> aegis_hal::Result<Vec<u64>>,
    ) -> Outcome {
        let mut asked = vec![];
        for (from, to) in self.pairs() {
            for (number, words) in sent.iter().enumerate() {
                let message = message(channel, number as u64, from, to, 5);
                if self.is_local(from) {
                    self.send(case, &message, &words.clone().map_or_else(Parcel::failed, Parcel::ready))?;
                }
                if self.is_local(to) {
                    asked.push((from, number, self.receive(case, &message)?));
                }
            }
        }
        asked.into_iter().try_for_each(|(from, number, parcel)| {
            equal(case, parcel.wait().map(|words| words.to_vec()), want(from, number))
        })
    }

    /// Every collective on all ranks, on all in descending order, and on every other one, against what it means; and what
    /// the ledger says of it against a count of the words.
    fn collectives(&self) -> Outcome {
        let ranks = self.comm.ranks();
        let groups = [(0..ranks).collect(), (0..ranks).rev().collect(), (0..ranks).step_by(2).collect()];
        for (i, members) in groups.into_iter().enumerate() {
            let group = self.group(10 + i as u32, members)?;
            self.gathers(&group)?;
            self.sums(&group)?;
        }
        Ok(())
    }

    fn gathers(&self, group: &Group) -> Outcome {
        let case = "all-gather, all-to-all, exchange and broadcast";
        let refused = |error| Failure::Refused { case, error };
        let members = group.members().len();
        // Some have nothing to say; those that have say it in different lengths.
        let words = |from: usize, to: usize| (from + 2 * to) % 3 * (from + 1);
        let mine = |from: usize, to: usize| Parcel::ready(content(from, to, 7, words(from, to)));
        let before = self.comm.ledger().snapshot();
        let gathered =
            group.all_gather(REASON, |from| words(from, 0), |from| mine(from, 0)).map_err(refused)?;
        let swapped = group.all_to_all(REASON, words, mine).map_err(refused)?;
        let exchanged = group.exchange(REASON, words, mine).map_err(refused)?;
        let last = members - 1;
        let cast =
            group.broadcast(REASON, last, 9, || Parcel::ready(content(last, 0, 8, 9))).map_err(refused)?;
        let received = self.comm.ledger().snapshot().since(&before);

        for (i, &to) in group.local().iter().enumerate() {
            for from in 0..members {
                same_words(case, &gathered[i][from], &content(from, 0, 7, words(from, 0)))?;
                same_words(case, &swapped[i][from], &content(from, to, 7, words(from, to)))?;
                let is_sent = from != to && words(from, to) > 0;
                equal(case, exchanged[i][from].is_some(), is_sent)?;
                if let Some(parcel) = &exchanged[i][from] {
                    same_words(case, parcel, &content(from, to, 7, words(from, to)))?;
                }
            }
            same_words(case, &cast[i], &content(last, 0, 8, 9))?;

            let others = || (0..members).filter(|&from| from != to);
            let sum: usize = others().map(|from| words(from, 0) + 2 * words(from, to)).sum();
            let sum = sum + if to == last { 0 } else { 9 };
            let count = received.count(group.members()[to], REASON);
            equal(case, (count.calls, count.bytes), (4, 8 * sum as u64))?;
        }
        Ok(())
    }

    fn sums(&self, group: &Group) -> Outcome {
        let case = "reduce-scatter";
        let members = group.members().len();
        // As many rows as the position says: the first member has no share.
        let moduli =
            |to: usize| (0..to).map(|row| if row % 2 == 0 { PRIME } else { 97 }).collect::<Vec<u64>>();
        let n = 3;
        let part = |from: usize, to: usize| {
            let words = content(from, to, 9, n * moduli(to).len()).into_iter().enumerate();
            words.map(|(i, word)| word % moduli(to)[i / n]).collect::<Vec<u64>>()
        };
        let shares = group.reduce_scatter(REASON, n, moduli, |from, to| Parcel::ready(part(from, to)));
        let shares = shares.map_err(|error| Failure::Refused { case, error })?;
        for (share, &to) in shares.iter().zip(group.local()) {
            let column = |i: usize| (0..members).map(|from| u128::from(part(from, to)[i])).sum::<u128>();
            let want: Vec<u64> =
                (0..n * to).map(|i| (column(i) % u128::from(moduli(to)[i / n])) as u64).collect();
            same_words(case, share, &want)?;
        }
        if let Some(modulus) = (u64::MAX / members as u64).checked_add(1) {
            let refused =
                group.reduce_scatter(REASON, n, |_| vec![modulus], |_, _| Parcel::ready(vec![0; n]));
            equal(case, refused.map(drop), Err(Error::Sum { members, modulus }))?;
        }
        Ok(())
    }

    /// A host with a digest of its own is named on every rank, and the group goes on.
    fn agreement(&self) -> Outcome {
        let case = "agreement";
        let ranks = self.comm.ranks();
        let group = self.group(20, (0..ranks).collect())?;
        let host = self.host_of_each_rank(&group)?;
        for odd in 0..ranks {
            let is_odd = |rank: usize| host[rank] == host[odd];
            let here = self.comm.local().iter().any(|&rank| is_odd(rank));
            let named = (0..ranks).find(|&rank| is_odd(rank) != is_odd(0));
            let fault = PeerFault::Disagrees { what: "a digest" };
            let want = named.map_or(Ok(()), |rank| Err(Lost::Peer { rank, fault }));
            equal(case, group.agree("a digest", &[u8::from(here); 32]), want)?;
        }
        equal(case, group.agree("a digest", &[1; 32]), Ok(()))
    }

    /// The lowest rank that the same host drives.
    fn host_of_each_rank(&self, group: &Group) -> Result<Vec<u64>, Failure> {
        let case = "who drives which rank";
        let lowest = self.comm.local()[0] as u64;
        let gathered = group.all_gather(REASON, |_| 1, |_| Parcel::ready(vec![lowest]));
        let gathered = gathered.map_err(|error| Failure::Refused { case, error })?;
        let words = gathered[0].iter().map(|parcel| Ok(parcel.wait()?[0]));
        words.collect::<aegis_hal::Result<_>>().map_err(|error| Failure::Lost { case, error })
    }

    /// The host of the last rank ends: what it sent before arrives, what it did not send fails.
    fn end(self) -> Outcome {
        let case = "the end of a host";
        let group = self.group(21, (0..self.comm.ranks()).collect())?;
        let host = self.host_of_each_rank(&group)?;
        let Self { comm, steps } = self;
        drop((steps, group));
        equal("handles of the communicator at the end", Arc::strong_count(&comm), 1)?;
        let is_last = |rank: &usize| host[*rank] == host[host.len() - 1];
        let (last, others): (Vec<usize>, Vec<usize>) = (0..host.len()).partition(is_last);
        let refused = |error| Failure::Refused { case, error };
        for (&from, &to) in last.iter().flat_map(|from| others.iter().map(move |to| (from, to))) {
            let (sent, unsent) = (message(22, 0, from, to, 3), message(22, 1, from, to, 3));
            if comm.local().contains(&from) {
                comm.send(&sent, &Parcel::ready(content(from, to, 0, 3))).map_err(refused)?;
            }
            if comm.local().contains(&to) {
                same_words(case, &comm.receive(&sent).map_err(refused)?, &content(from, to, 0, 3))?;
                let fault = PeerFault::Gone;
                let never = comm.receive(&unsent).map_err(refused)?.wait();
                equal(case, never, Err(Lost::Peer { rank: from, fault }))?;
            }
        }
        Ok(())
    }
}

fn message(channel: u32, number: u64, from: usize, to: usize, words: usize) -> Message {
    Message { from, to, tag: Tag { channel: CHANNEL + channel, number }, words, reason: REASON }
}

fn same_words(case: &'static str, parcel: &Parcel, want: &[u64]) -> Outcome {
    let words = parcel.wait().map_err(|error| Failure::Lost { case, error })?;
    if **words == *want {
        return Ok(());
    }
    let first = words.iter().zip(want).position(|(have, want)| have != want);
    let text = |words: &[u64]| format!("{} words, {:?} at {first:?}", words.len(), first.map(|i| words[i]));
    Err(Failure::Wrong { case, have: text(&words), want: text(want) })
}

fn equal<T: PartialEq + std::fmt::Debug>(case: &'static str, have: T, want: T) -> Outcome {
    if have == want {
        return Ok(());
    }
    Err(Failure::Wrong { case, have: format!("{have:?}"), want: format!("{want:?}") })
}
