//! A worker seen from outside: started, looked at, ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::position::Position;
use crate::worker::Work;

/// Begins the message of a worker that hung.
pub(crate) const HANG: &str = "no answer";

/// What has become of a worker.
pub(crate) enum State {
    Running,
    Done,
    /// It ended at the input of its position, with these last words.
    Fault(String),
}

pub(crate) struct Process {
    child: Child,
    position: PathBuf,
    errors: PathBuf,
    /// The position as last looked at.
    pub(crate) seen: Position,
    /// When it last changed.
    moved: Instant,
}

impl Process {
    /// Starts a worker whose files in `scratch` carry this name.
    pub(crate) fn start(scratch: &Path, name: &str, work: &Work) -> Result<Self> {
        let position = scratch.join(format!("{name}.position"));
        let errors = scratch.join(format!("{name}.errors"));
        File::create(&position)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("worker").arg(&work.target);
        for (option, value) in [
            ("--seed", work.seed),
            ("--from", work.from),
            ("--step", work.step),
            ("--until", work.until),
            ("--millis", work.millis),
        ] {
            command.arg(option).arg(value.to_string());
        }
        command.arg("--position").arg(&position);
        for file in &work.files {
            command.arg("--files").arg(file);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?);
        // A backtrace costs seconds and names the folders of this machine.
        command.env("RUST_BACKTRACE", "0");
        let child = command.spawn().context("cannot start a worker")?;
        let seen = Position { index: u64::MAX, ..Position::default() };
        Ok(Self { child, position, errors, seen, moved: Instant::now() })
    }

    /// Looks once; ends a worker that has stayed at one input for as long as `hang`.
    pub(crate) fn look(&mut self, hang: Duration) -> Result<State> {
        let ended = self.child.try_wait()?;
        let seen = Position::read(&self.position)?;
        if seen != self.seen {
            (self.seen, self.moved) = (seen, Instant::now());
        }
        match ended {
            None if self.seen.index != u64::MAX && self.moved.elapsed() > hang => {
                self.child.kill()?;
                self.child.wait()?;
                Ok(State::Fault(format!("{HANG} after {} s", hang.as_secs_f64())))
            }
            None => Ok(State::Running),
            Some(status) if status.success() => Ok(State::Done),
            Some(status) => Ok(State::Fault(last_words(&self.errors, &status.to_string()))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail for a worker that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a worker panicked and what it said, or its last line and status.
fn last_words(errors: &Path, status: &str) -> String {
    let text = fs::read(errors).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let hint = |line: &&str| line.trim().is_empty() || line.starts_with("note: run with");
    let lines: Vec<&str> = text.lines().filter(|line| !hint(line)).collect();
    let message = match lines.iter().position(|l| l.contains(" panicked at ")) {
        Some(at) => {
            // The thread's name before has a number that differs from run to run.
            let place = lines[at].rsplit(" panicked at ").next().unwrap_or_default();
            std::iter::once(place)
                .chain(lines[at + 1..].iter().copied().take(3))
                .collect::<Vec<_>>()
                .join("\n")
        }
        None => format!("{} ({status})", lines.last().unwrap_or(&"it said nothing")),
    };
    message.chars().take(600).collect()
}
