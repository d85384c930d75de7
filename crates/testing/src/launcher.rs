//! Ranks in processes, under the MPI launchers that there are.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An `mpirun`.
#[derive(Debug)]
pub struct Launcher {
    program: PathBuf,
    /// Folder of its libraries, where it is not one of the system.
    library: Option<PathBuf>,
    /// What it says of itself.
    version: String,
}

impl Launcher {
    fn new(program: PathBuf, library: Option<PathBuf>) -> Option<Self> {
        let output = Command::new(&program).arg("--version").output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(Self { program, library, version })
    }

    /// What `cargo xtask mpi` fetched, or else the `mpirun` of the system. Where there is none, that is said, and a failure
    /// with `REQUIRE_MPI=1`.
    pub fn all() -> Vec<Self> {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
        let folders = fs::read_dir(tools).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let mut folders: Vec<PathBuf> = folders.filter(|folder| folder.join("bin/mpirun").exists()).collect();
        folders.sort();
        let fetched = folders.iter().filter_map(|f| Self::new(f.join("bin/mpirun"), Some(f.join("lib"))));
        let mut all: Vec<Self> = fetched.collect();
        if all.is_empty() {
            all.extend(Self::new("mpirun".into(), None));
        }
        if all.is_empty() {
            let cure = "no mpirun: run `cargo xtask mpi`";
            assert!(std::env::var("REQUIRE_MPI").is_err(), "{cure}");
            // Past the test runner, which keeps what is printed to itself.
            drop(writeln!(std::io::stderr(), "note: {cure}; nothing is tested with MPI"));
        }
        all
    }

    /// The command that starts so many ranks on a small machine, and lets them go on without one that failed: see
    /// docs/many-devices.md. The program and its arguments are to be added.
    pub fn command(&self, ranks: usize) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(library) = &self.library {
            command.env("LD_LIBRARY_PATH", library);
        }
        command.args(["-n", &ranks.to_string()]);
        if !self.version.contains("Open MPI") {
            command.args(["-disable-auto-cleanup", "sh", "-c", r#"trap "" USR1; "$0" "$@"; exit $?"#]);
            return command;
        }
        command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]);
        if self.version.contains("(Open MPI) 4") {
            command.arg("--enable-recovery");
        } else {
            command.args(["--runtime-options", "continuous,error-nonzero-status=false"]);
        }
        command
    }
}
