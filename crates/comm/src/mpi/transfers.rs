//! What the engine needs of MPI.

use std::ops::Range;

use aegis_hal::Words;

/// Moves words between this rank and others. Transfers of one sender, receiver and lane match in the order in which they
/// were begun. A transfer that never ends keeps its words until the process ends.
pub(super) trait Transfers<P> {
    /// Begins to send part of the words.
    ///
    /// # Errors
    /// What MPI says.
    fn send(
        &mut self,
        to: usize,
        lane: u16,
        words: Words,
        part: Range<usize>,
        purpose: P,
    ) -> Result<(), String>;

    /// Begins to receive as many words as the part is long into that part of the buffer, which [`Done`] gives back.
    ///
    /// # Errors
    /// What MPI says.
    fn receive(
        &mut self,
        from: usize,
        lane: u16,
        buffer: Vec<u64>,
        part: Range<usize>,
        purpose: P,
    ) -> Result<(), String>;

    /// Lets transfers go on; one that has ended, if any.
    ///
    /// # Errors
    /// What MPI says where no transfer is to blame.
    fn poll(&mut self) -> Result<Option<Done<P>>, String>;

    /// Ends MPI, when no transfer is under way and every rank does the same: it waits for them.
    fn finalize(&mut self);
}

/// A transfer that has ended.
pub(super) struct Done<P> {
    /// The other rank.
    pub(super) peer: usize,
    /// What it was begun for.
    pub(super) purpose: P,
    /// The buffer of a receive; nothing of a send.
    pub(super) outcome: Result<Vec<u64>, String>,
}

/// Ranks that have joined.
pub(super) struct Network<P> {
    pub(super) rank: usize,
    pub(super) ranks: usize,
    /// Name of the library.
    pub(super) library: String,
    pub(super) transfers: Box<dyn Transfers<P>>,
}
