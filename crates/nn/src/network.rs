//! Layers wired together: scheduled, keyed, run on plain tensors and on ciphertexts.

use std::collections::BTreeMap;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{Evaluator, KeyRequest, Level, OpCounts, Params};

use crate::bootstraps::refresh;
use crate::costs::costs;
use crate::ops::bring;
use crate::schedule::{Costs, Graph, Range, Schedule, Step, ValueId};
use crate::{CtTensor, Error, Layer, Layout, Result, Tensor};

/// A sequence of layers over named values, with one input and one result.
///
/// It plans before it runs: [`Network::schedule`] decides bootstraps and levels, and from the schedule
/// [`Network::keys`] knows every key and its size before any is made.
pub struct Network {
    layout: Layout,
    graph: Graph,
    nodes: Vec<Node>,
    input: ValueId,
    result: ValueId,
}

struct Node {
    layer: Box<dyn Layer>,
    group: String,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
}

/// A value that has left the range of an approximation.
#[derive(Clone, Debug, PartialEq)]
pub struct Excursion {
    /// Group and name of the layer.
    pub stage: String,
    /// The value farthest outside.
    pub value: f64,
    /// The range it left.
    pub range: (f64, f64),
}

impl From<Excursion> for Error {
    fn from(e: Excursion) -> Self {
        Self::OutOfRange { stage: e.stage, value: e.value, low: e.range.0, high: e.range.1 }
    }
}

/// What a run on plain tensors gives.
#[derive(Clone, Debug)]
pub struct PlainRun {
    /// The result.
    pub output: Tensor,
    /// Where values left their ranges; empty when the encrypted result can be trusted.
    pub excursions: Vec<Excursion>,
    /// Every value by name, with its largest magnitude and the bound that bootstraps assume.
    pub magnitudes: Vec<(String, f64, f64)>,
}

/// A stage of a run, for progress and tables.
#[derive(Clone, Debug, PartialEq)]
pub struct StageInfo {
    /// Index among all stages of the run.
    pub index: usize,
    /// Number of stages of the run.
    pub count: usize,
    /// The group the layer was added under ("layer 3").
    pub group: String,
    /// Name of the layer, or `bootstrap`.
    pub name: String,
    /// Highest level of an input.
    pub level_in: Level,
    /// Lowest level of an output.
    pub level_out: Level,
    /// Ciphertexts that it makes.
    pub ciphertexts: usize,
    /// Bootstraps: two real ciphertexts each.
    pub bootstraps: u64,
    /// By the schedule, nanoseconds of a reference machine: their proportions tell the time left.
    pub cost_ns: u64,
}

/// Follows a run.
pub trait Observer {
    /// True when the device should have finished a stage before [`Observer::end`] is called, so that the
    /// observer can take times. Otherwise nothing waits.
    fn wants_times(&self) -> bool {
        true
    }
    /// A stage begins.
    fn begin(&mut self, _stage: &StageInfo) {}
    /// A stage has ended, with these operations.
    fn end(&mut self, _stage: &StageInfo, _counts: &OpCounts) {}
}

/// Watches nothing.
impl Observer for () {
    fn wants_times(&self) -> bool {
        false
    }
}

impl Network {
    /// A network with one input of `ciphertexts` blocks and values up to `bound`, and no layers yet: the
    /// result is the input.
    pub fn new(layout: &Layout, name: &str, ciphertexts: usize, bound: f64) -> Self {
        let mut graph = Graph::new();
        let input = graph.input(name, ciphertexts, bound);
        Self { layout: layout.clone(), graph, nodes: vec![], input, result: input }
    }

    /// The value that the network starts from.
    pub fn input(&self) -> ValueId {
        self.input
    }

    /// Adds a layer on values made before; `bounds` holds the largest magnitude of each output, infinite
    /// where it must not be bootstrapped. Returns the outputs.
    pub fn add(
        &mut self,
        group: &str,
        layer: impl Layer + 'static,
        inputs: &[ValueId],
        bounds: &[f64],
    ) -> Result<Vec<ValueId>> {
        let (wanted, given) = (layer.inputs(), layer.outputs());
        if wanted.len() != inputs.len() || given.len() != bounds.len() {
            return Err(Error::Shape {
                what: format!("{group}, {}", layer.name()),
                want: format!("{} inputs and {} outputs", wanted.len(), given.len()),
                have: format!("{} and {}", inputs.len(), bounds.len()),
            });
        }
        let name = format!("{group}, {}", layer.name());
        let reads: Vec<_> = inputs.iter().zip(&wanted).map(|(v, port)| (*v, port.above)).collect();
        let makes: Vec<_> = given
            .iter()
            .zip(bounds)
            .map(|(port, bound)| (name.as_str(), self.layout.blocks(port.content), *bound, port.above))
            .collect();
        let outputs = self.graph.op(&name, &reads, &makes);
        let node = Node {
            layer: Box::new(layer),
            group: group.into(),
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
        };
        self.nodes.push(node);
        Ok(outputs)
    }

