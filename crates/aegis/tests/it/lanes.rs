//! One program on devices that divide its ciphertexts: the same bits, the bytes that were predicted, and lanes that fail.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::thread;

use aegis::lanes::{Division, Finished, Seat, place, reason};
use aegis::limbs::KeySwitching;
use aegis::{Client, Error, LaneFault, Model, Result};
use aegis_ckks::{
    Ciphertext, Context, EvaluationKeys, KeyGenerator, KeyId, KeyRequest, Params, Seed,
    insecure_bootstrap_spec,
};
use aegis_comm::{Communicator, Local};
use aegis_cpu::{Cpu, CpuOptions};
use aegis_hal::PeerFault;
use aegis_models::{Bert, CALIBRATION_FILE, calibration_file};
use aegis_nn::{Catalog, CtTensor, LaneId, Plan, Program, Rows, Schedule, Section, TaskId};
use aegis_testing::{Numbers, TinyBert};

use crate::limbs::context;

/// Tokens for two token blocks of 32.
const TEXT: &str = "the cat sat on the mat. a dog ran on the road. the dogs sat. the cats ran. \
                    a mat on the road. the cat ran on the mat. a dog sat.";
const TOKENS: usize = 64;

/// A model of two layers, and its result on one device.
struct Setup {
    params: Params,
    model: Model,
    rows: Rows,
    plan: Plan,
    want: Vec<u8>,
}

static SETUP: LazyLock<Setup> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    let params = Params::insecure(insecure_bootstrap_spec(9)).expect("a ring");
    let model = model(dir.path(), params.slots());
    let plan = model.plan(&params).expect("a plan");
    let rows = model.query(TEXT).expect("a query").shape.rows();
    assert!(model.layout().token_blocks() > 1 && plan.levels().bootstraps > 0);
    let mut setup = Setup { params, model, rows, plan, want: vec![] };
    let (ctx, keys, x) = setup.open(CpuOptions::default(), setup.plan.keys());
    let place = place(&ctx, Arc::new(keys)).expect("a place");
    let y = setup.plan.run(setup.model.network(), &place, x, &mut ()).expect("an evaluation");
    setup.want = bytes(&ctx, y.blocks());
    setup
});

fn model(dir: &Path, slots: usize) -> Model {
    TinyBert { positions: TOKENS, ..TinyBert::default() }.write(dir).expect("a writable folder");
    let bert = Bert::load(dir).expect("a model");
    let tokens = bert.tokenize(TEXT).expect("tokens");
    assert!(tokens.len() > TOKENS / 2, "{} tokens", tokens.len());
    let constants = bert.calibrate("test", &[tokens]).expect("constants");
    let file = calibration_file(&constants, bert.identity()).expect("a file");
    std::fs::write(dir.join(CALIBRATION_FILE), file).expect("a writable folder");
    Model::new(Arc::new(bert), slots, TOKENS).expect("a model")
}

fn bytes(ctx: &Context, blocks: &[Ciphertext]) -> Vec<u8> {
    let mut bytes = vec![];
    blocks.iter().for_each(|block| block.write(ctx, &mut bytes).expect("memory takes all"));
    bytes
}

impl Setup {
    /// A device, keys for a request, and the query, from the same seeds on every device.
    fn open(&self, options: CpuOptions, request: &KeyRequest) -> (Context, EvaluationKeys, CtTensor) {
        let device = Cpu::with_options(self.params.rns().clone(), options).expect("a device");
        let ctx = Context::new(self.params.clone(), Arc::new(device)).expect("a context");
        let (keys, x) = self.filled(&ctx, request);
        (ctx, keys, x)
    }

    fn filled(&self, ctx: &Context, request: &KeyRequest) -> (EvaluationKeys, CtTensor) {
        let generator = KeyGenerator::new(ctx, Seed::new([3; 32]));
        let secret = generator.secret_key();
        let keys = generator.evaluation_keys(&secret, request).expect("keys");
        let query = self.model.query(TEXT).expect("a query");
        let client = Client::new(ctx, secret);
        (keys, client.encrypt(&self.model, &query, &Seed::new([4; 32])).expect("a ciphertext"))
    }

    fn program(&self) -> Program {
        self.plan.program(self.model.network(), &self.rows).expect("a program")
    }

    fn divided(&self, lanes: usize) -> Division {
        let lanes = NonZeroUsize::new(lanes).expect("lanes");
        let mut catalog = Catalog::new(&self.params).expect("a catalog");
        Division::new(&self.model, &self.plan, &self.rows, &mut catalog, lanes).expect("a division")
    }

