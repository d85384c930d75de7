//! Programs and schedules: any order gives the same bits, and what cannot run is refused before it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{Context, Evaluator, KeyGenerator, Params, Seed, insecure_bootstrap_spec};
use aegis_cpu::{Cpu, CpuOptions, Isa};
use aegis_nn::{
    At, BlockId, Catalog, CtTensor, Error, ErrorKind, Lane, LaneId, MODEL, Place, Plan, Pooling, Program,
    Rows, Schedule, ScheduleFault, Shape, Step, TaskId, encrypt,
};
use aegis_testing::Numbers;

use crate::model::layers;
use crate::support::long;

pub(crate) fn bytes(ctx: &Context, x: &CtTensor) -> Vec<u8> {
    let mut bytes = vec![];
    x.blocks().iter().for_each(|block| block.write(ctx, &mut bytes).expect("memory takes all"));
    bytes
}

/// An order in which every task comes after those that it needs, otherwise at random.
pub(crate) fn shuffled(program: &Program, seed: u64) -> Vec<TaskId> {
    let mut there: BTreeSet<BlockId> = program.input_blocks().collect();
    let mut waiting: Vec<TaskId> = (0..program.tasks().len()).map(TaskId).collect();
    let mut numbers = Numbers::new(seed);
    let mut order = vec![];
    while !waiting.is_empty() {
        let ready = |at: &usize| program.task(waiting[*at]).reads.iter().all(|id| there.contains(id));
        let ready: Vec<usize> = (0..waiting.len()).filter(ready).collect();
        let pick = (numbers.vector(1, 0.5)[0] + 0.5) * ready.len() as f64;
        let task = waiting.remove(ready[(pick as usize).min(ready.len() - 1)]);
        there.extend(&program.task(task).writes);
        order.push(task);
    }
    order
}

/// Three token blocks with bootstraps in pairs that cross them. Every path of the device, one thread and two.
#[test]
fn any_order_of_the_tasks_gives_the_same_bits() {
    let params = Params::insecure(insecure_bootstrap_spec(10)).expect("test parameters");
    let layout = long(params.slots());
    let (network, x, _) = layers(&layout, 1, Pooling::Mean, 2);
    let plan = Plan::new(&network, &mut Catalog::new(&params).expect("a catalog")).expect("a plan");
    assert!(plan.levels().bootstraps > 0, "there is something to pair");
    let program = plan.program(&network, &Rows::one(x.rows())).expect("a program");
    let run = |options: CpuOptions, schedule: &Schedule| {
        let device = Cpu::with_options(params.rns().clone(), options).expect("a device");
        let ctx = Context::new(params.clone(), Arc::new(device)).expect("a context");
        let keygen = KeyGenerator::new(&ctx, Seed::new([3; 32]));
        let secret = keygen.secret_key();
        let keys = Arc::new(keygen.evaluation_keys(&secret, plan.keys()).expect("keys"));
        let bootstrapper = Arc::new(Bootstrapper::new(&ctx, ctx.params().slots()).expect("a bootstrapper"));
        let place = Place { ev: Evaluator::new(&ctx, keys), bootstrapper: Some(bootstrapper) };
        let (shape, fresh) = (Shape::one(&layout, MODEL, x.rows()), params.fresh_level());
        let x = encrypt(&ctx, &secret, shape, &x, fresh, &Seed::new([5; 32])).expect("encrypts");
        schedule.check(&program).expect("it can run");
        let mut lane = Lane::start(&program, schedule, x.into_blocks()).expect("it starts");
        while lane.step(&place, &mut ()).expect("runs") {}
        bytes(&ctx, &lane.results().expect("a result")[0])
    };
    let want = run(CpuOptions::default(), plan.schedule());
    let in_order: Vec<TaskId> = (0..program.tasks().len()).map(TaskId).collect();

    let orders = [in_order, shuffled(&program, 1), shuffled(&program, 2)];
    for (i, (isa, order)) in Isa::available().into_iter().zip(orders).enumerate() {
        let options = CpuOptions { threads: 1 + i % 2, isa: Some(isa), ..CpuOptions::default() };
        assert!(run(options, &Schedule::in_order(&program, &order)) == want, "other bits with {isa:?}");
    }
}

