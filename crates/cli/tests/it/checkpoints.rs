//! What `aegis eval --checkpoint` refuses before it reads a key.

use std::fs;
use std::path::Path;

use crate::{refused, text};

fn eval(folder: &Path, resume: bool, words: &str) {
    let out = folder.with_file_name("result.ct");
    let mut args = vec!["eval", "--eval-keys", "k", "--model", "m", "--in", "no-such-query"];
    args.extend(["--out", text(&out), "--checkpoint", text(folder)]);
    args.extend(resume.then_some("--resume"));
    refused(2, words, &args);
    assert!(!out.exists());
}

#[test]
fn resuming_needs_a_folder() {
    let files = ["--eval-keys", "k", "--model", "m", "--in", "q", "--out", "r"];
    for option in [&["--resume"][..], &["--checkpoint-every", "9"]] {
        refused(2, "--checkpoint <DIR>", &[&["eval"], &files[..], option].concat());
    }
}

#[test]
fn a_refused_run_leaves_no_folder_of_checkpoints() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("run");
    for resume in [false, true] {
        eval(&folder, resume, "cannot read no-such-query");
        assert_eq!(fs::read_dir(&dir).expect("readable").count(), 0);
    }
}

#[test]
fn folders_that_cannot_hold_checkpoints() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("run");
    fs::create_dir(&folder).expect("writable");
    fs::write(folder.join("thesis"), b"precious").expect("writable");
    eval(&folder, true, "it holds something else");
    fs::remove_file(folder.join("thesis")).expect("still there");
    // What a run leaves behind that was killed.
    fs::write(folder.join("aegis-checkpoint"), b"aegis checkpoint\n").expect("writable");
    fs::write(folder.join("manifest"), b"AEGISCKP").expect("writable");
    eval(&folder, false, "--resume");
    eval(&folder, true, "cannot read no-such-query");
    assert_eq!(fs::read_dir(&folder).expect("readable").count(), 2, "a checkpoint is kept");
    let lock = fs::File::open(folder.join("aegis-checkpoint")).expect("there");
    lock.lock().expect("nobody has it");
    eval(&folder, true, "another run has it");
}
