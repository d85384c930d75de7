//! From the tasks of each lane to its steps.

use std::collections::{BTreeMap, BTreeSet};

use super::{LaneId, Schedule, Step};
use crate::program::{BlockId, Program, TaskId};

impl Schedule {
    /// The tasks of each lane in these orders. A block is sent right after the task that makes it, to each lane that reads
    /// it, once; received just before its first reader, results at the end; freed after its last use.
    ///
    /// Lanes whose orders are parts of one order, in which every task comes after those that it needs, never wait for each
    /// other in a circle. [`Schedule::check`] tells of any.
    pub fn of_lanes(program: &Program, lanes: &[impl AsRef<[TaskId]>]) -> Self {
        let mut homes: BTreeMap<BlockId, LaneId> =
            program.input_blocks().map(|id| (id, LaneId::FIRST)).collect();
        let mut wanted: BTreeMap<BlockId, BTreeSet<LaneId>> = BTreeMap::new();
        let mut want = |block: BlockId, lane: LaneId| {
            wanted.entry(block).or_default().insert(lane);
        };
        for (lane, tasks) in lanes.iter().enumerate() {
            let lane = LaneId(lane);
            for task in tasks.as_ref().iter().map(|id| program.task(*id)) {
                task.reads.iter().for_each(|id| want(*id, lane));
                homes.extend(task.writes.iter().map(|id| (*id, lane)));
            }
        }
        program.result_blocks().for_each(|id| want(id, LaneId::FIRST));
        let assembly = Assembly { program, homes, wanted };
        let steps = |(lane, tasks): (usize, &_)| assembly.steps(LaneId(lane), AsRef::as_ref(tasks));
        Self::from_lanes(lanes.iter().enumerate().map(steps).collect())
    }
}

/// Where blocks are made, and where they are wanted.
struct Assembly<'a> {
    program: &'a Program,
    homes: BTreeMap<BlockId, LaneId>,
    wanted: BTreeMap<BlockId, BTreeSet<LaneId>>,
}

impl Assembly<'_> {
    fn sends(&self, block: BlockId, from: LaneId) -> impl Iterator<Item = Step> + '_ {
        let lanes = self.wanted.get(&block).into_iter().flatten().filter(move |to| **to != from);
        lanes.map(move |to| Step::Send { block, to: *to })
    }

    fn receive(&self, block: BlockId, lane: LaneId) -> Option<Step> {
        let from = self.homes.get(&block).copied().filter(|from| *from != lane)?;
        Some(Step::Receive { block, from })
    }

    /// After which task each block is used no more on this lane, but for the result where it has to be.
    fn last_uses(&self, lane: LaneId, tasks: &[TaskId]) -> BTreeMap<BlockId, usize> {
        let mut last = BTreeMap::new();
        for (at, task) in tasks.iter().map(|id| self.program.task(*id)).enumerate() {
            last.extend(task.reads.iter().chain(&task.writes).map(|id| (*id, at)));
        }
        if lane == LaneId::FIRST {
            self.program.result_blocks().for_each(|id| {
                last.remove(&id);
            });
        }
        last
    }

    fn steps(&self, lane: LaneId, tasks: &[TaskId]) -> Vec<Step> {
        let last = self.last_uses(lane, tasks);
        let results: BTreeSet<BlockId> = self.program.result_blocks().collect();
        let (mut steps, mut there) = (vec![], BTreeSet::new());
        if lane == LaneId::FIRST {
            for block in self.program.input_blocks() {
                let before = steps.len();
                steps.extend(self.sends(block, lane));
                let is_sent = steps.len() > before;
                if is_sent && !last.contains_key(&block) && !results.contains(&block) {
                    steps.push(Step::Free(block));
                }
                there.insert(block);
            }
        }
        for (at, id) in tasks.iter().enumerate() {
            let task = self.program.task(*id);
            let missing = task.reads.iter().filter(|block| there.insert(**block));
            steps.extend(missing.filter_map(|block| self.receive(*block, lane)));
            steps.push(Step::Run(*id));
            there.extend(&task.writes);
            task.writes.iter().for_each(|block| steps.extend(self.sends(*block, lane)));
            let touched: BTreeSet<BlockId> = task.reads.iter().chain(&task.writes).copied().collect();
            steps.extend(touched.into_iter().filter(|id| last.get(id) == Some(&at)).map(Step::Free));
        }
        if lane == LaneId::FIRST {
            let missing = results.into_iter().filter(|block| !there.contains(block));
            steps.extend(missing.filter_map(|block| self.receive(block, lane)));
        }
        steps
    }
}
