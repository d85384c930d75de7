//! The devices of a command: one, or several that share the limbs of each ciphertext.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use aegis::limbs::{KeySwitching, placement, sharded};
use aegis_ckks::{Context, Params, Recorder, Seed};
use aegis_comm::{Communicator, Group, Local};
use aegis_cpu::{Cpu, CpuOptions};
use aegis_hal::{Device, Parcel, Trace};
use aegis_nn::{Catalog, LaneId, Memory, Network, Plan, Rows, Section};
use aegis_shard::{Placement, Sharded};
use anyhow::{Context as _, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::memory::peak_rss_bytes;
use crate::session::{limit_threads, thread_count};
use crate::{args, fault, keys, output};

/// The devices, as one.
pub(crate) struct Devices {
    pub(crate) ctx: Context,
    /// Workers of each.
    pub(crate) threads: usize,
    key_switching: KeySwitching,
    /// Where there is more than one.
    shared: Option<Arc<Sharded>>,
}

impl Devices {
    /// Opens them for these parameters. Without a number of threads they divide the cores.
    pub(crate) fn open(
        params: Params,
        args: args::Devices,
        comm: args::Comm,
        threads: Option<NonZeroUsize>,
    ) -> Result<Self> {
        let group = group(args.devices, comm)?;
        let (count, here) = group.as_ref().map_or((1, 1), |g| (g.members().len(), g.local().len()));
        let threads = threads.map_or_else(|| (thread_count(None) / count).max(1), NonZeroUsize::get);
        limit_threads(NonZeroUsize::new(threads.saturating_mul(here)));
        let cpu = || -> Result<Device> {
            let options = CpuOptions { threads, queue: count > 1, ..CpuOptions::default() };
            let cpu = Cpu::with_options(params.rns().clone(), options);
            Ok(Arc::new(cpu.context("cannot open the CPU as a device")?))
        };
        let key_switching = match args.key_switching {
            args::KeySwitching::Basic => KeySwitching::Basic,
            args::KeySwitching::InputBroadcast => KeySwitching::InputBroadcast,
        };
        let shared = match group {
            None => None,
            Some(group) => {
                let placement = placement(&params, count, key_switching)?;
                let cpus = (0..here).map(|_| cpu()).collect::<Result<Vec<_>>>()?;
                Some(Arc::new(Sharded::new(group, cpus, placement)?))
            }
        };
        let device = match &shared {
            Some(shared) => shared.clone(),
            None => cpu()?,
        };
        let ctx = Context::new(params, device).context("cannot prepare the parameters")?;
        Ok(Self { ctx, threads, key_switching, shared })
    }

    /// The memory of a run by this plan on the devices of this process, replicated limbs counted as often as they are held.
    pub(crate) fn memory(&self, plan: &Plan, network: &Network) -> Result<Memory> {
        let Some(shared) = &self.shared else { return Ok(*plan.memory()) };
        let params = self.ctx.params();
        let trace = |_| Arc::new(Trace::of_shapes(params.rns().clone()));
        let traces: Vec<_> = (0..self.count()).map(trace).collect();
        let devices = traces.iter().map(|trace| trace.clone() as Device).collect();
        let device = sharded(params, devices, self.key_switching)?;
        let here = shared.group().local().iter().map(|&rank| traces[rank].clone()).collect();
        let mut catalog = Catalog::on(Recorder::on(params, Arc::new(device), here)?)?;
        let program = plan.program(network, &Rows::one(network.layout().tokens()))?;
        Ok(plan.schedule().memory(&program, &mut catalog, LaneId::FIRST)?)
    }

    /// How many there are, in all processes.
    pub(crate) fn count(&self) -> usize {
        self.shared.as_ref().map_or(1, |shared| shared.placement().members())
    }

    /// Where limbs live, where there is more than one.
    pub(crate) fn placement(&self) -> Option<&Placement> {
        self.shared.as_ref().map(|shared| shared.placement())
    }

    /// Whether this process speaks for all.
    pub(crate) fn is_first(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.group().local().first() == Some(&0))
    }

    /// Tells the user something, once.
    pub(crate) fn note(&self, text: &str) {
        if self.is_first() {
            output::note(text);
        }
    }

    /// Fails, in every process, unless all have the same.
    pub(crate) fn agree(&self, what: &'static str, bytes: &[u8]) -> Result<()> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let agreed = shared.group().agree(what, &Sha256::digest(bytes).into());
        agreed.context("the ranks do not run the same program")
    }

    /// The seed of the first process. On its way to the others it is in memory that is not wiped.
    pub(crate) fn seed(&self, asked: args::Seed) -> Result<Seed> {
        let own = self.is_first().then(|| keys::seed(asked)).transpose()?;
        let Some(group) = self.elsewhere() else { return own.context("a process by itself is the first") };
        let words = |seed: &Seed| seed.bytes().as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        let mine = || Parcel::ready(own.as_ref().map_or_else(Vec::new, words));
        let shared = group.broadcast("seed", 0, SEED_WORDS, mine)?;
        let words = shared.first().context("every process drives a rank")?.wait()?;
        let mut bytes = [0; 8 * SEED_WORDS];
        bytes.chunks_exact_mut(8).zip(words.iter()).for_each(|(b, w)| b.copy_from_slice(&w.to_le_bytes()));
        Ok(Seed::new(bytes))
    }

    /// What counts the bytes that devices receive, where there is more than one.
    pub(crate) fn comm(&self) -> Option<&Arc<dyn Communicator>> {
        self.shared.as_ref().map(|shared| shared.group().communicator())
    }

    /// The group, where some of it is in other processes.
    fn elsewhere(&self) -> Option<&Group> {
        let group = self.shared.as_ref()?.group();
        (group.local().len() < group.members().len()).then_some(group)
    }

    /// What a run moved that received so much in each section here.
    pub(crate) fn movement(&self, received: &BTreeMap<Section, u64>) -> Result<Movement> {
        let bytes = |section| received.get(&section).copied().unwrap_or(0);
        let sections = [Section::FeedForward, Section::Attention, Section::Bootstrap, Section::Other];
        let mut words: Vec<u64> = sections.into_iter().map(bytes).collect();
        let mut rank_peak_rss_bytes = vec![];
        if let Some(group) = self.elsewhere() {
            words.push(peak_rss_bytes().unwrap_or(0));
            let mine = |_| Parcel::ready(words.clone());
            let gathered = group.all_gather("report", |_| sections.len() + 1, mine)?;
            for parcel in gathered.into_iter().next().into_iter().flatten() {
                let theirs = parcel.wait()?;
                words.iter_mut().zip(theirs.iter()).for_each(|(mine, theirs)| *mine = *theirs.max(mine));
                rank_peak_rss_bytes.extend(theirs.last());
            }
        }
        Ok(Movement {
            devices: self.count(),
            mesh: format!("1x{}", self.count()),
            strategy: match (&self.shared, self.key_switching) {
                (None, _) => "single",
                (Some(_), KeySwitching::Basic) => "limb-basic",
                (Some(_), KeySwitching::InputBroadcast) => "limb-input-broadcast",
            },
            bytes_ffn: words[0],
            bytes_attention: words[1],
            bytes_bootstrap: words[2],
            bytes_keys: 0,
            bytes_other: words[3],
            rank_peak_rss_bytes,
        })
    }
}

