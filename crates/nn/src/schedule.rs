//! The order in which the tasks of a program run, and the memory that it takes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use aegis_ckks::{KeyRequest, Params};

use crate::catalog::Catalog;
use crate::program::{BlockId, Program, Task, TaskId};
use crate::{Error, Result};

/// A step of a [`Schedule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Runs a task.
    Run(TaskId),
    /// Drops a block that nothing reads any more.
    Free(BlockId),
}

/// An order of all tasks of a program on one device. It changes the memory that a run takes, and no bit of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    steps: Vec<Step>,
}

/// Why a [`Schedule`] cannot run a program: see [`Error::Schedule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleFault {
    /// A task or block that the program does not have.
    #[error("step {step} names what the program does not have")]
    Unknown {
        /// The step.
        step: usize,
    },
    /// A task reads a block that was not made yet, or freed before.
    #[error("step {step} reads block {}, which is not there", block.0)]
    NotThere {
        /// The step.
        step: usize,
        /// The block.
        block: BlockId,
    },
    /// A task runs a second time.
    #[error("step {step} runs task {} again", task.0)]
    Again {
        /// The step.
        step: usize,
        /// The task.
        task: TaskId,
    },
    /// A block is freed that is not there, or is part of the result.
    #[error("step {step} frees block {}, which is not there to be freed", block.0)]
    Freed {
        /// The step.
        step: usize,
        /// The block.
        block: BlockId,
    },
    /// A block of the result is never made.
    #[error("block {} of the result is never made", .0.0)]
    NoResult(BlockId),
    /// A block stays that nothing reads.
    #[error("block {} is never freed", .0.0)]
    Kept(BlockId),
}

/// Memory of a device during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Evaluation keys.
    pub keys: u64,
    /// Encoded matrices of bootstrapping.
    pub matrices: u64,
    /// The most that blocks, and what the task at hand holds besides them, take at once.
    pub working: u64,
    /// The stage at which that is, by its index in the program.
    pub stage: usize,
}

/// What a stage holds at its peak, besides keys and matrices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Working {
    /// Bytes of the blocks that are there, of this stage and of others.
    pub blocks: u64,
    /// Bytes that a task holds beyond them, what it makes included.
    pub task: u64,
}

impl Working {
    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.blocks + self.task
    }
}

impl Memory {
    /// With these keys, and stages that hold so much.
    pub(crate) fn new(keys: &KeyRequest, stages: &[Working], catalog: &Catalog) -> Result<Self> {
        let (keys, matrices) = (catalog.key_bytes(keys)?, catalog.matrix_bytes());
        let mut memory = Self { keys, matrices, ..Self::default() };
        for (stage, working) in stages.iter().enumerate() {
            if working.bytes() > memory.working {
                (memory.working, memory.stage) = (working.bytes(), stage);
            }
        }
        Ok(memory)
    }

    /// Bytes of a device at the peak of a run.
    pub fn peak(&self) -> u64 {
        self.keys + self.matrices + self.working
    }
}

