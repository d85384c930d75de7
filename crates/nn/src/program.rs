//! A computation over blocks, as data: tasks that read and make ciphertexts, each made once.
//!
//! What `Kernel` is for the limbs of one ciphertext, a task is for the ciphertexts of a network: an operation as a value,
//! that can be counted, ordered, checkpointed, and placed. The bits of a result are fixed by the program, whatever the order
//! in which its tasks run.

use std::collections::BTreeMap;
use std::sync::Arc;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{Ciphertext, Evaluator, Level, Params};

use crate::ops::bring;
use crate::{Axis, Content, Error, Layer, Layout, Port, Result, Rows, Shape, TensorRef};

/// A block of a [`Program`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub usize);

/// A task of a [`Program`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub usize);

/// A ciphertext that a program makes once, at the canonical scale of its level.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockInfo {
    /// What it means.
    pub content: Content,
    /// Its place among the blocks of that content, along their axes.
    pub index: usize,
    /// Its level.
    pub level: Level,
    /// The task that makes it, or `None` for an input.
    pub made_by: Option<TaskId>,
}

/// Tasks that ask the same of a device: what one of them costs is counted once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// The structure of the layer ([`Layer::kind`]), `bring` or `bootstrap`.
    pub layer: Arc<str>,
    /// Which of the layer's tasks.
    pub part: &'static str,
    /// The layer's level.
    pub level: Level,
    /// Level of what it reads first.
    pub from: Level,
    /// Number of blocks that it reads.
    pub reads: usize,
    /// Number of blocks that it makes.
    pub writes: usize,
}

/// What one device offers to tasks.
#[derive(Clone)]
pub struct Place {
    /// Evaluates, with the keys of the run.
    pub ev: Evaluator,
    /// Where the parameters have bootstrapping.
    pub bootstrapper: Option<Arc<Bootstrapper>>,
}

/// What a task computes: from the blocks that it reads, in order, those that it makes.
pub type Run = Arc<dyn Fn(&Place, &[Ciphertext]) -> Result<Vec<Ciphertext>> + Send + Sync>;

/// An operation on blocks.
#[derive(Clone)]
pub struct Task {
    /// What it costs the same as.
    pub kind: Kind,
    /// Index of its stage.
    pub stage: usize,
    /// What it reads; a block may be read twice.
    pub reads: Vec<BlockId>,
    /// What it makes.
    pub writes: Vec<BlockId>,
    run: Run,
}

impl Task {
    /// Runs it.
    ///
    /// # Errors
    /// Those of the evaluation; [`Error::Made`] where it made other blocks than it declares.
    pub fn run(&self, program: &Program, place: &Place, reads: &[Ciphertext]) -> Result<Vec<Ciphertext>> {
        let made = (self.run)(place, reads)?;
        let want: Vec<Level> = self.writes.iter().map(|id| program.block(*id).level).collect();
        let have: Vec<Level> = made.iter().map(Ciphertext::level).collect();
        if have.len() != want.len() || have.iter().zip(&want).any(|(have, want)| have < want) {
            return Err(Error::Made { stage: program.stage(self).name(), have, want });
        }
        // A polynomial takes fewer levels where it vanishes in all slots, as those of token blocks without a token do.
        made.iter().zip(want).map(|(block, level)| bring(&place.ev, block, level)).collect()
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Task({:?}, {:?} -> {:?})", self.kind, self.reads, self.writes)
    }
}

/// What part of a Transformer a stage belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// From a layer's input to its attention output.
    Attention,
    /// The feed-forward network.
    FeedForward,
    /// Bootstraps.
    Bootstrap,
    /// Normalizations, residuals, pooling.
    Other,
}

/// A layer at its place in a network, or the bootstraps before it: what progress and tables speak of.
#[derive(Clone, Debug, PartialEq)]
pub struct StageInfo {
    /// Index among all stages of the program.
    pub index: usize,
    /// The group the layer was added under ("layer 3").
    pub group: String,
    /// Name of the layer, or `bootstrap`.
    pub layer: String,
    /// Part of the Transformer.
    pub section: Section,
    /// Highest level of an input.
    pub level_in: Level,
    /// Lowest level of an output.
    pub level_out: Level,
    /// Ciphertexts that it makes.
    pub ciphertexts: usize,
    /// Bootstraps: two real ciphertexts each.
    pub bootstraps: u64,
    /// Its tasks.
    pub tasks: usize,
    /// By the plan of levels, nanoseconds of a reference machine: their proportions tell the time left.
    pub cost_ns: u64,
}

