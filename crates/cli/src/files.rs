//! Reading and writing files whole: an output either appears complete under its name or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

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
    let file = File::open(path).blame_input(format!("cannot read {}", path.display()))?;
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        return Err(input(format!("cannot read {}: it is a folder", path.display())));
    }
    Ok(BufReader::with_capacity(1 << 20, file))
}

/// Fails when something is already at `path`.
pub(crate) fn refuse_existing(path: &Path, remedy: &str) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(input(format!("{} exists already; {remedy}", path.display())));
    }
    Ok(())
}

/// Writes through `fill` to a temporary name beside `path`, then renames. Nothing is left behind on failure. Returns
/// the number of bytes and their SHA-256 in hexadecimal.
pub(crate) fn write(
    path: &Path,
    access: Access,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<(u64, String)> {
    let partial = Partial::create(path, access)?;
    let (bytes, digest) = {
        let inner = BufWriter::with_capacity(1 << 20, &partial.file);
        let mut out = Hashing { inner, hash: Sha256::new(), bytes: 0 };
        fill(&mut out).with_context(|| format!("cannot write {}", path.display()))?;
        out.flush().with_context(|| format!("cannot write {}: is the disk full?", path.display()))?;
        (out.bytes, hex(&out.hash.finalize()))
    };
    partial.publish()?;
    Ok((bytes, digest))
}

/// Fails unless a file can be made at `path`: before the work whose result goes there.
pub(crate) fn check_writable(path: &Path) -> Result<()> {
    Partial::create(path, Access::Secret).map(drop)
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
        return Err(input(format!(
            "{} is larger than {limit} bytes: not a file of this kind",
            path.display()
        )));
    }
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file under a temporary name; removed when dropped unpublished.
struct Partial {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    published: bool,
}

impl Partial {
    fn create(path: &Path, access: Access) -> Result<Self> {
        let name =
            path.file_name().with_context(|| format!("cannot write {}: it names no file", path.display()))?;
        if path.is_dir() {
            return Err(input(format!("cannot write {}: it is a folder", path.display())));
        }
        let mut temporary = name.to_os_string();
        temporary.push(format!(".{}.partial", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if access == Access::Secret {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        let file = options.open(&temporary).with_context(|| {
            format!("cannot write {}: does its folder exist, and may you write there?", path.display())
        })?;
        Ok(Self { file, temporary, path: path.to_path_buf(), published: false })
    }

    fn publish(mut self) -> Result<()> {
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.temporary, &self.path))
            .with_context(|| format!("cannot write {}: is the disk full?", self.path.display()))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published {
            // Nothing can be done about a failure here; the first error is the one to report.
            let _ = fs::remove_file(&self.temporary);
        }
    }
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
        let result = write(&path, Access::Normal, |out| {
            out.write_all(b"half")?;
            anyhow::bail!("interrupted")
        });
        assert!(result.is_err());
        assert_eq!(fs::read_dir(&dir).expect("readable").count(), 0);
        fs::remove_dir_all(dir).expect("removable");
    }

    #[test]
    fn a_write_is_whole_and_hashed() {
        let dir = scratch("whole");
        let path = dir.join("x.ct");
        let (bytes, digest) =
            write(&path, Access::Secret, |out| Ok(out.write_all(b"abc")?)).expect("writable");
        assert_eq!((bytes, digest), (3, sha256(b"abc")));
        assert_eq!(read(&path, 3).expect("readable"), b"abc");
        assert!(read(&path, 2).is_err());
        assert!(refuse_existing(&path, "pass --force").is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        }
        fs::remove_dir_all(dir).expect("removable");
    }
}
