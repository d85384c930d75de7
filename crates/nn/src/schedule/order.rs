//! Orders of the tasks of a program on one device.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::{LaneId, Schedule, Working};
use crate::Result;
use crate::catalog::Catalog;
use crate::program::{BlockId, Program, TaskId};

/// Which tasks could run: those whose blocks are all made.
pub(super) struct Readiness {
    /// Of each task, how many of the blocks that it reads are still to be made.
    missing: Vec<usize>,
    readers: BTreeMap<BlockId, Vec<TaskId>>,
}

impl Readiness {
    /// Before anything ran, and the tasks that could.
    pub(super) fn new(program: &Program) -> (Self, Vec<TaskId>) {
        let mut this = Self { missing: vec![], readers: BTreeMap::new() };
        for (index, task) in program.tasks().iter().enumerate() {
            let unmade: BTreeSet<BlockId> =
                task.reads.iter().copied().filter(|id| program.block(*id).made_by.is_some()).collect();
            this.missing.push(unmade.len());
            unmade.into_iter().for_each(|id| this.readers.entry(id).or_default().push(TaskId(index)));
        }
        let ready = (0..program.tasks().len()).filter(|task| this.missing[*task] == 0);
        let ready = ready.map(TaskId).collect();
        (this, ready)
    }

    /// The tasks that could run now that this one did.
    pub(super) fn after(&mut self, program: &Program, task: TaskId) -> Vec<TaskId> {
        let made = program.task(task).writes.iter().filter_map(|id| self.readers.get(id));
        let mut ready = vec![];
        for reader in made.flatten() {
            self.missing[reader.0] -= 1;
            if self.missing[reader.0] == 0 {
                ready.push(*reader);
            }
        }
        ready
    }
}

impl Schedule {
    /// Deepest first: of the tasks that could run now, one of the latest stage, and in a stage the first. A unit of
    /// attention is so finished before the next one begins; what it holds is freed after its last use.
    pub fn deepest_first(program: &Program) -> Self {
        let deepest = |task: TaskId| (program.task(task).stage, Reverse(task));
        let (mut readiness, ready) = Readiness::new(program);
        let mut ready: BinaryHeap<_> = ready.into_iter().map(deepest).collect();
        let mut order = vec![];
        while let Some((_, Reverse(task))) = ready.pop() {
            order.push(task);
            ready.extend(readiness.after(program, task).into_iter().map(deepest));
        }
        Self::in_order(program, &order)
    }

    /// On demand: each task just before the first one that reads what it makes, from the results backwards. A group of token
    /// blocks goes through attention before the scores of the next one are begun.
    pub fn on_demand(program: &Program) -> Self {
        let makers = |ids: &[BlockId]| {
            let makers = ids.iter().rev().filter_map(|id| program.block(*id).made_by);
            makers.collect::<Vec<_>>()
        };
        let mut wanted = (0..program.tasks().len()).rev().map(TaskId).collect::<Vec<_>>();
        wanted.extend(makers(&program.result_blocks().collect::<Vec<_>>()));
        let (mut order, mut done) = (vec![], vec![false; program.tasks().len()]);
        // A task stays on the stack until all that it reads is made.
        while let Some(&task) = wanted.last() {
            let mut missing = if done[task.0] { vec![] } else { makers(&program.task(task).reads) };
            missing.retain(|maker| !done[maker.0]);
            if !missing.is_empty() {
                wanted.extend(missing);
                continue;
            }
            wanted.pop();
            if !std::mem::replace(&mut done[task.0], true) {
                order.push(task);
            }
        }
        Self::in_order(program, &order)
    }

    /// Of the orders above the one that takes less memory, and what each stage then holds at its peak.
    ///
    /// # Errors
    /// Those that tasks would run into.
    pub fn smallest(program: &Program, catalog: &mut Catalog) -> Result<(Self, Vec<Working>)> {
        let (deepest, demanded) = (Self::deepest_first(program), Self::on_demand(program));
        let working = |schedule: &Self, catalog: &mut _| schedule.working(program, catalog, LaneId::FIRST);
        let (first, second) = (working(&deepest, catalog)?, working(&demanded, catalog)?);
        let peak = |stages: &[Working]| stages.iter().map(Working::bytes).max();
        Ok(if peak(&second) < peak(&first) { (demanded, second) } else { (deepest, first) })
    }

    /// The tasks in this order on one device, each block freed after its last use.
    pub fn in_order(program: &Program, order: &[TaskId]) -> Self {
        Self::of_lanes(program, &[order])
    }
}
