//! Programs on several devices: the bits of one, the bytes that were predicted, and schedules that cannot run.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{
    Ciphertext, Context, Evaluator, KeyGenerator, KeyRequest, Params, Parcel, Seed, insecure_bootstrap_spec,
};
use aegis_cpu::{Cpu, CpuOptions};
use aegis_hal::Promise;
use aegis_nn::{
    At, BlockId, Catalog, Error, Exchange, Lane, LaneId, MODEL, Network, Place, Plan, Pooling, Program,
    Result, Rows, Schedule, ScheduleFault, Section, Shape, Step, TaskId, Tensor, Transfer, encrypt,
};
use aegis_testing::Numbers;

use crate::model::layers;
use crate::program::{bytes, shuffled};
use crate::support::long;

/// A layer on three token blocks.
struct Setup {
    params: Params,
    network: Network,
    x: Tensor,
    plan: Plan,
    program: Program,
    catalog: Catalog,
}

impl Setup {
    fn new(log_n: u32) -> Self {
        let params = Params::insecure(insecure_bootstrap_spec(log_n)).expect("test parameters");
        let (network, x, _) = layers(&long(params.slots()), 1, Pooling::Mean, 2);
        let mut catalog = Catalog::new(&params).expect("a catalog");
        let plan = Plan::new(&network, &mut catalog).expect("a plan");
        let program = plan.program(&network, &Rows::one(x.rows())).expect("a program");
        Self { params, network, x, plan, program, catalog }
    }

    fn divided(&mut self, lanes: usize) -> Schedule {
        let lanes = NonZeroUsize::new(lanes).expect("lanes");
        let schedule = Schedule::divided(&self.program, &mut self.catalog, lanes).expect("a schedule");
        schedule.check(&self.program).expect("it can run");
        schedule
    }

    /// Any division that there is, in any order: tasks of a random order dealt at random.
    fn dealt(&self, lanes: usize, seed: u64) -> Schedule {
        let (mut orders, mut numbers) = (vec![vec![]; lanes], Numbers::new(seed));
        for task in shuffled(&self.program, seed) {
            let lane = (numbers.vector(1, 0.5)[0] + 0.5) * lanes as f64;
            orders[(lane as usize).min(lanes - 1)].push(task);
        }
        let schedule = Schedule::of_lanes(&self.program, &orders);
        schedule.check(&self.program).expect("it can run");
        schedule
    }

    /// A device of its own with keys for these tasks and no others, and the encrypted input.
    fn place(&self, keys: &KeyRequest) -> (Place, Vec<Ciphertext>) {
        let options = CpuOptions { threads: 1, queue: true, ..CpuOptions::default() };
        let device = Cpu::with_options(self.params.rns().clone(), options).expect("a device");
        let ctx = Context::new(self.params.clone(), Arc::new(device)).expect("a context");
        let keygen = KeyGenerator::new(&ctx, Seed::new([3; 32]));
        let secret = keygen.secret_key();
        let keys = Arc::new(keygen.evaluation_keys(&secret, keys).expect("keys"));
        let bootstrapper = Arc::new(Bootstrapper::new(&ctx, ctx.params().slots()).expect("a bootstrapper"));
        let shape = Shape::one(self.network.layout(), MODEL, self.x.rows());
        let fresh = self.params.fresh_level();
        let x = encrypt(&ctx, &secret, shape, &self.x, fresh, &Seed::new([5; 32])).expect("encrypts");
        (Place { ev: Evaluator::new(&ctx, keys), bootstrapper: Some(bootstrapper) }, x.into_blocks())
    }

    fn on_one_device(&self) -> Vec<u8> {
        let (place, x) = self.place(self.plan.keys());
        let mut lane = Lane::start(&self.program, self.plan.schedule(), x).expect("it starts");
        while lane.step(&place, &mut ()).expect("runs") {}
        bytes(place.ev.context(), &lane.results().expect("a result")[0])
    }

    /// A thread and a device for each lane. The result's bytes, and what each lane received.
    fn on_lanes(&mut self, schedule: &Schedule) -> (Vec<u8>, Received) {
        let lanes = (0..schedule.lanes().len()).map(LaneId);
        let keys = lanes.map(|lane| schedule.keys(&self.program, &mut self.catalog, lane).expect("known"));
        let (keys, hub, this): (Vec<_>, _, _) = (keys.collect(), Hub::default(), &*self);
        let hub = &hub;
        let result = thread::scope(|scope| {
            let lanes = keys.iter().enumerate().map(|(lane, keys)| {
                scope.spawn(move || {
                    let (lane, (place, x)) = (LaneId(lane), this.place(keys));
                    let x = if lane == LaneId::FIRST { x } else { vec![] };
                    let lane = Lane::join(&this.program, schedule, (lane, hub), &this.params, x);
                    let mut lane = lane.expect("it starts");
                    while lane.step(&place, &mut ()).expect("runs") {}
                    place.ev.context().device().sync().expect("nothing failed");
                    lane.results().ok().map(|y| bytes(place.ev.context(), &y[0]))
                })
            });
            let lanes: Vec<_> = lanes.collect();
            lanes.into_iter().map(|lane| lane.join().expect("no panic")).next().flatten()
        });
        (result.expect("the first lane has the result"), hub.received.lock().expect("no panic").clone())
    }
}

