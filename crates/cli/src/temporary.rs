//! The temporary files of this process, removed when a command fails and when a signal ends it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

use crate::content::Content;

// Static, because signals end a process and not a value.
/// Files and folders that a signal removes, in the order they were made.
static LISTED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// Held while files get their names, so that a signal waits until all of them have theirs.
static PUBLISHING: Mutex<()> = Mutex::new(());

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the name of a temporary file ends.
pub(crate) const SUFFIX: &str = ".partial";

/// While this lives no signal that [`remove_on_signals`] heeds ends the process.
pub(crate) fn uninterrupted() -> MutexGuard<'static, ()> {
    lock(&PUBLISHING)
}

/// On SIGINT, SIGTERM and SIGHUP: removes what is listed and ends the process with 128 + the number of the signal.
pub(crate) fn remove_on_signals() -> io::Result<()> {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let ignored = ignored_signals();
        let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|n| ignored >> (n - 1) & 1 == 0);
        let mut signals = signal_hook::iterator::Signals::new(heeded)?;
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            let Some(signal) = signals.forever().next() else { return };
            let _uninterrupted = uninterrupted();
            // Kept locked, so that no other thread makes a file after this.
            let listed = lock(&LISTED);
            for path in listed.iter().rev() {
                // A folder goes when it is empty.
                let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
            }
            #[expect(clippy::disallowed_methods, reason = "what it would leave behind was removed just now")]
            std::process::exit(128 + signal);
        })?;
    }
    Ok(())
}

/// The signals that whoever started this process asked it to ignore, as `nohup` does, signal n at bit n - 1. None where the
/// system does not say.
#[cfg(unix)]
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0)
}

/// A path on the list, until dropped.
pub(crate) struct Listed(PathBuf);

impl Listed {
    /// What `make` makes, and its path on the list before any signal can be heeded.
    fn new<T>(
        make: impl FnOnce() -> io::Result<T>,
        path: impl FnOnce(&T) -> PathBuf,
    ) -> io::Result<(T, Self)> {
        let mut listed = lock(&LISTED);
        let made = make()?;
        let path = path(&made);
        listed.push(path.clone());
        Ok((made, Self(path)))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        lock(&LISTED).retain(|path| *path != self.0);
    }
}

/// A file under a new name beside its place, removed when dropped.
pub(crate) struct Temporary {
    file: NamedTempFile,
    _listed: Listed,
}

impl Temporary {
    /// A file in `folder` whose name begins with `name` and ends with `.partial`.
    pub(crate) fn new(folder: &Path, name: &OsStr, content: Content) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(name).suffix(SUFFIX);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // A secret is its owner's from the moment the file exists; what others may read the system's mask decides.
            let mode = if content == Content::SecretKey { 0o600 } else { 0o666 };
            builder.permissions(fs::Permissions::from_mode(mode));
        }
        #[cfg(not(unix))]
        let _ = content;
        let (file, listed) = Listed::new(|| builder.tempfile_in(folder), |file| file.path().to_path_buf())?;
        Ok(Self { file, _listed: listed })
    }

    pub(crate) fn as_file(&self) -> &File {
        self.file.as_file()
    }

    /// Gives the file its name, in place of what stands there.
    pub(crate) fn persist(self, path: &Path) -> io::Result<()> {
        self.file.persist(path).map(drop).map_err(|e| e.error)
    }

    /// Gives the file its name, unless something stands there.
    pub(crate) fn persist_new(self, path: &Path) -> io::Result<()> {
        self.file.persist_noclobber(path).map(drop).map_err(|e| e.error)
    }
}

/// A folder that is removed again when it is dropped empty: a refused command leaves nothing.
pub(crate) struct Folder(Option<Listed>);

impl Folder {
    /// The folder at `path`, which may be there already.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Ok(Self(None));
        }
        let (_, listed) = Listed::new(|| fs::create_dir_all(path), |()| path.to_path_buf())?;
        Ok(Self(Some(listed)))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(Listed(path)) = &self.0 {
            // Refused by the system unless the folder is empty.
            let _ = fs::remove_dir(path);
        }
    }
}
