//! A run that can be gone on with after whatever ended it: its live blocks, written down between two tasks.
//!
//! A checkpoint is a *manifest* and one object for each *block* that was live. A block is made once and never changes, so it
//! is written once, under its number in the program, and a later checkpoint names it again. A block is what
//! [`Ciphertext::write`] gives, with its own parameters, key set and checksum. The manifest is: magic `AEGISCKP`, version
//! (2 bytes, little-endian), JSON, SHA-256 of all before; the JSON holds what the run is of (each [`Part`]), the number of
//! steps done, and of each block number, length and SHA-256.
//!
//! The order makes it safe to be killed at any moment: new blocks are written, then the manifest is replaced, and only then
//! the blocks go that it no longer names. So the manifest that stands always finds its blocks. A write that fails leaves the
//! checkpoint before it.
//!
//! Nothing read is trusted: the manifest is bounded before it is read, must be of this very run, and its blocks exactly
//! those that the schedule has live there; names come from the program, never from the manifest. Checksums detect damage,
//! not forgery: who can write to the store can change the result, as a server can that computes something else.
//!
//! ```
//! # use std::sync::Arc;
//! # use aegis::Server;
//! # use aegis::checkpoint::{Checkpoints, Store};
//! # use aegis_ckks::EvaluationKeys;
//! # use aegis_nn::CtTensor;
//! fn evaluate(
//!     server: &Server,
//!     keys: &Arc<EvaluationKeys>,
//!     x: CtTensor,
//!     store: &mut dyn Store,
//! ) -> aegis::Result<CtTensor> {
//!     let run = server.prepare(keys, &x)?;
//!     let mut checkpoints = Checkpoints::new(&run, &x, store)?;
//!     let mut lane = match checkpoints.resume()? {
//!         Some(lane) => lane,
//!         None => checkpoints.start(x)?,
//!     };
//!     while run.step(&mut lane, &mut ())? {
//!         checkpoints.save(&lane)?; // or once a minute
//!     }
//!     run.result(&lane)
//! }
//! ```

mod manifest;

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use aegis_ckks::{Ciphertext, Level, Params, same_scale};
use aegis_nn::{BlockId, CtTensor, Lane, LaneId, Step};
use sha2::{Digest, Sha256};

use crate::error::{CheckpointDamage, Error, Result};
use crate::evaluation::Evaluation;

pub use crate::identity::Part;
use crate::identity::{Identity, sha256};
use manifest::{Entry, Manifest};

/// What a block takes besides its residues: the frame of its ciphertext, of which 4 KiB of parameters are the most, and its
/// entry in the manifest.
const BLOCK_OVERHEAD_BYTES: u64 = 8 << 10;

/// The name of an object in a [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The one that says what the checkpoint is.
    Manifest,
    /// A block of the run.
    Block(BlockId),
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Manifest => f.write_str("manifest"),
            Self::Block(id) => write!(f, "block-{}", id.0),
        }
    }
}

/// Where a checkpoint is kept, a folder of files say. One run at a time has it.
pub trait Store {
    /// Puts bytes under a name, in place of what stands there. On return they outlive process and power; on failure what
    /// stood there still does.
    ///
    /// # Errors
    /// Those of the medium.
    fn write(&mut self, name: Name, bytes: &[u8]) -> io::Result<()>;

    /// The bytes under a name, the first `limit` of them.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where nothing stands there; those of the medium.
    fn read(&mut self, name: Name, limit: u64) -> io::Result<Vec<u8>>;

    /// Removes what stands under a name.
    ///
    /// # Errors
    /// Those of the medium.
    fn remove(&mut self, name: Name) -> io::Result<()>;

    /// The blocks that stand there.
    ///
    /// # Errors
    /// Those of the medium.
    fn blocks(&mut self) -> io::Result<Vec<BlockId>>;
}

/// Bytes of a block at this level, at most.
fn block_bytes(params: &Params, level: Level) -> u64 {
    let width = |limb| u64::from(u64::BITS - params.rns().modulus(limb).value().leading_zeros()).div_ceil(8);
    let residue_bytes: u64 = params.basis(level).iter().map(width).sum();
    2 * params.n() as u64 * residue_bytes + BLOCK_OVERHEAD_BYTES
}