impl StageInfo {
    /// The stage of a layer by itself.
    fn alone(layer: &str, level: Level) -> Self {
        Self {
            index: 0,
            group: "alone".into(),
            layer: layer.into(),
            section: Section::Other,
            level_in: level,
            level_out: level,
            ciphertexts: 0,
            bootstraps: 0,
            tasks: 0,
            cost_ns: 0,
        }
    }

    /// Group and layer, for people.
    pub fn name(&self) -> String {
        format!("{}, {}", self.group, self.layer)
    }
}

/// Tasks over blocks. Fixed by network, levels and rows; a run is an order of its tasks ([`Schedule`](crate::Schedule)).
#[derive(Clone, Debug)]
pub struct Program {
    layout: Layout,
    stages: Vec<StageInfo>,
    tasks: Vec<Task>,
    blocks: Vec<BlockInfo>,
    inputs: Vec<TensorRef>,
    results: Vec<TensorRef>,
    /// The block that holds another at a lower level.
    brought: BTreeMap<(BlockId, Level), BlockId>,
}

impl Program {
    /// A program without tasks, with inputs of these shapes and levels and no results yet.
    pub(crate) fn new(layout: &Layout, inputs: impl IntoIterator<Item = (Shape, Level)>) -> Result<Self> {
        let mut program = Self {
            layout: *layout,
            stages: vec![],
            tasks: vec![],
            blocks: vec![],
            inputs: vec![],
            results: vec![],
            brought: BTreeMap::new(),
        };
        for (shape, level) in inputs {
            let (first, content) = (program.blocks.len(), shape.content);
            let block = |index| BlockInfo { content, index, level, made_by: None };
            program.blocks.extend((0..shape.blocks()).map(block));
            program.inputs.push(TensorRef::new(shape, (first..program.blocks.len()).map(BlockId).collect())?);
        }
        Ok(program)
    }

    /// The tasks of one layer at a level: its inputs are those of the program, its outputs the results.
    ///
    /// # Errors
    /// [`Error::Shape`] for rows that do not fit the layout.
    pub fn of_layer(layer: &Arc<impl Layer + ?Sized>, level: Level, rows: &Rows) -> Result<Self> {
        let shape = |port: Port| Shape { layout: *layer.layout(), content: port.content, rows: rows.clone() };
        let inputs = layer.inputs().into_iter().map(|port| (shape(port), level.up(port.above)));
        let mut program = Self::new(layer.layout(), inputs)?;
        program.begin(StageInfo::alone(layer.name(), level));
        let inputs = program.inputs.clone();
        program.results = program.layer(layer, level, &inputs)?;
        Ok(program)
    }

    /// The stages in the order of the network.
    pub fn stages(&self) -> &[StageInfo] {
        &self.stages
    }

    /// The stage of a task.
    pub fn stage(&self, task: &Task) -> &StageInfo {
        &self.stages[task.stage]
    }

    /// The tasks in the order of the network: each after those that make what it reads.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// One task.
    pub fn task(&self, id: TaskId) -> &Task {
        &self.tasks[id.0]
    }

    /// All blocks, inputs first.
    pub fn blocks(&self) -> &[BlockInfo] {
        &self.blocks
    }

    /// One block.
    pub fn block(&self, id: BlockId) -> &BlockInfo {
        &self.blocks[id.0]
    }

    /// Where values sit in the slots of its inputs.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The inputs: one for a network, those of its ports for a layer.
    pub fn inputs(&self) -> &[TensorRef] {
        &self.inputs
    }

