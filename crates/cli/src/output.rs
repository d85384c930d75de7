//! Standard output: what a command was asked for. Everything else goes to standard error.

use std::io::Write;

use anyhow::{Context, Result};

/// Tells the user something on standard error. When nobody can be told, the work goes on.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The components of an embedding, for people.
pub(crate) fn numbers(embedding: &[f64]) -> String {
    embedding.iter().map(|v| format!("{v:.6}")).collect::<Vec<_>>().join(" ")
}

/// Prints one line. A closed pipe is an error, not a panic.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("cannot write to standard output")
}
