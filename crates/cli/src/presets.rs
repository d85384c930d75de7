//! The parameter presets: found by name, and printed as a table that checks itself.

use aegis_ckks::{PRESETS, Params, ParamsSpec, security};
use anyhow::{Context, Result, bail};

use crate::fault::input;

/// The preset that encrypted inference uses.
pub(crate) const DEFAULT: &str = "N16_B13_S40";
/// Longest text, in tokens, that keys serve unless asked for more: what one ciphertext an activation holds.
pub(crate) const DEFAULT_TOKENS: usize = 64;

/// More bootstraps than one inference makes, as log2; `aegis embed --check` counts the real number.
const BOOTSTRAPS_PER_INFERENCE_LOG2: f64 = 10.0;
/// Largest accepted log2 of the probability that some bootstrap of an inference fails.
const MAX_FAILURE_LOG2: f64 = -100.0;

/// The checked parameters of this name.
pub(crate) fn find(name: &str) -> Result<Params> {
    let Some(spec) = PRESETS.iter().find(|spec| spec.name == name) else {
        let names: Vec<&str> = PRESETS.iter().map(|spec| spec.name.as_ref()).collect();
        return Err(input(format!("no preset is called {name}; there are {}", names.join(", "))));
    };
    Params::try_from(spec.clone()).with_context(|| format!("preset {name}"))
}

/// Every preset as a Markdown table; fails when one breaks a limit.
pub(crate) fn table() -> Result<String> {
    let columns = [
        "preset",
        "N",
        "slots",
        "levels",
        "log2 QP (bound)",
        "security bits",
        "encapsulation modulus, bits (bound)",
        "failure of a bootstrap",
        "of an inference",
        "one switching key, MiB",
    ];
    let mut lines =
        vec![format!("| {} |", columns.join(" | ")), format!("|{}", "---|".repeat(columns.len()))];
    for spec in PRESETS {
        lines.push(row(spec)?);
    }
    Ok(lines.join("\n"))
}

fn row(spec: &ParamsSpec) -> Result<String> {
    let params = Params::try_from(spec.clone()).with_context(|| format!("preset {}", spec.name))?;
    let bound = security::max_log2_qp(spec.log_n).context("no security bound")?;
    let bits = params.security_bits().context("no security estimate")?;
    let usable = params.fresh_level().above(params.base_level());
    let (levels, encapsulation, failure, inference) = match params.bootstrap_failure_log2() {
        None => (format!("{usable}"), "-".to_owned(), "-".to_owned(), "-".to_owned()),
        Some(failure) => {
            let inference = failure + BOOTSTRAPS_PER_INFERENCE_LOG2;
            let modulus = params.encapsulation_log2();
            if inference > MAX_FAILURE_LOG2 || modulus > security::EPHEMERAL_MODULUS_LOG2 {
                bail!(
                    "preset {}: failure 2^{inference:.1}, encapsulation modulus {modulus:.1} bits",
                    spec.name
                );
            }
            (
                format!("{usable} between bootstraps, {} in all", params.max_level().0),
                format!("{modulus:.1} ({})", security::EPHEMERAL_MODULUS_LOG2),
                format!("2^{failure:.1}"),
                format!("2^{inference:.1}"),
            )
        }
    };
    if params.log2_qp() > bound || bits < 128.0 {
        bail!("preset {}: log2 QP {:.1}, bound {bound}, {bits:.1} bits", spec.name, params.log2_qp());
    }
    Ok(format!(
        "| `{}` | 2^{} | {} | {levels} | {:.1} ({bound}) | {bits:.1} | {encapsulation} | {failure} | {inference} | {:.0} |",
        spec.name,
        spec.log_n,
        params.slots(),
        params.log2_qp(),
        params.switching_key_bytes(params.max_level()) as f64 / (1 << 20) as f64,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_keep_their_limits() {
        for spec in PRESETS {
            row(spec).unwrap();
        }
        assert!(find(DEFAULT).is_ok());
        assert!(find("N99").is_err());
    }
}
