//! Ciphertexts refreshed two at a time.

use aegis_circuits::Bootstrapper;
use aegis_ckks::{Ciphertext, Evaluator};

use crate::Result;
use crate::ops::bring;

/// Refreshes ciphertexts with the bounds of their values, in order: pairs, and one alone where their number is odd.
pub(crate) fn refresh(
    ev: &Evaluator,
    bootstrapper: &Bootstrapper,
    stale: &[(Ciphertext, f64)],
) -> Result<Vec<Ciphertext>> {
    let base = ev.params().base_level();
    let stale =
        stale.iter().map(|(x, bound)| Ok((bring(ev, x, base)?, *bound))).collect::<Result<Vec<_>>>()?;
    let (pairs, single) = stale.as_chunks();
    let mut fresh = vec![];
    for [a, b] in pairs {
        fresh.extend(refresh_pair(ev, bootstrapper, a, b)?);
    }
    for (x, bound) in single {
        fresh.push(bootstrapper.bootstrap_real(ev, x, *bound)?);
    }
    Ok(fresh)
}

/// Two ciphertexts of different bounds in one bootstrap: each is divided by the power of two above its bound first and
/// multiplied by it afterwards. Both are exact: a division is a larger scale, a multiplication one by an integer.
fn refresh_pair(
    ev: &Evaluator,
    bootstrapper: &Bootstrapper,
    (a, a_bound): &(Ciphertext, f64),
    (b, b_bound): &(Ciphertext, f64),
) -> Result<[Ciphertext; 2]> {
    let power = |bound: f64| bound.log2().ceil().max(0.0).exp2();
    let (a_power, b_power) = (power(*a_bound), power(*b_bound));
    let top = a_power.max(b_power);
    let unit = |x: &Ciphertext, power: f64| -> Result<Ciphertext> {
        Ok(ev.reinterpret(&ev.mul_scalar(x, top / power, 1.0)?, x.scale() * top)?)
    };
    let (re, im) = bootstrapper.bootstrap_pair(ev, &unit(a, a_power)?, &unit(b, b_power)?, 1.0)?;
    Ok([ev.mul_scalar(&re, a_power, 1.0)?, ev.mul_scalar(&im, b_power, 1.0)?])
}
