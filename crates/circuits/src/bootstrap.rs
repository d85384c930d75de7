//! Bootstrapping: a ciphertext with few levels left becomes one with many.
//!
//! SlotsToCoeffs comes first, at the bottom of the chain where limbs are few; then ModRaise under an ephemeral sparse
//! secret (Bossuat, Troncoso-Pastoriza, Hubaux 2022), CoeffsToSlots at the top, and EvalMod, which ends at the fresh
//! level. EvalMod thus acts on the slots' own values, and its errors are not spread by a later transform.

use std::f64::consts::TAU;

use aegis_ckks::{BootstrapSpec, Ciphertext, Context, Evaluator, KeyRequest, Level, Params};

use crate::dft::{self, DiagonalMatrix, coeffs_to_slots, slots_to_coeffs};
use crate::eval_mod::EvalMod;
use crate::linear_transform::{EncodedDiagonals, LinearTransform};
use crate::{Error, InvalidCircuit, Result};

/// Baby steps of a CoeffsToSlots stage. With 8, the keys of all rotations of three stages at N = 2^16 take 4.7 GiB;
/// with 16 they would take 8.6 GiB.
const TOP_BABY_STEPS: usize = 8;

/// Most that the matrices may take: eight times those of the preset that ships. With one level of CoeffsToSlots at
/// N = 2^16 they would take 739 GB, and parameters may come from a file.
const MAX_MATRIX_BYTES: u64 = 8 << 30;

/// Bootstraps ciphertexts whose slots repeat with one period.
pub struct Bootstrapper {
    ctx: Context,
    slots: usize,
    spec: BootstrapSpec,
    to_coeffs: Vec<DftStage>,
    to_slots: Vec<DftStage>,
    eval_mod: EvalMod,
}

/// One matrix of a homomorphic DFT.
struct DftStage {
    level: Level,
    matrix: DiagonalMatrix,
    transform: LinearTransform,
    /// `None` where the weights are encoded on the fly: the first stage, whose scale follows the input's.
    weights: Option<EncodedDiagonals>,
}

impl DftStage {
    fn new(matrix: DiagonalMatrix, level: Level) -> Result<Self> {
        let transform = LinearTransform::new(1, 1, matrix.indices(), matrix.stride())?;
        Ok(Self { level, matrix, transform, weights: None })
    }

    fn encode(&mut self, ctx: &Context, scale: f64, target: f64) -> Result<()> {
        self.weights = Some(self.transform.encode(ctx, &self.matrix, self.level, scale, target)?);
        Ok(())
    }

    fn apply(&self, ev: &Evaluator, x: Ciphertext, target: f64) -> Result<Ciphertext> {
        let x = [x];
        let mut out = match &self.weights {
            Some(weights) => self.transform.apply_encoded(ev, &x, weights)?,
            None => self.transform.apply_to(ev, &x, &self.matrix, target)?,
        };
        out.pop().ok_or(Error::NoResult { circuit: "a stage of a bootstrap" })
    }
}

impl Bootstrapper {
    /// A bootstrapper for vectors of `slots` values, a power of two up to N/2, that repeat over all slots. Encodes the
    /// matrices: at N = 2^16 and full slots they take 1 GiB on the device. Fails with [`Error::TooLarge`], before it makes
    /// any, where a transform has too few levels for its size.
    pub fn new(ctx: &Context, slots: usize) -> Result<Self> {
        let params = ctx.params();
        let name = || params.name().to_owned();
        let Some(spec) = params.bootstrap().cloned() else {
            return Err(Error::NoBootstrap { params: name() });
        };
        let eval_mod = EvalMod::new(&spec)?;
        if eval_mod.depth() != spec.eval_mod {
            let (need, have) = (eval_mod.depth(), spec.eval_mod);
            return Err(Error::EvalModLevels { params: name(), need, have });
        }
        if !slots.is_power_of_two() || slots > params.slots() {
            return Err(Error::Invalid(InvalidCircuit::Slots { have: slots, max: params.slots() }));
        }
        let bytes = matrix_bytes(params, &spec, slots);
        if bytes > MAX_MATRIX_BYTES {
            return Err(Error::TooLarge { params: name(), bytes, max: MAX_MATRIX_BYTES });
        }
        let down_from = |top: Level, matrices: Vec<DiagonalMatrix>| {
            let stage = |(i, matrix)| DftStage::new(matrix, top.lowered(i as u32));
            matrices.into_iter().enumerate().map(stage).collect::<Result<Vec<_>>>()
        };
        let to_coeffs = slots_to_coeffs(slots, spec.slots_to_coeffs as usize);
        let to_slots = coeffs_to_slots(slots, spec.coeffs_to_slots as usize);
        let to_coeffs = down_from(params.base_level(), to_coeffs)?;
        let mut to_slots = down_from(params.max_level(), to_slots)?;
        for stage in &mut to_slots {
            stage.transform = stage.transform.clone().with_baby_steps(TOP_BABY_STEPS);
        }
        let mut this = Self { ctx: ctx.clone(), slots, spec, to_coeffs, to_slots, eval_mod };
        this.encode()?;
        Ok(this)
    }

