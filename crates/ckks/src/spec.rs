//! Unchecked parameter sets and the presets.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A run of equal levels of the modulus chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// How many levels.
    pub count: u32,
    /// Bits of the limbs that a rescale from such a level divides away. One limb is the rule; a level that must drop
    /// more than 50 bits is a set of smaller limbs.
    pub limb_bits: Cow<'static, [u32]>,
}

impl Levels {
    /// `count` levels with these limbs each.
    pub const fn new(count: u32, limb_bits: &'static [u32]) -> Self {
        Self { count, limb_bits: Cow::Borrowed(limb_bits) }
    }
}

/// Which levels a bootstrap takes, and its approximation. The chain, bottom up, is: base, SlotsToCoeffs levels, levels
/// for computation, EvalMod levels, CoeffsToSlots levels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootstrapSpec {
    /// Levels of SlotsToCoeffs, at the bottom of the chain: it runs before the modulus is raised.
    pub slots_to_coeffs: u32,
    /// Levels of the homomorphic reduction modulo q0.
    pub eval_mod: u32,
    /// Levels of CoeffsToSlots, at the top of the chain.
    pub coeffs_to_slots: u32,
    /// Hamming weight of the ephemeral sparse secret (Bossuat, Troncoso-Pastoriza, Hubaux 2022).
    pub ephemeral_weight: u32,
    /// K: the reduction is right while the multiple of q0 stays within `[-K, K]`.
    pub range: u32,
    /// Double-angle steps after the polynomial.
    pub double_angles: u32,
    /// Degree in `T_2(y)` of the cosine's approximation.
    pub degree: u32,
    /// log2 of q0 over (scale times the largest message): the sine's relative error is `(2 pi / ratio)^2 / 6`.
    pub message_ratio_log2: u32,
}

/// An unchecked parameter set; [`Params::try_from`](crate::Params) checks it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParamsSpec {
    /// Name for people.
    pub name: Cow<'static, str>,
    /// log2 of the ring degree N.
    pub log_n: u32,
    /// Bits of the base prime q0.
    pub base_bits: u32,
    /// The levels above the base, bottom up.
    pub levels: Cow<'static, [Levels]>,
    /// log2 of the scale that computation keeps.
    pub scale_log2: u32,
    /// Bits of each special prime of the key switching modulus P.
    pub special_bits: u32,
    /// Number of special primes.
    pub special_count: u32,
    /// Largest product of the primes of one key switching digit, in bits. P should exceed it by a few bits, so that
    /// key switching noise stays below the rounding noise.
    pub digit_bits: u32,
    /// Bootstrapping, or `None` for a levelled set.
    pub bootstrap: Option<BootstrapSpec>,
}

const STANDARD_BOOTSTRAP: BootstrapSpec = BootstrapSpec {
    slots_to_coeffs: 3,
    eval_mod: 8,
    coeffs_to_slots: 3,
    ephemeral_weight: 32,
    range: 16,
    double_angles: 2,
    degree: 31,
    message_ratio_log2: 12,
};

/// The bootstrappable chain: 3 SlotsToCoeffs and 13 computation levels of 40 bits, EvalMod of 56 bits (52 in its first
/// step, where the input stands at scale K q0 = 2^54), CoeffsToSlots of 50 bits.
const BOOTSTRAP_CHAIN: &[Levels] =
    &[Levels::new(16, &[40]), Levels::new(7, &[28, 28]), Levels::new(1, &[26, 26]), Levels::new(3, &[50])];

/// 2^15 slots, 13 levels of 40 bits between bootstraps, 128 bits of security: the set encrypted inference uses.
pub const N16_B13_S40: ParamsSpec = ParamsSpec {
    name: Cow::Borrowed("N16_B13_S40"),
    log_n: 16,
    base_bits: 50,
    levels: Cow::Borrowed(BOOTSTRAP_CHAIN),
    scale_log2: 40,
    special_bits: 50,
    special_count: 8,
    digit_bits: 372,
    bootstrap: Some(STANDARD_BOOTSTRAP),
};

/// 2^15 slots, 24 levels of 49 bits without bootstrapping, three digits, 128 bits of security.
pub const N16_L24_S49: ParamsSpec = ParamsSpec {
    name: Cow::Borrowed("N16_L24_S49"),
    log_n: 16,
    base_bits: 50,
    levels: Cow::Borrowed(&[Levels::new(24, &[49])]),
    scale_log2: 49,
    special_bits: 50,
    special_count: 9,
    digit_bits: 450,
    bootstrap: None,
};

/// 2^13 slots, 6 levels of 40 bits, 128 bits of security: small and quick, for levelled circuits.
pub const N14_L6_S40: ParamsSpec = ParamsSpec {
    name: Cow::Borrowed("N14_L6_S40"),
    log_n: 14,
    base_bits: 50,
    levels: Cow::Borrowed(&[Levels::new(6, &[40])]),
    scale_log2: 40,
    special_bits: 50,
    special_count: 2,
    digit_bits: 90,
    bootstrap: None,
};

/// The presets that ship; every one has 128 bits of security.
pub const PRESETS: &[ParamsSpec] = &[N16_B13_S40, N16_L24_S49, N14_L6_S40];

/// The chain of [`N16_B13_S40`] on a ring of any size: same levels, same precision mechanisms, **no security**.
/// For tests, through [`Params::insecure`](crate::Params::insecure) only.
pub fn insecure_bootstrap_spec(log_n: u32) -> ParamsSpec {
    ParamsSpec { name: Cow::Owned(format!("INSECURE_N{log_n}_B13_S40")), log_n, ..N16_B13_S40 }
}

/// `levels` levels of 40 bits on a ring of any size, **no security**. For tests, through
/// [`Params::insecure`](crate::Params::insecure) only.
pub fn insecure_levelled_spec(log_n: u32, levels: u32) -> ParamsSpec {
    ParamsSpec {
        name: Cow::Owned(format!("INSECURE_N{log_n}_L{levels}_S40")),
        log_n,
        base_bits: 50,
        levels: Cow::Owned(vec![Levels::new(levels, &[40])]),
        scale_log2: 40,
        special_bits: 50,
        special_count: 3,
        digit_bits: 130,
        bootstrap: None,
    }
}
