//! Runs targets in workers and watches these: the position of one that ended names the input at fault, whatever the fault.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::position::Position;
use crate::process::{HANG, Process, State};
use crate::worker::Work;
use crate::{Inputs, Target, targets};

/// After so many findings in one target the rest of its run tells nothing new.
const MAX_FINDINGS: usize = 20;
/// Runs spent on making one finding smaller.
const SHRINK_RUNS: usize = 60;
/// How often workers are looked at.
const POLL: Duration = Duration::from_millis(20);

/// How targets are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of all inputs.
    pub seed: u64,
    /// First input.
    pub from: u64,
    /// Number of inputs, unless time runs out.
    pub inputs: u64,
    /// Time for one target.
    pub time: Duration,
    /// Workers at a time.
    pub jobs: u64,
    /// A worker that stays at one input for so long hangs.
    pub hang: Duration,
    /// Where findings are written, a folder a target.
    pub regressions: PathBuf,
}

/// An input that ended its worker.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Finding {
    /// Number of the input, or of the file replayed.
    pub index: u64,
    /// What the worker said last.
    pub message: String,
    /// Where the input is kept.
    pub file: PathBuf,
}

/// What a run of one target came to.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Summary {
    /// Name of the target.
    pub target: String,
    /// Seed of the inputs.
    pub seed: u64,
    /// First input.
    pub from: u64,
    /// Inputs run: accepted, refused, or at fault.
    pub inputs: u64,
    /// Inputs accepted and used.
    pub accepted: u64,
    /// Inputs refused.
    pub refused: u64,
    /// Wall time.
    pub seconds: f64,
    /// Most bytes that one input held.
    pub peak_bytes: u64,
    /// Most bytes that one may hold.
    pub bound_bytes: u64,
    /// Inputs at fault, one for each place in the code.
    pub findings: Vec<Finding>,
}

/// A target being run.
struct Run<'a> {
    name: &'a str,
    target: Box<dyn Target>,
    options: &'a Options,
    start: Instant,
    scratch: TempDir,
    /// First lines of the messages so far: two faults at one place are one finding.
    sites: BTreeSet<String>,
    summary: Summary,
}

/// Runs one target; `watch` sees the number of inputs done, many times a second.
///
/// # Errors
/// An unknown target, or a system that refuses processes or files. Findings are no errors.
pub fn run(name: &str, options: &Options, watch: &mut dyn FnMut(u64)) -> Result<Summary> {
    let mut run = Run::new(name, options)?;
    let jobs = options.jobs.clamp(1, options.inputs.max(1));
    let start = |run: &Run<'_>, job: u64, from| {
        Process::start(run.scratch.path(), &job.to_string(), &run.work(from, jobs))
    };
    let mut workers =
        (0..jobs).map(|job| Ok((job, start(&run, job, options.from + job)?))).collect::<Result<Vec<_>>>()?;
    while !workers.is_empty() {
        std::thread::sleep(POLL);
        let mut running = vec![];
        for (job, mut worker) in workers {
            match worker.look(options.hang)? {
                State::Running => running.push((job, worker)),
                State::Done => run.add(&worker.seen),
                State::Fault(message) => {
                    run.add(&worker.seen);
                    run.fault(worker.seen.index, message)?;
                    if run.summary.findings.len() < MAX_FINDINGS {
                        running.push((job, start(&run, job, worker.seen.index + jobs)?));
                    }
                }
            }
        }
        workers = running;
        watch(run.summary.inputs + workers.iter().map(|(_, w)| w.seen.done()).sum::<u64>());
    }
    run.summary.findings.sort_by_key(|f| f.index);
    Ok(run.finish())
}

/// Runs every file in the folder of a target, in the order of their names.
///
/// # Errors
/// Those of [`run`].
pub fn replay(name: &str, options: &Options) -> Result<Summary> {
    let mut run = Run::new(name, options)?;
    let files = files(&options.regressions.join(name))?;
    let mut next = 0;
    while next < files.len() {
        let (seen, fault) = run.files(&files[next..])?;
        run.add(&seen);
        let Some(message) = fault else { break };
        next += usize::try_from(seen.index).context("a worker ended before its first file")?;
        let file = files.get(next).cloned().unwrap_or_default();
        run.summary.findings.push(Finding { index: next as u64, message, file });
        run.summary.inputs += 1;
        next += 1;
    }
    Ok(run.finish())
}

