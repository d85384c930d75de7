//! Ranks in processes of their own, under every launcher that there is: what `cargo xtask mpi` fetched, or else the
//! `mpirun` of the system. Without one nothing is tested, unless `REQUIRE_MPI=1` makes that a failure.
//!
//! The launcher starts this binary again, for the ignored test [`rank`] alone. What became of a rank is in a file, since
//! launchers may lose what it prints.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aegis_comm::{Communicator, Error, Limits, Message, Mpi, MpiFault, Tag, conformance};
use aegis_hal::{Error as Lost, Parcel, PeerFault};
use aegis_testing::Launcher;

/// What the ranks do, and where they say what became of it.
const CASE: &str = "AEGIS_COMM_CASE";
const FOLDER: &str = "AEGIS_COMM_FOLDER";
/// Shorter than the default, for the tests' sake.
const LIMITS: Limits = Limits { silence: Duration::from_secs(2), wait: Duration::from_secs(60) };
/// Words of a message that travels in pieces.
const LARGE: usize = 3 << 20;
/// Within which every rank must know of a fault.
const KNOWN: Duration = Duration::from_secs(10);
/// For whole runs, with the start of the processes.
const RUN: Duration = Duration::from_secs(60);

/// One run at a time: each has more threads than there are processors.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_process_without_a_launcher_is_told_how_to_start_one() {
    let alone = Mpi::join(&LIMITS, None).map(drop);
    assert_eq!(alone, Err(Error::Mpi(MpiFault::NoLauncher)));
}

#[test]
fn processes_conform() {
    each_launcher(|launcher| {
        for ranks in [2, 4] {
            let mut run = Run::start(launcher, "conform", ranks);
            let outcomes = (0..ranks).map(|rank| run.outcome(rank, RUN)).collect::<Vec<_>>();
            assert_eq!(outcomes, vec!["Ok(())"; ranks], "{launcher:?}");
            assert!(run.wait(), "{launcher:?}");
        }
    });
}

#[test]
fn a_killed_process_is_an_error_on_every_other_rank() {
    each_launcher(|launcher| {
        let mut run = Run::start(launcher, "kill", 3);
        run.fails(2, &PeerFault::Silent { ms: 2000 });
        run.wait();
    });
}

#[test]
fn a_process_killed_in_the_middle_of_a_message_is_an_error_on_every_other_rank() {
    each_launcher(|launcher| {
        let mut run = Run::start(launcher, "rush", 3);
        for (rank, outcome) in run.outcomes_after(2) {
            // MPI itself may notice first.
            assert!(outcome.starts_with("Err(Peer { rank: 2, fault: "), "{rank}: {outcome}, {}", run.log());
        }
        run.wait();
    });
}

#[test]
fn a_stopped_process_is_an_error_on_every_other_rank() {
    each_launcher(|launcher| {
        let mut run = Run::start(launcher, "stop", 3);
        run.fails(2, &PeerFault::Silent { ms: 2000 });
        signal("KILL", &run.outcome(2, Duration::ZERO));
        run.wait();
    });
}

#[test]
fn a_process_that_ends_early_is_an_error_on_every_other_rank() {
    each_launcher(|launcher| {
        let mut run = Run::start(launcher, "end", 3);
        run.fails(2, &PeerFault::Gone);
        assert!(run.wait(), "{launcher:?}");
    });
}

#[test]
#[ignore = "a launcher starts it, for each rank"]
fn rank() {
    let (case, folder) = (std::env::var(CASE).expect("a case"), std::env::var(FOLDER).expect("a folder"));
    let missing = Mpi::join(&LIMITS, Some(Path::new("libmpi-of-nobody.so")));
    assert!(matches!(missing, Err(Error::Mpi(MpiFault::NoLibrary { .. }))), "{missing:?}");
    let comm = Mpi::join(&LIMITS, None).expect("all ranks start");
    assert_eq!(Mpi::join(&LIMITS, None).map(drop), Err(Error::Mpi(MpiFault::InUse)));

    let rank = comm.rank();
    let tell = |outcome: &str| {
        let (partial, file) = (format!("{folder}/{rank}.partial"), format!("{folder}/{rank}"));
        fs::write(&partial, outcome).and_then(|()| fs::rename(partial, file)).expect("a file");
    };
    if case == "conform" {
        return tell(&format!("{:?}", conformance::check_host(Arc::new(comm))));
    }
    if case != "rush" {
        // The second one says that the first one came.
        assert_eq!(exchange(&comm, 0, LARGE).and_then(|()| exchange(&comm, 1, 1)), Ok(()));
    }
    if rank + 1 < comm.ranks() {
        let outcome = await_last(&comm);
        drop(comm);
        return tell(&format!("{outcome:?}"));
    }
    let me = std::process::id().to_string();
    tell(&me);
    if case == "rush" {
        (0..rank).try_for_each(|to| comm.send(&message(rank, to, 2, LARGE), &large(rank))).expect("sent");
    }
    match &*case {
        "kill" | "rush" => signal("KILL", &me),
        "stop" => signal("STOP", &me),
        _ => return,
    }
    // A signal takes its time.
    thread::sleep(RUN);
}