    /// Tasks in a random order, dealt to lanes at random.
    fn dealt(&self, lanes: usize, seed: u64) -> Division {
        let (program, mut numbers) = (self.program(), Numbers::new(seed));
        let mut pick = |of: usize| (((numbers.vector(1, 0.5)[0] + 0.5) * of as f64) as usize).min(of - 1);
        let mut there: Vec<bool> = program.blocks().iter().map(|block| block.made_by.is_none()).collect();
        let mut waiting: Vec<TaskId> = (0..program.tasks().len()).map(TaskId).collect();
        let mut orders = vec![vec![]; lanes];
        while !waiting.is_empty() {
            let is_ready = |at: &usize| program.task(waiting[*at]).reads.iter().all(|id| there[id.0]);
            let ready: Vec<usize> = (0..waiting.len()).filter(is_ready).collect();
            let task = waiting.remove(ready[pick(ready.len())]);
            program.task(task).writes.iter().for_each(|id| there[id.0] = true);
            orders[pick(lanes)].push(task);
        }
        let schedule = Schedule::of_lanes(&program, &orders);
        let mut catalog = Catalog::new(&self.params).expect("a catalog");
        let with = (program, &self.rows);
        Division::with_schedule(&self.model, with, &mut catalog, schedule).expect("a division")
    }

    /// A lane on a device of its own, with keys for its tasks and no others, and the query on that device.
    fn seat(&self, division: &Division, comm: Local, limit: Option<u64>) -> (Seat, CtTensor) {
        let (lane, ranks) = (LaneId(comm.local()[0]), (0..comm.ranks()).collect());
        let options = CpuOptions { threads: 1, queue: true, memory_limit: limit, ..CpuOptions::default() };
        let (ctx, keys, x) = self.open(options, division.request(lane));
        (Seat { lane, place: place(&ctx, Arc::new(keys)).expect("a place"), comm: Arc::new(comm), ranks }, x)
    }

    /// All lanes in one call.
    fn run(&self, division: &Division, limit: impl Fn(LaneId) -> Option<u64>) -> Result<(Vec<u8>, Finished)> {
        let comms = Local::split(division.schedule().lanes().len());
        let seats = comms.into_iter().map(|comm| {
            let limit = limit(LaneId(comm.local()[0]));
            self.seat(division, comm, limit)
        });
        let (seats, mut inputs): (Vec<Seat>, Vec<CtTensor>) = seats.unzip();
        let ctx = seats[0].place.ev.context().clone();
        let finished = division.run(seats, Some(inputs.remove(0)), &mut ())?;
        let result = finished.result.as_ref().expect("the first lane ran here");
        Ok((bytes(&ctx, result.blocks()), finished))
    }

    /// Two lanes in two calls that know nothing of each other, as in two processes: how each fails.
    fn apart(&self, divisions: [&Division; 2], limits: [Option<u64>; 2]) -> [Error; 2] {
        let ends = thread::scope(|scope| {
            let calls =
                Local::split(2).into_iter().zip(divisions).zip(limits).map(|((comm, division), limit)| {
                    scope.spawn(move || {
                        let (seat, x) = self.seat(division, comm, limit);
                        let x = Some(x).filter(|_| seat.lane == LaneId::FIRST);
                        division.run(vec![seat], x, &mut ()).map(drop).expect_err("it fails")
                    })
                });
            let calls: Vec<_> = calls.collect();
            calls.into_iter().map(|call| call.join().expect("no panic")).collect::<Vec<_>>()
        });
        ends.try_into().expect("two lanes")
    }
}

fn device_error(error: &Error) -> &aegis_hal::Error {
    match error {
        Error::Ckks(aegis_ckks::Error::Device(e))
        | Error::Evaluation(aegis_nn::Error::Ckks(aegis_ckks::Error::Device(e)))
        | Error::Evaluation(aegis_nn::Error::Circuits(aegis_circuits::Error::Ckks(
            aegis_ckks::Error::Device(e),
        ))) => e,
        other => panic!("{other}"),
    }
}

/// A model of two layers in two token blocks, with bootstraps: on any number of lanes, and with tasks dealt at random in a
/// random order, the bits are those of one device. What each lane receives is what was predicted, section by section.
#[test]
fn a_model_has_the_same_bits_in_any_lanes() {
    let t = &*SETUP;
    for division in [t.divided(1), t.divided(2), t.dealt(3, 7), t.divided(4)] {
        let lanes = division.schedule().lanes().len();
        let (have, finished) = t.run(&division, |_| None).expect("an evaluation");
        assert!(have == t.want, "other bits on {lanes} lanes");
        let moved = division.moved();
        assert_eq!(moved.is_empty(), lanes == 1);
        for lane in (0..lanes).map(LaneId) {
            for section in [Section::Attention, Section::FeedForward, Section::Bootstrap, Section::Other] {
                let have = finished.traffic[&lane].bytes_of(reason(section));
                let want = moved.get(&(lane, section)).copied().unwrap_or(0);
                assert_eq!(have, want, "{lane} of {lanes}, {section:?}");
            }
        }
    }
}