    fn encode(&mut self) -> Result<()> {
        let mut scale = self.raised_scale();
        let target = self.split_scale();
        for stage in &mut self.to_slots {
            stage.encode(&self.ctx, scale, target)?;
            scale = target;
        }
        for i in 1..self.to_coeffs.len() {
            let (scale, target) = (self.low_scale(i - 1), self.low_scale(i));
            self.to_coeffs[i].encode(&self.ctx, scale, target)?;
        }
        Ok(())
    }

    /// Slots of the vectors, the period.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Bytes of the encoded matrices on the device.
    pub fn bytes(&self) -> u64 {
        self.to_coeffs
            .iter()
            .chain(&self.to_slots)
            .flat_map(|s| &s.weights)
            .map(EncodedDiagonals::bytes)
            .sum()
    }

    /// The keys that a bootstrap needs, each at the level of its use.
    pub fn keys(&self) -> KeyRequest {
        let params = self.params();
        let split = self.split_level();
        let keys = KeyRequest::new(params.n()).encapsulation().conjugation(split);
        let keys = keys.merge(&self.eval_mod.keys(params, split));
        let keys = self.trace_steps().fold(keys, |keys, steps| keys.rotation(steps, params.max_level()));
        let stages = self.to_coeffs.iter().chain(&self.to_slots);
        stages.fold(keys, |keys, stage| keys.merge(&stage.transform.keys(params, stage.level)))
    }

    /// Bootstraps complex slots with real and imaginary parts within `[-bound, bound]`.
    ///
    /// Level: from [`Params::base_level`] or above to [`Params::fresh_level`]. Scale: canonical. Error: see
    /// [`Budget`](crate::Budget).
    pub fn bootstrap(&self, ev: &Evaluator, x: &Ciphertext, bound: f64) -> Result<Ciphertext> {
        let (re, im) = self.refresh(ev, x, bound)?;
        Ok(ev.add(&re, &ev.mul_i(&im)?)?)
    }

    /// Bootstraps two ciphertexts with real slots as one with complex slots. Ranges, level and scale as in
    /// [`Bootstrapper::bootstrap`].
    pub fn bootstrap_pair(
        &self,
        ev: &Evaluator,
        re: &Ciphertext,
        im: &Ciphertext,
        bound: f64,
    ) -> Result<(Ciphertext, Ciphertext)> {
        let (re, im) = (self.enter(ev, re)?, self.enter(ev, im)?);
        self.refresh(ev, &ev.add(&re, &ev.mul_i(&im)?)?, bound)
    }

    /// Bootstraps real slots, at half the cost of EvalMod: imaginary parts are discarded. Ranges, level and scale as
    /// in [`Bootstrapper::bootstrap`].
    pub fn bootstrap_real(&self, ev: &Evaluator, x: &Ciphertext, bound: f64) -> Result<Ciphertext> {
        let low = self.slots_to_coeffs(ev, x, bound)?;
        let raised = self.mod_raise(ev, &low)?;
        let slots = self.coeffs_to_slots(ev, raised)?;
        self.reduce(ev, &ev.add(&slots, &ev.conjugate(&slots)?)?, bound)
    }

    /// Real and imaginary parts of the slots, refreshed.
    fn refresh(&self, ev: &Evaluator, x: &Ciphertext, bound: f64) -> Result<(Ciphertext, Ciphertext)> {
        let low = self.slots_to_coeffs(ev, x, bound)?;
        let raised = self.mod_raise(ev, &low)?;
        let slots = self.coeffs_to_slots(ev, raised)?;
        let conjugate = ev.conjugate(&slots)?;
        let re = self.reduce(ev, &ev.add(&slots, &conjugate)?, bound)?;
        // (z - conj z) / i = i (conj z - z).
        let im = self.reduce(ev, &ev.mul_i(&ev.sub(&conjugate, &slots)?)?, bound)?;
        Ok((re, im))
    }

    /// Down to the level at which SlotsToCoeffs begins.
    fn enter(&self, ev: &Evaluator, x: &Ciphertext) -> Result<Ciphertext> {
        let base = self.params().base_level();
        if x.level() < base {
            let depth = self.spec.slots_to_coeffs;
            return Err(Error::TooDeep { circuit: "a bootstrap", depth, have: x.level() });
        }
        if x.level() == base { Ok(x.clone()) } else { Ok(ev.adjust(x, base, self.params().scale(base))?) }
    }

    /// The slots become coefficients at level 0, scaled so that `bound` stands at `q0 / 2^message_ratio_log2`.
    fn slots_to_coeffs(&self, ev: &Evaluator, x: &Ciphertext, bound: f64) -> Result<Ciphertext> {
        if !(bound.is_finite() && bound > 0.0) {
            return Err(Error::Invalid(InvalidCircuit::Bound(bound)));
        }
        let x = self.enter(ev, x)?;
        let relative = ev.reinterpret(&x, x.scale() * bound)?;
        let mut stages = self.to_coeffs.iter().enumerate();
        stages.try_fold(relative, |x, (i, stage)| stage.apply(ev, x, self.low_scale(i)))
    }

