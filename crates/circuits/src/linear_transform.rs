//! Linear maps on slots: block matrices by their diagonals.
//!
//! `out_o = sum over inputs a and indices d of diagonal(o, a, d) * rot_d(x_a)`. With `d = stride (offset + i + n1 g)`,
//! `0 <= i < n1`, the *baby steps* `rot(stride (offset + i))` are shared by all outputs and *giant steps* g, and a
//! Horner scheme over g needs one more rotation key for all giant steps together:
//! `acc <- rot_(stride n1)(acc) + sum_i diagonal' * baby_i` (Halevi, Shoup 2018, section 4).
//! Both kinds of steps stay over QP, so that the division by P happens once an output (double hoisting, Bossuat,
//! Mouchet, Troncoso-Pastoriza, Hubaux 2021, section 4), together with the rescale.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use aegis_ckks::{
    Ciphertext, Context, Evaluator, Extended, Galois, KeyRequest, Level, Params, Weights, same_scale,
};
use num_complex::Complex64;

use crate::{Error, InvalidCircuit, Result};

/// Bytes that a transform may hold, so that one with many diagonals runs in bounded memory.
struct Limits {
    /// Sums over giant steps, and weights, are made in chunks of about this size.
    chunk: u64,
    /// All baby steps of all inputs are kept at once up to this size; beyond it, those of one input at a time, where
    /// there is room for the sums of all outputs, which are then open until the last input.
    babies: u64,
    /// Baby steps with the open sums. Outputs whose sums find no room make the baby steps of every input again.
    held: u64,
    /// All weights are kept for the next column up to this size, and encoded for each column beyond it.
    weights: u64,
}

const LIMITS: Limits =
    Limits { chunk: 512 << 20, babies: 2 << 30, held: (2 << 30) + (512 << 20), weights: 3 << 29 };

/// Cost of a giant step (decomposition of one polynomial and its key product) in baby steps (a key product, bound by
/// memory). 31 diagonals on 36 limbs take least time with 8 baby steps, and 1.2 times as long with 4 or 16.
const GIANT_COST: usize = 2;

/// More baby steps than this are not worth the memory of their keys.
const MAX_BABY_STEPS: i64 = 64;

/// The entries of a block matrix.
pub trait Diagonals {
    /// Length of every diagonal, a power of two: they repeat with this period over the slots. Short periods encode
    /// fast and need little memory.
    fn period(&self) -> usize;

    /// The diagonal that multiplies input `input`, rotated left by `index`, in output `output`: [`Diagonals::period`]
    /// values, or `None` where all are zero.
    fn diagonal(&self, output: usize, input: usize, index: i64) -> Option<Vec<Complex64>>;
}

/// The shape of a linear map: which diagonals, and how they split into baby and giant steps. One level deep.
#[derive(Clone, Debug)]
pub struct LinearTransform {
    inputs: usize,
    outputs: usize,
    stride: i64,
    /// Baby steps in units of the stride.
    babies: Vec<i64>,
    /// First index in units of the stride.
    offset: i64,
    /// Baby steps a giant step.
    n1: i64,
    /// Number of giant steps, the one without a rotation included.
    giants: usize,
    indices: BTreeSet<i64>,
}

/// Weights of a [`LinearTransform`] encoded in advance, for inputs of one level and scale.
pub struct EncodedDiagonals {
    level: Level,
    scale: f64,
    target: f64,
    blocks: Vec<Block>,
    weights: Vec<Weights>,
}

impl EncodedDiagonals {
    /// Level of the inputs.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.weights.iter().map(Weights::bytes).sum()
    }
}

/// The part of a transform that one inner product computes.
#[derive(Clone, Debug)]
struct Block {
    outputs: Range<usize>,
    giants: Range<usize>,
    inputs: Range<usize>,
}

/// Where the weights of a block come from.
enum Source<'a> {
    Encoded(&'a [Weights]),
    OnTheFly { diagonals: &'a dyn Diagonals, scale: f64, kept: Option<&'a mut Vec<Weights>> },
}

