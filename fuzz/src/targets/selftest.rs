//! A target with faults of every kind, for the tests of the runner.

use std::hint::black_box;
use std::time::Duration;

use crate::{Outcome, Target};

pub(crate) struct Selftest;

impl Target for Selftest {
    fn seeds(&self) -> Vec<Vec<u8>> {
        [&b"fine"[..], b"panic", b"memory", b"stack", b"abort", b"hang", b"no"].map(<[u8]>::to_vec).into()
    }

    fn run(&self, input: &[u8]) -> Outcome {
        match input {
            b"panic" => panic!("on purpose"),
            b"memory" => drop(black_box(vec![1u8; 1 << 30])),
            b"stack" => drop(black_box(deep(u64::MAX))),
            b"abort" => std::process::abort(),
            b"hang" => std::thread::sleep(Duration::from_secs(3600)),
            b"fine" => {}
            _ => return Outcome::Refused,
        }
        Outcome::Accepted
    }

    fn bound(&self) -> usize {
        1 << 20
    }
}

fn deep(depth: u64) -> u64 {
    if depth == 0 { 0 } else { black_box(deep(black_box(depth - 1))) + 1 }
}
