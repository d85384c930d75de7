//! What a layer is, and the whole test of one.

use std::sync::Arc;

use aegis_ckks::{Context, Evaluator, KeyGenerator, Level, OpCounts, Plaintext, Seed};

use crate::catalog::Catalog;
use crate::program::{Emitter, Place, Program};
use crate::run::Lane;
use crate::schedule::Schedule;
use crate::{
    CheckFailure, Content, CtTensor, Error, Layout, Result, Rows, Shape, Tensor, TensorRef, largest,
};

/// An input or output of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// What its blocks mean.
    pub content: Content,
    /// Levels above the layer's own level, at which an input must be and an output will be.
    pub above: u32,
}

impl Port {
    /// A port of `content`, `above` the layer's level.
    pub fn new(content: Content, above: u32) -> Self {
        Self { content, above }
    }
}

/// The interval that an approximation was made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValidRange {
    /// Which input of the layer.
    pub input: usize,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// One encrypted operation on whole tensors, in one file: levels, meaning, evaluation.
///
/// A layer that runs *at level e* takes each input at `e + above` and gives each output at `e + above`, all
/// at the canonical scale of their level; rows beyond the real tokens are zeros before and after.
pub trait Layer: Send + Sync {
    /// A short name for tables and errors.
    fn name(&self) -> &str;

    /// Its structure: two layers of one kind in one layout ask the same of a device at the same level. More than the name
    /// where constants decide what is computed: the number of steps, which coefficients are zero.
    fn kind(&self) -> String {
        self.name().into()
    }

    /// Where its tensors sit in the slots.
    fn layout(&self) -> &Layout;

    /// What it takes, and at how many levels above its own.
    fn inputs(&self) -> Vec<Port>;

    /// What it gives; the lowest output is at the layer's own level.
    fn outputs(&self) -> Vec<Port>;

    /// Levels from the highest input down to the layer's own.
    fn depth(&self) -> u32 {
        self.inputs().iter().map(|p| p.above).max().unwrap_or(0)
    }

    /// Its meaning in f64, with the same approximations, for one text. Tensors hold the real rows only.
    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>>;

    /// Adds its tasks to a program. The inputs are what [`Layer::inputs`] declares, the results what [`Layer::outputs`]
    /// does.
    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>>;

    /// The intervals that inputs must not leave, for approximations; the others take anything.
    fn ranges(&self) -> Vec<ValidRange> {
        vec![]
    }
}

/// What [`check`] saw.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckReport {
    /// Largest difference between the encrypted result and the plain one.
    pub max_error: f64,
    /// Largest magnitude in the rows that are padding.
    pub max_padding: f64,
    /// Operations used.
    pub counts: OpCounts,
    /// Keys made for it.
    pub keys: usize,
}

impl std::fmt::Display for CheckReport {
    /// The trace snapshot: what a change of the algorithm changes, and noise does not.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let c = &self.counts;
        write!(
            f,
            "rotations {} products {} plain {} switches {} keys {}",
            c.rotations, c.products, c.plain_products, c.key_switches, self.keys
        )
    }
}

/// The whole test of a layer: encrypts `inputs`, the matrices of one text, runs it at `level` with the keys that it was seen
/// to use on a device of shapes and no others, and compares every output with [`Layer::plain`] and its level with the
/// declared one. What stands in the padded rows is reported: zeros for activations, idle values for scores.
///
/// Fails with [`Error::Check`] naming the fact that does not hold, or with the error that the layer ran into.
pub fn check(
    layer: &Arc<impl Layer + ?Sized>,
    ctx: &Context,
    level: Level,
    inputs: &[&Tensor],
    tolerance: f64,
) -> Result<CheckReport> {
    let rows = Rows::one(inputs.first().map_or(1, |x| x.rows()));
    check_texts(layer, ctx, level, &rows, &[inputs], tolerance)
}