/// Every rank hears a message of every other one.
fn exchange(comm: &Mpi, number: u64, words: usize) -> Result<(), Lost> {
    let others = || (0..comm.ranks()).filter(|&other| other != comm.rank());
    for to in others() {
        let parcel = Parcel::ready(vec![comm.rank() as u64; words]);
        comm.send(&message(comm.rank(), to, number, words), &parcel)?;
    }
    let parcels = others().map(|from| comm.receive(&message(from, comm.rank(), number, words)));
    let parcels = parcels.collect::<aegis_comm::Result<Vec<Parcel>>>()?;
    parcels.iter().try_for_each(|parcel| parcel.wait().map(drop))
}

/// Waits for a message that never comes, or not to its end.
fn await_last(comm: &Mpi) -> Result<(), Lost> {
    let last = comm.ranks() - 1;
    comm.receive(&message(last, comm.rank(), 2, LARGE))?.wait()?;
    comm.receive(&message(last, comm.rank(), 3, LARGE))?.wait().map(drop)
}

fn large(rank: usize) -> Parcel {
    Parcel::ready(vec![rank as u64; LARGE])
}

fn message(from: usize, to: usize, number: u64, words: usize) -> Message {
    Message { from, to, tag: Tag { channel: 1, number }, words, reason: "test" }
}

fn signal(name: &str, process: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), process]).status();
    assert!(sent.is_ok_and(|status| status.success()), "no signal {name} to {process}");
}

/// One launcher after the other, and one run at a time.
fn each_launcher(check: impl Fn(&Launcher)) {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Launcher::all().iter().for_each(check);
    drop(turn);
}

/// Processes under a launcher. Dropped, they are killed with it.
struct Run {
    child: Child,
    folder: PathBuf,
}

impl Run {
    fn start(launcher: &Launcher, case: &str, ranks: usize) -> Self {
        let name = format!("mpi-{case}-{ranks}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).expect("a folder");
        let log = fs::File::create(folder.join("log")).expect("a log");
        let mut command = launcher.command(ranks);
        command.arg(std::env::current_exe().expect("this binary"));
        command.args(["--exact", "mpi::rank", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(CASE, case).env(FOLDER, &folder).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        Self { child: command.spawn().expect("a launcher"), folder }
    }

    /// What a rank said, once it does.
    fn outcome(&mut self, rank: usize, limit: Duration) -> String {
        let (file, start) = (self.folder.join(rank.to_string()), Instant::now());
        loop {
            let has_ended = !matches!(self.child.try_wait(), Ok(None));
            match fs::read_to_string(&file) {
                Ok(outcome) => return outcome,
                Err(_) if has_ended || start.elapsed() > limit => {
                    panic!("rank {rank} says nothing; log: {}", self.log());
                }
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// What the ranks before the last one say, in time after that one did.
    fn outcomes_after(&mut self, last: usize) -> Vec<(usize, String)> {
        self.outcome(last, RUN);
        let start = Instant::now();
        (0..last).map(|rank| (rank, self.outcome(rank, KNOWN.saturating_sub(start.elapsed())))).collect()
    }

    /// The ranks before the last one say in time that it is lost.
    fn fails(&mut self, last: usize, fault: &PeerFault) {
        let want = format!("{:?}", Err::<(), _>(Lost::Peer { rank: last, fault: fault.clone() }));
        for (rank, have) in self.outcomes_after(last) {
            assert_eq!(have, want, "rank {rank}; log: {}", self.log());
        }
    }

    /// Waits for the launcher; whether it calls the run a success.
    fn wait(&mut self) -> bool {
        let start = Instant::now();
        loop {
            match self.child.try_wait().expect("a child") {
                Some(status) => return status.success(),
                None => assert!(start.elapsed() < KNOWN, "the launcher does not end; log: {}", self.log()),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if !thread::panicking() {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}
