//! What a worker has done so far, in a small file that outlives it however it ends.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

/// A worker's record, written before every input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The input being run; `u64::MAX` while there is none.
    pub index: u64,
    /// Inputs accepted so far.
    pub accepted: u64,
    /// Inputs refused so far.
    pub refused: u64,
    /// Most bytes that one input has held.
    pub peak: u64,
}

const BYTES: usize = 32;

impl Position {
    /// Inputs done.
    pub fn done(&self) -> u64 {
        self.accepted + self.refused
    }

    /// Overwrites the record.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&self, file: &mut File) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        let words = [self.index, self.accepted, self.refused, self.peak];
        bytes.chunks_exact_mut(8).zip(words).for_each(|(b, w)| b.copy_from_slice(&w.to_le_bytes()));
        file.rewind()?;
        file.write_all(&bytes)
    }

    /// Reads a record; before the first one is written, that of a worker that has not begun.
    ///
    /// # Errors
    /// Those of the file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(BYTES);
        File::open(path)?.read_to_end(&mut bytes)?;
        let word = |i: usize| bytes.get(8 * i..8 * i + 8)?.try_into().ok().map(u64::from_le_bytes);
        Ok(match (word(0), word(1), word(2), word(3)) {
            (Some(index), Some(accepted), Some(refused), Some(peak)) => {
                Self { index, accepted, refused, peak }
            }
            _ => Self { index: u64::MAX, ..Self::default() },
        })
    }
}