/// The most bytes that a store holds at any time during this run: the live blocks of two checkpoints.
pub fn bytes_at_most(run: &Evaluation<'_>) -> u64 {
    let (params, program) = (run.context().params(), run.program());
    let bytes = |id: &BlockId| block_bytes(params, program.block(*id).level);
    let mut live: u64 = program.input_blocks().map(|id| bytes(&id)).sum();
    let mut most = live;
    for step in run.schedule().steps() {
        match step {
            Step::Run(id) => live += program.task(*id).writes.iter().map(bytes).sum::<u64>(),
            Step::Receive { block, .. } => live += bytes(block),
            Step::Send { .. } => {}
            Step::Free(id) => live -= bytes(id),
        }
        most = most.max(live);
    }
    2 * most
}

/// Removes a checkpoint, when the result of its run is safe.
///
/// # Errors
/// [`Error::Storage`].
pub fn clear(store: &mut dyn Store) -> Result<()> {
    match store.remove(Name::Manifest) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(storage(Name::Manifest)(e)),
        _ => {}
    }
    sweep(store, &BTreeMap::new())
}

/// Removes blocks that are not `named`.
fn sweep(store: &mut dyn Store, named: &BTreeMap<BlockId, Entry>) -> Result<()> {
    for id in store.blocks().map_err(storage(Name::Manifest))? {
        if !named.contains_key(&id) {
            store.remove(Name::Block(id)).map_err(storage(Name::Block(id)))?;
        }
    }
    Ok(())
}

fn storage(name: Name) -> impl Fn(io::Error) -> Error {
    move |source| Error::Storage { name, source }
}

fn damaged<T>(fault: CheckpointDamage) -> Result<T> {
    Err(Error::DamagedCheckpoint(fault))
}

/// The checkpoints of one run in one store.
pub struct Checkpoints<'e, 's> {
    run: &'e Evaluation<'e>,
    store: &'s mut dyn Store,
    identity: Identity,
    /// The blocks of the manifest that stands.
    named: BTreeMap<BlockId, Entry>,
}

impl<'e, 's> Checkpoints<'e, 's> {
    /// Checkpoints of a run on the input `x`. Nothing is written yet.
    ///
    /// # Errors
    /// [`Error::Ckks`] for a device that fails.
    pub fn new(run: &'e Evaluation<'e>, x: &CtTensor, store: &'s mut dyn Store) -> Result<Self> {
        let place = (run.context().params(), run.key_id());
        let identity = Identity::new(run.model(), place, (run.program(), run.schedule()), query(run, x)?);
        Ok(Self { run, store, identity, named: BTreeMap::new() })
    }