impl Schedule {
    /// Deepest first: of the tasks that could run now, one of the latest stage, and in a stage the first. A unit of
    /// attention is so finished before the next one begins; what it holds is freed after its last use.
    pub fn deepest_first(program: &Program) -> Self {
        let deepest = |task: usize| (program.tasks()[task].stage, Reverse(task));
        let mut missing: Vec<usize> = vec![0; program.tasks().len()];
        let mut readers: BTreeMap<BlockId, Vec<usize>> = BTreeMap::new();
        let mut ready = BinaryHeap::new();
        for (index, task) in program.tasks().iter().enumerate() {
            let unmade: BTreeSet<BlockId> =
                task.reads.iter().copied().filter(|id| program.block(*id).made_by.is_some()).collect();
            missing[index] = unmade.len();
            unmade.into_iter().for_each(|id| readers.entry(id).or_default().push(index));
            if missing[index] == 0 {
                ready.push(deepest(index));
            }
        }
        let mut order = vec![];
        while let Some((_, Reverse(task))) = ready.pop() {
            order.push(TaskId(task));
            for reader in program.tasks()[task].writes.iter().filter_map(|id| readers.get(id)).flatten() {
                missing[*reader] -= 1;
                if missing[*reader] == 0 {
                    ready.push(deepest(*reader));
                }
            }
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
        let (first, second) = (deepest.working(program, catalog)?, demanded.working(program, catalog)?);
        let peak = |stages: &[Working]| stages.iter().map(Working::bytes).max();
        Ok(if peak(&second) < peak(&first) { (demanded, second) } else { (deepest, first) })
    }

    /// The tasks in this order, each block freed after its last use.
    pub fn in_order(program: &Program, order: &[TaskId]) -> Self {
        let mut last: BTreeMap<BlockId, usize> = BTreeMap::new();
        for (at, task) in order.iter().map(|id| program.task(*id)).enumerate() {
            task.reads.iter().chain(&task.writes).for_each(|id| {
                last.insert(*id, at);
            });
        }
        program.result_blocks().for_each(|id| {
            last.remove(&id);
        });
        let mut steps = vec![];
        for (at, id) in order.iter().enumerate() {
            let task = program.task(*id);
            steps.push(Step::Run(*id));
            let touched: BTreeSet<BlockId> = task.reads.iter().chain(&task.writes).copied().collect();
            steps.extend(touched.into_iter().filter(|id| last.get(id) == Some(&at)).map(Step::Free));
        }
        Self { steps }
    }

    /// These steps, whatever they do: for [`Schedule::check`].
    pub fn from_steps(steps: Vec<Step>) -> Self {
        Self { steps }
    }

    /// The steps in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Fails unless every block is made once, read while it is there, and freed, but for the result, which is there at
    /// the end.
    pub fn check(&self, program: &Program) -> Result<()> {
        let fail = |fault| Err(Error::Schedule(fault));
        let mut there: BTreeSet<BlockId> = program.input_blocks().collect();
        let mut done = BTreeSet::new();
        let result: BTreeSet<BlockId> = program.result_blocks().collect();
        for (step, what) in self.steps.iter().enumerate() {
            match *what {
                Step::Run(task) => {
                    let Some(Task { reads, writes, .. }) = program.tasks().get(task.0) else {
                        return fail(ScheduleFault::Unknown { step });
                    };
                    if !done.insert(task) {
                        return fail(ScheduleFault::Again { step, task });
                    }
                    if let Some(&block) = reads.iter().find(|id| !there.contains(id)) {
                        return fail(ScheduleFault::NotThere { step, block });
                    }
                    there.extend(writes);
                }
                Step::Free(block) if block.0 >= program.blocks().len() => {
                    return fail(ScheduleFault::Unknown { step });
                }
                Step::Free(block) => {
                    if result.contains(&block) || !there.remove(&block) {
                        return fail(ScheduleFault::Freed { step, block });
                    }
                }
            }
        }
        if let Some(&block) = result.difference(&there).next() {
            return fail(ScheduleFault::NoResult(block));
        }
        match there.difference(&result).next() {
            Some(&block) => fail(ScheduleFault::Kept(block)),
            None => Ok(()),
        }
    }

    /// The blocks that are there after this many steps.
    pub fn live(&self, program: &Program, steps: usize) -> BTreeSet<BlockId> {
        let mut there: BTreeSet<BlockId> = program.input_blocks().collect();
        for step in self.steps.iter().take(steps) {
            match step {
                Step::Run(task) => there.extend(&program.task(*task).writes),
                Step::Free(block) => drop(there.remove(block)),
            }
        }
        there
    }

    /// The memory of a run, known before it.
    pub fn memory(&self, program: &Program, catalog: &mut Catalog) -> Result<Memory> {
        let keys = catalog.keys(program)?;
        Memory::new(&keys, &self.working(program, catalog)?, catalog)
    }

    /// What each stage holds at its peak.
    pub fn working(&self, program: &Program, catalog: &mut Catalog) -> Result<Vec<Working>> {
        let bytes = |params: &Params, id: &BlockId| {
            let limbs = params.basis(program.block(*id).level).len();
            (2 * limbs * params.n() * size_of::<u64>()) as u64
        };
        let mut stages = vec![Working::default(); program.stages().len()];
        let mut blocks: u64 = program.input_blocks().map(|id| bytes(catalog.params(), &id)).sum();
        for step in &self.steps {
            match step {
                Step::Run(id) => {
                    let task = program.task(*id);
                    let now = Working { blocks, task: catalog.cost(program, task)?.totals.peak_bytes };
                    let stage = &mut stages[task.stage];
                    if now.bytes() > stage.bytes() {
                        *stage = now;
                    }
                    blocks += task.writes.iter().map(|id| bytes(catalog.params(), id)).sum::<u64>();
                }
                Step::Free(id) => blocks -= bytes(catalog.params(), id),
            }
        }
        Ok(stages)
    }
}
