//! The order in which the tasks of a program run, on one device or several, and what it takes.

mod assemble;
mod check;
mod divide;
mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aegis_ckks::{KeyRequest, Level, Params};

use crate::Result;
use crate::catalog::Catalog;
use crate::program::{BlockId, Program, TaskId};

pub use check::{At, ScheduleFault};
pub use divide::MOVE_BYTE_PS;
use divide::way_ns;

/// A lane of a [`Schedule`]: what one device, or several as one, runs in order. Counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub usize);

impl LaneId {
    /// The lane where inputs are at the beginning and results at the end. A run on one device has no other.
    pub const FIRST: Self = Self(0);
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {}", self.0)
    }
}

/// A step of a lane of a [`Schedule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Runs a task.
    Run(TaskId),
    /// Sends a block to another lane. It stays until it is freed.
    Send {
        /// The block.
        block: BlockId,
        /// The lane that receives it.
        to: LaneId,
    },
    /// Takes a block that another lane sends: nothing runs on the lane before it is there.
    Receive {
        /// The block.
        block: BlockId,
        /// The lane that sends it.
        from: LaneId,
    },
    /// Drops a block that nothing on the lane needs any more.
    Free(BlockId),
}

/// All tasks of a program in lanes: of each its tasks in order, and what it sends, receives and frees between them. It changes
/// the time and the memory that a run takes, and no bit of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    lanes: Vec<Vec<Step>>,
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
    /// These steps on one device, whatever they do: for [`Schedule::check`].
    pub fn from_steps(steps: Vec<Step>) -> Self {
        Self::from_lanes(vec![steps])
    }

    /// The same for several lanes.
    pub fn from_lanes(lanes: Vec<Vec<Step>>) -> Self {
        Self { lanes }
    }

    /// The steps of the first lane in order: of a run on one device, all.
    pub fn steps(&self) -> &[Step] {
        self.lane(LaneId::FIRST)
    }

    /// The steps of a lane in order; none for a lane that there is not.
    pub fn lane(&self, lane: LaneId) -> &[Step] {
        self.lanes.get(lane.0).map_or(&[], Vec::as_slice)
    }

    /// The steps of every lane.
    pub fn lanes(&self) -> &[Vec<Step>] {
        &self.lanes
    }

    /// All steps, lane by lane.
    fn all(&self) -> impl Iterator<Item = (At, &Step)> {
        self.lanes.iter().enumerate().flat_map(|(lane, steps)| {
            let at = move |(step, what)| (At { lane: LaneId(lane), step }, what);
            steps.iter().enumerate().map(at)
        })
    }

    /// The tasks of a lane in order.
    pub fn tasks(&self, lane: LaneId) -> impl Iterator<Item = TaskId> + '_ {
        self.lane(lane).iter().filter_map(|step| match step {
            Step::Run(task) => Some(*task),
            _ => None,
        })
    }

    /// The blocks that are on a lane after this many of its steps.
    pub fn live(&self, program: &Program, lane: LaneId, steps: usize) -> BTreeSet<BlockId> {
        let mut there = BTreeSet::new();
        if lane == LaneId::FIRST {
            there.extend(program.input_blocks());
        }
        for step in self.lane(lane).iter().take(steps) {
            match step {
                Step::Run(task) => there.extend(&program.task(*task).writes),
                Step::Receive { block, .. } => drop(there.insert(*block)),
                Step::Send { .. } => {}
                Step::Free(block) => drop(there.remove(block)),
            }
        }
        there
    }

    /// Every key that the tasks of a lane use, each at the highest level of its use there.
    ///
    /// # Errors
    /// Those that tasks would run into.
    pub fn keys(&self, program: &Program, catalog: &mut Catalog, lane: LaneId) -> Result<KeyRequest> {
        catalog.keys_of(program, self.tasks(lane).map(|id| program.task(id)))
    }

    /// The memory of a run at the place of a lane, known before it. Words on their way between lanes are the host's and stand
    /// beside it.
    ///
    /// # Errors
    /// Those that tasks would run into.
    pub fn memory(&self, program: &Program, catalog: &mut Catalog, lane: LaneId) -> Result<Memory> {
        let keys = self.keys(program, catalog, lane)?;
        Memory::new(&keys, &self.working(program, catalog, lane)?, catalog)
    }

    /// When the last lane ends, in nanoseconds by [`Cost::ns`](crate::Cost::ns) and [`MOVE_BYTE_PS`]: lanes compute without
    /// pause but for blocks that are not there yet, and moves do not hold up each other.
    ///
    /// # Errors
    /// [`Error::Schedule`](crate::Error::Schedule); those that tasks would run into.
    pub fn ns(&self, program: &Program, catalog: &mut Catalog) -> Result<u64> {
        self.check(program)?;
        let (mut next, mut clocks) = (vec![0; self.lanes.len()], vec![0u64; self.lanes.len()]);
        let mut sent = BTreeMap::new();
        // Every pass brings at least one lane further, since none wait in a circle.
        while next.iter().zip(&self.lanes).any(|(next, steps)| *next < steps.len()) {
            for (lane, steps) in self.lanes.iter().enumerate() {
                let clock = &mut clocks[lane];
                while let Some(step) = steps.get(next[lane]) {
                    match *step {
                        Step::Run(id) => {
                            *clock = clock.saturating_add(catalog.cost(program, program.task(id))?.ns);
                        }
                        Step::Send { block, to } => {
                            let way = way_ns(block_bytes(catalog.params(), program.block(block).level));
                            sent.insert((block, to), clock.saturating_add(way));
                        }
                        Step::Receive { block, .. } => match sent.get(&(block, LaneId(lane))) {
                            Some(arrival) => *clock = (*clock).max(*arrival),
                            None => break,
                        },
                        Step::Free(_) => {}
                    }
                    next[lane] += 1;
                }
            }
        }
        Ok(clocks.into_iter().max().unwrap_or(0))
    }

    /// What each stage holds at its peak on a lane.
    ///
    /// # Errors
    /// Those that tasks would run into.
    pub fn working(&self, program: &Program, catalog: &mut Catalog, lane: LaneId) -> Result<Vec<Working>> {
        let bytes = |catalog: &Catalog, id: &BlockId| block_bytes(catalog.params(), program.block(*id).level);
        let mut stages = vec![Working::default(); program.stages().len()];
        let live = self.live(program, lane, 0);
        let mut blocks: u64 = live.iter().map(|id| bytes(catalog, id)).sum();
        for step in self.lane(lane) {
            let (stage, now) = match step {
                Step::Run(id) => {
                    let task = program.task(*id);
                    let now = Working { blocks, task: catalog.cost(program, task)?.totals.peak_bytes };
                    blocks += task.writes.iter().map(|id| bytes(catalog, id)).sum::<u64>();
                    (task.stage, now)
                }
                Step::Receive { block, .. } => {
                    blocks += bytes(catalog, block);
                    let maker = program.block(*block).made_by;
                    (maker.map_or(0, |id| program.task(id).stage), Working { blocks, task: 0 })
                }
                Step::Send { .. } => continue,
                Step::Free(id) => {
                    blocks -= bytes(catalog, id);
                    continue;
                }
            };
            if let Some(most) = stages.get_mut(stage).filter(|most| now.bytes() > most.bytes()) {
                *most = now;
            }
        }
        Ok(stages)
    }
}

/// Words of a block at a level: two polynomials.
pub(crate) fn block_words(params: &Params, level: Level) -> usize {
    2 * params.basis(level).len() * params.n()
}

/// Bytes of a block at a level on a device, and on its way between two.
pub(crate) fn block_bytes(params: &Params, level: Level) -> u64 {
    (block_words(params, level) * size_of::<u64>()) as u64
}
