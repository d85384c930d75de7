//! What a calibration is made from: texts as they are, changed, and in a row, and random word pieces.

use crate::bert::Bert;
use crate::error::{Error, Result};
use crate::hf::tokenizer::Tokens;

/// Lengths of rows of texts are this many parts of the longest.
const LENGTHS: usize = 16;
/// Rows of texts of each length.
const ROWS: usize = 2;
/// Texts of random word pieces of each length.
const RANDOM: usize = 4;
/// In the changed copy of a text, one word piece of so many is a random one.
const CHANGED: u64 = 3;

impl Bert {
    /// Inputs for [`calibrate`](Self::calibrate) of all lengths up to `longest` tokens, made from texts of the kind that
    /// will be encrypted: every text; every text with a third of its word pieces replaced by random ones; texts in a row,
    /// in random order, cut to sixteen lengths; random word pieces of lengths that double. Texts that are longer are cut.
    ///
    /// Random word pieces go farther than any text of words: all-MiniLM-L6-v2 calibrated on texts alone diverged on 512
    /// of them. Equal texts give equal inputs.
    ///
    /// # Errors
    /// [`Error::NoTexts`] where no text holds a word; [`Error::TextTooLong`] for a length beyond the position table.
    pub fn calibration_inputs(&self, texts: &[Tokens], longest: usize) -> Result<Vec<Tokens>> {
        let max = self.config().positions;
        if longest > max {
            return Err(Error::TextTooLong { tokens: longest, max });
        }
        let contents: Vec<&[u32]> = texts.iter().map(content).filter(|ids| !ids.is_empty()).collect();
        let pieces = self.tokenizer.pieces();
        let (Some(text), false) = (texts.first(), contents.is_empty() || pieces.is_empty()) else {
            return Err(Error::NoTexts);
        };
        let (first, last) = (text.ids()[0], text.ids()[text.len() - 1]);
        let frame = |length: usize, pieces: &mut dyn Iterator<Item = u32>| {
            let inside = pieces.take(length.saturating_sub(2));
            Tokens::from_ids(std::iter::once(first).chain(inside).chain([last]).collect(), self.config())
        };
        let mut random = Random(0);
        let mut inputs = vec![];
        for text in &contents {
            inputs.push(frame(longest, &mut text.iter().copied())?);
        }
        for text in &contents {
            let mut change = |&id: &u32| if random.below(CHANGED) == 0 { *random.of(&pieces) } else { id };
            inputs.push(frame(longest, &mut text.iter().map(&mut change))?);
        }
        for length in (1..=LENGTHS).map(|i| i * longest / LENGTHS) {
            for _ in 0..ROWS {
                let mut row = std::iter::repeat_with(|| *random.of(&contents)).flatten().copied();
                inputs.push(frame(length, &mut row)?);
            }
        }
        for length in std::iter::successors(Some(longest), |n| Some(n / 2)).take_while(|n| *n > 2) {
            for _ in 0..RANDOM {
                inputs.push(frame(length, &mut std::iter::repeat_with(|| *random.of(&pieces)))?);
            }
        }
        Ok(inputs)
    }
}

/// The tokens between the marks of the ends.
fn content(text: &Tokens) -> &[u32] {
    text.ids().get(1..text.len() - 1).unwrap_or_default()
}

/// SplitMix64 (Steele, Lea, Flood 2014): the inputs are the same on every machine and in every version.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, as evenly as choosing words needs.
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}
