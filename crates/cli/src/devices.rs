//! The devices of a command: one, or several that share the limbs of each ciphertext.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use aegis::limbs::{KeySwitching, placement};
use aegis_ckks::{Context, Params, Recorder};
use aegis_comm::{Communicator, Group, Local};
use aegis_cpu::{Cpu, CpuOptions};
use aegis_hal::{Device, Trace};
use aegis_nn::{Catalog, LaneId, Memory, Network, Plan, Rows, Section};
use aegis_shard::{Placement, Sharded};
use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::args;
use crate::session::{limit_threads, thread_count};

/// The devices, as one.
pub(crate) struct Devices {
    pub(crate) ctx: Context,
    /// Workers of each.
    pub(crate) threads: usize,
    count: usize,
    strategy: &'static str,
    /// Where there is more than one.
    shared: Option<Shared>,
}

/// How several devices share limbs.
struct Shared {
    comm: Arc<dyn Communicator>,
    placement: Placement,
}

impl Devices {
    /// Opens them for these parameters. Without a number of threads they divide the cores.
    pub(crate) fn open(params: Params, args: args::Devices, threads: Option<NonZeroUsize>) -> Result<Self> {
        let count = args.devices.get();
        let threads = threads.map_or_else(|| (thread_count(None) / count).max(1), NonZeroUsize::get);
        limit_threads(NonZeroUsize::new(threads.saturating_mul(count)));
        let cpu = || -> Result<Device> {
            let options = CpuOptions { threads, queue: count > 1, ..CpuOptions::default() };
            let cpu = Cpu::with_options(params.rns().clone(), options);
            Ok(Arc::new(cpu.context("cannot open the CPU as a device")?))
        };
        let (device, strategy, shared) = if count == 1 {
            (cpu()?, "single", None)
        } else {
            let (strategy, mode) = match args.key_switching {
                args::KeySwitching::Basic => ("limb-basic", KeySwitching::Basic),
                args::KeySwitching::InputBroadcast => ("limb-input-broadcast", KeySwitching::InputBroadcast),
            };
            let placement = placement(&params, count, mode)?;
            let comm: Arc<dyn Communicator> = Arc::new(Local::new(count));
            let cpus = (0..count).map(|_| cpu()).collect::<Result<Vec<_>>>()?;
            let device = one_of(cpus, &comm, &placement)?;
            (device, strategy, Some(Shared { comm, placement }))
        };
        let ctx = Context::new(params, device).context("cannot prepare the parameters")?;
        Ok(Self { ctx, threads, count, strategy, shared })
    }

    /// The memory of a run by this plan on all devices together, replicated limbs counted as often as they are held.
    pub(crate) fn memory(&self, plan: &Plan, network: &Network) -> Result<Memory> {
        let Some(Shared { placement, .. }) = &self.shared else { return Ok(*plan.memory()) };
        let params = self.ctx.params();
        let traces: Vec<_> =
            (0..self.count).map(|_| Arc::new(Trace::of_shapes(params.rns().clone()))).collect();
        let comm: Arc<dyn Communicator> = Arc::new(Local::new(self.count));
        let device = one_of(traces.iter().map(|trace| trace.clone() as Device).collect(), &comm, placement)?;
        let mut catalog = Catalog::on(Recorder::on(params, device, traces)?)?;
        let program = plan.program(network, &Rows::one(network.layout().tokens()))?;
        Ok(plan.schedule().memory(&program, &mut catalog, LaneId::FIRST)?)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// What counts the bytes that devices receive, where there is more than one.
    pub(crate) fn comm(&self) -> Option<Arc<dyn Communicator>> {
        self.shared.as_ref().map(|shared| Arc::clone(&shared.comm))
    }

    /// What a run moved that received so much in each section.
    pub(crate) fn movement(&self, received: &BTreeMap<Section, u64>) -> Movement {
        let bytes = |section| received.get(&section).copied().unwrap_or(0);
        Movement {
            devices: self.count,
            mesh: format!("1x{}", self.count),
            strategy: self.strategy,
            bytes_ffn: bytes(Section::FeedForward),
            bytes_attention: bytes(Section::Attention),
            bytes_bootstrap: bytes(Section::Bootstrap),
            bytes_keys: 0,
            bytes_other: bytes(Section::Other),
        }
    }
}

/// Devices that one host drives, as one.
fn one_of(devices: Vec<Device>, comm: &Arc<dyn Communicator>, placement: &Placement) -> Result<Device> {
    Ok(Arc::new(Sharded::new(Group::of_all(Arc::clone(comm), 0), devices, placement.clone())?))
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
}
