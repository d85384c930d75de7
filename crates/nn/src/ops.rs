//! Steps that several layers share.

use aegis_ckks::{Ciphertext, Evaluator, Galois, Hoisted, Level, Plaintext};

use crate::Result;

/// Adds a vector (a period of it) to every slot. Level and scale unchanged.
pub(crate) fn add_vector(ev: &Evaluator, x: &Ciphertext, values: &[f64]) -> Result<Ciphertext> {
    let plaintext = Plaintext::encode_real(ev.context(), values, x.scale(), x.level())?;
    Ok(ev.add_plain(x, &plaintext)?)
}

/// Multiplies by a vector (a period of it). One level, canonical scale.
pub(crate) fn mul_vector(ev: &Evaluator, x: &Ciphertext, values: &[f64]) -> Result<Ciphertext> {
    let (params, level) = (ev.params(), x.level());
    let below = level.lowered(1);
    let scale = params.scale(below) * params.rescale_factor(level) / x.scale();
    let plaintext = Plaintext::encode_real(ev.context(), values, scale, level)?;
    Ok(ev.rescale(&ev.mul_plain(x, &plaintext)?)?)
}

/// The sum of the blocks along an axis, of which there is at least one.
pub(crate) fn total(ev: &Evaluator, blocks: &[Ciphertext]) -> Result<Ciphertext> {
    let (first, rest) = blocks.split_first().expect("axes are not empty");
    Ok(rest.iter().try_fold(first.clone(), |sum, block| ev.add(&sum, block))?)
}

/// `x` summed over `width` rotations by multiples of `step`: `sum_i rot(x, i * step)`, `width` a power of
/// two.
pub(crate) fn sum_steps(ev: &Evaluator, x: &Ciphertext, step: i64, width: usize) -> Result<Ciphertext> {
    let mut sum = x.clone();
    for i in 0..width.ilog2() {
        let turned = ev.rotate(&sum, step << i)?;
        sum = ev.add(&sum, &turned)?;
    }
    Ok(sum)
}

/// Brings `x` down to `level` at its canonical scale.
pub(crate) fn bring(ev: &Evaluator, x: &Ciphertext, level: Level) -> Result<Ciphertext> {
    Ok(ev.adjust(x, level, ev.params().scale(level))?)
}

/// `x` rotated right by `places * step` for `places` up to the width of a sum, by powers of two: the keys of
/// [`sum_steps`] serve it.
pub(crate) fn rotate_places(ev: &Evaluator, x: &Ciphertext, step: i64, places: usize) -> Result<Ciphertext> {
    let powers = (0..usize::BITS).filter(|bit| places >> bit & 1 == 1);
    powers.map(|bit| step << bit).try_fold(x.clone(), |x, steps| Ok(ev.rotate(&x, -steps)?))
}

/// Sums over the slots `f, f + step, ...` of each token (`width` of them), each put in a *place* of its own: the sum over
/// place 0 is that of its `step` slots.
pub(crate) struct BlockSum {
    pub(crate) token_slots: usize,
    pub(crate) step: usize,
    pub(crate) width: usize,
}

impl BlockSum {
    /// The sum in the first `step` slots of each token and zeros elsewhere. One level.
    pub(crate) fn gather(&self, ev: &Evaluator, x: &Ciphertext) -> Result<Ciphertext> {
        let sum = sum_steps(ev, x, self.step as i64, self.width)?;
        let kept = |f: usize| if self.is_at(f, 0) { 1.0 } else { 0.0 };
        mul_vector(ev, &sum, &(0..self.token_slots).map(kept).collect::<Vec<_>>())
    }

    /// Several gathered sums in one ciphertext, each at the place of its index. No level.
    pub(crate) fn pack(&self, ev: &Evaluator, sums: &[Ciphertext]) -> Result<Ciphertext> {
        let placed = sums.iter().enumerate();
        let placed = placed.map(|(place, sum)| rotate_places(ev, sum, self.step as i64, place));
        total(ev, &placed.collect::<Result<Vec<_>>>()?)
    }

    /// From the slots of a place, the others being zero, to all. No level.
    pub(crate) fn spread(&self, ev: &Evaluator, x: &Ciphertext, place: usize) -> Result<Ciphertext> {
        let step = -(self.step as i64);
        sum_steps(ev, &rotate_places(ev, x, step, place)?, step, self.width)
    }

    /// Where place `place` has its slots.
    pub(crate) fn is_at(&self, f: usize, place: usize) -> bool {
        f / self.step == place
    }
}

/// Rotations of one ciphertext by `e * step` for `e` rising from `-reach` to `reach - 1`: baby steps
/// hoisted, one rotation a giant step, so that a walk needs few keys.
pub(crate) struct Walk {
    step: i64,
    reach: i64,
    babies: i64,
    /// The giant step and its digits, for the baby steps from `at`.
    giant: Option<(i64, Ciphertext, Hoisted)>,
    start: Ciphertext,
}

/// Baby steps of a [`Walk`]. With eight, a walk over 64 rotations takes 8 single and 56 hoisted ones, with 9
/// keys.
const WALK_BABIES: i64 = 8;

impl Walk {
    pub(crate) fn new(x: &Ciphertext, step: i64, reach: usize) -> Self {
        let (reach, start) = (reach as i64, x.clone());
        Self { step, reach, babies: WALK_BABIES.min(reach), giant: None, start }
    }

    /// The rotation by `e * step`; `e` must not fall from one call to the next.
    pub(crate) fn at(&mut self, ev: &Evaluator, e: i64) -> Result<Ciphertext> {
        let base = e.div_euclid(self.babies) * self.babies;
        while self.giant.as_ref().is_none_or(|g| g.0 < base) {
            let next = match &self.giant {
                None => (-self.reach, ev.rotate(&self.start, -self.reach * self.step)?),
                Some((at, x, _)) => (at + self.babies, ev.rotate(x, self.babies * self.step)?),
            };
            let hoisted = ev.hoist(&next.1)?;
            self.giant = Some((next.0, next.1, hoisted));
        }
        let Some((at, x, hoisted)) = &self.giant else { unreachable!("the loop sets it") };
        if *at == e {
            return Ok(x.clone());
        }
        let map = Galois::rotation((e - at) * self.step, ev.params().n());
        Ok(ev.rotate_hoisted(x, hoisted, map)?)
    }
}

/// Which coefficients are there, as zeros and ones: with it the operations of a polynomial are known.
pub(crate) fn pattern(coefficients: &[f64]) -> String {
    coefficients.iter().map(|c| if *c == 0.0 { '0' } else { '1' }).collect()
}
