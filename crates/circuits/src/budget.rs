//! What the error of a bootstrap is made of.

use std::f64::consts::PI;

use aegis_ckks::security::ERROR_SIGMA;

use crate::Bootstrapper;
use crate::dft::layers;

/// Gaussian errors are taken to stay within this many deviations: one slot in `10^10` does not.
const TAIL: f64 = 6.5;

/// Terms of a bootstrap's error in the real (or imaginary) part of a slot, as fractions of the bound of the message.
///
/// [`Budget::sine`] is the largest error that a slot at the bound sees, proportional to the third power of its value;
/// the other terms are standard deviations of independent roundings, the same for every slot whatever the message,
/// because EvalMod acts on the slots' own values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The sine in place of the identity: `(2 pi / ratio)^2 / 6`.
    pub sine: f64,
    /// Roundings of SlotsToCoeffs, and of the switch to the ephemeral secret.
    pub slots_to_coeffs: f64,
    /// Roundings of CoeffsToSlots, magnified by K times the ratio.
    pub coeffs_to_slots: f64,
    /// Roundings of EvalMod where the multiple of q0 is zero: an error of `u = 2 y^2 - 1` stands for one of
    /// `du / 4 y`, `y = 1 / 4 K`, in y, hence `ratio K^2 du` in the message.
    pub eval_mod: f64,
    /// Rounding of the result at its scale.
    pub output: f64,
    /// Bound of the message.
    pub bound: f64,
}

impl Budget {
    /// Standard deviation of the error of one part of a slot, absolute, sine left out.
    pub fn deviation(&self) -> f64 {
        let terms = [self.slots_to_coeffs, self.coeffs_to_slots, self.eval_mod, self.output];
        self.bound * terms.iter().map(|t| t * t).sum::<f64>().sqrt()
    }

    /// The largest error of one part of a slot, absolute: the sine's and 6.5 deviations of the roundings.
    pub fn max_error(&self) -> f64 {
        self.bound * self.sine + TAIL * self.deviation()
    }
}

impl Bootstrapper {
    /// The stated error for messages within `bound`.
    pub fn budget(&self, bound: f64) -> Budget {
        let params = self.params();
        let ratio = f64::from(self.spec().message_ratio_log2).exp2();
        let range = self.eval_mod().range();
        // One division with rounding: (1 + |s|^2) / 12 a coefficient for a dense ternary secret, and half of the N
        // coefficients' variance in either part of a slot.
        let n = params.n() as f64;
        let rounding = (n / 2.0 * (1.0 + 2.0 * n / 3.0) / 12.0).sqrt();
        let split = self.split_level();
        let scale = self.eval_mod().input_scale(params, split);
        let u_scale = scale * scale / params.rescale_factor(split);
        let fresh = params.scale(params.fresh_level());
        Budget {
            sine: (2.0 * PI / ratio).powi(2) / 6.0,
            slots_to_coeffs: self.low_error(rounding),
            coeffs_to_slots: range * ratio * self.high_error(rounding, n),
            // The roundings of the powers of u weigh together about as much as that of u.
            eval_mod: ratio * range * range * 2f64.sqrt() * rounding / u_scale,
            output: rounding / (fresh * bound),
            bound,
        }
    }

    /// Error of SlotsToCoeffs in one coefficient. An error before the remaining layers is spread over more slots, not
    /// raised, and shrinks by `sqrt 2` a layer on the way back from slots to coefficients.
    fn low_error(&self, rounding: f64) -> f64 {
        let params = self.params();
        let q0 = params.base_modulus() as f64;
        let ratio = f64::from(self.spec().message_ratio_log2).exp2();
        let special = params.rns().modulus(params.special().limbs()[0]).value() as f64;
        let n = params.n() as f64;
        // The digit modulo q0 times the error of the switching key, over the special prime.
        let switch = (n / 12.0).sqrt() * ERROR_SIGMA * q0 / special / (q0 / ratio);
        let (mut variance, mut done, mut scale) = (switch * switch, 0, params.scale(params.base_level()));
        let counts = layers(self.slots(), self.spec().slots_to_coeffs as usize);
        for (i, count) in counts.into_iter().enumerate() {
            // The largest value that the layers so far can build up, in every term.
            let value = 2f64.sqrt() * f64::from(done).exp2();
            done += count;
            let shrink = (-f64::from(done) / 2.0).exp2();
            let target = self.low_scale(i);
            let weight = self.weight_error(true, i, scale, target);
            variance += shrink * shrink * ((rounding / target).powi(2) + (value * weight).powi(2));
            scale = target;
        }
        variance.sqrt()
    }

    /// Error of CoeffsToSlots in y, from slots of random multiples of q0.
    fn high_error(&self, rounding: f64, n: f64) -> f64 {
        let (spec, range) = (self.spec(), self.eval_mod().range());
        let counts = layers(self.slots(), spec.coeffs_to_slots as usize);
        let coefficient = (f64::from(spec.ephemeral_weight + 1) / 12.0).sqrt() / range;
        let mut value = coefficient * (2.0 * self.slots() as f64).sqrt();
        let mut left: u32 = counts.iter().sum();
        let shrink = |left: u32| (-f64::from(left)).exp2();
        // ModRaise and the projection round before the first layer, conjugation after the last one.
        let projections = 1.0 + (n / 2.0 / self.slots() as f64).log2();
        let mut variance = projections * shrink(left) * (rounding / self.raised_scale()).powi(2);
        let mut scale = self.raised_scale();
        for (i, count) in counts.into_iter().enumerate() {
            left -= count;
            let target = self.split_scale();
            let weight = self.weight_error(false, i, scale, target);
            variance += shrink(left) * ((rounding / target).powi(2) + (value * weight).powi(2));
            value *= (-f64::from(count) / 2.0).exp2();
            scale = target;
        }
        variance += (rounding / self.split_scale() / 2.0).powi(2);
        variance.sqrt()
    }

    /// Deviation of one part of the sum over diagonals of rounded weights times values of magnitude 1.
    fn weight_error(&self, low: bool, stage: usize, scale: f64, target: f64) -> f64 {
        let (level, diagonals, period) = self.stage_facts(low, stage);
        let plaintext = target * self.params().rescale_factor(level) / scale;
        // 2 p coefficients, each off by up to one half, in the two parts of a slot.
        (diagonals as f64).sqrt() * (period as f64 / 12.0).sqrt() / plaintext
    }
}
