//! Runs that stop and go on, and what a store can be handed by mistake, malice or a full disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, LazyLock};

use aegis::checkpoint::{Checkpoints, Name, Part, Store, bytes_at_most, clear};
use aegis::limbs::KeySwitching;
use aegis::{CheckpointDamage, Client, Error, ErrorKind, Evaluation, Model, Server};
use aegis_ckks::{Ciphertext, Context, EvaluationKeys, KeyRequest, Seed};
use aegis_comm::Local;
use aegis_models::{Bert, CALIBRATION_FILE, calibration_file};
use aegis_nn::{BlockId, CtTensor, Lane, Step};
use aegis_testing::TinyBert;
use sha2::{Digest, Sha256};

use crate::{TEXT, limbs, small_ring};

/// A store in memory, on a disk that may be full.
#[derive(Clone, Default)]
struct Memory {
    objects: BTreeMap<Name, Vec<u8>>,
    /// Bytes that can still be written.
    room: Option<usize>,
    /// The most bytes held at once.
    most: usize,
}

impl Store for Memory {
    fn write(&mut self, name: Name, bytes: &[u8]) -> io::Result<()> {
        if let Some(room) = &mut self.room {
            *room = room.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        }
        self.objects.insert(name, bytes.to_vec());
        self.most = self.most.max(self.objects.values().map(Vec::len).sum());
        Ok(())
    }

    fn read(&mut self, name: Name, limit: u64) -> io::Result<Vec<u8>> {
        let bytes = self.objects.get(&name).ok_or(io::ErrorKind::NotFound)?;
        Ok(bytes.iter().copied().take(limit as usize).collect())
    }

