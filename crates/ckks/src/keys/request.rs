//! Which keys circuits need, known before any is made.

use std::collections::BTreeMap;

use aegis_ring::Galois;

use crate::{Error, EvaluationKeys, KeyPurpose, Level, Params, Result};

/// A key of a request, whatever the ring.
enum Asked {
    Relinearization,
    Map(Galois),
    Encapsulation,
}

/// The keys that circuits ask for, each at the highest level it is used at: a key serves every lower level too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyRequest {
    relinearization: Option<Level>,
    galois: BTreeMap<Galois, Level>,
    encapsulation: bool,
    n: usize,
    /// The degree of another ring, whose request was merged into this one.
    foreign: Option<usize>,
}

impl KeyRequest {
    /// No keys, for a ring of degree `n`.
    pub fn new(n: usize) -> Self {
        Self { n, ..Self::default() }
    }

    /// Also products up to `level`.
    #[must_use]
    pub fn relinearize(mut self, level: Level) -> Self {
        self.relinearization = self.relinearization.max(Some(level));
        self
    }

    /// Also a Galois map up to `level`.
    #[must_use]
    pub fn galois(mut self, map: Galois, level: Level) -> Self {
        if map != Galois::IDENTITY {
            let entry = self.galois.entry(map).or_insert(level);
            *entry = (*entry).max(level);
        }
        self
    }

    /// Also rotations by `steps` slots up to `level`.
    #[must_use]
    pub fn rotation(self, steps: i64, level: Level) -> Self {
        self.map(|n| Galois::rotation(steps, n), level)
    }

    /// Also complex conjugation up to `level`.
    #[must_use]
    pub fn conjugation(self, level: Level) -> Self {
        self.map(Galois::conjugation, level)
    }

    /// No ring has a degree that is no power of two: such a request is refused when it is checked.
    fn map(self, of: impl Fn(usize) -> Galois, level: Level) -> Self {
        let n = self.n;
        if n.is_power_of_two() && n > 1 { self.galois(of(n), level) } else { self }
    }

    /// Also the keys of a bootstrap's ModRaise.
    #[must_use]
    pub fn encapsulation(mut self) -> Self {
        self.encapsulation = true;
        self
    }

    /// Also everything that `other` asks for. Keys are refused for requests of two rings: a rotation is another Galois map
    /// in each.
    #[must_use]
    pub fn merge(mut self, other: &Self) -> Self {
        self.relinearization = self.relinearization.max(other.relinearization);
        self.encapsulation |= other.encapsulation;
        self.foreign = self.foreign.or(other.foreign).or((other.n != self.n).then_some(other.n));
        other.galois.iter().fold(self, |all, (map, level)| all.galois(*map, *level))
    }

    /// The Galois maps asked for, with the level of each.
    pub fn galois_maps(&self) -> impl Iterator<Item = (Galois, Level)> + '_ {
        self.galois.iter().map(|(m, l)| (*m, *l))
    }

    /// The level of the relinearization key asked for.
    pub fn relinearization_level(&self) -> Option<Level> {
        self.relinearization
    }

    /// True when the keys of a bootstrap's ModRaise are asked for.
    pub fn wants_encapsulation(&self) -> bool {
        self.encapsulation
    }

    /// Fails unless keys of these parameters can be what was asked for.
    pub fn check(&self, params: &Params) -> Result<()> {
        let want = params.n();
        if let Some(have) = self.foreign.or((self.n != want).then_some(self.n)) {
            return Err(Error::WrongRing { have, want });
        }
        self.levels().try_for_each(|level| params.check_level(level))
    }

    /// The level of every switching key but those of ModRaise.
    fn levels(&self) -> impl Iterator<Item = Level> + '_ {
        self.relinearization.iter().chain(self.galois.values()).copied()
    }

    /// Bytes on a device that the keys will take, known before they are made. Panics above the top of the chain.
    pub fn bytes(&self, params: &Params) -> u64 {
        let switching: u64 = self.levels().map(|l| params.switching_key_bytes(l)).sum();
        let encapsulation = if self.encapsulation {
            params.switching_key_bytes(params.max_level()) + (2 * 2 * params.n() * 8) as u64
        } else {
            0
        };
        switching + encapsulation
    }

    /// The first key that this asks for and `other` does not, and the level that it is needed at.
    fn missing(&self, other: &Self) -> Option<(Asked, Level)> {
        let lacks = |have: Option<&Level>, level: &Level| have.is_none_or(|have| have < level);
        let relinearization = self.relinearization.filter(|l| lacks(other.relinearization.as_ref(), l));
        let map = || self.galois.iter().find(|(map, level)| lacks(other.galois.get(map), level));
        let encapsulation = || self.encapsulation && !other.encapsulation;
        relinearization
            .map(|level| (Asked::Relinearization, level))
            .or_else(|| map().map(|(map, level)| (Asked::Map(*map), *level)))
            .or_else(|| encapsulation().then_some((Asked::Encapsulation, Level::BASE)))
    }

    /// True when `other` has everything that this asks for.
    pub fn is_within(&self, other: &Self) -> bool {
        self.missing(other).is_none()
    }

    /// Fails with [`Error::MissingKey`] unless `keys` hold everything asked for, and with [`Error::WrongRing`] where they
    /// are of another ring.
    pub fn check_covered_by(&self, keys: &EvaluationKeys) -> Result<()> {
        let held = keys.contents();
        if let Some(have) = self.foreign.or((self.n != held.n).then_some(self.n)) {
            return Err(Error::WrongRing { have, want: held.n });
        }
        let Some((asked, level)) = self.missing(&held) else { return Ok(()) };
        let what = match asked {
            Asked::Relinearization => KeyPurpose::Relinearization,
            Asked::Map(map) => KeyPurpose::of_map(map, held.n),
            Asked::Encapsulation => KeyPurpose::Encapsulation,
        };
        Err(Error::MissingKey { what, level })
    }
}
