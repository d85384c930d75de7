//! Inverses by Goldschmidt's method with a relaxation schedule.

use aegis_ckks::{Ciphertext, Evaluator};

use crate::slots::Slots;
use crate::sum::Sum;
use crate::{Error, InvalidCircuit, Result};

/// `1 / b`, approximately, by `a <- k (2 - k b) a`, `b <- k (2 - k b) b` from `a = 1`, one `k` of the schedule a step:
/// the result is `(1 - e) / b` for the value `1 - e` that the steps bring b to. Where b lies in `[m, 1]`, the schedule
/// `k = 2 / (1 + m)`, `m <- k m (2 - k m)` is the fastest; above 1 the steps diverge.
///
/// Level: one a step. Scale: canonical. Needs the relinearization key when the schedule has two steps or more.
///
/// A step multiplies by `k^2` without a level of its own: the product is read at a scale smaller by that factor, and
/// an integer factor, 1 to about 4, keeps the scale within a factor of two of the canonical one.
pub fn inverse(ev: &Evaluator, b: &Ciphertext, schedule: &[f64]) -> Result<Ciphertext> {
    let depth = schedule.len() as u32;
    if b.level().0 < depth {
        return Err(Error::TooDeep { circuit: "an inverse", depth, have: b.level() });
    }
    if let Some(&k) = schedule.iter().find(|k| !k.is_finite() || **k <= 0.0) {
        return Err(Error::Invalid(InvalidCircuit::Relaxation(k)));
    }
    let Some((first, rest)) = schedule.split_first() else {
        return Ok(ev.add_scalar(&ev.mul_scalar(b, 0.0, 1.0)?, 1.0)?);
    };
    let steps = plan(ev, b, schedule);
    // a = 2 k - k^2 b, at the scale that the later steps bring to the canonical one.
    let slots = Slots::alike(ev);
    let mut sum = Sum::new(&slots, b.level(), steps[0].a * ev.params().rescale_factor(b.level()));
    sum.multiple(&[-first * first], b)?;
    sum.constant(&[2.0 * first]);
    let mut a = sum.rescale()?;
    let mut b = b.clone();
    let mut k = *first;
    for (i, &next) in rest.iter().enumerate() {
        b = multiply(ev, &b, &correction(ev, &b, k, &steps[i])?)?;
        k = next;
        a = multiply(ev, &a, &correction(ev, &b, k, &steps[i + 1])?)?;
    }
    Ok(a)
}

/// How one step keeps its scales.
struct Step {
    /// The integer factor of `b` in `t = 2 k - k^2 b`.
    factor: f64,
    /// Scale of `t`, which makes that factor stand for `k^2`.
    t: f64,
    /// Scale of `a` after the step.
    a: f64,
}

fn plan(ev: &Evaluator, b: &Ciphertext, schedule: &[f64]) -> Vec<Step> {
    let params = ev.params();
    let (mut scale, mut level) = (b.scale(), b.level());
    let mut steps = Vec::with_capacity(schedule.len());
    for k in schedule {
        let below = level.lowered(1);
        let divisor = params.rescale_factor(level);
        let factor = (params.scale(below) * divisor * k * k / (scale * scale)).round().max(1.0);
        let t = factor * scale / (k * k);
        steps.push(Step { factor, t, a: 0.0 });
        (scale, level) = (scale * t / divisor, below);
    }
    // Backwards: the scale of `a` before a step from the one wanted after it.
    let mut a = params.scale(level);
    for (i, step) in steps.iter_mut().enumerate().rev() {
        step.a = a;
        a = a * params.rescale_factor(b.level().lowered(i as u32)) / step.t;
    }
    steps
}

/// `t = 2 k - k^2 b`.
fn correction(ev: &Evaluator, b: &Ciphertext, k: f64, step: &Step) -> Result<Ciphertext> {
    // The integer product, read as k^2 times b.
    let b = ev.reinterpret(&ev.mul_scalar(b, -step.factor, 1.0)?, step.t)?;
    Ok(ev.add_scalar(&b, 2.0 * k)?)
}

fn multiply(ev: &Evaluator, x: &Ciphertext, t: &Ciphertext) -> Result<Ciphertext> {
    Ok(ev.relinearize_rescale(ev.mul_no_relin(x, t)?)?)
}

/// What [`inverse`] computes, in `f64`.
pub fn plain(b: f64, schedule: &[f64]) -> f64 {
    let step = |(a, b): (f64, f64), k: &f64| {
        let t = k * (2.0 - k * b);
        (a * t, b * t)
    };
    schedule.iter().fold((1.0, b), step).0
}

/// The fastest schedule for `b` in `low..=1`: until `b` times its inverse is within `tolerance` of 1.
///
/// A step maps `b` to `k b (2 - k b)`; `k = 2 / (1 + e)` maps the ends of `e..=1` to the same value, the new lower end.
pub fn schedule(low: f64, tolerance: f64) -> Vec<f64> {
    let (mut factors, mut e) = (vec![], low);
    while e < 1.0 - tolerance {
        let k = 2.0 / (1.0 + e);
        factors.push(k);
        e = k * e * (2.0 - k * e);
    }
    factors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_invert_to_their_tolerance() {
        for low in [0.5, 1.0 / 64.0, 1e-2, 1e-4] {
            let factors = schedule(low, 1e-3);
            for i in 0..=100 {
                let b = low.powf(f64::from(i) / 100.0);
                let product = b * plain(b, &factors);
                assert!((1.0 - product).abs() <= 1e-3, "{b}: {product}");
            }
        }
    }
}