impl LinearTransform {
    /// A map from `inputs` to `outputs` ciphertexts with diagonals at these indices, all multiples of `stride`.
    /// Negative indices rotate right: give `-3..4`, not the same modulo the slot count, where the matrix is a band.
    pub fn new(
        inputs: usize,
        outputs: usize,
        indices: impl IntoIterator<Item = i64>,
        stride: i64,
    ) -> Result<Self> {
        let indices: BTreeSet<i64> = indices.into_iter().collect();
        let refuse = |why| Err(Error::Invalid(why));
        if stride < 1 || indices.iter().any(|d| d % stride != 0) {
            return refuse(InvalidCircuit::Stride(stride));
        }
        if inputs == 0 || outputs == 0 || indices.is_empty() {
            return refuse(InvalidCircuit::Empty { inputs, outputs, diagonals: indices.len() });
        }
        let range = (indices.last().unwrap_or(&0) - indices.first().unwrap_or(&0)) / stride + 1;
        // inputs * n1 + GIANT_COST * outputs * range / n1 is least here.
        let n1 = ((GIANT_COST * outputs) as f64 * range as f64 / inputs as f64).sqrt().round() as i64;
        Ok(Self::split(inputs, outputs, stride, indices, n1.clamp(1, range.min(MAX_BABY_STEPS))))
    }

    /// The same map with `n1` baby steps a giant step: fewer keys, or fewer key switches.
    pub fn with_baby_steps(self, n1: usize) -> Self {
        Self::split(self.inputs, self.outputs, self.stride, self.indices, n1.max(1) as i64)
    }

    fn split(inputs: usize, outputs: usize, stride: i64, indices: BTreeSet<i64>, n1: i64) -> Self {
        let offset = indices.first().unwrap_or(&0) / stride;
        let steps = || indices.iter().map(|d| d / stride - offset);
        let babies: BTreeSet<i64> = steps().map(|s| s % n1).collect();
        let giants = steps().max().unwrap_or(0) / n1 + 1;
        let babies = babies.into_iter().collect();
        Self { inputs, outputs, stride, babies, offset, n1, giants: giants as usize, indices }
    }

    /// Baby steps a giant step.
    pub fn n1(&self) -> usize {
        self.n1 as usize
    }

    /// Levels taken.
    pub fn depth(&self) -> u32 {
        1
    }

    /// Rotations by key switching: hoisted ones and single ones.
    pub fn rotations(&self) -> (usize, usize) {
        let hoisted = (0..self.babies.len()).filter(|&b| self.baby_steps(b) != 0).count();
        (hoisted * self.inputs, (self.giants - 1) * self.outputs)
    }

    /// Slots that a baby step rotates by.
    fn baby_steps(&self, baby: usize) -> i64 {
        (self.offset + self.babies[baby]) * self.stride
    }

    /// Slots that one giant step rotates by.
    fn giant_steps(&self) -> i64 {
        self.n1 * self.stride
    }