/// Two lanes, each of two devices that share the limbs of its ciphertexts.
#[test]
fn lanes_may_be_devices_that_share_limbs() {
    let (t, division) = (&*SETUP, SETUP.divided(2));
    let mut inputs = vec![];
    let seats = Local::split(2).into_iter().map(|comm| {
        let lane = LaneId(comm.local()[0]);
        let ctx = context(&t.params, Arc::new(Local::new(2)), KeySwitching::InputBroadcast);
        let (keys, x) = t.filled(&ctx, division.request(lane));
        inputs.push(x);
        let place = place(&ctx, Arc::new(keys)).expect("a place");
        Seat { lane, place, comm: Arc::new(comm), ranks: vec![0, 1] }
    });
    let seats: Vec<Seat> = seats.collect();
    let ctx = seats[0].place.ev.context().clone();
    let finished = division.run(seats, Some(inputs.remove(0)), &mut ()).expect("an evaluation");
    let result = finished.result.expect("the first lane ran here");
    assert!(bytes(&ctx, result.blocks()) == t.want, "other bits on two lanes of two devices");
}

/// What a lane holds, which leaves it no room for its work.
fn too_little(division: &Division, lane: LaneId) -> Option<u64> {
    let memory = division.memory(lane);
    Some(memory.keys + memory.matrices + memory.working / 2)
}

/// The cause comes from the lane that met it; who waits for it hears of it, and nobody hangs.
#[test]
fn a_lane_whose_device_fails_tells_why() {
    let t = &*SETUP;
    let division = t.divided(2);
    let starved = |lane: LaneId| too_little(&division, lane).filter(|_| lane == LaneId(1));
    let error = t.run(&division, starved).map(|_| ()).expect_err("no memory");
    assert!(matches!(device_error(&error), aegis_hal::Error::OutOfMemory { .. }), "{error}");

    let [first, second] = t.apart([&division; 2], [None, starved(LaneId(1))]);
    assert!(matches!(device_error(&second), aegis_hal::Error::OutOfMemory { .. }), "{second}");
    let aegis_hal::Error::Peer { rank: 1, fault: PeerFault::Failed { cause } } = device_error(&first) else {
        panic!("{first}")
    };
    assert!(cause.contains("out of device memory"), "{cause}");
}

#[test]
fn ranks_with_other_programs_are_refused_by_name() {
    let t = &*SETUP;
    let ends = t.apart([&t.divided(2), &t.dealt(2, 7)], [None; 2]);
    for error in ends {
        let aegis_hal::Error::Peer { rank: 1, fault: PeerFault::Disagrees { what } } = device_error(&error)
        else {
            panic!("{error}")
        };
        assert_eq!(*what, "a plan");
    }
}

/// What cannot run is refused before anything is sent.
#[test]
fn seats_that_do_not_fit_are_refused() {
    let t = &*SETUP;
    let division = t.divided(2);
    let seat = || {
        let comm = Local::split(2).remove(0);
        t.seat(&division, comm, None)
    };
    let refused = |change: &dyn Fn(&mut Seat), input: bool| {
        let (mut seat, x) = seat();
        change(&mut seat);
        let x = Some(x).filter(|_| input);
        division.run(vec![seat], x, &mut ()).map(drop).expect_err("refused")
    };
    let fault = |error: Error| match error {
        Error::Lanes(fault) => fault,
        other => panic!("{other}"),
    };
    let none = division.run(vec![], None, &mut ()).map(drop).expect_err("refused");
    assert_eq!(fault(none), LaneFault::Seats { have: vec![], lanes: 2 });
    let unknown = fault(refused(&|seat| seat.lane = LaneId(2), false));
    assert_eq!(unknown, LaneFault::Seats { have: vec![LaneId(2)], lanes: 2 });
    assert_eq!(fault(refused(&|_| {}, false)), LaneFault::Input);
    let ranks = fault(refused(&|seat| seat.ranks.truncate(1), true));
    assert_eq!(ranks, LaneFault::Ranks { lane: LaneId(0), have: 1, lanes: 2 });
    let no_bootstrapper = refused(&|seat| seat.place.bootstrapper = None, true);
    assert!(matches!(no_bootstrapper, Error::Evaluation(aegis_nn::Error::NoBootstrapper)));
    let foreign = refused(
        &|seat| {
            let ctx = seat.place.ev.context().clone();
            let keys = EvaluationKeys::shapes(&ctx, t.plan.keys(), KeyId([9; 16])).expect("keys of shapes");
            seat.place = place(&ctx, Arc::new(keys)).expect("a place");
        },
        true,
    );
    assert!(matches!(foreign, Error::ForeignKeys { .. }), "{foreign}");
}
