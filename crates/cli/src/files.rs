//! Reading and writing files whole: an output either appears complete under its name or not at all, and never in place of
//! something else.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::content::{self, Content};
use crate::fault::{BlameInput, input};
use crate::temporary::{self, Temporary};

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

/// A place where a file can be made, kept from the start of a command: the work whose result goes there comes after.
pub(crate) struct Output {
    file: Temporary,
    path: PathBuf,
    content: Content,
}

impl Output {
    /// A temporary file beside `path`. Refuses to replace anything but a file of the same content, or an empty one.
    pub(crate) fn reserve(path: &Path, content: Content) -> Result<Self> {
        let Some(name) = path.file_name() else {
            return Err(input(format!("cannot write {}: it names no file", path.display())));
        };
        refuse_foreign(path, content)?;
        let file = Temporary::new(folder_of(path), name, content).with_context(|| {
            format!("cannot write {}: does its folder exist, and may you write there?", path.display())
        })?;
        Ok(Self { file, path: path.to_path_buf(), content })
    }

    /// Writes all of the file, still under its temporary name. Nothing is left behind on failure.
    pub(crate) fn fill(self, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<Staged> {
        let Self { file, path, content } = self;
        let full = || format!("cannot write {}: is the disk full?", path.display());
        let (bytes, sha256) = {
            // A secret does not stay in a buffer.
            let capacity = if content == Content::SecretKey { 0 } else { 1 << 20 };
            let inner = BufWriter::with_capacity(capacity, file.as_file());
            let mut out = Hashing { inner, hash: Sha256::new(), bytes: 0 };
            fill(&mut out).with_context(full)?;
            out.flush().with_context(full)?;
            (out.bytes, format!("{:x}", out.hash.finalize()))
        };
        file.as_file().sync_all().with_context(full)?;
        Ok(Staged { file, path, content, bytes, sha256 })
    }
}

/// A file that is complete under a temporary name beside its own, and gone unless published.
pub(crate) struct Staged {
    file: Temporary,
    path: PathBuf,
    content: Content,
    /// Its size.
    pub(crate) bytes: u64,
    /// SHA-256 of its content in hexadecimal.
    pub(crate) sha256: String,
}

impl Staged {
    /// Where it goes.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails when something else has come to its place since [`Output::reserve`].
    pub(crate) fn check_place(&self) -> Result<()> {
        refuse_foreign(&self.path, self.content)
    }

    /// Gives the file its name, in place of an older one of the same content.
    pub(crate) fn publish(self) -> Result<()> {
        let _uninterrupted = temporary::uninterrupted();
        self.check_place()?;
        let folder = folder_of(&self.path).to_path_buf();
        self.file.persist(&self.path).with_context(|| format!("cannot write {}", self.path.display()))?;
        sync_folder(&folder)
    }

    /// Gives the file its name, unless something stands there by now. The caller brings the folder to the disk.
    pub(crate) fn publish_new(self) -> Result<()> {
        self.file.persist_new(&self.path).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => {
                let path = self.path.display();
                input(format!("{path} was made meanwhile by another command; it is kept"))
            }
            _ => anyhow::Error::new(e).context(format!("cannot write {}", self.path.display())),
        })
    }
}

/// Fails unless nothing, an empty file or one of this content is at `path`, or behind the link there.
fn refuse_foreign(path: &Path, content: Content) -> Result<()> {
    let cannot = format!("cannot write {}", path.display());
    if path.symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
        return Ok(());
    }
    // A device or a pipe would be replaced by a file of its name; to open one may wait for ever.
    let metadata = path.metadata().blame_input(format!("{cannot}: what is there cannot be looked at"))?;
    if !metadata.is_file() {
        return Err(input(format!("{cannot}: it is no file; name another place")));
    }
    let held = content::of(path).blame_input(format!("{cannot}: what is there cannot be looked at"))?;
    if held == Content::Empty || held == content {
        return Ok(());
    }
    Err(input(format!(
        "{cannot}: it holds {held}, which {content} must not replace; name another place, or remove it yourself"
    )))
}