    /// `m + q0 I` at the top level, read as a fraction of `K q0`.
    fn mod_raise(&self, ev: &Evaluator, x: &Ciphertext) -> Result<Ciphertext> {
        let mut sum = ev.mod_raise(x)?;
        for steps in self.trace_steps() {
            let turned = ev.rotate(&sum, steps)?;
            ev.add_assign(&mut sum, &turned)?;
        }
        Ok(ev.reinterpret(&sum, self.raised_scale())?)
    }

    fn coeffs_to_slots(&self, ev: &Evaluator, x: Ciphertext) -> Result<Ciphertext> {
        self.to_slots.iter().try_fold(x, |x, stage| stage.apply(ev, x, self.split_scale()))
    }

    /// EvalMod on twice a part of the slots, and back from the sine to the message.
    fn reduce(&self, ev: &Evaluator, twice: &Ciphertext, bound: f64) -> Result<Ciphertext> {
        let part = ev.reinterpret(twice, 2.0 * twice.scale())?;
        let fresh = self.params().scale(self.params().fresh_level());
        // sin(2 pi m / q0) for m = message / bound * q0 / 2^ratio.
        let amplitude = TAU / (bound * f64::from(self.spec.message_ratio_log2).exp2());
        let sine = self.eval_mod.evaluate(ev, &part, fresh / amplitude)?;
        Ok(ev.reinterpret(&sine, fresh)?)
    }

    pub(crate) fn spec(&self) -> &BootstrapSpec {
        &self.spec
    }

    pub(crate) fn eval_mod(&self) -> &EvalMod {
        &self.eval_mod
    }

    /// Level, number of diagonals and their period, of a stage of SlotsToCoeffs (`low`) or CoeffsToSlots.
    pub(crate) fn stage_facts(&self, low: bool, i: usize) -> (Level, usize, usize) {
        let stage = if low { &self.to_coeffs[i] } else { &self.to_slots[i] };
        (stage.level, stage.matrix.indices().count(), stage.matrix.period())
    }

    pub(crate) fn params(&self) -> &Params {
        self.ctx.params()
    }

    /// Level at which CoeffsToSlots ends and EvalMod begins.
    pub(crate) fn split_level(&self) -> Level {
        self.params().max_level().lowered(self.spec.coeffs_to_slots)
    }

    /// Rotations whose sum projects to polynomials in `X^(N/2n)`, the ring of vectors of n slots.
    fn trace_steps(&self) -> impl Iterator<Item = i64> + use<> {
        let (slots, all) = (self.slots, self.params().slots());
        (0..(all / slots).ilog2()).map(move |log| (slots << log) as i64)
    }

    /// Scale after stage `i` of SlotsToCoeffs, for messages as a fraction of the bound.
    pub(crate) fn low_scale(&self, i: usize) -> f64 {
        if i + 1 == self.to_coeffs.len() {
            self.params().base_modulus() as f64 / f64::from(self.spec.message_ratio_log2).exp2()
        } else {
            self.params().scale(self.to_coeffs[i].level.lowered(1))
        }
    }

    /// Scale at which a raised ciphertext holds `t / (K q0)`: the projection multiplies by N/2n.
    pub(crate) fn raised_scale(&self) -> f64 {
        let q0 = self.params().base_modulus() as f64;
        q0 * self.eval_mod.range() * (self.params().slots() / self.slots) as f64
    }

    /// Scale after CoeffsToSlots: adding the conjugate doubles the real part, and the scale with it.
    pub(crate) fn split_scale(&self) -> f64 {
        self.eval_mod.input_scale(self.params(), self.split_level()) / 2.0
    }
}

/// An upper bound of what the matrices take: complex diagonals on the host and, encoded over the limbs of their level and
/// the special ones, on the device.
fn matrix_bytes(params: &Params, spec: &BootstrapSpec, slots: usize) -> u64 {
    let low = dft::layers(slots, spec.slots_to_coeffs as usize);
    let high: Vec<u32> = dft::layers(slots, spec.coeffs_to_slots as usize).into_iter().rev().collect();
    // The first matrix of SlotsToCoeffs and the last one of CoeffsToSlots have the shortest diagonals.
    let levels = (0..low.len()).map(|i| params.base_level().lowered(i as u32));
    let levels =
        levels.chain((0..high.len()).map(|i| params.max_level().lowered((high.len() - 1 - i) as u32)));
    let sizes = dft::sizes(&low, slots).into_iter().chain(dft::sizes(&high, slots));
    let bytes = |((diagonals, period), level): ((usize, usize), Level)| {
        let words = (2 * period).min(params.n()) * params.extended_basis(level).len();
        diagonals as u64 * (16 * period + 8 * words) as u64
    };
    sizes.zip(levels).map(bytes).sum()
}
