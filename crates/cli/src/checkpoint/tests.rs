use std::io::ErrorKind;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use aegis::{Client, Model, Server};
use aegis_ckks::{Ciphertext, Context, EvaluationKeys, OpCounts, Params, Seed, insecure_bootstrap_spec};
use aegis_models::{Bert, CALIBRATION_FILE, calibration_file};
use aegis_nn::TaskInfo;
use aegis_testing::{TinyBert, on_cpu};
use tempfile::tempdir;

use super::*;
use crate::fault::Input;
use crate::progress::Progress;

const TEXT: &str = "the cat sat on the mat.";

fn refusal(path: &Path, resume: bool) -> String {
    match CheckpointFolder::open(path, resume) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(e) => {
            let typed = aegis::kind_of(e.as_ref()).is_some() || e.downcast_ref::<Input>().is_some();
            assert!(typed, "{e:#}");
            format!("{e:#}")
        }
    }
}

#[test]
fn a_folder_is_left_as_it_was_found() {
    let dir = tempdir().expect("a folder");
    let path = dir.path().join("new");
    let folder = CheckpointFolder::open(&path, false).expect("a new folder");
    assert!(path.join(MARK).is_file());
    drop(folder);
    assert!(!path.exists());
    drop(CheckpointFolder::open(dir.path(), true).expect("an empty folder"));
    assert!(names(dir.path()).expect("readable").is_empty());
}

#[test]
fn objects_are_files_that_only_a_later_run_replaces() {
    let dir = tempdir().expect("a folder");
    let mut folder = CheckpointFolder::open(dir.path(), false).expect("an empty folder");
    assert_eq!(folder.read(Name::Manifest, 9).expect_err("nothing there").kind(), ErrorKind::NotFound);
    let block = BlockId(17);
    folder.write(Name::Block(block), b"old").expect("writable");
    folder.write(Name::Block(block), b"block").expect("writable");
    folder.write(Name::Manifest, b"manifest").expect("writable");
    assert_eq!(folder.blocks().expect("readable"), [block]);
    assert_eq!(folder.read(Name::Block(block), 3).expect("readable"), b"blo");
    drop(folder);
    assert!(refusal(dir.path(), false).contains("--resume"), "a checkpoint is not to be lost");
    // What a killed run was writing.
    fs::write(dir.path().join("block-18Xyz.partial"), b"half").expect("writable");
    let mut folder = CheckpointFolder::open(dir.path(), true).expect("a checkpoint");
    assert_eq!(folder.read(Name::Manifest, 9).expect("readable"), b"manifest");
    aegis::checkpoint::clear(&mut folder).expect("removable");
    assert_eq!(names(dir.path()).expect("readable"), [MARK]);
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let dir = tempdir().expect("a folder");
    let first = CheckpointFolder::open(dir.path(), false).expect("an empty folder");
    assert!(refusal(dir.path(), true).contains("another run has it"));
    drop(first);
    drop(CheckpointFolder::open(dir.path(), true).expect("nobody has it now"));
}

/// `--checkpoint ~` must remove nothing.
#[test]
fn folders_with_something_else_are_refused_and_kept() {
    let dir = tempdir().expect("a folder");
    let file = dir.path().join("manifest");
    fs::write(&file, b"precious").expect("writable");
    assert!(refusal(dir.path(), true).contains("something else"));
    assert_eq!(names(dir.path()).expect("readable"), ["manifest"]);
    fs::write(dir.path().join(MARK), b"mine").expect("writable");
    assert!(refusal(dir.path(), true).contains("something else"));
    fs::write(dir.path().join(MARK), MARK_TEXT).expect("writable");
    for name in ["thesis.partial", "block-1.bak", "block-01", "secret.key"] {
        let file = dir.path().join(name);
        fs::write(&file, b"precious").expect("writable");
        assert!(refusal(dir.path(), true).contains("no part of a checkpoint"), "{name}");
        fs::remove_file(&file).expect("still there");
    }
    assert_eq!(fs::read(&file).expect("still there"), b"precious");
}

/// A model of one layer on a small ring, all from fixed seeds: equal in parent and child.
struct Setup {
    ctx: Context,
    server: Server,
    keys: Arc<EvaluationKeys>,
    x: CtTensor,
}

