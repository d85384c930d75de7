//! The process that runs inputs. It catches nothing: whatever ends it is a finding, of the input that its position names.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::memory::bounded;
use crate::position::Position;
use crate::{Inputs, Outcome, Target, targets};

/// Which inputs a worker runs.
#[derive(clap::Args, Clone, Debug)]
pub struct Work {
    /// Name of the target
    pub target: String,
    /// Seed of the run
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// First input
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// Distance between inputs
    #[arg(long, default_value_t = 1)]
    pub step: u64,
    /// Inputs up to this one, exclusive
    #[arg(long, default_value_t = u64::MAX)]
    pub until: u64,
    /// Stop after so many milliseconds
    #[arg(long, default_value_t = u64::MAX)]
    pub millis: u64,
    /// Where to note the position
    #[arg(long)]
    pub position: PathBuf,
    /// Run these files instead, numbered from 0
    #[arg(long)]
    pub files: Vec<PathBuf>,
}

/// Runs the inputs one after the other on this thread.
///
/// # Errors
/// An unknown target, or a file that cannot be read or written. Findings end the process instead.
pub fn run(work: &Work) -> Result<()> {
    // Uniform halves of keys are expanded on the process's own pool: this thread is all of it, so that memory is
    // counted where it belongs.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global();
    let target = targets::open(&work.target)?;
    let mut file = File::create(&work.position).context("cannot note the position")?;
    let mut position = Position { index: u64::MAX, ..Position::default() };
    for (index, path) in work.files.iter().enumerate() {
        step(&*target, index as u64, &read(path)?, &mut position, &mut file)?;
    }
    if work.files.is_empty() {
        let inputs = Inputs::new(&work.target, &*target, work.seed);
        let (start, limit) = (Instant::now(), Duration::from_millis(work.millis));
        let mut index = work.from;
        while index < work.until && start.elapsed() < limit {
            step(&*target, index, &inputs.get(index), &mut position, &mut file)?;
            index += work.step;
        }
    }
    position.index = u64::MAX;
    Ok(position.write(&mut file)?)
}

fn step(
    target: &dyn Target,
    index: u64,
    input: &[u8],
    position: &mut Position,
    file: &mut File,
) -> Result<()> {
    position.index = index;
    position.write(file)?;
    let (outcome, peak) = bounded(target.bound(), || target.run(input));
    position.peak = position.peak.max(peak as u64);
    match outcome {
        Outcome::Accepted => position.accepted += 1,
        Outcome::Refused => position.refused += 1,
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
