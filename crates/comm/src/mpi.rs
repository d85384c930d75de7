//! Ranks in processes of their own, by a library found at run time.

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use aegis_hal::Parcel;

use crate::mailbox::Mailbox;
use crate::{Communicator, Error, Ledger, Limits, Message, Result};

mod engine;
mod fault;
mod launcher;
mod library;
mod transfers;
mod wire;

use engine::{Command, Engine};
pub use fault::MpiFault;
use launcher::Launcher;

/// How long the other ranks may take to start.
const START: Duration = Duration::from_secs(60);

/// One rank in a process that an MPI launcher started, such as `mpirun`.
///
/// Nothing of MPI is needed to build this: the library is opened at run time, that of Open MPI 4 or 5, of MPICH and its
/// relatives, or any other with the ABI of MPI 5. One thread makes all calls of it, so that neither
/// [`Communicator::send`] nor [`Communicator::receive`] ever waits, and so that the others hear that this rank lives
/// while it computes. A rank that they do not hear of for [`Limits::silence`] is lost to them.
///
/// # The end
/// To drop it is to wait for the other ranks to end, for that is what MPI demands: a launcher takes a rank that leaves
/// before them for a failed one, and ends the others. After the loss of a rank nothing is waited for, MPI is left
/// without `MPI_Finalize`, which would hang, and the process should end with its error, as the other ranks will. What a
/// launcher does then is told in docs/many-devices.md.
///
/// MPI can be joined once in a process.
pub struct Mpi {
    rank: [usize; 1],
    ranks: usize,
    library: String,
    limits: Limits,
    mailbox: Arc<Mailbox>,
    ledger: Ledger,
    /// Held by every message on its way, too: with the last of them the engine ends.
    commands: Option<Sender<Command>>,
    engine: Thread,
    /// The stages of its end.
    stages: Mutex<Receiver<()>>,
}

impl Mpi {
    /// Joins the other ranks. The library is looked for under the names that it has in Open MPI and MPICH, those of the
    /// launcher first, unless it is given.
    ///
    /// # Errors
    /// [`Error::Mpi`]: no launcher started this process, no library is found, or it fails.
    pub fn join(limits: &Limits, library: Option<&Path>) -> Result<Self> {
        let launcher = Launcher::find(|name| std::env::var(name).ok()).ok_or(MpiFault::NoLauncher)?;
        let names = library.map_or_else(|| launcher.libraries(), |library| vec![library.to_owned()]);
        let (commands, received) = channel();
        let (report, joined) = channel();
        let (stage, stages) = channel();
        let mailbox = Arc::new(Mailbox::new(limits));
        let (theirs, silence) = (Arc::clone(&mailbox), limits.silence);
        let engine = move || {
            let network = match library::join(&names) {
                Ok(network) => network,
                Err(fault) => return drop(report.send(Err(fault))),
            };
            // Nobody listens where the others took too long.
            let about = (network.rank, network.ranks, network.library.clone());
            if report.send(Ok(about)).is_err() {
                return;
            }
            let mut engine = Engine::new(network, theirs, silence, Instant::now());
            engine.serve(&received);
            // Nobody has to listen to the stages.
            let _ = stage.send(());
            let is_well = engine.end();
            let _ = stage.send(());
            if is_well {
                engine.finalize();
            }
        };
        let engine = thread::Builder::new().name("aegis-comm-mpi".into()).spawn(engine);
        let engine = engine.map_err(|error| Error::Thread { cause: error.to_string() })?;
        let joined =
            joined.recv_timeout(START).map_err(|_| MpiFault::NoStart { seconds: START.as_secs() })?;
        let (rank, ranks, library) = joined?;
        launcher.check(&library, ranks)?;
        Ok(Self {
            rank: [rank],
            ranks,
            library,
            limits: *limits,
            mailbox,
            ledger: Ledger::new(),
            commands: Some(commands),
            engine: engine.thread().clone(),
            stages: Mutex::new(stages),
        })
    }

    /// The rank of this process.
    pub fn rank(&self) -> usize {
        self.rank[0]
    }

    /// Name of the library that was found.
    pub fn library(&self) -> &str {
        &self.library
    }
}

impl Communicator for Mpi {
    fn ranks(&self) -> usize {
        self.ranks
    }

    fn local(&self) -> &[usize] {
        &self.rank
    }

    fn send(&self, message: &Message, parcel: &Parcel) -> Result<()> {
        message.check(message.from, self)?;
        let (Message { to, tag, .. }, commands) = (*message, self.commands.clone());
        // The engine outlives its commands.
        parcel.then(move |words| {
            drop(commands.map(|commands| commands.send(Command::Send { to, tag, words })));
        });
        Ok(())
    }

    fn receive(&self, message: &Message) -> Result<Parcel> {
        message.check(message.to, self)?;
        let parcel = self.mailbox.expect(message)?;
        self.ledger.asked(message);
        let Message { from, tag, words, .. } = *message;
        if let Some(commands) = &self.commands {
            drop(commands.send(Command::Expect { from, tag, words }));
        }
        Ok(parcel)
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        self.commands = None;
        if thread::current().id() == self.engine.id() {
            return;
        }
        let stages = self.stages.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Words that were promised may come from this very thread.
        if stages.recv_timeout(self.limits.silence) == Err(RecvTimeoutError::Timeout) {
            return;
        }
        // The engine ends by itself; what it calls at the very end may not, where a rank is killed just then.
        if stages.recv().is_ok() {
            let _ = stages.recv_timeout(self.limits.silence);
        }
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mpi(rank {} of {}, {})", self.rank(), self.ranks, self.library)
    }
}
