//! What a layer is, and the whole test of one.

use std::sync::Arc;

use aegis_ckks::{Context, Evaluator, KeyGenerator, KeyRequest, Level, OpCounts, Params, Plaintext, Seed};

use crate::{CheckFailure, Content, CtTensor, Error, Layout, Result, Tensor, largest};

/// An input or output of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// One encrypted operation on whole tensors, in one file: levels, keys, meaning, evaluation.
///
/// A layer that runs *at level e* takes each input at `e + above` and gives each output at `e + above`, all
/// at the canonical scale of their level; rows beyond the real tokens are zeros before and after.
pub trait Layer: Send + Sync {
    /// A short name for tables and errors.
    fn name(&self) -> &str;

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

    /// The keys that a run at `level` uses, at the levels at which it uses them.
    fn keys(&self, params: &Params, level: Level) -> KeyRequest;

    /// Its meaning in f64, with the same approximations. Tensors hold the real rows only.
    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>>;

    /// Evaluates on ciphertexts, at the level that its inputs are above.
    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>>;

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

/// The whole test of a layer: encrypts `inputs`, runs it at `level` with the keys it declares and no others,
/// and compares every output with [`Layer::plain`] and its level with the declared one. What stands in the
/// padded rows is reported: zeros for activations, idle values for scores and sums, copies after pooling.
///
/// Fails with [`Error::Check`] naming the fact that does not hold, or with the error that the layer ran into
/// (a missing key among them).
pub fn check(
    layer: &dyn Layer,
    ctx: &Context,
    level: Level,
    inputs: &[&Tensor],
    tolerance: f64,
) -> Result<CheckReport> {
    let fail = |failure| Err(Error::Check { layer: layer.name().into(), failure });
    if inputs.len() != layer.inputs().len() {
        return fail(CheckFailure::Inputs { have: inputs.len(), want: layer.inputs().len() });
    }
    let keygen = KeyGenerator::new(ctx, Seed::new([7; 32]));
    let secret = keygen.secret_key();
    let request = layer.keys(ctx.params(), level);
    let keys = keygen.evaluation_keys(&secret, &request)?;
    let n_keys = keys.count();
    let ev = Evaluator::new(ctx, Arc::new(keys));
    let mut encrypted = vec![];
    for (i, (port, x)) in layer.inputs().iter().zip(inputs).enumerate() {
        let at = level.up(port.above);
        let seed = Seed::new([i as u8 + 11; 32]);
        encrypted.push(encrypt(ctx, &secret, layer.layout(), port.content, x, at, &seed)?);
    }
    let outputs = layer.forward(&ev, &encrypted.iter().collect::<Vec<_>>())?;
    let wanted = layer.plain(inputs)?;
    let declared: Vec<_> = layer.outputs().iter().map(|p| layer.layout().columns(p.content)).collect();
    let plain: Vec<_> = wanted.iter().map(Tensor::cols).collect();
    if outputs.len() != declared.len() || plain != declared {
        return fail(CheckFailure::Outputs { declared, plain, made: outputs.len() });
    }
    let mut report = CheckReport { max_error: 0.0, max_padding: 0.0, counts: ev.counts(), keys: n_keys };
    for ((port, got), want) in layer.outputs().iter().zip(&outputs).zip(&wanted) {
        let at = level.up(port.above);
        if let Some(block) = got.blocks().iter().find(|b| b.level() != at) {
            return fail(CheckFailure::Level { have: block.level(), want: at });
        }
        let slots = decrypt(ctx, &secret, got)?;
        let rows = layer.layout().unpack(port.content, &slots, want.rows())?;
        report.max_error = largest([report.max_error, rows.max_difference(want)]);
        let first_padded = layer.layout().slot(want.rows(), 0);
        let padding = slots.iter().flat_map(|s| &s[first_padded.min(s.len())..]);
        report.max_padding = largest(padding.copied().chain([report.max_padding]));
    }
    // Written so that NaN fails.
    if report.max_error <= tolerance {
        Ok(report)
    } else {
        fail(CheckFailure::Difference { error: report.max_error, tolerance })
    }
}

/// Encrypts a tensor at `level` under the secret key.
pub fn encrypt(
    ctx: &Context,
    secret: &aegis_ckks::SecretKey,
    layout: &Layout,
    content: Content,
    x: &Tensor,
    level: Level,
    seed: &Seed,
) -> Result<CtTensor> {
    let mut blocks = vec![];
    for (j, slots) in layout.pack(content, x)?.iter().enumerate() {
        let plaintext = Plaintext::encode_real(ctx, slots, ctx.params().scale(level), level)?;
        let seed = seed.derive("block", &(j as u64).to_le_bytes());
        blocks.push(secret.encrypt(ctx, &plaintext, &seed)?);
        plaintext.wipe(ctx);
    }
    CtTensor::new(layout, content, x.rows(), blocks)
}

/// The slots of every block of a tensor, real parts.
pub fn decrypt(ctx: &Context, secret: &aegis_ckks::SecretKey, x: &CtTensor) -> Result<Vec<Vec<f64>>> {
    let slots = |ct| Ok(secret.decrypt(ctx, ct)?.iter().map(|v| v.re).collect());
    x.blocks().iter().map(slots).collect()
}