    /// The blocks of all inputs.
    pub fn input_blocks(&self) -> impl Iterator<Item = BlockId> + '_ {
        self.inputs.iter().flat_map(|x| x.blocks().iter().copied())
    }

    /// The results.
    pub fn results(&self) -> &[TensorRef] {
        &self.results
    }

    /// The blocks of all results.
    pub fn result_blocks(&self) -> impl Iterator<Item = BlockId> + '_ {
        self.results.iter().flat_map(|x| x.blocks().iter().copied())
    }

    pub(crate) fn set_results(&mut self, results: Vec<TensorRef>) {
        self.results = results;
    }

    /// Begins a stage: tasks that are added belong to it.
    pub(crate) fn begin(&mut self, stage: StageInfo) {
        self.stages.push(StageInfo { index: self.stages.len(), tasks: 0, ..stage });
    }

    /// Adds a task to the last stage. It makes blocks of these contents, indices and levels.
    fn add(
        &mut self,
        kind: Kind,
        reads: &[BlockId],
        makes: &[(Content, usize, Level)],
        run: Run,
    ) -> Vec<BlockId> {
        let (task, first, stage) = (TaskId(self.tasks.len()), self.blocks.len(), self.stages.len() - 1);
        let made = makes.iter().map(|&(content, index, level)| BlockInfo {
            content,
            index,
            level,
            made_by: Some(task),
        });
        self.blocks.extend(made);
        let writes: Vec<BlockId> = (first..self.blocks.len()).map(BlockId).collect();
        self.stages[stage].tasks += 1;
        self.tasks.push(Task { kind, stage, reads: reads.to_vec(), writes: writes.clone(), run });
        writes
    }

    /// The blocks of a tensor at a level that they are brought down to, each once.
    pub(crate) fn bring(&mut self, x: &TensorRef, level: Level) -> Result<TensorRef> {
        let blocks = x.blocks().iter().map(|&id| self.bring_block(id, level)).collect();
        x.with(x.content(), blocks)
    }

    fn bring_block(&mut self, id: BlockId, level: Level) -> BlockId {
        let BlockInfo { content, index, level: from, .. } = *self.block(id);
        if from == level {
            return id;
        }
        if let Some(&brought) = self.brought.get(&(id, level)) {
            return brought;
        }
        let kind = Kind { layer: "bring".into(), part: "", level, from, reads: 1, writes: 1 };
        let run: Run = Arc::new(move |place, x| Ok(vec![bring(&place.ev, &x[0], level)?]));
        let brought = self.add(kind, &[id], &[(content, index, level)], run)[0];
        self.brought.insert((id, level), brought);
        brought
    }

    /// Refreshes blocks, with the bounds of their values, two in one task and the last one alone where their number is odd:
    /// which two share a bootstrap is part of the program.
    pub(crate) fn refresh(&mut self, params: &Params, stale: &[(BlockId, f64)]) -> Vec<BlockId> {
        let (base, fresh) = (params.base_level(), params.fresh_level());
        let mut all = vec![];
        for pair in stale.chunks(2) {
            let reads: Vec<BlockId> = pair.iter().map(|(id, _)| self.bring_block(*id, base)).collect();
            let part = if pair.len() == 2 { "pair" } else { "single" };
            let (n, layer) = (pair.len(), "bootstrap".into());
            let kind = Kind { layer, part, level: fresh, from: base, reads: n, writes: n };
            let makes: Vec<_> = (reads.iter().map(|id| self.block(*id)))
                .map(|block| (block.content, block.index, fresh))
                .collect();
            let bounds: Vec<f64> = pair.iter().map(|(_, bound)| *bound).collect();
            let run: Run = Arc::new(move |place, x| crate::refresh::refresh(place, x, &bounds));
            all.extend(self.add(kind, &reads, &makes, run));
        }
        all
    }

    /// Adds the tasks of a layer at a level to the last stage, on inputs at the levels that it takes.
    pub(crate) fn layer(
        &mut self,
        layer: &Arc<impl Layer + ?Sized>,
        level: Level,
        inputs: &[TensorRef],
    ) -> Result<Vec<TensorRef>> {
        let kind = layer.kind().into();
        Arc::clone(layer).emit(&mut Emitter { program: self, layer: kind, level }, inputs)
    }
}

/// What a layer adds its tasks to.
///
/// The blocks that it is given are at the levels that the layer declares, and those that it makes must be, all at the
/// canonical scale of their level.
pub struct Emitter<'a> {
    program: &'a mut Program,
    layer: Arc<str>,
    level: Level,
}

