//! Runs programs: a schedule's steps on one device, one after another.

use std::collections::BTreeMap;

use aegis_ckks::{Ciphertext, OpCounts};

use crate::program::{BlockId, Kind, Place, Program, StageInfo};
use crate::schedule::{Schedule, Step};
use crate::{CtTensor, Error, Result, TensorRef};

/// A task of a run, for progress.
#[derive(Clone, Copy, Debug)]
pub struct TaskInfo<'a> {
    /// How many tasks ran before.
    pub index: usize,
    /// Number of tasks of the run.
    pub count: usize,
    /// Its stage. Tasks of several stages may take turns.
    pub stage: &'a StageInfo,
    /// What it costs the same as.
    pub kind: &'a Kind,
}

/// Follows a run.
pub trait Observer {
    /// True when the device should have finished a task before [`Observer::end`] is called, so that the
    /// observer can take times. Otherwise nothing waits.
    fn wants_times(&self) -> bool {
        true
    }
    /// A task begins.
    fn begin(&mut self, _task: &TaskInfo<'_>) {}
    /// A task has ended, with these operations.
    fn end(&mut self, _task: &TaskInfo<'_>, _counts: &OpCounts) {}
}

/// Watches nothing.
impl Observer for () {
    fn wants_times(&self) -> bool {
        false
    }
}

/// A run: how far it is, and the blocks that are there.
///
/// Between two steps that is all there is to it: a checkpoint writes it down.
pub struct Lane<'a> {
    program: &'a Program,
    schedule: &'a Schedule,
    next: usize,
    tasks_done: usize,
    blocks: BTreeMap<BlockId, Ciphertext>,
}

impl<'a> Lane<'a> {
    /// A run from the beginning, with the blocks of the input.
    ///
    /// # Errors
    /// [`Error::Schedule`] for a schedule that cannot run the program, [`Error::Blocks`] for other blocks than those of
    /// the input.
    pub fn start(program: &'a Program, schedule: &'a Schedule, input: Vec<Ciphertext>) -> Result<Self> {
        let (have, want) = (input.len(), program.input_blocks().count());
        if have != want {
            return Err(Error::Blocks { have, want });
        }
        Self::resume(program, schedule, 0, program.input_blocks().zip(input).collect())
    }

    /// A run from step `next` on, with the blocks that were there.
    ///
    /// # Errors
    /// As [`Lane::start`].
    pub fn resume(
        program: &'a Program,
        schedule: &'a Schedule,
        next: usize,
        blocks: BTreeMap<BlockId, Ciphertext>,
    ) -> Result<Self> {
        schedule.check(program)?;
        let want = schedule.live(program, next);
        let (have, want) = (blocks.keys().copied().collect::<Vec<_>>(), want.into_iter().collect::<Vec<_>>());
        if have != want {
            return Err(Error::Blocks { have: have.len(), want: want.len() });
        }
        for (id, block) in &blocks {
            let (have, need) = (block.level(), program.block(*id).level);
            if have != need {
                let stage = program.stages().first().map_or_else(String::new, StageInfo::name);
                return Err(Error::LevelTooLow { stage, need, have });
            }
        }
        let done = schedule.steps().iter().take(next);
        let tasks_done = done.filter(|step| matches!(step, Step::Run(_))).count();
        Ok(Self { program, schedule, next, tasks_done, blocks })
    }

    /// How many steps are done.
    pub fn position(&self) -> usize {
        self.next
    }

    /// The blocks that are there.
    pub fn blocks(&self) -> &BTreeMap<BlockId, Ciphertext> {
        &self.blocks
    }

    /// Runs the next task, and drops what is not needed after it. False when there is none.
    ///
    /// # Errors
    /// Those of the evaluation. The run stays where it was.
    pub fn step(&mut self, place: &Place, observer: &mut dyn Observer) -> Result<bool> {
        let steps = self.schedule.steps();
        let Some(Step::Run(id)) = steps.get(self.next) else { return Ok(false) };
        let task = self.program.task(*id);
        let info = TaskInfo {
            index: self.tasks_done,
            count: self.program.tasks().len(),
            stage: self.program.stage(task),
            kind: &task.kind,
        };
        observer.begin(&info);
        let before = place.ev.counts();
        let reads: Vec<Ciphertext> = task.reads.iter().map(|id| self.blocks[id].clone()).collect();
        let made = task.run(self.program, place, &reads)?;
        drop(reads);
        self.blocks.extend(task.writes.iter().copied().zip(made));
        self.next += 1;
        self.tasks_done += 1;
        while let Some(Step::Free(id)) = steps.get(self.next) {
            self.blocks.remove(id);
            self.next += 1;
        }
        if observer.wants_times() {
            place.ev.context().device().sync().map_err(aegis_ckks::Error::from)?;
        }
        observer.end(&info, &(place.ev.counts() - before));
        Ok(true)
    }

    /// The results, when all steps are done.
    ///
    /// # Errors
    /// [`Error::Blocks`] before.
    pub fn results(&self) -> Result<Vec<CtTensor>> {
        let tensor = |x: &TensorRef| {
            let blocks: Vec<_> = x.blocks().iter().filter_map(|id| self.blocks.get(id).cloned()).collect();
            if blocks.len() != x.blocks().len() {
                return Err(Error::Blocks { have: blocks.len(), want: x.blocks().len() });
            }
            x.with(x.content(), blocks)
        };
        self.program.results().iter().map(tensor).collect()
    }
}