impl<'a> Run<'a> {
    fn new(name: &'a str, options: &'a Options) -> Result<Self> {
        let target = targets::open(name)?;
        let summary = Summary {
            target: name.to_owned(),
            seed: options.seed,
            from: options.from,
            bound_bytes: target.bound() as u64,
            ..Summary::default()
        };
        let scratch = tempfile::tempdir().context("no folder for the positions of workers")?;
        Ok(Self { name, target, options, start: Instant::now(), scratch, sites: BTreeSet::new(), summary })
    }

    fn work(&self, from: u64, step: u64) -> Work {
        let left = self.options.time.saturating_sub(self.start.elapsed());
        Work {
            target: self.name.to_owned(),
            seed: self.options.seed,
            from,
            step,
            until: self.options.from.saturating_add(self.options.inputs),
            millis: left.as_millis().try_into().unwrap_or(u64::MAX),
            position: PathBuf::new(),
            files: vec![],
        }
    }

    fn add(&mut self, seen: &Position) {
        self.summary.inputs += seen.done();
        self.summary.accepted += seen.accepted;
        self.summary.refused += seen.refused;
        self.summary.peak_bytes = self.summary.peak_bytes.max(seen.peak);
    }

    /// Keeps the input at fault, unless one was found at this place before.
    fn fault(&mut self, index: u64, message: String) -> Result<()> {
        if index == u64::MAX {
            bail!("{}: a worker ended before its first input: {message}", self.name);
        }
        self.summary.inputs += 1;
        if self.sites.insert(site(&message).to_owned()) {
            let input = Inputs::new(self.name, &*self.target, self.options.seed).get(index);
            let input = self.shrink(input, &message)?;
            let file = keep(&self.options.regressions.join(self.name), &input)?;
            self.summary.findings.push(Finding { index, message, file });
        }
        Ok(())
    }

    /// Takes away ever smaller blocks while the fault stays the same.
    fn shrink(&self, mut input: Vec<u8>, message: &str) -> Result<Vec<u8>> {
        let path = self.scratch.path().join("smaller");
        let (mut block, mut at) = (input.len() / 2, 0);
        for _ in 0..if message.starts_with(HANG) { 0 } else { SHRINK_RUNS } {
            if at >= input.len() {
                (block, at) = (block / 2, 0);
            }
            if block == 0 {
                break;
            }
            let mut smaller = input.clone();
            smaller.drain(at..(at + block).min(input.len()));
            self.target.repair(&mut smaller);
            fs::write(&path, &smaller)?;
            let (_, fault) = self.files(std::slice::from_ref(&path))?;
            if fault.is_some_and(|m| site(&m) == site(message)) {
                input = smaller;
            } else {
                at += block;
            }
        }
        Ok(input)
    }

    /// Runs files in one worker, up to the first fault.
    fn files(&self, files: &[PathBuf]) -> Result<(Position, Option<String>)> {
        let work = Work { files: files.to_vec(), ..self.work(0, 1) };
        let mut worker = Process::start(self.scratch.path(), "files", &work)?;
        loop {
            match worker.look(self.options.hang)? {
                State::Running => std::thread::sleep(POLL / 4),
                State::Done => return Ok((worker.seen, None)),
                State::Fault(message) => return Ok((worker.seen, Some(message))),
            }
        }
    }

    fn finish(mut self) -> Summary {
        self.summary.seconds = self.start.elapsed().as_secs_f64();
        self.summary
    }
}

/// Two faults with the same first line are one.
fn site(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

/// Writes an input under a name of its content.
fn keep(folder: &Path, input: &[u8]) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(&blake3::hash(input).to_hex()[..12]);
    fs::write(&path, input).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(vec![]) };
    let mut files = entries.map(|e| Ok(e?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}