/// [`check`] for texts side by side: `inputs` holds the matrices of each text.
pub fn check_texts(
    layer: &Arc<impl Layer + ?Sized>,
    ctx: &Context,
    level: Level,
    rows: &Rows,
    inputs: &[&[&Tensor]],
    tolerance: f64,
) -> Result<CheckReport> {
    let fail = |failure| Err(Error::Check { layer: layer.name().into(), failure });
    let want = layer.inputs().len();
    if let Some(given) = inputs.iter().find(|given| given.len() != want) {
        return fail(CheckFailure::Inputs { have: given.len(), want });
    }
    let program = Program::of_layer(layer, level, rows)?;
    // As plans do, which serve every length.
    let full = Program::of_layer(layer, level, &Rows::one(layer.layout().tokens()))?;
    let keys = Catalog::new(ctx.params())?.keys(&full)?;
    let keygen = KeyGenerator::new(ctx, Seed::new([7; 32]));
    let secret = keygen.secret_key();
    let keys = keygen.evaluation_keys(&secret, &keys)?;
    let n_keys = keys.count();
    let place = Place { ev: Evaluator::new(ctx, Arc::new(keys)), bootstrapper: None };
    let shape = |port: &Port| Shape { layout: *layer.layout(), content: port.content, rows: rows.clone() };

    let mut encrypted = vec![];
    for (i, port) in layer.inputs().iter().enumerate() {
        let texts = inputs.iter().map(|text| text[i].clone());
        let x = texts.reduce(|all, text| all.above(&text)).unwrap_or_else(|| Tensor::zeros(0, 0));
        let seed = Seed::new([i as u8 + 11; 32]);
        encrypted.push(encrypt(ctx, &secret, shape(port), &x, level.up(port.above), &seed)?);
    }
    let blocks: Vec<_> = encrypted.into_iter().flat_map(CtTensor::into_blocks).collect();
    let schedule = Schedule::deepest_first(&program);
    let mut lane = Lane::start(&program, &schedule, blocks)?;
    while lane.step(&place, &mut ())? {}
    let outputs = lane.results()?;

    let texts = inputs.iter().map(|text| layer.plain(text)).collect::<Result<Vec<_>>>()?;
    let below = |all: Vec<Tensor>, text: &Vec<Tensor>| -> Vec<Tensor> {
        all.iter().zip(text).map(|(a, b)| a.above(b)).collect()
    };
    let wanted = texts.iter().skip(1).fold(texts.first().cloned().unwrap_or_default(), below);
    let declared: Vec<_> = layer.outputs().iter().map(|p| layer.layout().columns(p.content)).collect();
    let plain: Vec<_> = wanted.iter().map(Tensor::cols).collect();
    if outputs.len() != declared.len() || plain != declared {
        return fail(CheckFailure::Outputs { declared, plain, made: outputs.len() });
    }
    let mut report =
        CheckReport { max_error: 0.0, max_padding: 0.0, counts: place.ev.counts(), keys: n_keys };
    for ((port, got), want) in layer.outputs().iter().zip(&outputs).zip(&wanted) {
        let at = level.up(port.above);
        if let Some(block) = got.blocks().iter().find(|b| b.level() != at) {
            return fail(CheckFailure::Level { have: block.level(), want: at });
        }
        let slots = decrypt(ctx, &secret, got)?;
        report.max_error = largest([report.max_error, got.shape().unpack(&slots)?.max_difference(want)]);
        report.max_padding = largest([report.max_padding, got.shape().padding(&slots)]);
    }
    // Written so that NaN fails.
    if report.max_error <= tolerance {
        Ok(report)
    } else {
        fail(CheckFailure::Difference { error: report.max_error, tolerance })
    }
}

/// Encrypts a matrix at `level` under the secret key.
pub fn encrypt(
    ctx: &Context,
    secret: &aegis_ckks::SecretKey,
    shape: Shape,
    x: &Tensor,
    level: Level,
    seed: &Seed,
) -> Result<CtTensor> {
    let mut blocks = vec![];
    for (j, slots) in shape.pack(x)?.iter().enumerate() {
        let plaintext = Plaintext::encode_real(ctx, slots, ctx.params().scale(level), level)?;
        let seed = seed.derive("block", &(j as u64).to_le_bytes());
        blocks.push(secret.encrypt(ctx, &plaintext, &seed)?);
        plaintext.wipe(ctx);
    }
    CtTensor::new(shape, blocks)
}

/// The slots of every block of a tensor, real parts.
pub fn decrypt(ctx: &Context, secret: &aegis_ckks::SecretKey, x: &CtTensor) -> Result<Vec<Vec<f64>>> {
    let slots = |ct| Ok(secret.decrypt(ctx, ct)?.iter().map(|v| v.re).collect());
    x.blocks().iter().map(slots).collect()
}
