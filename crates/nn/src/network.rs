//! Layers wired together: placed, keyed, run on plain tensors and on ciphertexts.

use std::collections::BTreeMap;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{Ciphertext, Evaluator, KeyRequest, Level, OpCounts, Params};

use crate::bootstraps::{Graph, Plan, Range, Step, ValueId, place};
use crate::ops::bring;
use crate::{CtTensor, Error, Layer, Layout, Result, Tensor};

/// A sequence of layers over named values, with one input and one result.
///
/// It plans before it runs: [`Network::place`] decides bootstraps and levels, and from the plan
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
    /// The planner's estimate, milliseconds at N = 2^16 on two cores: for the time left.
    pub work: u64,
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
        let outputs = self.graph.stage(&name, &reads, &makes, layer.work());
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

    /// The stages and values, for planning.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The layers, with the group of each.
    pub fn layers(&self) -> impl Iterator<Item = (&str, &dyn Layer)> {
        self.nodes.iter().map(|n| (n.group.as_str(), n.layer.as_ref()))
    }

    /// The best placement of bootstraps for these parameters.
    pub fn place(&self, params: &Params) -> Result<Plan> {
        place(&self.graph, Range::of(params))
    }

    /// Every key that a run by this plan uses, at the highest level of its use. The bootstrapper's own come
    /// on top.
    pub fn keys(&self, params: &Params, plan: &Plan) -> KeyRequest {
        let requests = self.nodes.iter().zip(&plan.steps).map(|(n, step)| n.layer.keys(params, step.level));
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

    /// All stages of a run by this plan, bootstraps included, before it begins.
    pub fn stages(&self, params: &Params, plan: &Plan) -> Vec<StageInfo> {
        let mut all = vec![];
        for (node, step) in self.nodes.iter().zip(&plan.steps) {
            all.extend(self.bootstrap_info(params, node, step));
            let (inputs, outputs) = (node.layer.inputs(), node.layer.outputs());
            let depth = inputs.iter().map(|p| p.above).max().unwrap_or(0);
            all.push(StageInfo {
                index: 0,
                count: 0,
                group: node.group.clone(),
                name: node.layer.name().into(),
                level_in: step.level.up(depth),
                level_out: step.level,
                ciphertexts: outputs.iter().map(|p| self.layout.blocks(p.content)).sum(),
                bootstraps: 0,
                work: node.layer.work() * u64::from(step.level.0 + depth + 1),
            });
        }
        let count = all.len();
        all.iter_mut().enumerate().for_each(|(index, s)| (s.index, s.count) = (index, count));
        all
    }

    fn bootstrap_info(&self, params: &Params, node: &Node, step: &Step) -> Option<StageInfo> {
        if step.bootstraps.is_empty() {
            return None;
        }
        let bootstraps = self.graph.bootstraps(&step.bootstraps);
        let ciphertexts = step.bootstraps.iter().map(|v| self.graph.get(*v).ciphertexts as usize).sum();
        Some(StageInfo {
            index: 0,
            count: 0,
            group: node.group.clone(),
            name: "bootstrap".into(),
            level_in: params.base_level(),
            level_out: params.fresh_level(),
            ciphertexts,
            bootstraps,
            work: self.graph.bootstrap_cost(&step.bootstraps),
        })
    }

    /// Runs the plan on an encrypted input at the fresh level.
    ///
    /// Fails before anything is computed when the plan bootstraps and `bootstrapper` is `None`, or when the
    /// keys do not cover the plan.
    pub fn run(
        &self,
        ev: &Evaluator,
        plan: &Plan,
        bootstrapper: Option<&Bootstrapper>,
        input: &CtTensor,
        observer: &mut dyn Observer,
    ) -> Result<CtTensor> {
        self.check_run(ev, plan, bootstrapper, input)?;
        let device = ev.context().device();
        let mut stages = self.stages(ev.params(), plan).into_iter();
        let mut values = BTreeMap::from([(self.input, input.clone())]);
        for (s, (node, step)) in self.nodes.iter().zip(&plan.steps).enumerate() {
            let mut watched = |observer: &mut dyn Observer, work: &mut dyn FnMut() -> Result<()>| {
                let (Some(info), before) = (stages.next(), ev.counts()) else { return work() };
                observer.begin(&info);
                work()?;
                if observer.wants_times() {
                    device.sync().map_err(aegis_ckks::Error::from)?;
                }
                observer.end(&info, &(ev.counts() - before));
                Ok(())
            };
            if let (false, Some(bootstrapper)) = (step.bootstraps.is_empty(), bootstrapper) {
                watched(observer, &mut || self.bootstrap(ev, bootstrapper, &step.bootstraps, &mut values))?;
            }
            watched(observer, &mut || self.step(ev, node, step, &mut values))?;
            values
                .retain(|v, _| *v == self.result || self.nodes[s + 1..].iter().any(|n| n.inputs.contains(v)));
        }
        Ok(values.remove(&self.result).unwrap_or_else(|| input.clone()))
    }

    fn check_run(
        &self,
        ev: &Evaluator,
        plan: &Plan,
        bootstrapper: Option<&Bootstrapper>,
        input: &CtTensor,
    ) -> Result<()> {
        let shape =
            |what: &str, want: String, have: String| Err(Error::Shape { what: what.into(), want, have });
        if plan.steps.len() != self.nodes.len() {
            let want = format!("{} steps", self.nodes.len());
            return shape("the plan", want, format!("{}: it belongs to another network", plan.steps.len()));
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
        let first = plan.steps.iter().flat_map(|s| &s.bootstraps).next();
        if let (Some(value), None) = (first, bootstrapper) {
            return Err(Error::NoBootstrapper { value: self.graph.get(*value).name.clone() });
        }
        let mut keys = self.keys(ev.params(), plan);
        if let (Some(_), Some(bootstrapper)) = (first, bootstrapper) {
            keys = keys.merge(&bootstrapper.keys());
        }
        if keys.is_covered_by(ev.keys()) { Ok(()) } else { Err(Error::MissingKeys) }
    }

    /// One layer, on inputs brought to the levels of the plan.
    fn step(
        &self,
        ev: &Evaluator,
        node: &Node,
        step: &Step,
        values: &mut BTreeMap<ValueId, CtTensor>,
    ) -> Result<()> {
        let mut inputs = vec![];
        for (id, port) in node.inputs.iter().zip(node.layer.inputs()) {
            let (x, level) = (&values[id], step.level.up(port.above));
            inputs.push(x.map(|_, block| bring(ev, block, level))?);
        }
        let outputs = node.layer.forward(ev, &inputs.iter().collect::<Vec<_>>())?;
        values.extend(node.outputs.iter().copied().zip(outputs));
        Ok(())
    }

    /// Refreshes values in place, two ciphertexts at a time.
    fn bootstrap(
        &self,
        ev: &Evaluator,
        bootstrapper: &Bootstrapper,
        ids: &[ValueId],
        values: &mut BTreeMap<ValueId, CtTensor>,
    ) -> Result<()> {
        let base = ev.params().base_level();
        let mut stale = vec![];
        for id in ids {
            for block in values[id].blocks() {
                stale.push((bring(ev, block, base)?, self.graph.get(*id).bound));
            }
        }
        let mut fresh = vec![];
        for pair in stale.chunks(2) {
            match pair {
                [(a, a_bound), (b, b_bound)] => {
                    fresh.extend(bootstrap_pair(ev, bootstrapper, (a, *a_bound), (b, *b_bound))?);
                }
                singles => {
                    for (x, bound) in singles {
                        fresh.push(bootstrapper.bootstrap_real(ev, x, *bound)?);
                    }
                }
            }
        }
        for id in ids {
            let x = &values[id];
            let refreshed = x.with(x.content(), fresh.drain(..x.blocks().len()).collect())?;
            values.insert(*id, refreshed);
        }
        Ok(())
    }
}

/// Two ciphertexts of different bounds in one bootstrap: each is divided by the power of two above its bound first and
/// multiplied by it afterwards. Both are exact: a division is a larger scale, a multiplication one by an integer.
fn bootstrap_pair(
    ev: &Evaluator,
    bootstrapper: &Bootstrapper,
    (a, a_bound): (&Ciphertext, f64),
    (b, b_bound): (&Ciphertext, f64),
) -> Result<[Ciphertext; 2]> {
    let power = |bound: f64| bound.log2().ceil().max(0.0).exp2();
    let (a_power, b_power) = (power(a_bound), power(b_bound));
    let top = a_power.max(b_power);
    let unit = |x: &Ciphertext, power: f64| -> Result<Ciphertext> {
        Ok(ev.reinterpret(&ev.mul_scalar(x, top / power, 1.0)?, x.scale() * top)?)
    };
    let (re, im) = bootstrapper.bootstrap_pair(ev, &unit(a, a_power)?, &unit(b, b_power)?, 1.0)?;
    Ok([ev.mul_scalar(&re, a_power, 1.0)?, ev.mul_scalar(&im, b_power, 1.0)?])
}
