//! Limbs on several devices: which placements serve a parameter set.

use std::sync::Arc;

use aegis_ckks::Params;
use aegis_comm::{Group, Local};
use aegis_hal::Device;
use aegis_shard::{Placement, Sharded};

use crate::error::Result;

/// How devices that share the limbs of each ciphertext switch keys together. Both give the bits of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeySwitching {
    /// Every limb on one device, those of the special modulus too: nothing is computed twice and keys are divided evenly.
    /// A key switch at `l` limbs with `K` special ones moves `l` limbs of the digits, and `2 K` for the division by P. On
    /// devices that share a memory this is the faster one (benches/records, 2026-11-22, two-devices).
    #[default]
    Basic,
    /// The special limbs on every device: a key switch moves the `l` limbs of the digits alone, and rotations of one
    /// ciphertext share them. Each device holds the special limbs of all keys, and computes them (input broadcast,
    /// Cinnamon, ASPLOS 2025).
    InputBroadcast,
}

/// The limbs of a parameter set dealt to `members` devices in the order in which levels add them, so that the devices have
/// equal work at every level.
///
/// # Errors
/// [`Error::Shards`](crate::Error::Shards) for no devices, or more than a placement can name.
pub fn placement(params: &Params, members: usize, key_switching: KeySwitching) -> Result<Placement> {
    let order = params.basis(params.max_level());
    let dealt = Placement::deal(members, params.rns().moduli().len(), order)?;
    Ok(match key_switching {
        KeySwitching::Basic => dealt,
        KeySwitching::InputBroadcast => dealt.replicated(params.special()),
    })
}

/// Devices of this process as one, driven by one host. What they receive from each other is counted by the ranks of
/// its group, each with the number of its device.
///
/// # Errors
/// [`Error::Shards`](crate::Error::Shards) for no devices, too many, or some of another ring.
pub fn sharded(params: &Params, devices: Vec<Device>, key_switching: KeySwitching) -> Result<Sharded> {
    let placement = placement(params, devices.len(), key_switching)?;
    let group = Group::of_all(Arc::new(Local::new(devices.len())), 0);
    Ok(Sharded::new(group, devices, placement)?)
}