    /// The keys that inputs at `level` need.
    pub fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        let mut keys = KeyRequest::new(params.n());
        for baby in 0..self.babies.len() {
            keys = keys.rotation(self.baby_steps(baby), level);
        }
        if self.giants > 1 { keys.rotation(self.giant_steps(), level) } else { keys }
    }

    /// Applies the map to inputs of equal level and scale, encoding the weights on the fly. The outputs are one level
    /// lower, at its canonical scale.
    pub fn apply(&self, ev: &Evaluator, xs: &[Ciphertext], d: &dyn Diagonals) -> Result<Vec<Ciphertext>> {
        let below = self.level(xs)?.lowered(1);
        self.apply_to(ev, xs, d, ev.params().scale(below))
    }

    /// [`LinearTransform::apply`] with outputs at the scale `target`.
    pub fn apply_to(
        &self,
        ev: &Evaluator,
        xs: &[Ciphertext],
        diagonals: &dyn Diagonals,
        target: f64,
    ) -> Result<Vec<Ciphertext>> {
        let level = self.level(xs)?;
        let scale = target * ev.params().rescale_factor(level) / xs[0].scale();
        let blocks = self.blocks(ev.context(), level, diagonals.period(), &LIMITS);
        self.run(ev, xs, target, &blocks, Source::OnTheFly { diagonals, scale, kept: None })
    }

    /// [`LinearTransform::apply`] to several columns of inputs, as blocks of tokens are, which gives the outputs of each
    /// column. The weights are encoded once for all columns, unless all of them together would take more than 1.5 GiB.
    ///
    /// The columns run one after the other, in the memory of one and that of the kept weights. To multiply all columns
    /// by a weight at once would hold the baby steps of all of them, and spare only that the weights are read again:
    /// short vectors, about a hundredth of the bytes that a column touches.
    pub fn apply_columns(
        &self,
        ev: &Evaluator,
        columns: &[&[Ciphertext]],
        diagonals: &dyn Diagonals,
    ) -> Result<Vec<Vec<Ciphertext>>> {
        let (level, x) = self.common_level(columns)?;
        let target = ev.params().scale(level.lowered(1));
        let scale = target * ev.params().rescale_factor(level) / x.scale();
        let blocks = self.blocks(ev.context(), level, diagonals.period(), &LIMITS);
        let weight_bytes = self.weight_bytes(ev.params(), level, diagonals.period());
        let keep = columns.len() > 1 && weight_bytes <= LIMITS.weights;
        let mut weights = vec![];
        let one = |(index, xs): (usize, &&[Ciphertext])| {
            let source = if keep && index > 0 {
                Source::Encoded(&weights)
            } else {
                Source::OnTheFly { diagonals, scale, kept: keep.then_some(&mut weights) }
            };
            self.run(ev, xs, target, &blocks, source)
        };
        columns.iter().enumerate().map(one).collect()
    }

    /// Encodes the weights for inputs at `level` and `scale` and outputs at the scale `target`, one level lower.
    pub fn encode(
        &self,
        ctx: &Context,
        diagonals: &dyn Diagonals,
        level: Level,
        scale: f64,
        target: f64,
    ) -> Result<EncodedDiagonals> {
        let plaintext = target * ctx.params().rescale_factor(level) / scale;
        let blocks = self.blocks(ctx, level, diagonals.period(), &LIMITS);
        let weights = blocks.iter().map(|block| self.weights(ctx, level, block, diagonals, plaintext));
        let weights = weights.collect::<Result<_>>()?;
        Ok(EncodedDiagonals { level, scale, target, blocks, weights })
    }

    /// Applies the map with weights encoded in advance, to inputs of the level and scale they were encoded for.
    pub fn apply_encoded(
        &self,
        ev: &Evaluator,
        xs: &[Ciphertext],
        e: &EncodedDiagonals,
    ) -> Result<Vec<Ciphertext>> {
        let level = self.level(xs)?;
        if level != e.level || !same_scale(xs[0].scale(), e.scale) {
            return Err(Error::Unaligned { left: e.level, right: level });
        }
        self.run(ev, xs, e.target, &e.blocks, Source::Encoded(&e.weights))
    }

    /// The common level of the inputs.
    fn level(&self, xs: &[Ciphertext]) -> Result<Level> {
        if xs.len() != self.inputs {
            return Err(Error::Invalid(InvalidCircuit::Inputs { have: xs.len(), want: self.inputs }));
        }
        let (level, scale) = (xs[0].level(), xs[0].scale());
        if let Some(x) = xs.iter().find(|x| x.level() != level || !same_scale(x.scale(), scale)) {
            return Err(Error::Unaligned { left: level, right: x.level() });
        }
        if level == Level::BASE {
            return Err(Error::TooDeep { circuit: "a linear transform", depth: 1, have: level });
        }
        Ok(level)
    }

    /// The common level of the inputs of all columns, and one of them.
    fn common_level<'a>(&self, columns: &[&'a [Ciphertext]]) -> Result<(Level, &'a Ciphertext)> {
        let Some(&first) = columns.first() else { return Err(Error::Invalid(InvalidCircuit::NoColumns)) };
        let level = self.level(first)?;
        for column in columns {
            let right = self.level(column)?;
            if right != level || !same_scale(column[0].scale(), first[0].scale()) {
                return Err(Error::Unaligned { left: level, right });
            }
        }
        Ok((level, &first[0]))
    }

    /// Bytes of all weights on the device.
    fn weight_bytes(&self, params: &Params, level: Level, period: usize) -> u64 {
        let vectors = self.outputs * self.giants * self.inputs * self.babies.len();
        (vectors * 2 * period * params.extended_basis(level).len()) as u64 * 8
    }

    /// Cuts the work into inner products of bounded size, in the order in which they run: in each pass some outputs, for
    /// these the inputs, for these the giant steps from the last to the first.
    fn blocks(&self, ctx: &Context, level: Level, period: usize, limits: &Limits) -> Vec<Block> {
        let limb_bytes = ctx.params().extended_basis(level).len() as u64 * 8;
        let pair_bytes = 2 * limb_bytes * ctx.params().n() as u64;
        let (babies, sums) = (self.babies.len() as u64 * pair_bytes, self.giants as u64 * pair_bytes);
        let (all_babies, all_sums) = (self.inputs as u64 * babies, self.outputs as u64 * sums);
        let too_many_sums = babies + all_sums > limits.held;
        let at_once = all_babies <= limits.babies || (too_many_sums && all_babies <= limits.held);
        let group = if at_once { self.inputs } else { 1 };
        let room = limits.held.saturating_sub(babies) / sums;
        let pass = if group == self.inputs { self.outputs } else { (room as usize).clamp(1, self.outputs) };
        let weight_bytes = limb_bytes * (2 * period * group * self.babies.len()) as u64;
        let rows = ((limits.chunk / pair_bytes.max(weight_bytes)) as usize).max(1);
        let outputs = rows.min(pass);
        let giants = (rows / outputs).clamp(1, self.giants);
        let mut blocks = vec![];
        for pass in chunks(0..self.outputs, pass) {
            for inputs in chunks(0..self.inputs, group) {
                for outputs in chunks(pass.clone(), outputs) {
                    for last in chunks(0..self.giants, giants) {
                        let giants = self.giants - last.end..self.giants - last.start;
                        blocks.push(Block { outputs: outputs.clone(), giants, inputs: inputs.clone() });
                    }
                }
            }
        }
        blocks
    }

    /// The weights of a block: rows (giant step, output), terms (input, baby step), rotated right by the giant step.
    fn weights(
        &self,
        ctx: &Context,
        level: Level,
        b: &Block,
        d: &dyn Diagonals,
        scale: f64,
    ) -> Result<Weights> {
        let period = d.period();
        let vector = |g: usize, o, a, i| {
            let index = (self.offset + i + self.n1 * g as i64) * self.stride;
            let wanted = self.indices.contains(&index) && ctx.device().reads_words();
            let mut values = wanted.then(|| d.diagonal(o, a, index)).flatten();
            if let Some(values) = values.as_mut().filter(|v| v.len() == period) {
                values.rotate_right((g as i64 * self.giant_steps()).rem_euclid(period as i64) as usize);
            }
            Ok::<_, Error>(values)
        };
        let rows = b.giants.clone().flat_map(|g| b.outputs.clone().map(move |o| (g, o)));
        let terms = || b.inputs.clone().flat_map(|a| self.babies.iter().map(move |&i| (a, i)));
        // Counted, so that the encoder allocates once.
        let vectors: Vec<_> = rows.flat_map(|(g, o)| terms().map(move |(a, i)| (g, o, a, i))).collect();
        let vectors = vectors.into_iter().map(|(g, o, a, i)| vector(g, o, a, i));
        Weights::encode(ctx, (level, scale), (b.inputs.len() * self.babies.len(), period), vectors)
    }

    fn run(
        &self,
        ev: &Evaluator,
        xs: &[Ciphertext],
        target: f64,
        blocks: &[Block],
        mut source: Source<'_>,
    ) -> Result<Vec<Ciphertext>> {
        let (ctx, level) = (ev.context(), xs[0].level());
        let mut accumulators: Vec<Option<Extended>> = (0..self.outputs).map(|_| None).collect();
        let mut babies: Option<(Range<usize>, Extended)> = None;
        let mut open = VecDeque::new();
        for (index, block) in blocks.iter().enumerate() {
            let (inputs, x) = match babies.take() {
                Some(kept) if kept.0 == block.inputs => kept,
                // What is not kept is freed before others are made.
                other => {
                    drop(other);
                    (block.inputs.clone(), self.baby_steps_of(ev, &xs[block.inputs.clone()])?)
                }
            };
            let fresh;
            let w = match &mut source {
                Source::Encoded(weights) => &weights[index],
                Source::OnTheFly { diagonals, scale, kept } => {
                    let made = self.weights(ctx, level, block, *diagonals, *scale)?;
                    match kept {
                        None => {
                            fresh = made;
                            &fresh
                        }
                        Some(kept) => {
                            kept.push(made);
                            &kept[index]
                        }
                    }
                }
            };
            // The sums of a pass come back in the order in which they were opened.
            let sums = if block.inputs.start > 0 { open.pop_front() } else { None };
            let sums = ev.weighted_sums(w, &x, sums)?;
            babies = Some((inputs, x));
            if block.inputs.end == self.inputs {
                self.giant_step_sums(ev, block, &sums, &mut accumulators)?;
            } else {
                open.push_back(sums);
            }
        }
        // Exactly the scale wanted: that of the sums is off by the roundings of the weights' scale.
        let scale = target * ctx.params().rescale_factor(level);
        let finish = |acc: Option<Extended>| {
            let acc = acc.ok_or(Error::NoResult { circuit: "a linear transform" })?;
            Ok(ev.mod_down_rescale(&acc.reinterpret(scale)?)?)
        };
        accumulators.into_iter().map(finish).collect()
    }

    /// All baby steps of these inputs: one extended ciphertext for each (input, baby step).
    fn baby_steps_of(&self, ev: &Evaluator, xs: &[Ciphertext]) -> Result<Extended> {
        let map = |baby| Galois::rotation(self.baby_steps(baby), ev.params().n());
        let maps: Vec<Galois> = (0..self.babies.len()).map(map).collect();
        Ok(ev.rotate_all_extended(xs, &maps)?)
    }

    /// Horner steps for the giant steps of a block, from the last to the first.
    fn giant_step_sums(
        &self,
        ev: &Evaluator,
        block: &Block,
        sums: &Extended,
        accumulators: &mut [Option<Extended>],
    ) -> Result<()> {
        let turn = Galois::rotation(self.giant_steps(), ev.params().n());
        for row in (0..block.rows()).rev() {
            let accumulator = &mut accumulators[block.outputs.start + row % block.outputs.len()];
            *accumulator = Some(match accumulator.take() {
                None => ev.extended_pair(sums, row)?,
                Some(acc) => {
                    let mut turned = ev.rotate_extended(&acc, turn)?;
                    ev.add_extended_pair(&mut turned, sums, row)?;
                    turned
                }
            });
        }
        Ok(())
    }
}

