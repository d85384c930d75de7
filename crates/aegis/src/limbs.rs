//! Limbs on several devices: which placements serve a parameter set.

use aegis_ckks::Params;
use aegis_shard::Placement;

use crate::error::Result;

/// How devices that share the limbs of each ciphertext switch keys together. Both give the bits of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeySwitching {
    /// Every limb on one device, those of the special modulus too: nothing is computed twice and keys are divided evenly.
    /// A key switch at `l` limbs with `K` special ones moves `l` limbs of the digits, and `2 K` for the division by P.
    Basic,
    /// The special limbs on every device: a key switch moves the `l` limbs of the digits alone, and rotations of one
    /// ciphertext share them. Each device holds the special limbs of all keys, and computes them (input broadcast,
    /// Cinnamon, ASPLOS 2025).
    #[default]
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
