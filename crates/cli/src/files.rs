//! Reading and writing files whole: an output either appears complete under its name or not at all.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::fault::{BlameInput, input};

/// Who may read a file.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Access {
    /// The owner only: mode 0600 from the moment the file exists.
    Secret,
    /// As the system's default says.
    Normal,
}

/// Opens an input file.
pub(crate) fn open(path: &Path) -> Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 20, open_unbuffered(path)?))
}

/// Opens an input file without a buffer: for headers, and for secrets, which would stay in one.
pub(crate) fn open_unbuffered(path: &Path) -> Result<File> {
    let file = File::open(path).blame_input(format!("cannot read {}", path.display()))?;
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        return Err(input(format!("cannot read {}: it is a folder", path.display())));
    }
    Ok(file)
}

/// Fails when something is already at `path`.
pub(crate) fn refuse_existing(path: &Path, remedy: &str) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(input(format!("{} exists already; {remedy}", path.display())));
    }
    Ok(())
}

/// A file that is complete under a temporary name beside its own, and gone unless published.
pub(crate) struct Staged {
    file: NamedTempFile,
    path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
    /// SHA-256 of its content in hexadecimal.
    pub(crate) sha256: String,
}

impl Staged {
    /// Gives the file its name, in place of what stands there.
    pub(crate) fn publish(self) -> Result<()> {
        let named = self.file.persist(&self.path).map_err(|e| e.error);
        named
            .with_context(|| format!("cannot write {}: may you write in its folder?", self.path.display()))?;
        Ok(())
    }

    /// Gives the file its name, unless something stands there by now.
    pub(crate) fn publish_new(self) -> Result<()> {
        match self.file.persist_noclobber(&self.path).map_err(|e| e.error) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(input(format!(
                "{} was made meanwhile by another command; it is kept",
                self.path.display()
            ))),
            named => {
                named.with_context(|| format!("cannot write {}", self.path.display()))?;
                Ok(())
            }
        }
    }
}

/// Writes through `fill` to a temporary name beside `path`. Nothing is left behind on failure.
pub(crate) fn stage(
    path: &Path,
    access: Access,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Staged> {
    let file = temporary(path, access)?;
    let full = || format!("cannot write {}: is the disk full?", path.display());
    let (bytes, sha256) = {
        // A secret does not stay in a buffer.
        let capacity = if access == Access::Secret { 0 } else { 1 << 20 };
        let inner = BufWriter::with_capacity(capacity, file.as_file());
        let mut out = Hashing { inner, hash: Sha256::new(), bytes: 0 };
        fill(&mut out).with_context(full)?;
        out.flush().with_context(full)?;
        (out.bytes, hex(&out.hash.finalize()))
    };
    file.as_file().sync_all().with_context(full)?;
    Ok(Staged { file, path: path.to_path_buf(), bytes, sha256 })
}

/// Makes a folder and removes it again when it is dropped empty: a refused command leaves nothing.
pub(crate) struct Folder<'a>(Option<&'a Path>);

impl<'a> Folder<'a> {
    /// The folder at `path`, which may be there already.
    pub(crate) fn create(path: &'a Path) -> Result<Self> {
        let is_new = !path.exists();
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(is_new.then_some(path)))
    }
}

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            // Refused by the system unless the folder is empty.
            let _ = fs::remove_dir(path);
        }
    }
}

/// Fails when the file has more than `limit` bytes, before any of it is read.
pub(crate) fn refuse_larger(path: &Path, limit: u64) -> Result<()> {
    let metadata = fs::metadata(path).blame_input(format!("cannot read {}", path.display()))?;
    if metadata.len() > limit { Err(too_large(path, limit)) } else { Ok(()) }
}

fn too_large(path: &Path, limit: u64) -> anyhow::Error {
    input(format!(
        "{} is larger than {limit} bytes: not a file of this kind; pass the right one",
        path.display()
    ))
}

/// Fails unless a file can be made at `path`: before the work whose result goes there.
pub(crate) fn check_writable(path: &Path) -> Result<()> {
    temporary(path, Access::Secret).map(drop)
}

/// SHA-256 of `bytes` in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Reads a whole file, up to `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(limit + 1).read_to_end(&mut bytes);
    read.blame_input(format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(path, limit));
    }
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file under a new temporary name beside `path`, removed when dropped.
fn temporary(path: &Path, access: Access) -> Result<NamedTempFile> {
    let Some(name) = path.file_name() else {
        return Err(input(format!("cannot write {}: it names no file", path.display())));
    };
    // A device or a pipe would be replaced by a file of its name.
    if path.exists() && !path.is_file() {
        return Err(input(format!("cannot write {}: it is no file; name another place", path.display())));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(name).suffix(".partial");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // What others may read the system's mask decides.
        builder.permissions(fs::Permissions::from_mode(if access == Access::Secret { 0o600 } else { 0o666 }));
    }
    builder.tempfile_in(folder).with_context(|| {
        format!("cannot write {}: does its folder exist, and may you write there?", path.display())
    })
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(buffer)?;
        self.hash.update(&buffer[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("aegis-files-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).expect("a scratch folder");
        dir
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let dir = scratch("failed");
        let path = dir.join("x.ct");
        let result = stage(&path, Access::Normal, |out| {
            out.write_all(b"half")?;
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into())
        });
        let Err(error) = result else { panic!("a full disk was not noticed") };
        assert!(format!("{error:#}").contains("is the disk full?"), "{error:#}");
        let unpublished = stage(&path, Access::Normal, |out| Ok(out.write_all(b"whole")?)).expect("writable");
        assert_eq!(fs::read_dir(&dir).expect("readable").count(), 1);
        drop(unpublished);
        assert_eq!(fs::read_dir(&dir).expect("readable").count(), 0);
        fs::remove_dir_all(dir).expect("removable");
    }

    #[test]
    fn a_write_is_whole_and_hashed() {
        let dir = scratch("whole");
        let path = dir.join("x.ct");
        let staged = stage(&path, Access::Secret, |out| Ok(out.write_all(b"abc")?)).expect("writable");
        assert_eq!((staged.bytes, staged.sha256.as_str()), (3, sha256(b"abc").as_str()));
        staged.publish_new().expect("writable");
        let second = stage(&path, Access::Secret, |out| Ok(out.write_all(b"xyz")?)).expect("writable");
        assert!(second.publish_new().is_err_and(|e| e.downcast_ref::<crate::fault::Input>().is_some()));
        assert_eq!(read(&path, 3).expect("readable"), b"abc");
        assert!(read(&path, 2).is_err());
        assert!(check_writable(&dir).is_err_and(|e| e.to_string().contains("it is no file")));
        #[cfg(unix)]
        {
            let socket = dir.join("socket");
            let _bound = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
            assert!(check_writable(&socket).is_err_and(|e| e.to_string().contains("it is no file")));
        }
        assert!(refuse_existing(&path, "pass --force").is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        }
        fs::remove_dir_all(dir).expect("removable");
    }
}
