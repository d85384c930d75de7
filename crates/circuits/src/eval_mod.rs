//! Homomorphic reduction modulo q0.
//!
//! For `t = m + q0 I` with integers `|I| < K` and small m, `sin(2 pi t / q0) = 2 pi m / q0` up to `(2 pi m / q0)^3 / 6`.
//! With `y = (t / q0 - 1/4) / K` in `[-1, 1]`, r double angles `cos 2x = 2 cos^2 x - 1` bring
//! `f(y) = cos(2 pi K y / 2^r)` to the sine (Han, Ki 2020). f is even: it is a polynomial in `u = T_2(y) = 2 y^2 - 1`
//! of half the degree, `f(y) = g(u)`, so that the depth is `1 + ceil(log2(degree + 1)) + r`.

use std::f64::consts::PI;

use aegis_ckks::{BootstrapSpec, Ciphertext, Evaluator, KeyRequest, Level, Params};

use crate::slots::Slots;
use crate::sum::Sum;
use crate::{Polynomial, Result};

/// The sine of one parameter set.
#[derive(Clone, Debug)]
pub struct EvalMod {
    range: f64,
    double_angles: u32,
    cosine: Polynomial,
}

impl EvalMod {
    /// The approximation that `spec` describes.
    pub fn new(spec: &BootstrapSpec) -> Result<Self> {
        let range = f64::from(spec.range);
        let frequency = 2.0 * PI * range / f64::from(spec.double_angles).exp2();
        let g = |u: f64| (frequency * ((1.0 + u) / 2.0).max(0.0).sqrt()).cos();
        let cosine = Polynomial::interpolate(g, spec.degree as usize, (-1.0, 1.0))?;
        Ok(Self { range, double_angles: spec.double_angles, cosine })
    }

    /// Levels taken.
    pub fn depth(&self) -> u32 {
        1 + self.cosine.depth() + self.double_angles
    }

    /// K: inputs `t / q0` lie in `(-K, K)`.
    pub fn range(&self) -> f64 {
        self.range
    }

    /// The polynomial in `u = T_2(y)`.
    pub fn cosine(&self) -> &Polynomial {
        &self.cosine
    }

    /// The keys that an input at `level` needs.
    pub fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        KeyRequest::new(params.n()).relinearize(level)
    }

    /// The scale of inputs at `level` with the most precision: its square rescales to the scale at which the powers
    /// of u keep theirs.
    pub fn input_scale(&self, params: &Params, level: Level) -> f64 {
        let below = level.lowered(1);
        (params.rescale_factor(level) * params.rescale_factor(below)).sqrt()
    }

    /// What [`EvalMod::evaluate`] computes from `x = t / (K q0)`, without noise: `sin(2 pi t / q0)`.
    pub fn plain(&self, x: f64) -> f64 {
        let y = x - 0.25 / self.range;
        let cosine = self.cosine.plain(2.0 * y * y - 1.0, 0);
        (0..self.double_angles).fold(cosine, |c, _| 2.0 * c * c - 1.0)
    }

    /// `sin(2 pi t / q0)` at the scale `target`, from a ciphertext with slots `t / (K q0)`. Level: lower by
    /// [`EvalMod::depth`].
    pub fn evaluate(&self, ev: &Evaluator, x: &Ciphertext, target: f64) -> Result<Ciphertext> {
        let depth = self.depth();
        let Some(out) = x.level().down(depth) else {
            return Err(crate::Error::TooDeep { circuit: "EvalMod", depth, have: x.level() });
        };
        let y = ev.add_scalar(x, -0.25 / self.range)?;
        let u = double_angle(ev, &y)?;
        // A double angle squares the scale and divides it: the scale before each step from the one after it.
        let scale = (1..=self.double_angles).fold(target, |scale, step| {
            let level = out.up(step);
            (scale * ev.params().rescale_factor(level)).sqrt()
        });
        let cosine = self.cosine.evaluate_to(ev, &u, scale)?;
        (0..self.double_angles).try_fold(cosine, |c, _| double_angle(ev, &c))
    }
}

/// `2 x^2 - 1`, one level lower.
fn double_angle(ev: &Evaluator, x: &Ciphertext) -> Result<Ciphertext> {
    let slots = Slots::alike(ev);
    let mut sum = Sum::twice(&slots, x, x)?;
    sum.constant(&[-1.0]);
    sum.rescale()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_approximation_is_the_sine() {
        let spec = aegis_ckks::N16_B13_S40.bootstrap.unwrap();
        let sine = EvalMod::new(&spec).unwrap();
        assert_eq!(sine.depth(), spec.eval_mod);
        let edge = f64::from(spec.range) - 0.5;
        let worst = (0..100_000).map(|i| {
            let t = edge * (i as f64 / 50_000.0 - 1.0);
            (sine.plain(t / sine.range()) - (2.0 * PI * t).sin()).abs()
        });
        let worst = worst.fold(0.0, f64::max);
        // Rounding of f64, times 4 a double angle.
        assert!(worst < 1e-12, "off by {worst:e}");
    }
}
