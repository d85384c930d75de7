//! One line a target.

use crate::campaign::Summary;

/// For people.
pub fn line(s: &Summary) -> String {
    let share = |n: u64| 100.0 * n as f64 / s.inputs.max(1) as f64;
    let mut text = format!(
        "{:<16} {:>10} inputs  {:>8.0}/s  accepted {:>5.1} %  refused {:>5.1} %  peak {:>6} KiB of {:>6}  findings {}",
        s.target,
        s.inputs,
        s.inputs as f64 / s.seconds.max(1e-3),
        share(s.accepted),
        share(s.refused),
        s.peak_bytes.div_ceil(1024),
        s.bound_bytes.div_ceil(1024),
        s.findings.len(),
    );
    for f in &s.findings {
        let message = f.message.replace('\n', "\n    ");
        text += &format!("\n  input {} ({}):\n    {message}", f.index, f.file.display());
    }
    text
}

/// For records: one JSON object.
///
/// # Errors
/// A path that is no text.
pub fn json(s: &Summary) -> serde_json::Result<String> {
    serde_json::to_string(s)
}
