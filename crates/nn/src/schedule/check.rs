//! Whether a schedule can run a program.

use std::collections::{BTreeMap, BTreeSet};

use super::{LaneId, Schedule, Step};
use crate::program::{BlockId, Program, Task, TaskId};
use crate::{Error, Result};

/// A step of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The lane.
    pub lane: LaneId,
    /// Its step.
    pub step: usize,
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "step {} of {}", self.step, self.lane)
    }
}

/// Why a [`Schedule`] cannot run a program: see [`Error::Schedule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleFault {
    /// A schedule of no lanes: there is nowhere for inputs to arrive.
    #[error("it has no lanes")]
    NoLanes,
    /// A task or block that the program does not have, or a lane that the schedule does not have.
    #[error("{at} names what the program or the schedule does not have")]
    Unknown {
        /// The step.
        at: At,
    },
    /// A task reads a block, or a lane sends one, that is not on the lane: not made or received yet, or freed before.
    #[error("{at} uses block {}, which is not there", block.0)]
    NotThere {
        /// The step.
        at: At,
        /// The block.
        block: BlockId,
    },
    /// A task runs a second time, on whatever lane.
    #[error("{at} runs task {} again", task.0)]
    Again {
        /// The step.
        at: At,
        /// The task.
        task: TaskId,
    },
    /// A block is freed that is not there, or is part of the result and where that has to be.
    #[error("{at} frees block {}, which is not there to be freed", block.0)]
    Freed {
        /// The step.
        at: At,
        /// The block.
        block: BlockId,
    },
    /// A block is sent to a lane that never receives it, or to the lane itself.
    #[error("{at} sends block {}, which {to} never receives", block.0)]
    NoReceive {
        /// The step.
        at: At,
        /// The block.
        block: BlockId,
        /// Where it is sent.
        to: LaneId,
    },
    /// A lane waits for a block that is never sent to it.
    #[error("{at} receives block {}, which {from} never sends", block.0)]
    NoSend {
        /// The step.
        at: At,
        /// The block.
        block: BlockId,
        /// Where it should come from.
        from: LaneId,
    },
    /// A block is sent to a lane, or received from one, a second time.
    #[error("{at} moves block {} a second time", block.0)]
    MovedAgain {
        /// The step.
        at: At,
        /// The block.
        block: BlockId,
    },
    /// Lanes wait for each other: each for a block that another sends only after what it waits for itself.
    #[error("lanes wait for each other in a circle: {at} waits for block {} of {from}", block.0)]
    Circle {
        /// The first step that waits.
        at: At,
        /// The block that it waits for.
        block: BlockId,
        /// The lane that it waits for.
        from: LaneId,
    },
    /// A block of the result is never made, or not brought to the first lane.
    #[error("block {} of the result is never made, or not brought to the first lane", .0.0)]
    NoResult(BlockId),
    /// A block stays that nothing reads.
    #[error("block {} is never freed on {lane}", block.0)]
    Kept {
        /// The lane.
        lane: LaneId,
        /// The block.
        block: BlockId,
    },
}

type Checked<T = ()> = std::result::Result<T, ScheduleFault>;

impl Schedule {
    /// Fails unless every block is made once, read where and while it is there, sent once to each lane that receives it and to
    /// no other, and freed on each lane, but for the result, which is on the first lane at the end; and unless the lanes,
    /// each in its order, all come to their ends.
    ///
    /// # Errors
    /// [`Error::Schedule`].
    pub fn check(&self, program: &Program) -> Result<()> {
        Simulation::new(self, program).run().map_err(Error::Schedule)
    }
}

/// A move of a block: from a lane to a lane.
type Route = (BlockId, LaneId, LaneId);

/// All lanes, each as far as it can go.
struct Simulation<'a> {
    schedule: &'a Schedule,
    program: &'a Program,
    results: BTreeSet<BlockId>,
    /// Of each lane the next step, and the blocks that are there.
    next: Vec<usize>,
    there: Vec<BTreeSet<BlockId>>,
    done: BTreeSet<TaskId>,
    on_their_way: BTreeSet<Route>,
}

impl<'a> Simulation<'a> {
    fn new(schedule: &'a Schedule, program: &'a Program) -> Self {
        let lanes = schedule.lanes().len();
        let mut there = vec![BTreeSet::new(); lanes];
        if let Some(first) = there.first_mut() {
            first.extend(program.input_blocks());
        }
        let results = program.result_blocks().collect();
        let (done, on_their_way) = (BTreeSet::new(), BTreeSet::new());
        Self { schedule, program, results, next: vec![0; lanes], there, done, on_their_way }
    }

