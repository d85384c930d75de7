//! Deterministic fuzzing of everything that reads untrusted bytes, and of launches on a device.
//!
//! A [`Target`] turns bytes into a use of the library. Input `i` of a run is a pure function of target, seed and `i`
//! ([`Inputs`]), so that a finding is a number. [`worker`] runs inputs in a process of its own and notes its position
//! before each; [`campaign`] starts workers, watches them, and knows from the position which input ended one: by a
//! panic, an abort, too much memory or a hang.
#![forbid(unsafe_code)]

pub mod campaign;
mod json;
pub mod memory;
mod model;
mod mutate;
pub mod position;
mod process;
pub mod report;
mod scheme;
pub mod targets;
pub mod worker;

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was understood, and what it describes was used.
    Accepted,
    /// It was refused with a typed error.
    Refused,
}

/// Something that takes untrusted bytes.
///
/// [`Target::run`] panics where a promise is broken; everything else that a program should not do (abort, hang, take
/// memory without bound) is noticed from outside.
pub trait Target {
    /// Valid inputs, made in-process and the same in every process.
    fn seeds(&self) -> Vec<Vec<u8>>;

    /// Parses the input and uses what is accepted.
    fn run(&self, input: &[u8]) -> Outcome;

    /// Bytes that one input may make the process hold beside the input itself.
    fn bound(&self) -> usize;

    /// Recomputes checksums and lengths, so that a mutation is not refused for them.
    fn repair(&self, _input: &mut Vec<u8>) {}

    /// The part of an input that is JSON text, which is then also changed as such.
    fn json(&self, _input: &[u8]) -> Option<Range<usize>> {
        None
    }
}

/// The inputs of one run.
pub struct Inputs<'a> {
    target: &'a dyn Target,
    seeds: Vec<Vec<u8>>,
    key: [u8; 32],
}

impl<'a> Inputs<'a> {
    /// The inputs for the target of this name under this seed.
    pub fn new(name: &str, target: &'a dyn Target, seed: u64) -> Self {
        let key = *blake3::hash(format!("aegis fuzz {name} {seed}").as_bytes()).as_bytes();
        Self { target, seeds: target.seeds(), key }
    }

    /// Input `index`. The first ones are the seeds themselves.
    pub fn get(&self, index: u64) -> Vec<u8> {
        if let Some(seed) = self.seeds.get(index as usize) {
            return seed.clone();
        }
        let mut rng = ChaCha8Rng::from_seed(self.key);
        rng.set_stream(index);
        let mut input = self.seeds[rng.random_range(0..self.seeds.len())].clone();
        let json = self.target.json(&input).filter(|_| rng.random_ratio(3, 4));
        match json {
            Some(range) => json::mutate(&mut rng, &mut input, range),
            None => mutate::mutate(&mut rng, &mut input, &self.seeds),
        }
        // Some inputs keep their wrong checksums: the checks for them are code too.
        if rng.random_ratio(7, 8) {
            self.target.repair(&mut input);
        }
        input
    }
}