    /// The run from its beginning.
    ///
    /// # Errors
    /// [`Error::CheckpointStands`] in a store with a checkpoint; [`Error::Storage`]; those of [`Evaluation::start`].
    pub fn start(&mut self, x: CtTensor) -> Result<Lane<'e>> {
        if self.manifest()?.is_some() {
            return Err(Error::CheckpointStands);
        }
        sweep(self.store, &self.named)?;
        self.run.start(x)
    }

    /// The run from where its checkpoint was taken, to the same bits; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`], [`Error::Version`], [`Error::OtherCheckpoint`], [`Error::DamagedCheckpoint`],
    /// [`Error::BadBlock`], [`Error::Storage`]. What is there stays as it is.
    pub fn resume(&mut self) -> Result<Option<Lane<'e>>> {
        let Some(bytes) = self.manifest()? else { return Ok(None) };
        let Manifest { identity, position, blocks } = Manifest::parse(&bytes)?;
        identity.check(&self.identity)?;
        let (program, schedule) = (self.run.program(), self.run.schedule());
        // A run stops before a task or at the end, when all that the task before it leaves over is dropped.
        let stops = position == schedule.steps().len()
            || matches!(schedule.steps().get(position), Some(Step::Run(_)));
        if !stops {
            return damaged(CheckpointDamage::Position);
        }
        if !blocks.iter().map(Entry::id).eq(schedule.live(program, LaneId::FIRST, position)) {
            return damaged(CheckpointDamage::Blocks);
        }
        let live = blocks.iter().map(|entry| Ok((entry.id(), self.block(entry)?)));
        let live = live.collect::<Result<BTreeMap<_, _>>>()?;
        let lane = Lane::resume(program, schedule, position, live)?;
        self.named = blocks.into_iter().map(|entry| (entry.id(), entry)).collect();
        sweep(self.store, &self.named)?;
        Ok(Some(lane))
    }

    /// Writes down where a run stands, in place of the checkpoint before it.
    ///
    /// # Errors
    /// [`Error::Storage`]: the checkpoint before it stands, and a later one may succeed. [`Error::Ckks`] for a device that
    /// fails.
    pub fn save(&mut self, lane: &Lane<'_>) -> Result<()> {
        let blocks = match self.write_blocks(lane) {
            Ok(blocks) => blocks,
            Err(error) => {
                // What the manifest does not name is in the way of whoever makes room.
                let _ = sweep(self.store, &self.named);
                return Err(error);
            }
        };
        let manifest = Manifest { identity: self.identity.clone(), position: lane.position(), blocks };
        // Where this fails, either manifest may stand: the blocks of both stay.
        self.store.write(Name::Manifest, &manifest.to_bytes()).map_err(storage(Name::Manifest))?;
        self.named = manifest.blocks.into_iter().map(|entry| (entry.id(), entry)).collect();
        sweep(self.store, &self.named)
    }

    /// All live blocks, those written that are not there yet.
    fn write_blocks(&mut self, lane: &Lane<'_>) -> Result<Vec<Entry>> {
        let mut entries = vec![];
        for (id, block) in lane.blocks() {
            if let Some(entry) = self.named.get(id) {
                entries.push(entry.clone());
                continue;
            }
            let mut bytes = vec![];
            block.write(self.run.context(), &mut bytes)?;
            self.store.write(Name::Block(*id), &bytes).map_err(storage(Name::Block(*id)))?;
            entries.push(Entry::of(*id, &bytes));
        }
        Ok(entries)
    }

    /// The bytes of the manifest, one more than its bound where there are too many.
    fn manifest(&mut self) -> Result<Option<Vec<u8>>> {
        match self.store.read(Name::Manifest, manifest::MAX_BYTES + 1) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(storage(Name::Manifest)(e)),
        }
    }

    /// A block of the program, as its entry describes it.
    fn block(&mut self, entry: &Entry) -> Result<Ciphertext> {
        let (ctx, id) = (self.run.context(), entry.id());
        let level = self.run.program().block(id).level;
        if entry.bytes > block_bytes(ctx.params(), level) {
            return damaged(CheckpointDamage::Changed(id));
        }
        let bytes = match self.store.read(Name::Block(id), entry.bytes + 1) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return damaged(CheckpointDamage::Missing(id)),
            read => read.map_err(storage(Name::Block(id)))?,
        };
        if bytes.len() as u64 != entry.bytes || sha256(&bytes) != entry.sha256 {
            return damaged(CheckpointDamage::Changed(id));
        }
        let bad = |source| Error::BadBlock { block: id, source };
        let block = Ciphertext::read(ctx, bytes.as_slice()).map_err(bad)?;
        let fits = block.level() == level && same_scale(block.scale(), ctx.params().scale(level));
        if !fits || block.key_id() != self.run.key_id() {
            return damaged(CheckpointDamage::Misfit(id));
        }
        Ok(block)
    }
}

/// Digest of an input: its ciphertexts and which rows are tokens.
fn query(run: &Evaluation<'_>, x: &CtTensor) -> Result<String> {
    let mut hash = Sha256::new();
    let _ = write!(hash, "{:?}", x.rows());
    for block in x.blocks() {
        block.write(run.context(), &mut hash)?;
    }
    Ok(format!("{:x}", hash.finalize()))
}
