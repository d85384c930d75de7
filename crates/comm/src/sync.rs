//! What the mailbox synchronises with: the standard library, or its model in loom, which tries every order of events.

#[cfg(not(aegis_loom))]
pub(crate) use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::Builder,
};

#[cfg(aegis_loom)]
pub(crate) use loom::{
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::Builder,
};