/// A range in parts of `size`, the last one maybe shorter.
fn chunks(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(size).map(move |start| start..(start + size).min(range.end))
}

impl Block {
    /// Rows of the inner product: one a giant step and output.
    fn rows(&self) -> usize {
        self.giants.len() * self.outputs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_ckks::insecure_levelled_spec;
    use aegis_testing::{Setup, insecure, uniform_complex};

    /// Every (output, input, index) has its own diagonal.
    struct Random;

    impl Diagonals for Random {
        fn period(&self) -> usize {
            16
        }

        fn diagonal(&self, output: usize, input: usize, index: i64) -> Option<Vec<Complex64>> {
            Some(uniform_complex(16, (output * 64 + input) as u64 * 4096 + index as u64))
        }
    }

    #[test]
    fn the_same_bits_within_any_limits() {
        let s = Setup::new(insecure(insecure_levelled_spec(7, 2)));
        let t = LinearTransform::new(3, 5, 0..8, 1).unwrap().with_baby_steps(4);
        let (params, level) = (s.ctx.params(), Level(2));
        let ev = s.evaluator(&t.keys(params, level));
        let xs: Vec<_> = (0..3).map(|seed| s.encrypt_at(&uniform_complex(64, seed), level)).collect();
        let want: Vec<_> = t.apply(&ev, &xs, &Random).unwrap().iter().map(|y| s.decrypt(y)).collect();
        let target = params.scale(Level(1));
        let scale = target * params.rescale_factor(level) / xs[0].scale();
        let pair = 2 * 8 * (params.extended_basis(level).len() * params.n()) as u64;
        // In pairs: 4 baby steps an input, sums of 2 giant steps for each of 5 outputs. How often inputs are rotated.
        let cases = [
            (5, 12, 12, 1),
            (5, 11, 14, 1),
            (1, 11, 14, 1),
            (5, 11, 13, 1),
            (3, 11, 11, 2),
            (5, 11, 6, 5),
            (0, 0, 0, 5),
        ];
        for (chunk, babies, held, passes) in cases {
            let limits = Limits { chunk: chunk * pair, babies: babies * pair, held: held * pair, weights: 0 };
            let blocks = t.blocks(&s.ctx, level, Random.period(), &limits);
            let before = ev.counts();
            let source = Source::OnTheFly { diagonals: &Random, scale, kept: None };
            let got = t.run(&ev, &xs, target, &blocks, source).unwrap();
            let got: Vec<_> = got.iter().map(|y| s.decrypt(y)).collect();
            assert_eq!(got, want, "chunks of {chunk}, {babies} baby steps, {held} held");
            let (hoisted, single) = t.rotations();
            let rotations = (ev.counts() - before).rotations;
            assert_eq!(rotations, (passes * hoisted + single) as u64, "{chunk} {babies} {held}");
        }
    }
}
