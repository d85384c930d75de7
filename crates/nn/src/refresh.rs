//! Ciphertexts refreshed two at a time.

use aegis_circuits::Bootstrapper;
use aegis_ckks::{Ciphertext, Evaluator};

use crate::program::Place;
use crate::{Error, Result};

/// Refreshes two ciphertexts at the base level, or one, with the bounds of their values.
pub(crate) fn refresh(place: &Place, stale: &[Ciphertext], bounds: &[f64]) -> Result<Vec<Ciphertext>> {
    let Place { ev, bootstrapper } = place;
    let bootstrapper = bootstrapper.as_deref().ok_or(Error::NoBootstrapper)?;
    match (stale, bounds) {
        ([a, b], [a_bound, b_bound]) => Ok(pair(ev, bootstrapper, (a, *a_bound), (b, *b_bound))?.into()),
        ([x], [bound]) => Ok(vec![bootstrapper.bootstrap_real(ev, x, *bound)?]),
        _ => unreachable!("a program refreshes one ciphertext or two"),
    }
}

/// Two ciphertexts of different bounds in one bootstrap: each is divided by the power of two above its bound first and
/// multiplied by it afterwards. Both are exact: a division is a larger scale, a multiplication one by an integer.
fn pair(
    ev: &Evaluator,
    bootstrapper: &Bootstrapper,
    (a, a_bound): (&Ciphertext, f64),
    (b, b_bound): (&Ciphertext, f64),
) -> Result<[Ciphertext; 2]> {
    let power = |bound: f64| bound.log2().ceil().max(0.0).exp2();
    let (a_power, b_power) = (power(a_bound), power(b_bound));
    let top = a_power.max(b_power);
    let unit = |x: &Ciphertext, power: f64| -> Result<Ciphertext> {
        Ok(ev.reinterpret(&ev.mul_scalar(x, top / power, 1.0)?, x.scale() * top)?)
    };
    let (re, im) = bootstrapper.bootstrap_pair(ev, &unit(a, a_power)?, &unit(b, b_power)?, 1.0)?;
    Ok([ev.mul_scalar(&re, a_power, 1.0)?, ev.mul_scalar(&im, b_power, 1.0)?])
}