    fn run(mut self) -> Checked {
        if self.there.is_empty() {
            return Err(ScheduleFault::NoLanes);
        }
        self.check_moves()?;
        let lanes = (0..self.there.len()).map(LaneId);
        let mut goes_on = true;
        while goes_on {
            goes_on = false;
            for lane in lanes.clone() {
                while self.step(lane)? {
                    goes_on = true;
                }
            }
        }
        for lane in lanes.clone() {
            let step = self.next[lane.0];
            if let Some(&Step::Receive { block, from }) = self.schedule.lane(lane).get(step) {
                return Err(ScheduleFault::Circle { at: At { lane, step }, block, from });
            }
        }
        if let Some(&block) = self.results.difference(&self.there[0]).next() {
            return Err(ScheduleFault::NoResult(block));
        }
        for lane in lanes {
            let mut kept = self.there[lane.0].iter();
            if let Some(&block) = kept.find(|id| !self.is_result(lane, **id)) {
                return Err(ScheduleFault::Kept { lane, block });
            }
        }
        Ok(())
    }

    /// What is sent is received, what is received is sent, each once.
    fn check_moves(&self) -> Checked {
        let (mut sent, mut received) = (BTreeMap::new(), BTreeMap::new());
        for (at, step) in self.schedule.all() {
            let (route, moves) = match *step {
                Step::Send { block, to } => ((block, at.lane, to), &mut sent),
                Step::Receive { block, from } => ((block, from, at.lane), &mut received),
                Step::Run(_) | Step::Free(_) => continue,
            };
            let (block, from, to) = route;
            let lanes = self.there.len();
            if block.0 >= self.program.blocks().len() || from.0 >= lanes || to.0 >= lanes {
                return Err(ScheduleFault::Unknown { at });
            }
            if moves.insert(route, at).is_some() {
                return Err(ScheduleFault::MovedAgain { at, block });
            }
        }
        let lonely = |route: &&Route| route.1 == route.2;
        if let Some(route) = sent.keys().find(|route| lonely(route) || !received.contains_key(*route)) {
            return Err(ScheduleFault::NoReceive { at: sent[route], block: route.0, to: route.2 });
        }
        match received.keys().find(|route| !sent.contains_key(*route)) {
            Some(route) => Err(ScheduleFault::NoSend { at: received[route], block: route.0, from: route.1 }),
            None => Ok(()),
        }
    }

    fn is_result(&self, lane: LaneId, block: BlockId) -> bool {
        lane == LaneId::FIRST && self.results.contains(&block)
    }

    /// The next step of a lane. False where it waits, or is at its end.
    fn step(&mut self, lane: LaneId) -> Checked<bool> {
        let at = At { lane, step: self.next[lane.0] };
        let Some(step) = self.schedule.lane(lane).get(at.step) else { return Ok(false) };
        let there = &mut self.there[lane.0];
        match *step {
            Step::Run(task) => {
                let Some(Task { reads, writes, .. }) = self.program.tasks().get(task.0) else {
                    return Err(ScheduleFault::Unknown { at });
                };
                if !self.done.insert(task) {
                    return Err(ScheduleFault::Again { at, task });
                }
                if let Some(&block) = reads.iter().find(|id| !there.contains(id)) {
                    return Err(ScheduleFault::NotThere { at, block });
                }
                there.extend(writes);
            }
            Step::Send { block, to } => {
                if !there.contains(&block) {
                    return Err(ScheduleFault::NotThere { at, block });
                }
                self.on_their_way.insert((block, lane, to));
            }
            Step::Receive { block, from } => {
                if !self.on_their_way.remove(&(block, from, lane)) {
                    return Ok(false);
                }
                if !there.insert(block) {
                    return Err(ScheduleFault::MovedAgain { at, block });
                }
            }
            Step::Free(block) if block.0 >= self.program.blocks().len() => {
                return Err(ScheduleFault::Unknown { at });
            }
            Step::Free(block) => {
                if self.is_result(lane, block) || !self.there[lane.0].remove(&block) {
                    return Err(ScheduleFault::Freed { at, block });
                }
            }
        }
        self.next[lane.0] += 1;
        Ok(true)
    }
}
