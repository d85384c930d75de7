//! Heights in the modulus chain.

/// Height in the modulus chain: a rescale goes from level `l` to `l - 1`; level 0 has the base limb only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Level(pub u32);

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "level {}", self.0)
    }
}

impl Level {
    /// The base limb only.
    pub const BASE: Self = Self(0);

    /// The level `by` above.
    pub fn up(self, by: u32) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// The level `by` below, or the base where there is none.
    pub fn lowered(self, by: u32) -> Self {
        Self(self.0.saturating_sub(by))
    }

    /// How many levels this stands above `other`; zero below it.
    pub fn above(self, other: Self) -> u32 {
        self.0.saturating_sub(other.0)
    }

    /// The level `by` below, or `None` below the base.
    pub fn down(self, by: u32) -> Option<Self> {
        self.0.checked_sub(by).map(Self)
    }
}
