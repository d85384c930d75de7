//! Envelopes: what announces the words of a message, or says that there will be none.

use aegis_hal::{Error as Failure, PeerFault, Words};

use crate::Tag;

/// Words of an envelope. All are equally long, so that one receive fits each; MPI sends so few at once.
pub(super) const ENVELOPE_WORDS: usize = 64;
/// The highest lane: MPI promises tags up to this one. Lane 0 is that of envelopes.
pub(super) const MAX_LANE: u16 = 32767;
/// What every envelope begins with: a name and the version of this format.
const MAGIC: u64 = u64::from_le_bytes(*b"aegis-\0\x01");
/// Words before the text of a failure.
const FIXED_WORDS: usize = 8;
const TEXT_BYTES: usize = 8 * (ENVELOPE_WORDS - FIXED_WORDS);
/// Why words do not follow: see [`fault`].
const FAULT_GONE: u64 = 1;
const FAULT_SILENT: u64 = 2;
const FAULT_LATE: u64 = 3;
const FAULT_LENGTH: u64 = 4;
const FAULT_TRANSPORT: u64 = 5;
const FAULT_FAILED: u64 = 6;

/// What one rank tells another.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Envelope {
    /// The sender lives.
    Alive,
    /// The sender has nothing more to announce.
    End,
    /// Words of a message follow, on a lane of their own.
    Words { tag: Tag, words: usize, lane: u16 },
    /// The words of a message will not come.
    Failure { tag: Tag, rank: usize, fault: PeerFault },
}

impl Envelope {
    /// Always [`ENVELOPE_WORDS`] long.
    pub(super) fn encode(&self) -> Words {
        let (kind, tag, numbers, text) = match self {
            Self::Alive => (0, Tag { channel: 0, number: 0 }, [0; 4], String::new()),
            Self::End => (1, Tag { channel: 0, number: 0 }, [0; 4], String::new()),
            Self::Words { tag, words, lane } => {
                (2, *tag, [*words as u64, (*lane).into(), 0, 0], String::new())
            }
            Self::Failure { tag, rank, fault } => {
                let (code, [a, b], text) = coded(fault);
                (3, *tag, [*rank as u64, code, a, b], text)
            }
        };
        let mut words = vec![MAGIC, kind, tag.channel.into(), tag.number];
        words.extend(numbers);
        words.extend(text_words(&text));
        words.resize(ENVELOPE_WORDS, 0);
        words.into()
    }

    /// Refuses with a reason what another program, or another version of this one, may have sent.
    pub(super) fn decode(words: &[u64]) -> Result<Self, String> {
        let Some((&[magic, kind, channel, number, a, b, c, d], text)) = words.split_first_chunk() else {
            return Err(format!("an envelope of {} words", words.len()));
        };
        if magic != MAGIC {
            return Err(format!(
                "it speaks another protocol ({magic:#x}); start the same program on all ranks"
            ));
        }
        let bad = |what: &str, value: u64| format!("a broken envelope: {what} {value}");
        let tag = Tag { channel: u32::try_from(channel).map_err(|_| bad("channel", channel))?, number };
        let size = |what, value: u64| usize::try_from(value).map_err(|_| bad(what, value));
        Ok(match kind {
            0 => Self::Alive,
            1 => Self::End,
            2 => {
                let lane = u16::try_from(b).ok().filter(|lane| (1..=MAX_LANE).contains(lane));
                let lane = lane.ok_or_else(|| bad("lane", b))?;
                Self::Words { tag, words: size("length", a)?, lane }
            }
            3 => {
                let fault = fault(b, [c, d], text).ok_or_else(|| bad("fault", b))?;
                Self::Failure { tag, rank: size("rank", a)?, fault }
            }
            _ => return Err(bad("kind", kind)),
        })
    }

    /// The envelope of words that could not be made by rank `from`. An error that names a rank keeps it, so that the
    /// first cause is told however many ranks it stopped.
    pub(super) fn failure(tag: Tag, from: usize, error: Failure) -> Self {
        match error {
            Failure::Peer { rank, fault } => Self::Failure { tag, rank, fault },
            error => Self::Failure { tag, rank: from, fault: PeerFault::Failed { cause: error.to_string() } },
        }
    }
}

