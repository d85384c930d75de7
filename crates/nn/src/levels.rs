//! Where to bootstrap, and at which level each layer runs: exact dynamic programming.
//!
//! A computation is a sequence of operations over values. A value has a level; an operation that runs at level `e`
//! needs each of its inputs at `e + depth` and gives each output at `e + above`. Between operations any live values can
//! be bootstrapped, from the base level or higher, to the fresh level; two real ciphertexts, whatever their bounds, share
//! one bootstrap. The plan found costs the least ([`Costs`]): an operation has a cost of its own at each level. (One
//! more bootstrap is well spent where it lets a large matrix run ten levels lower.)
//!
//! The program walks through the operations with every undominated assignment of levels to the live values. It is
//! exact: its [`Levels`] are compared with exhaustive search in the tests.

use std::collections::BTreeMap;

use aegis_ckks::{Level, Params};

use crate::{Error, Result};

/// A value of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub usize);

/// Ciphertexts that live and are bootstrapped together.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// For people.
    pub name: String,
    /// Number of ciphertexts, each with a real message.
    pub ciphertexts: u32,
    /// Largest magnitude in a slot: the error of a bootstrap is relative to it. Infinite where the value
    /// must not be bootstrapped.
    pub bound: f64,
}

/// An operation of a [`Graph`].
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// For people.
    pub name: String,
    /// What it reads, and how far above its own level each must be.
    pub inputs: Vec<(ValueId, u32)>,
    /// What it makes, and how far above its own level each will be.
    pub outputs: Vec<(ValueId, u32)>,
}

impl Op {
    /// Levels from the highest input to its own.
    pub fn depth(&self) -> u32 {
        self.inputs.iter().map(|i| i.1).max().unwrap_or(0)
    }
}

/// Operations in the order of execution, and the values between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    values: Vec<Value>,
    ops: Vec<Op>,
    inputs: Vec<ValueId>,
    results: Vec<ValueId>,
}

impl Graph {
    /// A graph without operations.
    pub fn new() -> Self {
        Self::default()
    }

    fn value(&mut self, name: &str, ciphertexts: usize, bound: f64) -> ValueId {
        self.values.push(Value { name: name.into(), ciphertexts: ciphertexts as u32, bound });
        ValueId(self.values.len() - 1)
    }

    /// Adds a value that exists, fresh, before the first operation.
    pub fn input(&mut self, name: &str, ciphertexts: usize, bound: f64) -> ValueId {
        let id = self.value(name, ciphertexts, bound);
        self.inputs.push(id);
        id
    }

    /// Adds an operation with outputs `(name, ciphertexts, bound, above)`.
    pub fn op(
        &mut self,
        name: &str,
        inputs: &[(ValueId, u32)],
        outputs: &[(&str, usize, f64, u32)],
    ) -> Vec<ValueId> {
        let made: Vec<(ValueId, u32)> = outputs.iter().map(|o| (self.value(o.0, o.1, o.2), o.3)).collect();
        self.ops.push(Op { name: name.into(), inputs: inputs.to_vec(), outputs: made.clone() });
        made.into_iter().map(|o| o.0).collect()
    }

    /// Says that a value is wanted after the last operation.
    pub fn result(&mut self, value: ValueId) {
        self.results.push(value);
    }

    /// The operations in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// All values.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// One value.
    pub fn get(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// Values that exist before the first operation.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Values wanted after the last operation.
    pub fn results(&self) -> &[ValueId] {
        &self.results
    }

    /// For each value the index of the last operation that reads it, or `None` where it is a result.
    fn last_uses(&self) -> Vec<Option<usize>> {
        let mut last = vec![Some(0); self.values.len()];
        for (s, op) in self.ops.iter().enumerate() {
            op.inputs.iter().for_each(|(v, _)| last[v.0] = Some(s));
        }
        self.results.iter().for_each(|v| last[v.0] = None);
        last
    }

    /// Ciphertexts of these values.
    pub fn ciphertexts(&self, values: &[ValueId]) -> u64 {
        values.iter().map(|v| u64::from(self.get(*v).ciphertexts)).sum()
    }

    /// Bootstraps that refresh all these values at once: two ciphertexts each.
    pub fn bootstraps(&self, values: &[ValueId]) -> u64 {
        self.ciphertexts(values).div_ceil(2)
    }
}

/// The levels that bootstrapping leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Level of inputs and of what was bootstrapped.
    pub fresh: Level,
    /// Lowest level at which a ciphertext can be bootstrapped, or `None` when it never can.
    pub base: Option<Level>,
}