type Received = BTreeMap<(LaneId, Section), u64>;

/// A block on its way, and who has to bring it.
type Way = (Option<Promise>, Parcel);

/// Carries blocks within the process.
#[derive(Default)]
struct Hub {
    ways: Mutex<BTreeMap<(BlockId, LaneId), Way>>,
    received: Mutex<Received>,
}

impl Hub {
    fn way<T>(&self, transfer: &Transfer, f: impl FnOnce(&mut Way) -> T) -> T {
        let promise = || {
            let (promise, parcel) = Parcel::promise();
            (Some(promise), parcel)
        };
        let mut ways = self.ways.lock().expect("no panic");
        f(ways.entry((transfer.block, transfer.to)).or_insert_with(promise))
    }
}

impl Exchange for Hub {
    fn send(&self, transfer: &Transfer, words: &Parcel) -> Result<()> {
        let promise = self.way(transfer, |way| way.0.take()).expect("a block is sent once");
        words.then(|words| promise.keep_shared(words));
        Ok(())
    }

    fn receive(&self, transfer: &Transfer) -> Result<Parcel> {
        let parcel = self.way(transfer, |way| way.1.clone());
        let words = parcel.wait().expect("words");
        let mut received = self.received.lock().expect("no panic");
        *received.entry((transfer.to, transfer.section)).or_default() += 8 * words.len() as u64;
        Ok(parcel)
    }

    fn abandon(&self, transfer: &Transfer, _: &Error) {
        self.way(transfer, |way| drop(way.0.take()));
    }
}

/// Blocks, keys and order differ from lane to lane and from run to run; the bits do not, and what moves is what was
/// predicted, section by section.
#[test]
fn any_number_of_lanes_gives_the_same_bits() {
    let mut t = Setup::new(9);
    assert!(t.plan.levels().bootstraps > 0, "there is something to pair");
    let want = t.on_one_device();
    for schedule in [t.divided(2), t.dealt(3, 1), t.divided(4)] {
        let lanes = schedule.lanes().len();
        let predicted = schedule.moved(&t.program, &t.params);
        assert!(!predicted.is_empty());
        let (have, received) = t.on_lanes(&schedule);
        assert!(have == want, "other bits on {lanes} lanes");
        assert_eq!(received, predicted, "{lanes} lanes");
    }
}

/// One lane is the schedule of one device; several hold less each, need fewer keys or the same, and end earlier.
#[test]
fn divided_schedules_are_better_than_one_lane() {
    let mut t = Setup::new(11);
    let alone = t.divided(1);
    assert!(alone == Schedule::deepest_first(&t.program), "another order on one lane");
    let whole = alone.memory(&t.program, &mut t.catalog, LaneId::FIRST).expect("known");
    let ns = |t: &mut Setup, schedule: &Schedule| schedule.ns(&t.program, &mut t.catalog).expect("known");
    let mut before = ns(&mut t, &alone);
    assert_eq!(before, t.plan.bills().iter().map(|bill| bill.ns).sum::<u64>());
    for lanes in 2..=4 {
        let schedule = t.divided(lanes);
        assert!(schedule == t.divided(lanes), "another schedule at another time");
        for lane in (0..lanes).map(LaneId) {
            let memory = schedule.memory(&t.program, &mut t.catalog, lane).expect("known");
            assert!(memory.working <= whole.working, "{lane} of {lanes}: {memory:?}, {whole:?}");
            assert!(memory.keys <= whole.keys, "{lane} of {lanes}: {memory:?}, {whole:?}");
        }
        let after = ns(&mut t, &schedule);
        assert!(after < before, "{lanes} lanes: {after} ns, {before} with one less");
        before = after;
    }
}