/// Words of a [`Seed`].
const SEED_WORDS: usize = 4;

/// The group of all devices, where there is more than one.
fn group(devices: Option<NonZeroUsize>, comm: args::Comm) -> Result<Option<Group>> {
    let comm: Arc<dyn Communicator> = match comm {
        args::Comm::Local => match devices.map_or(1, NonZeroUsize::get) {
            1 => return Ok(None),
            devices => Arc::new(Local::new(devices)),
        },
        args::Comm::Mpi => {
            let mpi = join_mpi()?;
            let ranks = mpi.ranks();
            if let Some(devices) = devices.filter(|devices| devices.get() != ranks) {
                let text = format!("--devices {devices} for {ranks} ranks: leave it out, each rank has one");
                return Err(fault::input(&text));
            }
            if ranks == 1 {
                return Ok(None);
            }
            mpi
        }
    };
    Ok(Some(Group::of_all(comm, 0)))
}

#[cfg(unix)]
fn join_mpi() -> Result<Arc<dyn Communicator>> {
    Ok(Arc::new(aegis_comm::Mpi::join(&aegis_comm::Limits::default(), None)?))
}

#[cfg(not(unix))]
fn join_mpi() -> Result<Arc<dyn Communicator>> {
    Err(fault::input("MPI is found at run time on Unix only; use --comm local"))
}

/// What a run moved between devices: of each section, the most that any of them received.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Movement {
    devices: usize,
    /// Groups of devices among which ciphertexts are divided, by devices of a group, which divide limbs.
    mesh: String,
    strategy: &'static str,
    bytes_ffn: u64,
    bytes_attention: u64,
    bytes_bootstrap: u64,
    /// Keys are made where they are used: none move.
    bytes_keys: u64,
    bytes_other: u64,
    /// Of each process, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rank_peak_rss_bytes: Vec<u64>,
}
