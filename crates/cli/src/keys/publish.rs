//! All files of a key set get their names, or none does.
//!
//! A secret key without its evaluation keys, or beside those of another set, is worth nothing. So the old files step aside
//! into a folder, the new ones take their names, and the folder goes; on any failure the old ones step back. A process that
//! is killed in between leaves the folder, and the next command says so.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::fault::input;
use crate::files::{self, Staged};
use crate::temporary;

/// Where old keys wait until the new ones stand. What is in it is whole.
const ASIDE: &str = "old-keys";
/// Its name once the new ones stand.
const DISCARDED: &str = "old-keys.discarded";

/// Fails if an earlier replacement of the keys in `folder` did not come to its end.
pub(crate) fn refuse_interrupted(folder: &Path) -> Result<()> {
    let aside = folder.join(ASIDE);
    if aside.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(input(format!(
        "{} holds keys that `aegis keygen --force` put aside and did not come to replace: move them back to {}, over what is \
         there, and remove the folder (or is the command still running?)",
        aside.display(),
        folder.display()
    )))
}

/// Names all of `staged`, files of one folder. Without `replace` nothing may stand there.
pub(crate) fn publish(folder: &Path, staged: Vec<Staged>, replace: bool) -> Result<()> {
    publish_with(folder, staged, replace, |_| Ok(()))
}

/// As [`publish`]; `before` each file it is told which.
fn publish_with(
    folder: &Path,
    staged: Vec<Staged>,
    replace: bool,
    before: impl Fn(usize) -> Result<()>,
) -> Result<()> {
    let _uninterrupted = temporary::uninterrupted();
    let mut change = Change { folder, old: None, moved: Vec::new(), named: Vec::new(), done: false };
    if replace {
        change.put_aside(&staged)?;
    }
    for (i, file) in staged.into_iter().enumerate() {
        before(i)?;
        let path = file.path().to_path_buf();
        file.publish_new()?;
        change.named.push(path);
    }
    files::sync_folder(folder)?;
    change.commit()
}

/// A change of names under way; undone when dropped before its end.
struct Change<'a> {
    folder: &'a Path,
    /// The folder of old files, once made.
    old: Option<PathBuf>,
    /// Files that stepped aside: where they were, where they are.
    moved: Vec<(PathBuf, PathBuf)>,
    /// New files that have their names.
    named: Vec<PathBuf>,
    done: bool,
}

impl Change<'_> {
    fn put_aside(&mut self, staged: &[Staged]) -> Result<()> {
        refuse_interrupted(self.folder)?;
        staged.iter().try_for_each(Staged::check_place)?;
        let _ = fs::remove_dir_all(self.folder.join(DISCARDED));
        let aside = self.folder.join(ASIDE);
        fs::create_dir(&aside).with_context(|| format!("cannot make {}", aside.display()))?;
        self.old = Some(aside.clone());
        for path in staged.iter().map(Staged::path).filter(|path| path.symlink_metadata().is_ok()) {
            let to = aside.join(path.file_name().unwrap_or_default());
            fs::rename(path, &to).with_context(|| format!("cannot put {} aside", path.display()))?;
            self.moved.push((path.to_path_buf(), to));
        }
        files::sync_folder(&aside)?;
        files::sync_folder(self.folder)
    }

    /// In one step, so that the folder of old files is never there in part.
    fn commit(&mut self) -> Result<()> {
        if let Some(aside) = &self.old {
            let discarded = self.folder.join(DISCARDED);
            fs::rename(aside, &discarded).with_context(|| format!("cannot remove {}", aside.display()))?;
            let _ = fs::remove_dir_all(discarded);
        }
        self.done = true;
        files::sync_folder(self.folder)
    }
}

impl Drop for Change<'_> {
    /// What cannot be undone stays in the folder of old files, which `refuse_interrupted` reports.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        for path in &self.named {
            let _ = fs::remove_file(path);
        }
        for (from, to) in &self.moved {
            let _ = fs::rename(to, from);
        }
        if let Some(aside) = &self.old {
            let _ = fs::remove_dir(aside);
        }
        let _ = files::sync_folder(self.folder);
    }
}