    /// Says which value is the result.
    pub fn finish(mut self, result: ValueId) -> Self {
        self.graph.result(result);
        self.result = result;
        self
    }

    /// Where values sit in the slots.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The layers as operations over values, for scheduling.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The layers, with the group of each.
    pub fn layers(&self) -> impl Iterator<Item = (&str, &dyn Layer)> {
        self.nodes.iter().map(|n| (n.group.as_str(), n.layer.as_ref()))
    }

    /// What each layer costs at each level, and a bootstrap: counted without data, within seconds.
    ///
    /// Fails with the error of a layer that cannot run on these parameters.
    pub fn costs(&self, params: &Params) -> Result<Costs> {
        costs(params, self.nodes.iter().map(|n| n.layer.as_ref()))
    }

    /// The cheapest schedule for these parameters, by [`Network::costs`]. It is the same on every machine.
    pub fn schedule(&self, params: &Params) -> Result<Schedule> {
        Schedule::cheapest(&self.graph, Range::of(params), &self.costs(params)?)
    }

    /// Every key that a run by this schedule uses, at the highest level of its use. The bootstrapper's own come
    /// on top.
    pub fn keys(&self, params: &Params, schedule: &Schedule) -> KeyRequest {
        let requests =
            self.nodes.iter().zip(&schedule.steps).map(|(n, step)| n.layer.keys(params, step.level));
        requests.fold(KeyRequest::new(params.n()), |all, request| all.merge(&request))
    }

    /// The same operations on plain tensors, layer by layer: the meaning of [`Network::run`], and its oracle.
    pub fn plain(&self, x: &Tensor) -> Result<PlainRun> {
        let mut values = BTreeMap::from([(self.input, x.clone())]);
        let (mut excursions, mut magnitudes) = (vec![], vec![]);
        for node in &self.nodes {
            let inputs: Vec<&Tensor> = node.inputs.iter().map(|v| &values[v]).collect();
            for range in node.layer.ranges() {
                let outside = |v: f64| (v - range.high).max(range.low - v);
                let data = inputs[range.input].data().iter().copied();
                let worst = data.max_by(|a, b| outside(*a).total_cmp(&outside(*b)));
                // Rounding of the normalization is not an excursion; NaN is.
                if let Some(value) = worst.filter(|v| v.is_nan() || outside(*v) > 1e-9) {
                    let stage = format!("{}, {}", node.group, node.layer.name());
                    excursions.push(Excursion { stage, value, range: (range.low, range.high) });
                }
            }
            let outputs = node.layer.plain(&inputs)?;
            for (id, output) in node.outputs.iter().zip(outputs) {
                let value = self.graph.get(*id);
                magnitudes.push((value.name.clone(), output.max_abs(), value.bound));
                values.insert(*id, output);
            }
        }
        let output = values.remove(&self.result).unwrap_or_else(|| x.clone());
        Ok(PlainRun { output, excursions, magnitudes })
    }

    /// All stages of a run by this schedule, bootstraps included, before it begins.
    pub fn stages(&self, params: &Params, schedule: &Schedule) -> Vec<StageInfo> {
        self.program(params, schedule).into_iter().map(|(stage, _)| stage).collect()
    }