/// Waits until names in a folder are on the disk: after a power cut a file is there under its new name, or the old one is.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    match File::open(folder).and_then(|f| f.sync_all()) {
        // Some network file systems sync no folders.
        Err(e) if !matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            return Err(e).with_context(|| format!("cannot bring {} to the disk", folder.display()));
        }
        _ => {}
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
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

/// SHA-256 of `bytes` in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
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
    use crate::fault::Input;

    fn stage(path: &Path, content: Content, bytes: &[u8]) -> Result<Staged> {
        Output::reserve(path, content)?.fill(|out| Ok(out.write_all(bytes)?))
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.ct");
        let result = Output::reserve(&path, Content::Query).expect("writable").fill(|out| {
            out.write_all(b"half")?;
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into())
        });
        let Err(error) = result else { panic!("a full disk was not noticed") };
        assert!(format!("{error:#}").contains("is the disk full?"), "{error:#}");
        let unpublished = stage(&path, Content::Query, b"whole").expect("writable");
        assert_eq!(fs::read_dir(&dir).expect("readable").count(), 1);
        drop(unpublished);
        assert_eq!(fs::read_dir(&dir).expect("readable").count(), 0);
    }

    #[test]
    fn a_write_is_whole_and_hashed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("secret.key");
        let key = b"AEGIS\x01abc";
        let staged = stage(&path, Content::SecretKey, key).expect("writable");
        assert_eq!((staged.bytes, staged.sha256.as_str()), (9, sha256(key).as_str()));
        staged.publish_new().expect("writable");
        let second = stage(&path, Content::SecretKey, b"xyz").expect("writable");
        let refused = second.publish_new();
        assert!(refused.is_err_and(|e| e.downcast_ref::<Input>().is_some()));
        assert_eq!(read(&path, 9).expect("readable"), key);
        assert!(read(&path, 8).is_err());
        assert!(refuse_existing(&path, "pass --force").is_err());
        stage(&path, Content::SecretKey, b"new").expect("of the same content").publish().expect("writable");
        assert_eq!(read(&path, 3).expect("readable"), b"new");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        }
    }

    /// `encrypt --out keys/secret.key` destroyed the key.
    #[test]
    fn an_output_never_replaces_a_file_of_another_content() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x");
        let refused = |words: &str, content| match Output::reserve(&path, content) {
            Ok(_) => panic!("{words}: replaced by {content}"),
            Err(e) => {
                assert!(e.downcast_ref::<Input>().is_some() && format!("{e:#}").contains(words), "{e:#}");
            }
        };
        for (bytes, words) in [
            (&b"AEGIS\x01"[..], "the secret key"),
            (b"AEGIS\x03", "evaluation keys"),
            (b"AEGIS\x04", "something else"),
            (b"precious", "something else"),
            (b"{}", "something else"),
        ] {
            fs::write(&path, bytes).expect("writable");
            refused(words, Content::Query);
            refused(words, Content::Keyset);
        }
        fs::write(&path, b"").expect("writable");
        let reserved = Output::reserve(&path, Content::Query).expect("an empty file is nobody's");
        // Something precious came while the command worked.
        fs::write(&path, b"AEGIS\x01").expect("writable");
        let staged = reserved.fill(|out| Ok(out.write_all(b"query")?)).expect("writable");
        assert!(staged.publish().is_err());
        assert_eq!(fs::read(&path).expect("there"), b"AEGIS\x01");
        fs::remove_file(&path).expect("removable");
        fs::create_dir(&path).expect("writable");
        refused("it is no file", Content::Query);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_sockets_are_not_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let [key, link, nowhere, socket] = ["key", "link", "nowhere", "socket"].map(|n| dir.path().join(n));
        fs::write(&key, b"AEGIS\x01").expect("writable");
        std::os::unix::fs::symlink(&key, &link).expect("a link");
        std::os::unix::fs::symlink("gone", &nowhere).expect("a link");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        for (path, words) in
            [(&link, "the secret key"), (&nowhere, "cannot be looked at"), (&socket, "it is no file")]
        {
            let Err(error) = Output::reserve(path, Content::Query) else { panic!("{words}: replaced") };
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }
}