impl Range {
    /// The range of a parameter set.
    pub fn of(params: &Params) -> Self {
        Self { fresh: params.fresh_level(), base: params.bootstrap().map(|_| params.base_level()) }
    }
}

/// What everything costs, in nanoseconds of one machine: what levels are chosen by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Costs {
    /// For each operation its cost at the levels 0, 1, ...; it cannot run above the last.
    pub ops_ns: Vec<Vec<u64>>,
    /// A bootstrap of two ciphertexts.
    pub pair_ns: u64,
    /// A bootstrap of one ciphertext, which saves half of EvalMod.
    pub single_ns: u64,
}

impl Costs {
    /// Bootstraps of this many ciphertexts, two at a time.
    pub fn bootstraps_ns(&self, ciphertexts: u64) -> u64 {
        ciphertexts / 2 * self.pair_ns + ciphertexts % 2 * self.single_ns
    }

    /// An operation at a level, or `None` where it cannot run.
    fn op_ns(&self, op: usize, level: u32) -> Option<u64> {
        self.ops_ns.get(op)?.get(level as usize).copied()
    }
}

/// What happens at one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Values to bootstrap just before.
    pub bootstraps: Vec<ValueId>,
    /// Their cost.
    pub bootstraps_ns: u64,
    /// The operation's level: each input is brought down to it plus its depth.
    pub level: Level,
    /// The operation's cost.
    pub op_ns: u64,
}

/// When to bootstrap what, and the level of each operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// One for each operation.
    pub steps: Vec<Step>,
    /// Number of bootstraps, of one or two ciphertexts each.
    pub bootstraps: u64,
    /// Cost of bootstraps and operations.
    pub cost_ns: u64,
}

/// A way to reach the state before an operation.
struct Reached {
    cost: u64,
    /// The state before, and what was done.
    from: Option<(usize, Step)>,
}

/// Levels of the live values, in the order of [`Search::live`], and how they were reached.
type Front = Vec<(Vec<u32>, usize)>;

struct Search<'a> {
    graph: &'a Graph,
    range: Range,
    costs: &'a Costs,
    last: Vec<Option<usize>>,
    arena: Vec<Reached>,
    live: Vec<ValueId>,
}

impl Levels {
    /// The levels of least cost.
    ///
    /// Fails with [`Error::Placement`] when some operation cannot be reached.
    pub fn cheapest(graph: &Graph, range: Range, costs: &Costs) -> Result<Self> {
        let (last, live) = (graph.last_uses(), graph.inputs.clone());
        let mut search = Search { graph, range, costs, last, arena: vec![], live };
        search.arena.push(Reached { cost: 0, from: None });
        let mut front: Front = vec![(vec![range.fresh.0; search.live.len()], 0)];
        for (s, op) in graph.ops.iter().enumerate() {
            front = search.advance(s, &front);
            if front.is_empty() {
                let have = range.fresh.above(range.base.unwrap_or(Level::BASE));
                return Err(Error::Placement { stage: op.name.clone(), need: op.depth(), have });
            }
        }
        // The front is never empty: that of no operations is the start.
        let best = front.iter().map(|f| f.1).min_by_key(|&id| search.arena[id].cost).unwrap_or(0);
        let (mut steps, mut id) = (vec![], best);
        while let Some((before, step)) = &search.arena[id].from {
            steps.push(step.clone());
            id = *before;
        }
        steps.reverse();
        let bootstraps = steps.iter().map(|s| graph.bootstraps(&s.bootstraps)).sum();
        Ok(Self { steps, bootstraps, cost_ns: search.arena[best].cost })
    }
}