    /// The stages of a run with what each does.
    fn program<'a>(&'a self, params: &Params, schedule: &'a Schedule) -> Vec<(StageInfo, Work<'a>)> {
        let mut all = vec![];
        for (op, (node, step)) in self.nodes.iter().zip(&schedule.steps).enumerate() {
            if !step.bootstraps.is_empty() {
                all.push((self.bootstrap_stage(params, node, step), Work::Bootstrap(&step.bootstraps)));
            }
            all.push((self.layer_stage(node, step), Work::Layer(op, step.level)));
        }
        let count = all.len();
        all.iter_mut().enumerate().for_each(|(index, (s, _))| (s.index, s.count) = (index, count));
        all
    }

    fn layer_stage(&self, node: &Node, step: &Step) -> StageInfo {
        let outputs = node.layer.outputs();
        StageInfo {
            index: 0,
            count: 0,
            group: node.group.clone(),
            name: node.layer.name().into(),
            level_in: step.level.up(node.layer.depth()),
            level_out: step.level,
            ciphertexts: outputs.iter().map(|p| self.layout.blocks(p.content)).sum(),
            bootstraps: 0,
            cost_ns: step.op_ns,
        }
    }

    fn bootstrap_stage(&self, params: &Params, node: &Node, step: &Step) -> StageInfo {
        StageInfo {
            index: 0,
            count: 0,
            group: node.group.clone(),
            name: "bootstrap".into(),
            level_in: params.base_level(),
            level_out: params.fresh_level(),
            ciphertexts: self.graph.ciphertexts(&step.bootstraps) as usize,
            bootstraps: self.graph.bootstraps(&step.bootstraps),
            cost_ns: step.bootstraps_ns,
        }
    }

    /// Runs the schedule on an encrypted input at the fresh level.
    ///
    /// Fails before anything is computed when the schedule bootstraps and `bootstrapper` is `None`, or when
    /// the keys do not cover it.
    pub fn run(
        &self,
        ev: &Evaluator,
        schedule: &Schedule,
        bootstrapper: Option<&Bootstrapper>,
        input: &CtTensor,
        observer: &mut dyn Observer,
    ) -> Result<CtTensor> {
        self.check_run(ev, schedule, bootstrapper, input)?;
        let mut values = BTreeMap::from([(self.input, input.clone())]);
        for (stage, work) in self.program(ev.params(), schedule) {
            let before = ev.counts();
            observer.begin(&stage);
            match (work, bootstrapper) {
                (Work::Layer(op, level), _) => self.layer(ev, op, level, &mut values)?,
                (Work::Bootstrap(ids), Some(by)) => self.bootstrap(ev, by, ids, &mut values)?,
                (Work::Bootstrap(_), None) => unreachable!("checked before the run"),
            }
            if observer.wants_times() {
                ev.context().device().sync().map_err(aegis_ckks::Error::from)?;
            }
            observer.end(&stage, &(ev.counts() - before));
        }
        Ok(values.remove(&self.result).unwrap_or_else(|| input.clone()))
    }

    fn check_run(
        &self,
        ev: &Evaluator,
        schedule: &Schedule,
        bootstrapper: Option<&Bootstrapper>,
        input: &CtTensor,
    ) -> Result<()> {
        let shape =
            |what: &str, want: String, have: String| Err(Error::Shape { what: what.into(), want, have });
        if schedule.steps.len() != self.nodes.len() {
            let want = format!("{} steps", self.nodes.len());
            let have = format!("{}: it belongs to another network", schedule.steps.len());
            return shape("the schedule", want, have);
        }
        if *input.layout() != self.layout {
            return shape(
                "layout of the input",
                format!("{:?}", self.layout),
                format!("{:?}", input.layout()),
            );
        }
        let fresh = ev.params().fresh_level();
        if input.level() < fresh {
            return Err(Error::LevelTooLow {
                stage: "the first layer".into(),
                need: fresh,
                have: input.level(),
            });
        }
        let first = schedule.steps.iter().flat_map(|s| &s.bootstraps).next();
        if let (Some(value), None) = (first, bootstrapper) {
            return Err(Error::NoBootstrapper { value: self.graph.get(*value).name.clone() });
        }
        let mut keys = self.keys(ev.params(), schedule);
        if let (Some(_), Some(bootstrapper)) = (first, bootstrapper) {
            keys = keys.merge(&bootstrapper.keys());
        }
        keys.check_covered_by(ev.keys()).map_err(Error::MissingKeys)
    }

    /// One layer, on inputs brought to the levels of the schedule. Values that nothing reads later are dropped.
    fn layer(
        &self,
        ev: &Evaluator,
        op: usize,
        level: Level,
        values: &mut BTreeMap<ValueId, CtTensor>,
    ) -> Result<()> {
        let node = &self.nodes[op];
        let mut inputs = vec![];
        for (id, port) in node.inputs.iter().zip(node.layer.inputs()) {
            let (x, level) = (&values[id], level.up(port.above));
            inputs.push(x.map(|_, block| bring(ev, block, level))?);
        }
        let outputs = node.layer.forward(ev, &inputs.iter().collect::<Vec<_>>())?;
        values.extend(node.outputs.iter().copied().zip(outputs));
        let later = &self.nodes[op + 1..];
        values.retain(|v, _| *v == self.result || later.iter().any(|n| n.inputs.contains(v)));
        Ok(())
    }

    /// Refreshes values in place.
    fn bootstrap(
        &self,
        ev: &Evaluator,
        bootstrapper: &Bootstrapper,
        ids: &[ValueId],
        values: &mut BTreeMap<ValueId, CtTensor>,
    ) -> Result<()> {
        let mut stale = vec![];
        for id in ids {
            stale.extend(values[id].blocks().iter().map(|b| (b.clone(), self.graph.get(*id).bound)));
        }
        let mut fresh = refresh(ev, bootstrapper, &stale)?;
        for id in ids {
            let x = &values[id];
            let refreshed = x.with(x.content(), fresh.drain(..x.blocks().len()).collect())?;
            values.insert(*id, refreshed);
        }
        Ok(())
    }
}

/// What a stage of a run does.
enum Work<'a> {
    /// Refreshes these values.
    Bootstrap(&'a [ValueId]),
    /// Runs the layer of this index at this level.
    Layer(usize, Level),
}