#[cfg(test)]
mod tests {
    use aegis::keyset::Keyset;
    use anyhow::bail;

    use super::*;
    use crate::content::Content;
    use crate::fault::Input;
    use crate::files::Output;
    use crate::keys::files_of;

    /// A file's bytes, recognised as what they should be; `set` tells one set of keys from another.
    fn bytes(content: Content, set: &str) -> Vec<u8> {
        match content {
            Content::SecretKey => [b"AEGIS\x01", set.as_bytes()].concat(),
            Content::EvaluationKeys => [b"AEGIS\x03", set.as_bytes()].concat(),
            _ => {
                let (key_id, preset, model) = ("0".repeat(32), set.to_owned(), "0".repeat(64));
                Keyset { key_id, preset, model, padded_tokens: 1 }.to_bytes()
            }
        }
    }

    fn staged(folder: &Path, set: &str) -> Vec<Staged> {
        let stage = |(path, content): (PathBuf, Content)| {
            let output = Output::reserve(&path, content).expect("writable");
            output.fill(|out| Ok(out.write_all(&bytes(content, set))?)).expect("writable")
        };
        files_of(folder).map(stage).into()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("readable");
        let mut names: Vec<_> =
            entries.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names.retain(|name| !name.ends_with(".partial"));
        names
    }

    fn assert_holds(folder: &Path, set: &str) {
        assert_eq!(names(folder), ["eval.keys", "keyset.json", "secret.key"], "{set}");
        for (path, content) in files_of(folder) {
            assert!(fs::read(&path).expect("readable") == bytes(content, set), "{}", path.display());
        }
    }

    /// `keygen --force` that failed half-way left a mixture.
    #[test]
    fn a_failure_between_two_files_leaves_the_old_keys() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path();
        publish(folder, staged(folder, "old"), false).expect("a new folder");
        for at in 0..3 {
            let fail = |i| if i == at { bail!("injected") } else { Ok(()) };
            let error = publish_with(folder, staged(folder, "new"), true, fail).expect_err("injected");
            assert_eq!(error.to_string(), "injected");
            assert_holds(folder, "old");
        }
        // A file of the old set was given away: nothing of the new one takes its place.
        fs::remove_file(folder.join("eval.keys")).expect("removable");
        let fail = |i| if i == 2 { bail!("injected") } else { Ok(()) };
        publish_with(folder, staged(folder, "new"), true, fail).expect_err("injected");
        assert_eq!(names(folder), ["keyset.json", "secret.key"]);
        publish(folder, staged(folder, "new"), true).expect("writable");
        assert_holds(folder, "new");
    }

    #[test]
    fn new_keys_appear_together_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path();
        let fail = |i| if i == 2 { bail!("injected") } else { Ok(()) };
        publish_with(folder, staged(folder, "new"), false, fail).expect_err("injected");
        assert!(names(folder).is_empty(), "{:?}", names(folder));
        // Somebody else's file is kept.
        let late = staged(folder, "new");
        fs::write(folder.join("keyset.json"), "theirs").expect("writable");
        let error = publish(folder, late, false).expect_err("it exists");
        assert!(error.downcast_ref::<Input>().is_some(), "{error:#}");
        assert_eq!(names(folder), ["keyset.json"]);
    }

    #[test]
    fn a_killed_replacement_is_reported_and_its_old_keys_are_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path();
        publish(folder, staged(folder, "old"), false).expect("a new folder");
        refuse_interrupted(folder).expect("nothing was interrupted");
        let mut change = Change { folder, old: None, moved: Vec::new(), named: Vec::new(), done: false };
        let mut new = staged(folder, "new");
        change.put_aside(&new).expect("writable");
        new.swap_remove(0).publish_new().expect("writable");
        // Killed here: nothing is undone.
        std::mem::forget(change);
        let error = refuse_interrupted(folder).expect_err("it was interrupted");
        assert!(error.to_string().contains(ASIDE) && error.downcast_ref::<Input>().is_some(), "{error:#}");
        assert!(publish(folder, staged(folder, "other"), true).is_err(), "the old keys would be lost");
        assert_holds(&folder.join(ASIDE), "old");
    }
}
