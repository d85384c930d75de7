//! Inverses by Goldschmidt's method with a relaxation schedule.

use aegis_ckks::{Ciphertext, Evaluator, Plaintext};

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
    let steps = plan(ev, b, schedule)?;
    let Some(first) = steps.first() else {
        return Ok(ev.add_scalar(&ev.mul_scalar(b, 0.0, 1.0)?, 1.0)?);
    };
    // a = 2 k - k^2 b, at the scale that the later steps bring to the canonical one.
    let slots = Slots::alike(ev);
    let mut sum = Sum::new(&slots, b.level(), first.a * ev.params().rescale_factor(b.level()));
    sum.multiple(&[-first.k * first.k], b)?;
    sum.constant(&[2.0 * first.k]);
    let mut a = [sum.rescale()?];
    finish(ev, b, &steps, &mut a)?;
    let [a] = a;
    Ok(a)
}

/// The inverses of several values that are packed in one ciphertext, each in a ciphertext of its own: result u is
/// `units[u] / b` slot by slot, so that 1 in the slots of a unit and 0 in all others unpacks it. A unit is a vector of
/// a power of two of numbers, which repeats over the slots.
///
/// The steps are those of [`inverse`], from `a = units[u]`: unpacking takes no level. All units share b, so that n steps
/// take n - 1 products for it and n - 1 for each unit. Slots of no unit take part in b: what they hold must not make the
/// steps diverge either.
///
/// Level, scale and key as for [`inverse`]. Without units there is no result.
pub fn inverses(
    ev: &Evaluator,
    b: &Ciphertext,
    schedule: &[f64],
    units: &[Vec<f64>],
) -> Result<Vec<Ciphertext>> {
    let steps = plan(ev, b, schedule)?;
    let encode = |unit: &Vec<f64>, scale| Plaintext::encode_real(ev.context(), unit, scale, b.level());
    let Some(first) = steps.first() else {
        let zero = ev.mul_scalar(b, 0.0, 1.0)?;
        return units.iter().map(|unit| Ok(ev.add_plain(&zero, &encode(unit, b.scale())?)?)).collect();
    };
    let t = correction(ev, b, first)?;
    let scale = first.a * ev.params().rescale_factor(b.level()) / t.scale();
    let start = |unit| Ok(ev.rescale(&ev.mul_plain(&t, &encode(unit, scale)?)?)?);
    let mut a = units.iter().map(start).collect::<Result<Vec<_>>>()?;
    finish(ev, b, &steps, &mut a)?;
    Ok(a)
}

/// One step, and how it keeps its scales.
struct Step {
    /// The relaxation factor.
    k: f64,
    /// The integer factor of `b` in `t = 2 k - k^2 b`.
    factor: f64,
    /// Scale of `t`, which makes that factor stand for `k^2`.
    t: f64,
    /// Scale of `a` after the step.
    a: f64,
}

fn plan(ev: &Evaluator, b: &Ciphertext, schedule: &[f64]) -> Result<Vec<Step>> {
    let depth = schedule.len() as u32;
    if b.level().0 < depth {
        return Err(Error::TooDeep { circuit: "an inverse", depth, have: b.level() });
    }
    if let Some(&k) = schedule.iter().find(|k| !k.is_finite() || **k <= 0.0) {
        return Err(Error::Invalid(InvalidCircuit::Relaxation(k)));
    }
    let params = ev.params();
    let (mut scale, mut level) = (b.scale(), b.level());
    let mut steps = Vec::with_capacity(schedule.len());
    for &k in schedule {
        let below = level.lowered(1);
        let divisor = params.rescale_factor(level);
        let factor = (params.scale(below) * divisor * k * k / (scale * scale)).round().max(1.0);
        let t = factor * scale / (k * k);
        steps.push(Step { k, factor, t, a: 0.0 });
        (scale, level) = (scale * t / divisor, below);
    }
    // Backwards: the scale of `a` before a step from the one wanted after it.
    let mut a = params.scale(level);
    for (i, step) in steps.iter_mut().enumerate().rev() {
        step.a = a;
        a = a * params.rescale_factor(b.level().lowered(i as u32)) / step.t;
    }
    Ok(steps)
}

/// The steps after the first, with one b for every `a`.
fn finish(ev: &Evaluator, b: &Ciphertext, steps: &[Step], a: &mut [Ciphertext]) -> Result<()> {
    let [first, rest @ ..] = steps else { return Ok(()) };
    if rest.is_empty() || a.is_empty() {
        return Ok(());
    }
    let (mut b, mut t) = (b.clone(), correction(ev, b, first)?);
    for step in rest {
        b = multiply(ev, &b, &t)?;
        t = correction(ev, &b, step)?;
        for a in &mut *a {
            *a = multiply(ev, a, &t)?;
        }
    }
    Ok(())
}

/// `t = 2 k - k^2 b`.
fn correction(ev: &Evaluator, b: &Ciphertext, step: &Step) -> Result<Ciphertext> {
    // The integer product, read as k^2 times b.
    let b = ev.reinterpret(&ev.mul_scalar(b, -step.factor, 1.0)?, step.t)?;
    Ok(ev.add_scalar(&b, 2.0 * step.k)?)
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
