//! Tasks divided among lanes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use super::order::Readiness;
use super::{LaneId, Schedule, block_bytes};
use crate::Result;
use crate::catalog::{Catalog, KERNEL_COSTS};
use crate::program::{BlockId, Program, TaskId};

/// Picoseconds that a byte is on its way from one device to another: copied out, carried and copied in, each of which
/// reads it and writes it in memory. Links that are slower only make the prediction of a schedule too good, and never
/// change a result.
pub const MOVE_BYTE_PS: u64 = 6 * KERNEL_COSTS.byte_ps;

/// Nanoseconds that so many bytes are on their way.
pub(super) fn way_ns(bytes: u64) -> u64 {
    bytes.saturating_mul(MOVE_BYTE_PS) / 1000
}

impl Schedule {
    /// The tasks divided among lanes: list scheduling (Graham 1966) with moves between lanes, by the rule *earliest task
    /// first* (Hwang, Chow, Anger, Lee 1989). Again and again, of the tasks that could run and the lanes, it takes the pair
    /// that can begin first, so that the task ends where it ends earliest (the second phase of HEFT, Topcuoglu et al. 2002).
    /// Of pairs that can begin at the same time it takes the latest stage, as [`Schedule::deepest_first`] does, which keeps
    /// few blocks alive; then the one that moves the fewest bytes.
    ///
    /// A task takes [`Cost::ns`](crate::Cost::ns) on every lane and a block [`MOVE_BYTE_PS`] for each of its bytes. All
    /// numbers are integers, and what is left equal falls to the lower number: the schedule is the same everywhere. For one
    /// lane it is that of [`Schedule::deepest_first`].
    ///
    /// What it does not do: look back (a gap before a task that waits for a block stays), weigh memory or keys of a lane,
    /// know lanes of different speed, or that moves share a link.
    ///
    /// # Errors
    /// Those that tasks would run into.
    pub fn divided(program: &Program, catalog: &mut Catalog, lanes: NonZeroUsize) -> Result<Self> {
        let mut division = Division::new(program, catalog, lanes.get())?;
        let (mut readiness, first) = Readiness::new(program);
        first.into_iter().for_each(|task| division.offer(task));
        while let Some((lane, task)) = division.pick() {
            division.place(lane, task);
            readiness.after(program, task).into_iter().for_each(|task| division.offer(task));
        }
        Ok(Self::of_lanes(program, &division.orders))
    }
}

/// The least pair is taken: when it begins, stage, bytes to move, task, lane.
type Rank = (u64, Reverse<usize>, u64, TaskId, LaneId);

/// What is placed so far, and when it ends.
struct Division<'a> {
    program: &'a Program,
    /// Nanoseconds of each task.
    costs: Vec<u64>,
    /// Bytes of each block.
    bytes: Vec<u64>,
    /// Of each lane the order of its tasks, and when the last of them ends.
    orders: Vec<Vec<TaskId>>,
    free: Vec<u64>,
    /// Where a block was made, and when; where it is by now.
    made: Vec<(LaneId, u64)>,
    there: Vec<BTreeSet<LaneId>>,
    /// The tasks that could run, and when the blocks of each can be on each lane.
    ready: BTreeMap<TaskId, Vec<u64>>,
}

impl<'a> Division<'a> {
    fn new(program: &'a Program, catalog: &mut Catalog, lanes: usize) -> Result<Self> {
        let cost = |task| Ok(catalog.cost(program, task)?.ns);
        let costs = program.tasks().iter().map(cost).collect::<Result<Vec<u64>>>()?;
        let bytes = program.blocks().iter().map(|block| block_bytes(catalog.params(), block.level)).collect();
        Ok(Self {
            program,
            costs,
            bytes,
            orders: vec![vec![]; lanes],
            free: vec![0; lanes],
            made: vec![(LaneId::FIRST, 0); program.blocks().len()],
            there: vec![BTreeSet::from([LaneId::FIRST]); program.blocks().len()],
            ready: BTreeMap::new(),
        })
    }

    /// A task all of whose blocks are placed.
    fn offer(&mut self, task: TaskId) {
        let arrival = |lane: usize, id: &BlockId| {
            let (home, end) = self.made[id.0];
            let way = if home.0 == lane { 0 } else { way_ns(self.bytes[id.0]) };
            end.saturating_add(way)
        };
        let reads = &self.program.task(task).reads;
        let latest = |lane| reads.iter().map(|id| arrival(lane, id)).max().unwrap_or(0);
        self.ready.insert(task, (0..self.orders.len()).map(latest).collect());
    }

    /// The pair to place next.
    fn pick(&self) -> Option<(LaneId, TaskId)> {
        let mut best: Option<Rank> = None;
        for (&task, arrivals) in &self.ready {
            let stage = Reverse(self.program.task(task).stage);
            for (lane, arrival) in arrivals.iter().enumerate() {
                let begin = self.free[lane].max(*arrival);
                if best.is_some_and(|best| (best.0, best.1) < (begin, stage)) {
                    continue;
                }
                let lane = LaneId(lane);
                let rank = (begin, stage, self.missing(lane, task), task, lane);
                best = Some(best.map_or(rank, |best| best.min(rank)));
            }
        }
        best.map(|(.., task, lane)| (lane, task))
    }

    /// Bytes that a task reads and a lane does not have.
    fn missing(&self, lane: LaneId, task: TaskId) -> u64 {
        let reads: BTreeSet<BlockId> = self.program.task(task).reads.iter().copied().collect();
        let missing = reads.iter().filter(|id| !self.there[id.0].contains(&lane));
        missing.map(|id| self.bytes[id.0]).sum()
    }

    fn place(&mut self, lane: LaneId, task: TaskId) {
        let arrivals = self.ready.remove(&task).unwrap_or_default();
        let begin = self.free[lane.0].max(arrivals[lane.0]);
        let end = begin.saturating_add(self.costs[task.0]);
        self.free[lane.0] = end;
        self.orders[lane.0].push(task);
        let task = self.program.task(task);
        task.reads.iter().for_each(|id| {
            self.there[id.0].insert(lane);
        });
        for id in &task.writes {
            self.made[id.0] = (lane, end);
            self.there[id.0] = BTreeSet::from([lane]);
        }
    }
}
