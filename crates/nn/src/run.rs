//! Runs programs: the steps of a lane at its place, one after another.

use std::collections::BTreeMap;

use aegis_ckks::{Ciphertext, OpCounts, Params};

use crate::exchange::{Exchange, Transfer};
use crate::program::{BlockId, Kind, Place, Program, StageInfo};
use crate::schedule::{LaneId, Schedule, Step};
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

/// A run of a lane: how far it is, and the blocks that are there.
///
/// Between two steps of a run on one device that is all there is to it: a checkpoint writes it down.
pub struct Lane<'a> {
    program: &'a Program,
    schedule: &'a Schedule,
    lane: LaneId,
    exchange: Option<&'a dyn Exchange>,
    /// What the lane has still to send or to receive, by block and the other lane.
    transfers: BTreeMap<(BlockId, LaneId), Transfer>,
    next: usize,
    tasks_done: usize,
    tasks: usize,
    blocks: BTreeMap<BlockId, Ciphertext>,
}

impl<'a> Lane<'a> {
    /// A run from the beginning, with the blocks of the input: of the first lane, which for one device is all.
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
        Self::at(program, schedule, LaneId::FIRST, next, blocks)
    }

    /// One of several lanes from its beginning: the first with the blocks of the input, others with none. What it sends and
    /// receives goes through `exchange`; `params` are those of its place.
    ///
    /// # Errors
    /// As [`Lane::start`].
    pub fn join(
        program: &'a Program,
        schedule: &'a Schedule,
        (lane, exchange): (LaneId, &'a dyn Exchange),
        params: &Params,
        input: Vec<Ciphertext>,
    ) -> Result<Self> {
        let want = if lane == LaneId::FIRST { program.input_blocks().count() } else { 0 };
        if input.len() != want {
            return Err(Error::Blocks { have: input.len(), want });
        }
        let mut this = Self::at(program, schedule, lane, 0, program.input_blocks().zip(input).collect())?;
        let other = |transfer: &Transfer| match (transfer.from == lane, transfer.to == lane) {
            (true, _) => Some(transfer.to),
            (_, true) => Some(transfer.from),
            _ => None,
        };
        let all = schedule.transfers(program, params).into_iter();
        this.transfers =
            all.filter_map(|transfer| Some(((transfer.block, other(&transfer)?), transfer))).collect();
        this.exchange = Some(exchange);
        Ok(this)
    }

    fn at(
        program: &'a Program,
        schedule: &'a Schedule,
        lane: LaneId,
        next: usize,
        blocks: BTreeMap<BlockId, Ciphertext>,
    ) -> Result<Self> {
        schedule.check(program)?;
        let want = schedule.live(program, lane, next);
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
        let done = schedule.lane(lane).iter().take(next);
        let tasks_done = done.filter(|step| matches!(step, Step::Run(_))).count();
        let (exchange, transfers, tasks) = (None, BTreeMap::new(), schedule.tasks(lane).count());
        Ok(Self { program, schedule, lane, exchange, transfers, next, tasks_done, tasks, blocks })
    }

    /// How many steps are done.
    pub fn position(&self) -> usize {
        self.next
    }

    /// The blocks that are there.
    pub fn blocks(&self) -> &BTreeMap<BlockId, Ciphertext> {
        &self.blocks
    }

    /// Runs the next task with what it has to receive before it, then sends and drops what follows it. False when there is no
    /// task any more, and the lane is at its end.
    ///
    /// # Errors
    /// Those of the evaluation and of the exchange. The run stays where it was.
    pub fn step(&mut self, place: &Place, observer: &mut dyn Observer) -> Result<bool> {
        self.move_blocks(place, true)?;
        let Some(Step::Run(id)) = self.schedule.lane(self.lane).get(self.next) else { return Ok(false) };
        let task = self.program.task(*id);
        let info = TaskInfo {
            index: self.tasks_done,
            count: self.tasks,
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
        self.move_blocks(place, false)?;
        if observer.wants_times() {
            place.ev.context().device().sync().map_err(aegis_ckks::Error::from)?;
        }
        observer.end(&info, &(place.ev.counts() - before));
        Ok(true)
    }

    /// The steps up to the next task, or up to what it has to receive.
    fn move_blocks(&mut self, place: &Place, receives: bool) -> Result<()> {
        let ctx = place.ev.context();
        while let Some(step) = self.schedule.lane(self.lane).get(self.next) {
            match *step {
                Step::Run(_) => break,
                Step::Receive { .. } if !receives => break,
                Step::Receive { block, from } => {
                    let (exchange, transfer) = self.way(block, from)?;
                    let (words, level) = (exchange.receive(&transfer)?, self.program.block(block).level);
                    let received = Ciphertext::adopt(ctx, level, place.ev.keys().id(), &words)?;
                    self.blocks.insert(block, received);
                    self.transfers.remove(&(block, from));
                }
                Step::Send { block, to } => {
                    let (exchange, transfer) = self.way(block, to)?;
                    exchange.send(&transfer, &self.blocks[&block].export(ctx)?)?;
                    self.transfers.remove(&(block, to));
                }
                Step::Free(id) => drop(self.blocks.remove(&id)),
            }
            self.next += 1;
        }
        Ok(())
    }

    fn way(&self, block: BlockId, other: LaneId) -> Result<(&'a dyn Exchange, Transfer)> {
        self.exchange.zip(self.transfers.get(&(block, other)).copied()).ok_or(Error::NoExchange(block))
    }

    /// Gives up a run that has failed: whoever waits for blocks of this lane is told why none come.
    pub fn abandon(self, cause: &Error) {
        let Some(exchange) = self.exchange else { return };
        let unsent = self.transfers.values().filter(|transfer| transfer.from == self.lane);
        unsent.for_each(|transfer| exchange.abandon(transfer, cause));
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