#[test]
fn lanes_that_cannot_run_are_refused() {
    let mut t = Setup::new(9);
    let good = t.divided(2);
    let (first, second) = (LaneId(0), LaneId(1));
    let position = |lane: LaneId, wanted: &dyn Fn(&Step) -> bool| {
        good.lane(lane).iter().position(wanted).expect("such a step")
    };
    let refused = |change: &dyn Fn(&mut Vec<Vec<Step>>)| {
        let mut lanes = good.lanes().to_vec();
        change(&mut lanes);
        match Schedule::from_lanes(lanes).check(&t.program) {
            Err(Error::Schedule(fault)) => fault,
            other => panic!("{other:?}"),
        }
    };
    let without = |steps: &mut Vec<Step>, step| {
        steps.remove(step);
    };
    assert_eq!(refused(&|lanes| lanes.clear()), ScheduleFault::NoLanes);
    assert!(matches!(refused(&|lanes| drop(lanes.pop())), ScheduleFault::Unknown { .. }));

    let receive = position(second, &|step| matches!(step, Step::Receive { .. }));
    let Step::Receive { block, from } = good.lane(second)[receive] else { unreachable!() };
    let send = position(first, &|step| *step == Step::Send { block, to: second });
    let no_send = refused(&|lanes| without(&mut lanes[0], send));
    assert_eq!(no_send, ScheduleFault::NoSend { at: At { lane: second, step: receive }, block, from });
    let no_receive = refused(&|lanes| without(&mut lanes[1], receive));
    let at = At { lane: first, step: send };
    assert_eq!(no_receive, ScheduleFault::NoReceive { at, block, to: second });
    let to_itself = refused(&|lanes| lanes[0][send] = Step::Send { block, to: first });
    assert_eq!(to_itself, ScheduleFault::NoReceive { at, block, to: first });
    let again = refused(&|lanes| lanes[0].insert(send, Step::Send { block, to: second }));
    assert_eq!(again, ScheduleFault::MovedAgain { at: At { step: send + 1, ..at }, block });
    let unknown = refused(&|lanes| lanes[0][send] = Step::Send { block: BlockId(usize::MAX), to: second });
    assert_eq!(unknown, ScheduleFault::Unknown { at });

    // What is sent before it is made.
    let made =
        |step: &Step| matches!(step, Step::Send { block, .. } if t.program.block(*block).made_by.is_some());
    let late = position(first, &made);
    let Step::Send { block: unmade, .. } = good.lane(first)[late] else { unreachable!() };
    let too_early = refused(&|lanes| {
        let step = lanes[0].remove(late);
        lanes[0].insert(0, step);
    });
    assert_eq!(too_early, ScheduleFault::NotThere { at: At { lane: first, step: 0 }, block: unmade });

    let runs = |step: &Step| matches!(step, Step::Run(_));
    let there = position(first, &runs);
    let twice = refused(&|lanes| lanes[1].push(good.lane(first)[there]));
    assert!(matches!(twice, ScheduleFault::Again { .. }), "{twice}");
    let freed = good.lane(second).iter().rposition(|step| matches!(step, Step::Free(_))).expect("a step");
    let Step::Free(left) = good.lane(second)[freed] else { unreachable!() };
    let kept = refused(&|lanes| without(&mut lanes[1], freed));
    assert_eq!(kept, ScheduleFault::Kept { lane: second, block: left });

    // The result is made on the second lane and stays there.
    let result = t.program.result_blocks().next().expect("a result");
    let order: Vec<TaskId> = (0..t.program.tasks().len()).map(TaskId).collect();
    let (rest, last) = order.split_at(order.len() - 1);
    let abroad = Schedule::of_lanes(&t.program, &[rest, last]);
    abroad.check(&t.program).expect("it can run");
    let moves = |step: &Step| !matches!(step, Step::Send { block, .. } | Step::Receive { block, .. } if *block == result);
    let stays = abroad.lanes().iter().map(|steps| steps.iter().copied().filter(moves).collect()).collect();
    let fault = Schedule::from_lanes(stays).check(&t.program);
    assert!(
        matches!(fault, Err(Error::Schedule(ScheduleFault::NoResult(block))) if block == result),
        "{fault:?}"
    );
}

/// The second lane begins with what needs, by way of the first lane, what it makes itself afterwards.
#[test]
fn lanes_that_wait_in_a_circle_are_refused() {
    let t = Setup::new(9);
    let order = (0..t.program.tasks().len()).map(TaskId);
    let (early, late) = chain(&t.program);
    let first: Vec<TaskId> = order.filter(|task| ![early, late].contains(task)).collect();
    let circle = Schedule::of_lanes(&t.program, &[first, vec![late, early]]);
    let fault = circle.check(&t.program).expect_err("a circle");
    let Error::Schedule(ScheduleFault::Circle { block, from, .. }) = fault else { panic!("{fault}") };
    assert!(fault_names_a_move(&circle, block, from), "{circle:?}");
}

fn fault_names_a_move(schedule: &Schedule, block: BlockId, from: LaneId) -> bool {
    schedule.lane(from).iter().any(|step| matches!(step, Step::Send { block: sent, .. } if *sent == block))
}

/// Two tasks between which there are others: the second needs what the first makes, but not directly.
fn chain(program: &Program) -> (TaskId, TaskId) {
    let readers = |made: &[BlockId]| -> Vec<TaskId> {
        let reads = |task: &TaskId| program.task(*task).reads.iter().any(|id| made.contains(id));
        (0..program.tasks().len()).map(TaskId).filter(reads).collect()
    };
    let early = TaskId(0);
    let direct = readers(&program.task(early).writes);
    let next = readers(&program.task(direct[0]).writes);
    let late = next.into_iter().find(|task| !direct.contains(task)).expect("a task further on");
    (early, late)
}

/// Steps that move blocks need something that carries them.
#[test]
fn lanes_without_an_exchange_are_refused() {
    let mut t = Setup::new(9);
    let schedule = t.divided(2);
    let (place, x) = t.place(&KeyRequest::new(t.params.n()));
    let mut lane = Lane::start(&t.program, &schedule, x).expect("the blocks are there");
    let refused = lane.step(&place, &mut ()).expect_err("it sends inputs first");
    assert!(matches!(refused, Error::NoExchange(_)), "{refused}");
}