fn a_program() -> (Program, Schedule) {
    let params = Params::insecure(insecure_bootstrap_spec(10)).expect("test parameters");
    let layout = long(params.slots());
    let (network, _, _) = layers(&layout, 1, Pooling::Mean, 2);
    let plan = Plan::new(&network, &mut Catalog::new(&params).expect("a catalog")).expect("a plan");
    let program = plan.program(&network, &Rows::one(layout.tokens())).expect("a program");
    let schedule = plan.schedule().clone();
    (program, schedule)
}

#[test]
fn schedules_that_cannot_run_are_refused() {
    let (program, good) = a_program();
    good.check(&program).expect("it can run");
    let steps = good.steps();
    let free = steps.iter().position(|step| matches!(step, Step::Free(_))).expect("something is freed");
    let Step::Free(block) = steps[free] else { unreachable!() };
    let runs = |step: &Step| matches!(step, Step::Run(id) if program.task(*id).reads.contains(&block));
    let last_reader = steps.iter().rposition(runs).expect("something reads it");

    let at = |step| At { lane: LaneId::FIRST, step };
    let refused = |change: &dyn Fn(&mut Vec<Step>)| {
        let mut steps = steps.to_vec();
        change(&mut steps);
        let error = Schedule::from_steps(steps).check(&program).expect_err("it cannot run");
        assert_eq!(error.kind(), ErrorKind::Bug);
        let Error::Schedule(fault) = error else { panic!("{error}") };
        fault
    };
    let too_early = refused(&|steps| {
        steps.remove(free);
        steps.insert(last_reader, Step::Free(block));
    });
    assert_eq!(too_early, ScheduleFault::NotThere { at: at(last_reader + 1), block });
    let never_made = refused(&|steps| {
        steps.remove(0);
    });
    assert!(
        matches!(never_made, ScheduleFault::NotThere { .. } | ScheduleFault::Freed { .. }),
        "{never_made}"
    );
    let twice = refused(&|steps| steps.insert(free, steps[0]));
    assert!(matches!(twice, ScheduleFault::Again { .. }), "{twice}");
    let freed_twice = refused(&|steps| steps.insert(free, Step::Free(block)));
    assert_eq!(freed_twice, ScheduleFault::Freed { at: at(free + 1), block });
    let kept = refused(&|steps| {
        steps.remove(free);
    });
    assert_eq!(kept, ScheduleFault::Kept { lane: LaneId::FIRST, block });
    let result = program.result_blocks().next().expect("a result");
    let result_freed = refused(&|steps| steps.push(Step::Free(result)));
    assert_eq!(result_freed, ScheduleFault::Freed { at: at(steps.len()), block: result });
    let unfinished = refused(&|steps| {
        let last = steps.iter().rposition(|step| matches!(step, Step::Run(_))).expect("a task");
        steps.truncate(last);
    });
    assert!(matches!(unfinished, ScheduleFault::NoResult(_)), "{unfinished}");
    for unknown in [Step::Run(TaskId(usize::MAX)), Step::Free(BlockId(usize::MAX))] {
        assert_eq!(refused(&|steps| steps.insert(0, unknown)), ScheduleFault::Unknown { at: at(0) });
    }
}

/// What a run is resumed with must be the blocks that were there.
#[test]
fn runs_with_other_blocks_are_refused() {
    let (program, schedule) = a_program();
    let refused = Lane::start(&program, &schedule, vec![]).map(drop);
    assert!(matches!(refused, Err(Error::Blocks { have: 0, want: 3 })), "{refused:?}");
    let refused = Lane::resume(&program, &schedule, 7, BTreeMap::new()).map(drop);
    assert!(matches!(refused, Err(Error::Blocks { have: 0, .. })), "{refused:?}");
}