impl Emitter<'_> {
    /// Adds one task. It makes blocks with these places among those of the port's content. `part` tells tasks of one layer
    /// apart that cost differently.
    pub fn task(
        &mut self,
        part: &'static str,
        reads: &[BlockId],
        (port, places): (Port, &[usize]),
        run: impl Fn(&Place, &[Ciphertext]) -> Result<Vec<Ciphertext>> + Send + Sync + 'static,
    ) -> Vec<BlockId> {
        let makes: Vec<_> = places.iter().map(|&place| (port, place)).collect();
        self.task_of(part, reads, &makes, run)
    }

    /// [`Emitter::task`] that makes blocks of several ports.
    pub fn task_of(
        &mut self,
        part: &'static str,
        reads: &[BlockId],
        makes: &[(Port, usize)],
        run: impl Fn(&Place, &[Ciphertext]) -> Result<Vec<Ciphertext>> + Send + Sync + 'static,
    ) -> Vec<BlockId> {
        let from = reads.first().map_or(self.level, |id| self.program.block(*id).level);
        let (layer, level) = (Arc::clone(&self.layer), self.level);
        let kind = Kind { layer, part, level, from, reads: reads.len(), writes: makes.len() };
        let makes: Vec<_> =
            makes.iter().map(|(port, place)| (port.content, *place, level.up(port.above))).collect();
        self.program.add(kind, reads, &makes, Arc::new(run))
    }

    /// A task for each block: `f` of its place and the block.
    pub fn map(
        &mut self,
        part: &'static str,
        x: &TensorRef,
        port: Port,
        f: impl Fn(&Evaluator, usize, &Ciphertext) -> Result<Ciphertext> + Send + Sync + 'static,
    ) -> Result<TensorRef> {
        let f = Arc::new(f);
        let made = x.blocks().iter().enumerate().map(|(j, id)| {
            let f = Arc::clone(&f);
            self.task(part, &[*id], (port, &[j]), move |place, x| Ok(vec![f(&place.ev, j, &x[0])?]))[0]
        });
        let made = made.collect();
        x.with(port.content, made)
    }

    /// A task for each block and the one of `other` at its place: `f` of the block's place and the two. A tensor without
    /// the last axes of this one is repeated along them.
    pub fn zip(
        &mut self,
        part: &'static str,
        (x, other): (&TensorRef, &TensorRef),
        port: Port,
        f: impl Fn(&Evaluator, usize, &Ciphertext, &Ciphertext) -> Result<Ciphertext> + Send + Sync + 'static,
    ) -> Result<TensorRef> {
        let (f, repeated) = (Arc::new(f), x.beside(other)?);
        let made = x.blocks().iter().enumerate().map(|(j, id)| {
            let f = Arc::clone(&f);
            let reads = [*id, other.blocks()[j / repeated]];
            self.task(part, &reads, (port, &[j]), move |place, x| Ok(vec![f(&place.ev, j, &x[0], &x[1])?]))[0]
        });
        let made = made.collect();
        x.with(port.content, made)
    }

    /// A task for each line of blocks along the last axes, which must be `axes`: `f` of the line's place and its blocks,
    /// at least one. Gives the new blocks, in order.
    pub fn fold(
        &mut self,
        part: &'static str,
        (x, axes): (&TensorRef, &[Axis]),
        port: Port,
        f: impl Fn(&Evaluator, usize, &[Ciphertext]) -> Result<Ciphertext> + Send + Sync + 'static,
    ) -> Result<Vec<BlockId>> {
        let all = x.layout().axes(x.content());
        let split = all.len().checked_sub(axes.len()).map(|at| all.split_at(at).1);
        let last = split.filter(|last| last.iter().map(|axis| axis.0).eq(axes.iter().copied()));
        let Some(last) = last else {
            return Err(Error::Shape {
                what: format!("a tensor folded along {axes:?}"),
                want: format!("{axes:?} as its last axes"),
                have: format!("{:?}, axes {all:?}", x.content()),
            });
        };
        let (f, length) = (Arc::new(f), last.iter().map(|axis| axis.1).product());
        let lines = x.blocks().chunks_exact(length).enumerate().map(|(j, line)| {
            let f = Arc::clone(&f);
            self.task(part, line, (port, &[j]), move |place, x| Ok(vec![f(&place.ev, j, x)?]))[0]
        });
        Ok(lines.collect())
    }
}
