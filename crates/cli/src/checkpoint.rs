//! Checkpoints in a folder: `aegis eval --checkpoint`.
//!
//! Beside the objects of [`aegis::checkpoint`], one file each, stands a file that marks the folder as one of checkpoints and
//! is locked while a run has it: the system drops the lock when the process ends, however it ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aegis::Evaluation;
use aegis::checkpoint::{Checkpoints, Name, Store};
use aegis_nn::{BlockId, CtTensor, Lane, Observer};
use anyhow::{Context, Result};

use crate::content::Content;
use crate::fault::{BlameInput, input};
use crate::files;
use crate::temporary::{self, Temporary};

/// The file that marks a folder, and what it holds.
const MARK: &str = "aegis-checkpoint";
const MARK_TEXT: &[u8] = b"aegis checkpoint\n";

/// A folder of checkpoints that nobody else has. A folder without a checkpoint is left as it was found.
pub(crate) struct CheckpointFolder {
    path: PathBuf,
    /// Dropped after the mark is removed, and before the folder is.
    _lock: File,
    _folder: temporary::Folder,
}

impl CheckpointFolder {
    /// The folder at `path`: a new or empty one, or one of checkpoints, but with a checkpoint in it only to `resume` it.
    pub(crate) fn open(path: &Path, resume: bool) -> Result<Self> {
        let cannot = || format!("{} cannot hold checkpoints", path.display());
        let created = temporary::Folder::create(path).with_context(cannot)?;
        let mark = path.join(MARK);
        let is_new = names(path).blame_input(cannot())?.is_empty();
        if !is_new && !mark.is_file() {
            return Err(input(format!("{}: it holds something else; name a new folder", cannot())));
        }
        let mut options = File::options();
        let mut lock =
            options.read(true).write(true).create(true).truncate(false).open(&mark).with_context(cannot)?;
        match lock.try_lock() {
            Ok(()) if is_same_file(&lock, &mark) => {}
            Ok(()) | Err(TryLockError::WouldBlock) => {
                let busy = "another run has it; wait until that has ended, or name another folder";
                return Err(input(format!("{}: {busy}", cannot())));
            }
            Err(TryLockError::Error(e)) => return Err(e).with_context(cannot),
        }
        let mut text = vec![];
        (&lock).take(MARK_TEXT.len() as u64 + 1).read_to_end(&mut text).with_context(cannot)?;
        if text.is_empty() && names(path).with_context(cannot)? == [MARK] {
            lock.write_all(MARK_TEXT).and_then(|()| lock.sync_all()).with_context(cannot)?;
        } else if text != MARK_TEXT {
            return Err(input(format!("{}: it holds something else; name a new folder", cannot())));
        }
        let folder = Self { path: path.to_path_buf(), _lock: lock, _folder: created };
        folder.tidy().with_context(cannot)?;
        if !resume && folder.place(Name::Manifest).symlink_metadata().is_ok() {
            let remedy = "pass --resume to go on from it, or remove the folder";
            return Err(aegis::Error::CheckpointStands).with_context(|| format!("{}: {remedy}", cannot()));
        }
        Ok(folder)
    }

    /// Removes what a killed run was writing. Fails when anything is there that no run writes.
    fn tidy(&self) -> Result<()> {
        for name in names(&self.path)? {
            if name != MARK && object(&name).is_none() {
                let ours = name.starts_with("manifest") || name.starts_with("block-");
                if !(ours && name.ends_with(temporary::SUFFIX)) {
                    return Err(input(format!("{name:?} is no part of a checkpoint; move it elsewhere")));
                }
                fs::remove_file(self.path.join(name))?;
            }
        }
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn place(&self, name: Name) -> PathBuf {
        self.path.join(name.to_string())
    }
}

impl Drop for CheckpointFolder {
    fn drop(&mut self) {
        if names(&self.path).is_ok_and(|names| names == [MARK]) {
            let _ = fs::remove_file(self.path.join(MARK));
        }
    }
}

/// Names in a folder. One that is not UTF-8 is nobody's.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// What the file of this name is.
fn object(name: &str) -> Option<Name> {
    let block = || Some(Name::Block(BlockId(name.strip_prefix("block-")?.parse().ok()?)));
    let object = if name == Name::Manifest.to_string() { Some(Name::Manifest) } else { block() };
    object.filter(|object| object.to_string() == name)
}

/// Whether the file that was locked still has its name: its last owner removes it.
fn is_same_file(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let of = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|m| (m.dev(), m.ino()));
        of(file.metadata()).is_some_and(|own| of(fs::metadata(path)) == Some(own))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

impl Store for CheckpointFolder {
    fn write(&mut self, name: Name, bytes: &[u8]) -> io::Result<()> {
        let file = Temporary::new(&self.path, name.to_string().as_ref(), Content::Other)?;
        file.as_file().write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(&self.place(name))?;
        files::sync_folder(&self.path).map_err(io::Error::other)
    }

    fn read(&mut self, name: Name, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![];
        File::open(self.place(name))?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn remove(&mut self, name: Name) -> io::Result<()> {
        fs::remove_file(self.place(name))
    }

    fn blocks(&mut self) -> io::Result<Vec<BlockId>> {
        let block = |name: &String| match object(name)? {
            Name::Block(id) => Some(id),
            Name::Manifest => None,
        };
        Ok(names(&self.path)?.iter().filter_map(block).collect())
    }
}

/// A run from its checkpoint, where there is one, or from its beginning; and whether it was resumed.
pub(crate) fn begin<'e>(checkpoints: &mut Checkpoints<'e, '_>, x: CtTensor) -> Result<(Lane<'e>, bool)> {
    Ok(match checkpoints.resume()? {
        Some(lane) => (lane, true),
        None => (checkpoints.start(x)?, false),
    })
}

/// Runs to the end, with a checkpoint between two tasks whenever the last one is `every` old; they take at most a twentieth
/// of the time.
///
/// Ends of stages are no better places: by the costs of a plan of MiniLM's size for 512 tokens they lie up to 65 s apart,
/// those of tasks up to 10 s, and as many blocks are live at either.
pub(crate) fn run(
    run: &Evaluation<'_>,
    mut lane: Lane<'_>,
    checkpoints: &mut Checkpoints<'_, '_>,
    every: Duration,
    observer: &mut dyn Observer,
) -> Result<CtTensor> {
    let (mut last, mut pause) = (Instant::now(), every);
    while run.step(&mut lane, observer).context("evaluation failed")? {
        if last.elapsed() < pause {
            continue;
        }
        let start = Instant::now();
        checkpoints.save(&lane)?;
        pause = if every.is_zero() { every } else { every.max(19 * start.elapsed()) };
        last = Instant::now();
    }
    Ok(run.result(&lane)?)
}

#[cfg(test)]
mod tests;