fn setup() -> Setup {
    let root = tempdir().expect("a folder");
    // A calibration says the name of the folder that it was made in.
    let dir = root.path().join("model");
    fs::create_dir(&dir).expect("a writable folder");
    TinyBert { layers: 1, ..TinyBert::default() }.write(&dir).expect("a writable folder");
    let bert = Bert::load(&dir).expect("a model");
    let tokens = [bert.tokenize(TEXT).expect("tokens")];
    let constants = bert.calibrate("test", &tokens).expect("constants");
    let file = calibration_file(&constants, bert.identity()).expect("a file");
    fs::write(dir.join(CALIBRATION_FILE), file).expect("a writable folder");
    let ctx = on_cpu(Params::insecure(insecure_bootstrap_spec(9)).expect("a ring"), 1);
    let model = Model::new(Arc::new(bert), ctx.params().slots(), 16).expect("a model");
    let server = Server::new(&ctx, model.clone()).expect("a server");
    let (client, keys) = Client::generate(&ctx, Seed::new([3; 32]), server.request()).expect("keys");
    let query = model.query(TEXT).expect("a query");
    let x = client.encrypt(&model, &query, &Seed::new([4; 32])).expect("a ciphertext");
    Setup { ctx, server, keys: Arc::new(keys), x }
}

fn bytes(ctx: &Context, blocks: &[Ciphertext]) -> Vec<u8> {
    let mut bytes = vec![];
    for block in blocks {
        block.write(ctx, &mut bytes).expect("a ciphertext");
    }
    bytes
}

/// Tasks of earlier processes are done and took this one no time.
#[test]
fn progress_knows_what_was_done_before() {
    let t = setup();
    let run = t.server.prepare(&t.keys, &t.x).expect("a run");
    for (steps, tasks) in [(0, 0), (run.schedule().steps().len(), run.program().tasks().len())] {
        let mut progress = Progress::new(run.program().stages(), None);
        progress.skip(&run, steps);
        assert_eq!(progress.tasks_done(), tasks);
        assert!(progress.into_rows().iter().all(|row| row.seconds == 0.0));
    }
}

/// Says on standard output that a task has ended, before its checkpoint is written.
struct Said;

impl Observer for Said {
    fn end(&mut self, _: &TaskInfo<'_>, _: &OpCounts) {
        writeln!(io::stdout(), "task").expect("the parent reads");
    }
}

/// Set for a child: the folder with the checkpoint, where the result goes too.
const CHILD: &str = "AEGIS_TEST_CHECKPOINT";
/// Tasks of a child until it is killed: it writes the checkpoint of the last one then.
const TASKS: usize = 4;

/// `kill -9` at ten places of a run that writes a checkpoint after every task.
#[test]
fn a_run_killed_at_ten_places_goes_on_to_the_same_bits() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return child(Path::new(&dir));
    }
    let dir = tempdir().expect("a folder");
    let result = dir.path().join("result");
    for place in 0..10 {
        let (mut child, lines) = spawn(dir.path());
        assert_eq!(lines.take(TASKS).count(), TASKS, "the run was over at place {place}");
        child.kill().expect("it runs");
        child.wait().expect("a child");
        assert!(!result.exists(), "place {place}");
        assert!(dir.path().join("checkpoint/manifest").is_file(), "place {place}");
    }
    let (mut child, lines) = spawn(dir.path());
    assert!(lines.count() > 0, "nothing was left to do");
    assert!(child.wait().expect("a child").success());
    let t = setup();
    let y = t.server.evaluate(&t.keys, t.x, &mut ()).expect("an evaluation");
    assert!(fs::read(result).expect("a result") == bytes(&t.ctx, y.blocks()), "other bits");
}

/// This test again in a process of its own, and a line for each task that it ends.
fn spawn(dir: &Path) -> (Child, impl Iterator<Item = String>) {
    let name = "checkpoint::tests::a_run_killed_at_ten_places_goes_on_to_the_same_bits";
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let out = io::BufReader::new(child.stdout.take().expect("piped"));
    let lines = io::BufRead::lines(out).map(|line| line.expect("text"));
    // The test harness says a few things too, the first of them on the same line.
    (child, lines.filter(|line| line.ends_with("task")))
}

fn child(dir: &Path) {
    let t = setup();
    let mut folder = CheckpointFolder::open(&dir.join("checkpoint"), true).expect("a folder");
    let evaluation = t.server.prepare(&t.keys, &t.x).expect("a run");
    let mut checkpoints = Checkpoints::new(&evaluation, &t.x, &mut folder).expect("checkpoints");
    let (lane, _) = begin(&mut checkpoints, t.x).expect("a checkpoint of this run");
    let y = run(&evaluation, lane, &mut checkpoints, Duration::ZERO, &mut Said).expect("an evaluation");
    fs::write(dir.join("result"), bytes(&t.ctx, y.blocks())).expect("writable");
}