    fn remove(&mut self, name: Name) -> io::Result<()> {
        self.objects.remove(&name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn blocks(&mut self) -> io::Result<Vec<BlockId>> {
        let block = |name: &Name| match name {
            Name::Manifest => None,
            Name::Block(id) => Some(*id),
        };
        Ok(self.objects.keys().filter_map(block).collect())
    }
}

/// A model of one layer, a key set, a query and its result.
struct Setup {
    ctx: Context,
    server: Server,
    keys: Arc<EvaluationKeys>,
    x: CtTensor,
    result: Vec<Vec<u8>>,
}

/// A small model of one layer with a calibration on these texts besides [`TEXT`].
fn model(ctx: &Context, seed: u64, texts: &[&str]) -> Model {
    let root = tempfile::tempdir().expect("a folder");
    // A calibration says the name of the folder that it was made in.
    let dir = root.path().join("model");
    std::fs::create_dir(&dir).expect("a writable folder");
    TinyBert { layers: 1, seed, ..TinyBert::default() }.write(&dir).expect("a writable folder");
    let bert = Bert::load(&dir).expect("a model");
    let texts = [&[TEXT], texts].concat();
    let tokens: Vec<_> = texts.iter().map(|t| bert.tokenize(t).expect("tokens")).collect();
    let constants = bert.calibrate("test", &tokens).expect("constants");
    let file = calibration_file(&constants, bert.identity()).expect("a file");
    std::fs::write(dir.join(CALIBRATION_FILE), file).expect("a writable folder");
    Model::new(Arc::new(bert), ctx.params().slots(), 16).expect("a model")
}

fn bytes(ctx: &Context, blocks: &[Ciphertext]) -> Vec<Vec<u8>> {
    let each = |block: &Ciphertext| {
        let mut bytes = vec![];
        block.write(ctx, &mut bytes).expect("a ciphertext");
        bytes
    };
    blocks.iter().map(each).collect()
}

static SETUP: LazyLock<Setup> = LazyLock::new(|| setup(small_ring(1)));

fn setup(ctx: Context) -> Setup {
    let model = model(&ctx, 1, &["cat"]);
    let server = Server::new(&ctx, model.clone()).expect("a server");
    let (client, keys) = Client::generate(&ctx, Seed::new([3; 32]), server.request()).expect("keys");
    let query = model.query(TEXT).expect("a query");
    let x = client.encrypt(&model, &query, &Seed::new([4; 32])).expect("a ciphertext");
    let keys = Arc::new(keys);
    let y = server.evaluate(&keys, x.clone(), &mut ()).expect("an evaluation");
    let result = bytes(&ctx, y.blocks());
    Setup { ctx, server, keys, x, result }
}

impl Setup {
    fn run(&self) -> Evaluation<'_> {
        self.server.prepare(&self.keys, &self.x).expect("a run")
    }

    /// A run after this many tasks.
    fn after<'e>(&self, run: &'e Evaluation<'_>, tasks: usize) -> Lane<'e> {
        let mut lane = run.start(self.x.clone()).expect("a run");
        for _ in 0..tasks {
            assert!(run.step(&mut lane, &mut ()).expect("a task"), "the run is over");
        }
        lane
    }

    /// A store with the checkpoint of a run after this many tasks.
    fn saved(&self, tasks: usize) -> Memory {
        let (run, mut store) = (self.run(), Memory::default());
        let lane = self.after(&run, tasks);
        let mut checkpoints = Checkpoints::new(&run, &self.x, &mut store).expect("checkpoints");
        checkpoints.save(&lane).expect("saved");
        store
    }

    /// Why this run does not go on from a store.
    fn refusal(&self, store: &Memory) -> Error {
        let (run, mut copy) = (self.run(), store.clone());
        let resumed = Checkpoints::new(&run, &self.x, &mut copy).expect("checkpoints").resume();
        let refused = resumed.map(|lane| lane.map(|lane| lane.position())).expect_err("refused");
        assert_eq!(copy.objects, store.objects, "a refused checkpoint has changed");
        refused
    }
}

fn damage(refused: Error) -> CheckpointDamage {
    match refused {
        Error::DamagedCheckpoint(damage) => damage,
        other => panic!("{other}"),
    }
}

/// The manifest with its JSON changed, and the checksum that belongs to it.
fn forged(manifest: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let text = &manifest[10..manifest.len() - 32];
    let mut value = serde_json::from_slice(text).expect("JSON");
    change(&mut value);
    let mut forged = [&manifest[..10], &serde_json::to_vec(&value).expect("JSON")].concat();
    let digest = Sha256::digest(&forged);
    forged.extend(digest);
    forged
}

/// At ten places the run is written down and forgotten, and another one goes on from what is in the store.
#[test]
fn a_run_stopped_at_ten_places_goes_on_to_the_same_bits() {
    let (t, mut store) = (&*SETUP, Memory::default());
    let (run, mut stops) = (t.run(), 0);
    let count = run.program().tasks().len();
    let every = count.div_ceil(11);
    let mut checkpoints = Checkpoints::new(&run, &t.x, &mut store).expect("checkpoints");
    assert!(checkpoints.resume().expect("an empty store").is_none());
    let mut lane = checkpoints.start(t.x.clone()).expect("a run");
    drop(checkpoints);
    for task in 1..=count {
        assert!(run.step(&mut lane, &mut ()).expect("a task"));
        if task % every != 0 {
            continue;
        }
        let mut checkpoints = Checkpoints::new(&run, &t.x, &mut store).expect("checkpoints");
        checkpoints.save(&lane).expect("saved");
        drop(lane);
        let mut again = Checkpoints::new(&run, &t.x, &mut store).expect("checkpoints");
        assert!(matches!(again.start(t.x.clone()).map(drop), Err(Error::CheckpointStands)));
        lane = again.resume().expect("a checkpoint").expect("a checkpoint");
        stops += 1;
    }
    assert!(!run.step(&mut lane, &mut ()).expect("the end"));
    let y = run.result(&lane).expect("a result");
    assert!(bytes(&t.ctx, y.blocks()) == t.result, "other bits than without a stop");
    assert_eq!(stops, 10, "of {count} tasks");
    clear(&mut store).expect("cleared");
    assert!(store.objects.is_empty());
}

/// A checkpoint says nothing of devices: whatever is left of them goes on.
#[test]
fn a_run_goes_on_on_another_number_of_devices() {
    let one = &*SETUP;
    let three = setup(limbs::context(one.ctx.params(), Arc::new(Local::new(3)), KeySwitching::Basic));
    assert!(three.result == one.result, "other bits on three devices");
    let half = one.run().program().tasks().len() / 2;
    for (before, after) in [(&three, one), (one, &three)] {
        let (mut store, run) = (before.saved(half), after.run());
        let mut checkpoints = Checkpoints::new(&run, &after.x, &mut store).expect("checkpoints");
        let mut lane = checkpoints.resume().expect("a checkpoint").expect("a checkpoint");
        while run.step(&mut lane, &mut ()).expect("a task") {}
        let y = run.result(&lane).expect("a result");
        assert!(bytes(&after.ctx, y.blocks()) == one.result, "other bits");
    }
}

/// Blocks are written once, those that a later checkpoint no longer names go, and the bound on the store holds.
#[test]
fn a_store_holds_two_checkpoints_at_most() {
    let (t, mut store) = (&*SETUP, Memory::default());
    let run = t.run();
    let mut lane = run.start(t.x.clone()).expect("a run");
    let mut checkpoints = Checkpoints::new(&run, &t.x, &mut store).expect("checkpoints");
    for _ in 0..40 {
        assert!(run.step(&mut lane, &mut ()).expect("a task"));
        checkpoints.save(&lane).expect("saved");
    }
    assert!(store.blocks().expect("readable").iter().eq(lane.blocks().keys()));
    let bound = bytes_at_most(&run);
    assert!(store.most as u64 <= bound, "{} of {bound}", store.most);
}

/// Wherever the disk fills up, the checkpoint before stands, nothing else is left of the new one, and with more room it
/// succeeds.
#[test]
fn a_full_disk_leaves_the_checkpoint_before() {
    let (t, store) = (&*SETUP, SETUP.saved(10));
    let run = t.run();
    let lane = t.after(&run, 18);
    let save = |store: &mut Memory| {
        let mut checkpoints = Checkpoints::new(&run, &t.x, store).expect("checkpoints");
        checkpoints.resume().expect("a checkpoint").expect("a checkpoint");
        checkpoints.save(&lane)
    };
    let room = usize::MAX;
    let mut whole = Memory { room: Some(room), ..store.clone() };
    save(&mut whole).expect("there is room");
    let written = room - whole.room.expect("a limit");
    for part in 0..=10 {
        let room = (written * part / 10).min(written - 1);
        let mut full = Memory { room: Some(room), ..store.clone() };
        let refused = save(&mut full).expect_err("it is full");
        let Error::Storage { name, source } = &refused else { panic!("{refused}") };
        assert_eq!((source.kind(), refused.kind()), (io::ErrorKind::StorageFull, ErrorKind::Device));
        let kept = store.objects.iter().all(|(name, bytes)| full.objects.get(name) == Some(bytes));
        assert!(kept, "the checkpoint before has changed with room for {room} bytes");
        let left = full.objects.len() - store.objects.len();
        assert!(*name == Name::Manifest || left == 0, "{left} blocks are left with room for {room} bytes");
        full.room = None;
        save(&mut full).expect("there is room now");
        assert_eq!(full.objects, whole.objects);
    }
}

#[test]
fn checkpoints_of_other_runs_are_refused() {
    let (t, store) = (&*SETUP, SETUP.saved(10));
    let refusal = |server: &Server, keys: &Arc<EvaluationKeys>, x: &CtTensor| {
        let (run, mut store) = (server.prepare(keys, x).expect("a run"), store.clone());
        let resumed = Checkpoints::new(&run, x, &mut store).expect("checkpoints").resume();
        match resumed.map(|lane| lane.map(|lane| lane.position())) {
            Err(Error::OtherCheckpoint { part, .. }) => part,
            other => panic!("{other:?}"),
        }
    };
    let own = t.server.model();
    let client = |n, server: &Server| {
        let (client, keys) = Client::generate(&t.ctx, Seed::new([n; 32]), server.request()).expect("keys");
        (client, Arc::new(keys))
    };
    let encrypt = |client: &Client, model: &Model, text: &str, n| {
        let query = model.query(text).expect("a query");
        client.encrypt(model, &query, &Seed::new([n; 32])).expect("a ciphertext")
    };
    let (same, same_keys) = client(3, &t.server);
    for (text, n) in [(TEXT, 5), ("cat", 4)] {
        assert_eq!(refusal(&t.server, &same_keys, &encrypt(&same, own, text, n)), Part::Query);
    }
    let (stranger, others) = client(9, &t.server);
    assert_eq!(refusal(&t.server, &others, &encrypt(&stranger, own, TEXT, 4)), Part::Keys);
    let others = [
        (model(&t.ctx, 2, &["cat"]), Part::Model),
        (model(&t.ctx, 1, &["a dog ran on the road."]), Part::Calibration),
    ];
    for (model, part) in others {
        let server = Server::new(&t.ctx, model.clone()).expect("a server");
        let (client, keys) = client(3, &server);
        assert_eq!(refusal(&server, &keys, &encrypt(&client, &model, "cat", 4)), part);
    }
    // Other rings, plans and releases are other manifests here.
    for (field, part) in [
        ("release", Part::Release),
        ("parameters", Part::Parameters),
        ("plan", Part::Plan),
        ("query", Part::Query),
    ] {
        let mut store = store.clone();
        let other = if field == "release" { "0.0.9".to_owned() } else { "0".repeat(64) };
        let manifest = forged(&store.objects[&Name::Manifest], |v| v["identity"][field] = other.into());
        store.objects.insert(Name::Manifest, manifest);
        let refused = t.refusal(&store);
        assert!(matches!(refused, Error::OtherCheckpoint { part: found, .. } if found == part), "{refused}");
    }
}

/// Whatever stands in the store: a typed refusal, and all of it stays.
#[test]
fn damaged_checkpoints_are_refused() {
    use CheckpointDamage::{Blocks, Changed, Checksum, Misfit, Missing, Position};
    let (t, store) = (&*SETUP, SETUP.saved(10));
    let manifest = &store.objects[&Name::Manifest];
    let with = |name, bytes: Vec<u8>| {
        let mut store = store.clone();
        store.objects.insert(name, bytes);
        t.refusal(&store)
    };
    for bytes in [b"".to_vec(), b"AEGISMSG".to_vec(), vec![0x5a; 5000]] {
        assert!(matches!(with(Name::Manifest, bytes), Error::NotACheckpoint));
    }
    let newer = [&manifest[..8], &[2, 0], &manifest[10..]].concat();
    assert!(matches!(with(Name::Manifest, newer), Error::Version { have: 2, want: 1 }));
    assert_eq!(damage(with(Name::Manifest, manifest[..manifest.len() - 1].to_vec())), Checksum);

    let forge =
        |change: &dyn Fn(&mut serde_json::Value)| damage(with(Name::Manifest, forged(manifest, change)));
    let steps = t.server.plan().schedule().steps();
    let free = steps.iter().position(|step| matches!(step, Step::Free(_))).expect("blocks are freed");
    for position in [free, steps.len() + 1, usize::MAX] {
        assert_eq!(forge(&|v| v["position"] = position.into()), Position, "{position}");
    }
    for position in [0, steps.len()] {
        assert_eq!(forge(&|v| v["position"] = position.into()), Blocks, "{position}");
    }
    assert_eq!(forge(&|v| v["blocks"] = serde_json::json!([])), Blocks);
    assert_eq!(forge(&|v| v["blocks"][0]["block"] = usize::MAX.into()), Blocks);
    assert_eq!(forge(&|v| v["blocks"][0] = v["blocks"][1].clone()), Blocks);

    let id = store.clone().blocks().expect("readable")[0];
    let block = &store.objects[&Name::Block(id)];
    assert_eq!(forge(&|v| v["blocks"][0]["bytes"] = u64::MAX.into()), Changed(id));
    assert_eq!(forge(&|v| v["blocks"][0]["sha256"] = "../".into()), Changed(id));
    let mut missing = store.clone();
    missing.objects.remove(&Name::Block(id));
    assert_eq!(damage(t.refusal(&missing)), Missing(id));
    for length in [0, 10, block.len() / 2, block.len() - 1] {
        assert_eq!(damage(with(Name::Block(id), block[..length].to_vec())), Changed(id));
    }
    assert_eq!(damage(with(Name::Block(id), [&block[..], &[0]].concat())), Changed(id));
    for at in [0, 7, 100, block.len() / 2, block.len() - 1] {
        let mut changed = block.clone();
        changed[at] ^= 4;
        assert_eq!(damage(with(Name::Block(id), changed)), Changed(id));
    }

    // A forger who knows the digests puts another ciphertext in a block's place.
    let in_place = |bytes: Vec<u8>| {
        let entry = |v: &mut serde_json::Value| {
            v["blocks"][0]["bytes"] = bytes.len().into();
            let digest = Sha256::digest(&bytes);
            v["blocks"][0]["sha256"] = digest.iter().map(|b| format!("{b:02x}")).collect::<String>().into();
        };
        let mut store = store.clone();
        store.objects.insert(Name::Manifest, forged(manifest, entry));
        store.objects.insert(Name::Block(id), bytes);
        t.refusal(&store)
    };
    assert!(matches!(in_place(b"AEGIS".to_vec()), Error::BadBlock { block, .. } if block == id));
    let strangers = Client::generate(&t.ctx, Seed::new([9; 32]), &KeyRequest::new(t.ctx.params().n()));
    let strangers = strangers.expect("no keys").0;
    let model = t.server.model();
    let query = model.query(TEXT).expect("a query");
    let foreign = strangers.encrypt(model, &query, &Seed::new([4; 32])).expect("a ciphertext");
    assert_eq!(damage(in_place(bytes(&t.ctx, foreign.blocks()).remove(0))), Misfit(id));
}
