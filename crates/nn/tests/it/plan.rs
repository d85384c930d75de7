//! Orders of tasks and what they take.

use aegis_ckks::{Params, insecure_bootstrap_spec};
use aegis_nn::{Catalog, LaneId, Plan, Pooling, Rows, Schedule, Tensor, encoder};
use aegis_testing::Numbers;

use crate::support::{Matrices, long, narrow, wide};
use crate::tiny;

/// Every order is one of the program, and the plan takes the smaller one.
#[test]
fn a_plan_takes_the_order_of_less_memory() {
    let params = Params::insecure(insecure_bootstrap_spec(11)).expect("test parameters");
    for layout in [narrow(params.slots()), wide(params.slots()), long(params.slots())] {
        let weights = tiny::weights(&layout, 2, 5);
        let x: Tensor = Numbers::new(77).tensor(layout.tokens() * 11 / 16, layout.width(), 1.7);
        let (_, constants) = tiny::exact(&layout, &weights, &x);
        let network = encoder(&layout, &weights, &constants, Pooling::Mean).expect("a network");
        let mut catalog = Catalog::new(&params).expect("a catalog");
        let plan = Plan::new(&network, &mut catalog).expect("a plan");
        let program = plan.program(&network, &Rows::one(layout.tokens())).expect("a program");
        for order in [Schedule::deepest_first(&program), Schedule::on_demand(&program)] {
            order.check(&program).expect("an order of all tasks");
            let steps = order.steps().iter().filter(|step| matches!(step, aegis_nn::Step::Run(_)));
            assert_eq!(steps.count(), program.tasks().len());
            let memory = order.memory(&program, &mut catalog, LaneId::FIRST).expect("known");
            assert!(plan.memory().working <= memory.working, "{:?}, {memory:?}", plan.memory());
        }
        let bills: u64 = plan.bills().iter().map(|bill| bill.tasks).sum();
        assert_eq!(bills, program.tasks().len() as u64);
        let most = plan.working().iter().map(|stage| stage.bytes()).max();
        assert_eq!(most, Some(plan.memory().working));
    }
}
