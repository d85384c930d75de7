//! A command that a signal ends leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::client::Client;
use crate::text;

fn start(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_aegis"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts")
}

fn partial_files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().ends_with(".partial")))
        .count()
}

/// Waits until the command, which waits for its input, holds `count` temporary files; then sends the signal.
fn interrupt(mut child: Child, folder: &Path, count: usize, signal: &str) -> Option<i32> {
    while partial_files(folder) < count {
        assert!(child.try_wait().expect("a child").is_none(), "it ended without its input");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Waiting for a child closes its input, which it must not see before the signal.
    let _input = child.stdin.take();
    send(&child, signal);
    child.wait().expect("a child").code()
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
}

/// Whether this process was started with the signal ignored, as by `nohup` or in the background of a script: so is the
/// command then, which must go on.
fn is_ignored(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

#[test]
fn a_signal_leaves_no_partial_file() {
    let client = Client::new();
    let (keys, model, out) = (client.keys(), client.model(), client.path("out"));
    fs::create_dir(&out).expect("writable");
    let query = out.join("query.ct");
    let signals = [("INT", 2), ("TERM", 15), ("HUP", 1)];
    for (signal, number) in signals.into_iter().filter(|&(_, number)| !is_ignored(number)) {
        let code = 128 + number as i32;
        let files = ["--keys", text(&keys), "--model", text(&model), "--out", text(&query)];
        // Standard input stays open.
        let child = start(&[&["encrypt", "--text", "-"], &files[..]].concat());
        assert_eq!(interrupt(child, &out, 1, signal), Some(code), "SIG{signal}");
        assert_eq!(fs::read_dir(&out).expect("readable").count(), 0, "SIG{signal}");
    }
}

#[test]
fn a_signal_leaves_no_folder_of_keys() {
    let client = Client::new();
    let (model, keys) = (client.path("pipe"), client.path("new-keys"));
    fs::create_dir(&model).expect("writable");
    // Nobody ever writes to it.
    let made = Command::new("mkfifo").arg(model.join("config.json")).status();
    assert!(made.expect("mkfifo is there").success());
    let child = start(&["keygen", "--model", text(&model), "--out", text(&keys)]);
    assert_eq!(interrupt(child, &keys, 3, "TERM"), Some(143));
    assert!(!keys.exists(), "a folder is left");
}

/// `nohup aegis eval` must outlive the terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let client = Client::new();
    let (keys, model, out) = (client.keys(), client.model(), client.path("out"));
    fs::create_dir(&out).expect("writable");
    let query = out.join("query.ct");
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap '' HUP; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_aegis"),
        "encrypt",
        "--text",
        "-",
    ]);
    command.args(["--keys", text(&keys), "--model", text(&model), "--out", text(&query)]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a shell");
    while partial_files(&out) < 1 {
        std::thread::sleep(Duration::from_millis(5));
    }
    send(&child, "HUP");
    let mut stdin = child.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, crate::client::TEXT.as_bytes()).expect("it reads");
    drop(stdin);
    assert_eq!(child.wait().expect("a child").code(), Some(0));
    assert!(query.exists());
}
