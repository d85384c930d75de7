//! Layers wired together: scheduled, keyed, run on plain tensors and on ciphertexts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use aegis_ckks::{Level, Params};

use crate::catalog::Catalog;
use crate::levels::{Costs, Graph, Levels, Range, Step, ValueId};
use crate::program::{Program, Section, StageInfo};
use crate::{Content, Error, Layer, Layout, MODEL, Result, Rows, Shape, Tensor, TensorRef};

/// A sequence of layers over named values, with one input and one result.
///
/// [`Network::levels`] decides bootstraps and levels; [`Network::program`] makes tasks of it.
pub struct Network {
    layout: Layout,
    graph: Graph,
    nodes: Vec<Node>,
    input: ValueId,
    result: ValueId,
}

struct Node {
    layer: Arc<dyn Layer>,
    group: String,
    section: Section,
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

impl Network {
    /// A network with one input, a matrix of model features with values up to `bound`, and no layers yet: the
    /// result is the input.
    pub fn new(layout: &Layout, name: &str, bound: f64) -> Self {
        let mut graph = Graph::new();
        let input = graph.input(name, layout.blocks(MODEL), bound);
        Self { layout: *layout, graph, nodes: vec![], input, result: input }
    }

    /// The value that the network starts from.
    pub fn input(&self) -> ValueId {
        self.input
    }

    /// Adds a layer, at its place in the model, on values made before; `bounds` holds the largest magnitude of each output, infinite
    /// where it must not be bootstrapped. Returns the outputs.
    pub fn add(
        &mut self,
        (group, section): (&str, Section),
        layer: impl Layer + 'static,
        inputs: &[ValueId],
        bounds: &[f64],
    ) -> Result<Vec<ValueId>> {
        self.add_shared((group, section), Arc::new(layer), inputs, bounds)
    }

    fn add_shared(
        &mut self,
        (group, section): (&str, Section),
        layer: Arc<dyn Layer>,
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
        let node =
            Node { layer, group: group.into(), section, inputs: inputs.to_vec(), outputs: outputs.clone() };
        self.nodes.push(node);
        Ok(outputs)
    }