impl Search<'_> {
    /// All undominated states after operation `s`.
    fn advance(&mut self, s: usize, front: &Front) -> Front {
        let op = &self.graph.ops[s];
        let mut after = self.live.clone();
        after.retain(|v| self.last[v.0].is_none_or(|l| l > s));
        let kept: Vec<usize> = after.iter().filter_map(|v| self.live.iter().position(|l| l == v)).collect();
        after.extend(op.outputs.iter().map(|o| o.0));
        let reads: Vec<(usize, u32)> = (op.inputs.iter())
            .map(|(v, depth)| (self.live.iter().position(|l| l == v).expect("an input is live"), *depth))
            .collect();

        let mut best: BTreeMap<Vec<u32>, (u64, usize, Step)> = BTreeMap::new();
        for (levels, id) in front {
            for (bootstrapped, refreshed) in self.choices(levels) {
                let room = reads.iter().map(|&(i, depth)| refreshed[i].checked_sub(depth)).min().flatten();
                let bootstraps_ns = self.costs.bootstraps_ns(self.graph.ciphertexts(&bootstrapped));
                let before = self.arena[*id].cost.saturating_add(bootstraps_ns);
                let room = if reads.is_empty() { Some(self.range.fresh.0) } else { room };
                for level in room.into_iter().flat_map(|top| 0..=top) {
                    let Some(op_ns) = self.costs.op_ns(s, level) else { break };
                    let cost = before.saturating_add(op_ns);
                    let mut state: Vec<u32> = kept.iter().map(|&i| refreshed[i]).collect();
                    state.extend(op.outputs.iter().map(|o| level + o.1));
                    if best.get(&state).is_none_or(|b| cost < b.0) {
                        let (bootstraps, level) = (bootstrapped.clone(), Level(level));
                        let step = Step { bootstraps, bootstraps_ns, level, op_ns };
                        best.insert(state, (cost, *id, step));
                    }
                }
            }
        }
        self.live = after;
        self.prune(best)
    }

    /// Every set of live values that can be bootstrapped now, with the levels after it.
    fn choices(&self, levels: &[u32]) -> Vec<(Vec<ValueId>, Vec<u32>)> {
        let can = |i: usize| {
            let between = |base: Level| levels[i] >= base.0 && levels[i] < self.range.fresh.0;
            self.range.base.is_some_and(between) && self.graph.get(self.live[i]).bound.is_finite()
        };
        let candidates: Vec<usize> = (0..levels.len()).filter(|&i| can(i)).collect();
        (0..1usize << candidates.len())
            .map(|set| {
                let chosen =
                    candidates.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1).map(|c| *c.1);
                let (mut values, mut after) = (vec![], levels.to_vec());
                for i in chosen {
                    values.push(self.live[i]);
                    after[i] = self.range.fresh.0;
                }
                (values, after)
            })
            .collect()
    }

    /// Drops every state that another one matches at every level for no more cost.
    fn prune(&mut self, states: BTreeMap<Vec<u32>, (u64, usize, Step)>) -> Front {
        let mut by_cost: Vec<_> = states.into_iter().collect();
        // Cheapest first: only a state kept before can dominate. The higher levels come first among equals.
        by_cost.sort_by(|(la, a), (lb, b)| (a.0, lb).cmp(&(b.0, la)));
        let mut front: Front = vec![];
        for (levels, (cost, from, step)) in by_cost {
            let dominated = front.iter().any(|(other, _)| other.iter().zip(&levels).all(|(a, b)| a >= b));
            if !dominated {
                self.arena.push(Reached { cost, from: Some((from, step)) });
                front.push((levels, self.arena.len() - 1));
            }
        }
        front
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries every choice at every operation.
    fn exhaustive(
        (g, range, costs): (&Graph, Range, &Costs),
        s: usize,
        levels: &[Option<u32>],
        cost: u64,
    ) -> Option<u64> {
        let Some(op) = g.ops.get(s) else { return Some(cost) };
        let mut best = None;
        let live: Vec<usize> = (0..levels.len()).filter(|&i| levels[i].is_some()).collect();
        for set in 0..1usize << live.len() {
            let chosen: Vec<usize> =
                live.iter().enumerate().filter(|(b, _)| set >> b & 1 == 1).map(|c| *c.1).collect();
            if chosen.iter().any(|&i| range.base.is_none_or(|b| levels[i] < Some(b.0))) {
                continue;
            }
            let mut now = levels.to_vec();
            chosen.iter().for_each(|&i| now[i] = Some(range.fresh.0));
            let boots =
                costs.bootstraps_ns(g.ciphertexts(&chosen.iter().map(|&i| ValueId(i)).collect::<Vec<_>>()));
            for level in 0..=range.fresh.0 {
                if op.inputs.iter().any(|(v, d)| now[v.0] < Some(level + d)) {
                    continue;
                }
                let mut after = now.clone();
                op.outputs.iter().for_each(|(v, above)| after[v.0] = Some(level + above));
                let Some(own) = costs.op_ns(s, level) else { continue };
                let found = exhaustive((g, range, costs), s + 1, &after, cost + boots + own);
                best = [best, found].into_iter().flatten().min();
            }
        }
        best
    }

    /// A graph, and costs that need not rise with the level: for each operation a table with gaps at the top.
    fn random(seed: u64) -> (Graph, Costs) {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut g = Graph::new();
        let mut values = vec![g.input("x", 1 + next(3) as usize, 1.0)];
        let mut ops_ns = vec![];
        for s in 0..4 {
            let newest = *values.last().expect("an input");
            let mut inputs = vec![(newest, 1 + next(2) as u32)];
            let other = values[next(values.len() as u64) as usize];
            if other != newest && next(2) == 0 {
                inputs.push((other, next(3) as u32));
            }
            let bound = if next(2) == 0 { 1.0 } else { 20.0 };
            let outputs = [("y", 1 + next(3) as usize, bound, 0), ("side", 1, 1.0, next(2) as u32)];
            let made = g.op(&format!("{s}"), &inputs, &outputs[..1 + next(2) as usize]);
            values.extend(made);
            ops_ns.push((0..3 + next(3)).map(|_| 1000 * next(12)).collect());
        }
        g.result(*values.last().expect("an output"));
        (g, Costs { ops_ns, pair_ns: 3400, single_ns: 2800 })
    }

    /// Operations that cost nothing at any of these levels.
    fn free(g: &Graph, levels: usize) -> Costs {
        Costs { ops_ns: vec![vec![0; levels]; g.ops().len()], pair_ns: 2, single_ns: 1 }
    }

    #[test]
    fn the_levels_are_as_good_as_exhaustive_search() {
        let mut solved = 0;
        for seed in 0..60 {
            let (g, costs) = random(seed);
            let range = Range { fresh: Level(4), base: Some(Level(seed as u32 % 2)) };
            let mut start = vec![None; g.values.len()];
            start[0] = Some(range.fresh.0);
            let want = exhaustive((&g, range, &costs), 0, &start, 0);
            let got = Levels::cheapest(&g, range, &costs).ok().map(|s| s.cost_ns);
            assert_eq!(got, want, "seed {seed}");
            solved += usize::from(want.is_some());
        }
        assert!(solved > 30, "only {solved} of the random graphs have a plan at all");
    }

    #[test]
    fn an_operation_deeper_than_the_chain_is_a_typed_error() {
        let mut g = Graph::new();
        let x = g.input("x", 1, 1.0);
        g.op("deep", &[(x, 9)], &[("y", 1, 1.0, 0)]);
        let range = Range { fresh: Level(8), base: Some(Level(2)) };
        let refused = Levels::cheapest(&g, range, &free(&g, 9));
        assert!(matches!(refused, Err(Error::Placement { stage, need: 9, have: 6 }) if stage == "deep"));
    }

    #[test]
    fn the_last_segment_goes_below_the_base_level() {
        let mut g = Graph::new();
        let x = g.input("x", 1, 1.0);
        let y = g.op("all", &[(x, 8)], &[("y", 1, 1.0, 0)])[0];
        g.result(y);
        let range = Range { fresh: Level(8), base: Some(Level(3)) };
        let levels = Levels::cheapest(&g, range, &free(&g, 9)).expect("a plan");
        let step = Step { bootstraps: vec![], bootstraps_ns: 0, level: Level::BASE, op_ns: 0 };
        assert_eq!(levels.steps, [step]);
    }
}
