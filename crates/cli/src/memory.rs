//! How much memory this process has used at most, and may use.

use anyhow::Result;

/// A number of bytes as people write it: `12GiB`, `800MB`, or just the number.
pub(crate) fn parse(text: &str) -> std::result::Result<u64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?.trim_end(), *bytes)));
    let (number, bytes) = unit.unwrap_or((text, 1));
    let value = number.parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0);
    let value = value.ok_or("a number and a unit are expected, as in 12GiB or 800MB")?;
    Ok((value * bytes as f64) as u64)
}

/// Fails where a device needs more than it has.
pub(crate) fn check_device(need: u64, have: u64, tokens: usize) -> Result<()> {
    if need <= have { Ok(()) } else { Err(aegis::Error::Memory { tokens, need, have, fits: None }.into()) }
}

/// What this process may take besides what it holds, the model for one: up to a limit on all of it, or what the machine has
/// free. `None` where there is no limit and the system does not say. The device is this process's memory.
pub(crate) fn free_bytes(limit: Option<u64>) -> Option<u64> {
    match limit {
        Some(limit) => Some(limit.saturating_sub(field("/proc/self/status", "VmRSS:").unwrap_or(0))),
        None => field("/proc/meminfo", "MemAvailable:"),
    }
}

/// Peak resident memory in bytes; `None` where the system does not say.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

fn field(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in
            [("12GiB", 12 << 30), ("1.5 GiB", 3 << 29), ("800MB", 800_000_000), ("4096", 4096), ("0", 0)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "-1GiB", "12 apples", "NaN", "inf"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