    /// Adds all layers of another network, under one group, on a value made before. They are shared: a network of many equal
    /// layers holds one. Returns what its result becomes here.
    ///
    /// # Errors
    /// [`Error::OtherLayout`] for a network of another layout.
    pub fn append(&mut self, group: &str, other: &Self, input: ValueId) -> Result<ValueId> {
        if other.layout != self.layout {
            let (have, want) = (Box::new(other.layout), Box::new(self.layout));
            return Err(Error::OtherLayout { have, want });
        }
        let mut here = BTreeMap::from([(other.input, input)]);
        for node in &other.nodes {
            let inputs: Vec<_> = node.inputs.iter().map(|v| here[v]).collect();
            let bounds: Vec<_> = node.outputs.iter().map(|v| other.graph.get(*v).bound).collect();
            let layer = Arc::clone(&node.layer);
            let outputs = self.add_shared((group, node.section), layer, &inputs, &bounds)?;
            here.extend(node.outputs.iter().copied().zip(outputs));
        }
        Ok(here[&other.result])
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
    pub fn costs(&self, catalog: &mut Catalog) -> Result<Costs> {
        let params = catalog.params().clone();
        let mut known: HashMap<_, Vec<u64>> = HashMap::new();
        let mut ops_ns = vec![];
        for Node { layer, .. } in &self.nodes {
            let key = (layer.kind(), layer.inputs(), layer.outputs());
            if let Some(costs) = known.get(&key) {
                ops_ns.push(costs.clone());
                continue;
            }
            let mut costs = vec![];
            let above = params.fresh_level().0.checked_sub(layer.depth());
            for level in above.into_iter().flat_map(|top| 0..=top).map(Level) {
                let rows = Rows::one(self.layout.tokens());
                let program = Program::of_layer(layer, level, &rows)?;
                costs.push(catalog.bills(&program)?.iter().map(|bill| bill.ns).sum());
            }
            known.insert(key, costs.clone());
            ops_ns.push(costs);
        }
        Ok(Costs { ops_ns, single_ns: catalog.bootstrap_ns(1)?, pair_ns: catalog.bootstrap_ns(2)? })
    }

    /// The cheapest levels for these parameters, by [`Network::costs`]. They are the same on every machine.
    pub fn levels(&self, catalog: &mut Catalog) -> Result<Levels> {
        let range = Range::of(catalog.params());
        Levels::cheapest(&self.graph, range, &self.costs(catalog)?)
    }

    /// How many ciphertexts of attention scores these levels bootstrap.
    pub fn bootstrapped_scores(&self, levels: &Levels) -> u64 {
        let outputs = self.nodes.iter().flat_map(|node| node.outputs.iter().zip(node.layer.outputs()));
        let scores: BTreeSet<_> =
            outputs.filter(|(_, port)| port.content == Content::Scores).map(|(id, _)| *id).collect();
        let refreshed =
            levels.steps.iter().flat_map(|step| &step.bootstraps).filter(|id| scores.contains(id));
        refreshed.map(|id| u64::from(self.graph.get(*id).ciphertexts)).sum()
    }

    /// The same operations on plain tensors, layer by layer: the meaning of an encrypted run, and its oracle.
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

    /// The tasks of a run at these levels on texts in these rows.
    ///
    /// # Errors
    /// [`Error::OtherLevels`] for levels of another network; [`Error::Shape`] for rows that do not fit the layout.
    pub fn program(&self, params: &Params, levels: &Levels, rows: &Rows) -> Result<Program> {
        let (have, want) = (levels.steps.len(), self.nodes.len());
        if have != want {
            return Err(Error::OtherLevels { have, want });
        }
        let shape = Shape { layout: self.layout, content: MODEL, rows: rows.clone() };
        let mut program = Program::new(&self.layout, [(shape, params.fresh_level())])?;
        let mut values: BTreeMap<_, _> = [self.input].into_iter().zip(program.inputs().to_vec()).collect();
        for (node, step) in self.nodes.iter().zip(&levels.steps) {
            if !step.bootstraps.is_empty() {
                program.begin(self.bootstrap_stage(params, node, step));
                self.refresh(params, &mut program, &step.bootstraps, &mut values)?;
            }
            program.begin(self.layer_stage(node, step));
            let mut inputs = vec![];
            for (id, port) in node.inputs.iter().zip(node.layer.inputs()) {
                inputs.push(program.bring(&values[id], step.level.up(port.above))?);
            }
            let outputs = program.layer(&node.layer, step.level, &inputs)?;
            values.extend(node.outputs.iter().copied().zip(outputs));
        }
        program.set_results(values.remove(&self.result).into_iter().collect());
        Ok(program)
    }

    /// Refreshes all blocks of values, as one list.
    fn refresh(
        &self,
        params: &Params,
        program: &mut Program,
        ids: &[ValueId],
        values: &mut BTreeMap<ValueId, TensorRef>,
    ) -> Result<()> {
        let mut stale = vec![];
        for id in ids {
            let bound = self.graph.get(*id).bound;
            stale.extend(values[id].blocks().iter().map(|block| (*block, bound)));
        }
        let mut fresh = program.refresh(params, &stale).into_iter();
        for id in ids {
            let x = &values[id];
            let refreshed = x.with(x.content(), fresh.by_ref().take(x.blocks().len()).collect())?;
            values.insert(*id, refreshed);
        }
        Ok(())
    }

    fn layer_stage(&self, node: &Node, step: &Step) -> StageInfo {
        let outputs = node.layer.outputs();
        StageInfo {
            index: 0,
            tasks: 0,
            group: node.group.clone(),
            layer: node.layer.name().into(),
            section: node.section,
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
            tasks: 0,
            group: node.group.clone(),
            layer: "bootstrap".into(),
            section: Section::Bootstrap,
            level_in: params.base_level(),
            level_out: params.fresh_level(),
            ciphertexts: self.graph.ciphertexts(&step.bootstraps) as usize,
            bootstraps: self.graph.bootstraps(&step.bootstraps),
            cost_ns: step.bootstraps_ns,
        }
    }
}