/// A fault in numbers and text. What has no number of its own is told as text.
fn coded(fault: &PeerFault) -> (u64, [u64; 2], String) {
    match fault {
        PeerFault::Gone => (FAULT_GONE, [0; 2], String::new()),
        PeerFault::Silent { ms } => (FAULT_SILENT, [*ms, 0], String::new()),
        PeerFault::Late { ms } => (FAULT_LATE, [*ms, 0], String::new()),
        PeerFault::Length { have, want } => (FAULT_LENGTH, [*have as u64, *want as u64], String::new()),
        PeerFault::Transport { cause } => (FAULT_TRANSPORT, [0; 2], cause.clone()),
        PeerFault::Failed { cause } => (FAULT_FAILED, [0; 2], cause.clone()),
        other => (FAULT_FAILED, [0; 2], other.to_string()),
    }
}

/// The inverse of [`coded`].
fn fault(code: u64, [a, b]: [u64; 2], text: &[u64]) -> Option<PeerFault> {
    let cause = || {
        let bytes: Vec<u8> =
            text.iter().flat_map(|word| word.to_le_bytes()).take_while(|&b| b != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Some(match code {
        FAULT_GONE => PeerFault::Gone,
        FAULT_SILENT => PeerFault::Silent { ms: a },
        FAULT_LATE => PeerFault::Late { ms: a },
        FAULT_LENGTH => PeerFault::Length { have: usize::try_from(a).ok()?, want: usize::try_from(b).ok()? },
        FAULT_TRANSPORT => PeerFault::Transport { cause: cause() },
        FAULT_FAILED => PeerFault::Failed { cause: cause() },
        _ => return None,
    })
}

/// As much of a text as an envelope has room for, eight bytes a word.
fn text_words(text: &str) -> impl Iterator<Item = u64> {
    let fits = &text.as_bytes()[..text.floor_char_boundary(TEXT_BYTES)];
    fits.chunks(8).map(|bytes| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = Tag { channel: 7, number: u64::MAX };

    #[test]
    fn an_envelope_is_read_as_it_was_written() {
        let faults = [
            PeerFault::Gone,
            PeerFault::Silent { ms: 5000 },
            PeerFault::Late { ms: 1 },
            PeerFault::Length { have: 3, want: 4 },
            PeerFault::Transport { cause: "ü".repeat(TEXT_BYTES / 2) },
            PeerFault::Failed { cause: String::new() },
        ];
        let failures = faults.map(|fault| Envelope::Failure { tag: TAG, rank: 3, fault });
        let others =
            [Envelope::Alive, Envelope::End, Envelope::Words { tag: TAG, words: 1 << 40, lane: MAX_LANE }];
        for envelope in failures.into_iter().chain(others) {
            let words = envelope.encode();
            assert_eq!((words.len(), Envelope::decode(&words)), (ENVELOPE_WORDS, Ok(envelope)));
        }
    }

    #[test]
    fn a_cause_is_cut_between_characters() {
        let long = PeerFault::Failed { cause: format!("x{}", "ü".repeat(TEXT_BYTES)) };
        let words = Envelope::Failure { tag: TAG, rank: 0, fault: long }.encode();
        let Ok(Envelope::Failure { fault: PeerFault::Failed { cause }, .. }) = Envelope::decode(&words)
        else {
            panic!("{words:?}");
        };
        assert_eq!(cause, format!("x{}", "ü".repeat((TEXT_BYTES - 1) / 2)));
    }

    #[test]
    fn a_disagreement_is_told_in_words() {
        let (code, _, text) = coded(&PeerFault::Disagrees { what: "parameters" });
        assert_eq!((code, text.starts_with("has parameters of its own")), (FAULT_FAILED, true));
    }

    #[test]
    fn a_broken_envelope_is_refused_with_a_reason() {
        let good = Envelope::Words { tag: TAG, words: 1, lane: 9 }.encode();
        let with = |index: usize, value: u64| {
            let mut words = good.to_vec();
            words[index] = value;
            Envelope::decode(&words).expect_err("broken")
        };
        assert!(with(0, 0).contains("another protocol (0x0)"));
        assert_eq!(with(1, 9), "a broken envelope: kind 9");
        assert_eq!(with(2, 1 << 32), "a broken envelope: channel 4294967296");
        assert_eq!(with(5, 0), "a broken envelope: lane 0");
        assert_eq!(with(5, 32768), "a broken envelope: lane 32768");
        assert_eq!(with(1, 3), "a broken envelope: fault 9");
        assert_eq!(Envelope::decode(&[MAGIC]), Err("an envelope of 1 words".into()));
    }
}
