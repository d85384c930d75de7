//! Blocks on their way between lanes.

use std::collections::BTreeMap;

use aegis_ckks::{Params, Parcel};

use crate::program::{BlockId, Program, Section};
use crate::schedule::{LaneId, Schedule, Step, block_words};
use crate::{Error, Result};

/// The way of a block from one lane to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The block. It goes to a lane at most once.
    pub block: BlockId,
    /// The lane that sends it.
    pub from: LaneId,
    /// The lane that receives it.
    pub to: LaneId,
    /// What it is for: the section of the first task that reads it there, or of its maker for a result that is brought to
    /// the first lane.
    pub section: Section,
    /// Its words: two polynomials of the limbs of its level.
    pub words: usize,
}

impl Transfer {
    /// Bytes that the receiving lane gets.
    pub fn bytes(&self) -> u64 {
        (self.words * size_of::<u64>()) as u64
    }
}

/// What carries blocks between the lanes of a run, whether they are in one process or not.
///
/// Nothing waits: words are taken when their parcel has them, and a parcel is given that will have them. Every transfer of
/// the schedule is sent once and received once, in any order of the two; a parcel that fails arrives as one.
pub trait Exchange: Send + Sync {
    /// Takes the words of a block for another lane.
    ///
    /// # Errors
    /// Those of a transport that cannot send.
    fn send(&self, transfer: &Transfer, words: &Parcel) -> Result<()>;

    /// The words of a block that another lane sends.
    ///
    /// # Errors
    /// Those of a transport that cannot receive.
    fn receive(&self, transfer: &Transfer) -> Result<Parcel>;

    /// Instead of [`Exchange::send`]: the block will never come, and the other end is told why. One that cannot be told has
    /// ended, or learns it from its own transport.
    fn abandon(&self, transfer: &Transfer, cause: &Error);
}

impl Schedule {
    /// Everything that a run moves, known before it, to the byte: lane by lane, in the order in which each receives.
    pub fn transfers(&self, program: &Program, params: &Params) -> Vec<Transfer> {
        let lanes = (0..self.lanes().len()).map(LaneId);
        lanes.flat_map(|lane| self.received(program, params, lane)).collect()
    }

    /// What a lane receives.
    fn received(&self, program: &Program, params: &Params, to: LaneId) -> Vec<Transfer> {
        let section = |task| program.stage(program.task(task)).section;
        let mut readers = BTreeMap::new();
        for task in self.tasks(to) {
            for block in &program.task(task).reads {
                readers.entry(*block).or_insert(task);
            }
        }
        let transfer = |step: &Step| {
            let Step::Receive { block, from } = *step else { return None };
            let info = program.block(block);
            let reader = readers.get(&block).copied().or(info.made_by);
            let section = reader.map_or(Section::Other, section);
            Some(Transfer { block, from, to, section, words: block_words(params, info.level) })
        };
        self.lane(to).iter().filter_map(transfer).collect()
    }

    /// Bytes that each lane receives in each section, where it receives any.
    pub fn moved(&self, program: &Program, params: &Params) -> BTreeMap<(LaneId, Section), u64> {
        let mut moved = BTreeMap::new();
        for transfer in self.transfers(program, params) {
            *moved.entry((transfer.to, transfer.section)).or_default() += transfer.bytes();
        }
        moved
    }
}
