//! The suite on ranks of one process, however they are driven.

use std::sync::Arc;

use aegis_comm::{Communicator, Limits, Local, conformance};

/// Runs the suite on communicators that drive so many ranks each.
fn conforms(ranks_driven: &[usize]) {
    let hosts = Local::hosts(ranks_driven, &Limits::default()).into_iter();
    let hosts = hosts.map(|comm| Arc::new(comm) as Arc<dyn Communicator>).collect();
    conformance::check(hosts).unwrap_or_else(|failure| panic!("{ranks_driven:?}: {failure}"));
}

#[test]
fn one_host_drives_all_ranks() {
    (1..=5).for_each(|ranks| conforms(&[ranks]));
}

#[test]
fn every_rank_on_a_thread_of_its_own() {
    (2..=5).for_each(|ranks| conforms(&vec![1; ranks]));
}

#[test]
fn hosts_of_several_ranks() {
    [&[2, 1][..], &[1, 2, 1], &[2, 3]].into_iter().for_each(conforms);
}
