//! The manifest of a checkpoint beside the blocks of three; a run that goes on from an accepted one is written down again.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use aegis::checkpoint::{Checkpoints, Name, Store};
use aegis::{Client, Evaluation, Model, Server};
use aegis_ckks::{Params, Seed, insecure_bootstrap_spec};
use aegis_nn::{BlockId, CtTensor};
use sha2::{Digest, Sha256};

use super::weights::json_length;
use crate::model::{ModelFolder, TEXTS};
use crate::scheme::context;
use crate::{Outcome, Target};

struct Checkpoint {
    run: Evaluation<'static>,
    x: CtTensor,
    /// A manifest for each place where the run stopped.
    manifests: Vec<Vec<u8>>,
    blocks: BTreeMap<BlockId, Vec<u8>>,
}

/// Magic and version.
const HEADER: usize = 10;
/// Tasks between two places.
const TASKS: usize = 6;

/// The blocks of all places, and the manifest of one.
struct Shelf<'a> {
    manifest: Option<Vec<u8>>,
    blocks: &'a BTreeMap<BlockId, Vec<u8>>,
    written: Vec<(BlockId, Vec<u8>)>,
}

impl Store for Shelf<'_> {
    fn write(&mut self, name: Name, bytes: &[u8]) -> io::Result<()> {
        match name {
            Name::Manifest => self.manifest = Some(bytes.to_vec()),
            Name::Block(id) => self.written.push((id, bytes.to_vec())),
        }
        Ok(())
    }

    fn read(&mut self, name: Name, limit: u64) -> io::Result<Vec<u8>> {
        let bytes = match name {
            Name::Manifest => self.manifest.as_ref(),
            Name::Block(id) => self.blocks.get(&id),
        };
        let bytes = bytes.ok_or(io::ErrorKind::NotFound)?;
        Ok(bytes.iter().copied().take(limit as usize).collect())
    }

    /// What one input does not name another does.
    fn remove(&mut self, _: Name) -> io::Result<()> {
        Ok(())
    }

    fn blocks(&mut self) -> io::Result<Vec<BlockId>> {
        Ok(vec![])
    }
}

pub(super) fn open() -> Box<dyn Target> {
    const VALID: &str = "a valid run";
    let bert = Arc::new(ModelFolder::new().bert());
    let ctx = context(Params::insecure(insecure_bootstrap_spec(9)).expect(VALID)).expect(VALID);
    let constants = bert.calibrate("seed", &[bert.tokenize(TEXTS[0]).expect(VALID)]).expect(VALID);
    let layout = bert.layout(ctx.params().slots(), 16).expect(VALID);
    let model = Model::with_calibration(bert, layout, &constants).expect(VALID);
    // A target lives as long as its process.
    let server: &'static Server = Box::leak(Box::new(Server::new(&ctx, model.clone()).expect(VALID)));
    let (client, keys) = Client::generate(&ctx, Seed::new([3; 32]), server.request()).expect(VALID);
    let query = model.query(TEXTS[0]).expect(VALID);
    let x = client.encrypt(&model, &query, &Seed::new([4; 32])).expect(VALID);
    let run = server.prepare(&Arc::new(keys), &x).expect(VALID);
    let (mut manifests, mut blocks) = (vec![], BTreeMap::new());
    let mut lane = run.start(x.clone()).expect(VALID);
    for _ in 0..3 {
        for _ in 0..TASKS {
            run.step(&mut lane, &mut ()).expect(VALID);
        }
        let mut shelf = Shelf { manifest: None, blocks: &BTreeMap::new(), written: vec![] };
        Checkpoints::new(&run, &x, &mut shelf).and_then(|mut all| all.save(&lane)).expect(VALID);
        manifests.extend(shelf.manifest);
        blocks.extend(shelf.written);
    }
    drop(lane);
    Box::new(Checkpoint { run, x, manifests, blocks })
}

impl Target for Checkpoint {
    fn seeds(&self) -> Vec<Vec<u8>> {
        self.manifests.clone()
    }

    fn run(&self, input: &[u8]) -> Outcome {
        let manifest = Some(input.to_vec());
        let mut shelf = Shelf { manifest, blocks: &self.blocks, written: vec![] };
        let mut checkpoints = Checkpoints::new(&self.run, &self.x, &mut shelf).expect("a digest");
        let Ok(lane) = checkpoints.resume() else { return Outcome::Refused };
        let lane = lane.expect("there is a manifest");
        checkpoints.save(&lane).expect("what was read can be written");
        assert!(shelf.written.is_empty(), "blocks are written again");
        let again = shelf.manifest.expect("a manifest");
        assert!(self.manifests.contains(&again), "a checkpoint changes by reading and writing");
        Outcome::Accepted
    }

    fn bound(&self) -> usize {
        1 << 21
    }

    /// The checksum becomes right.
    fn repair(&self, input: &mut Vec<u8>) {
        if let Some((body, digest)) = input.split_last_chunk_mut::<32>() {
            digest.copy_from_slice(&Sha256::digest(body));
        }
    }

    fn json(&self, input: &[u8]) -> Option<Range<usize>> {
        let length = json_length(input.get(HEADER..)?)?;
        Some(HEADER..HEADER + length)
    }
}
