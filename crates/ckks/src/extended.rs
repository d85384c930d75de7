//! Pairs over QP: ciphertexts before the division by P, which sums of rotations and plaintext products share.

use aegis_hal::{Kernel, Poly, View, ViewMut};
use aegis_ring::Galois;
use num_complex::Complex64;

use crate::encoder::check_scale;
use crate::evaluator::check_scales;
use crate::key_switch::Hoisted;
use crate::{Ciphertext, Context, Error, Evaluator, KeyId, Level, Result};

/// A run of *extended* ciphertexts of one level and scale: pairs over the limbs of the level and the special ones, each
/// `P` times a ciphertext. Sums and plaintext products of them share one division by P (double hoisting, Bossuat, Mouchet,
/// Troncoso-Pastoriza, Hubaux 2021, section 4).
#[derive(Debug)]
pub struct Extended {
    /// Two polynomials a pair, in evaluation form.
    poly: Poly,
    level: Level,
    scale: f64,
    key_id: KeyId,
}

impl Extended {
    /// Level of the ciphertexts.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Scale of the ciphertexts.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Number of pairs.
    pub fn count(&self) -> usize {
        self.poly.batch() / 2
    }

    /// The same residues read at another scale, as [`Evaluator::reinterpret`].
    pub fn reinterpret(self, scale: f64) -> Result<Self> {
        check_scale(scale)?;
        Ok(Self { scale, ..self })
    }

    fn pair(&self, index: usize) -> View<'_> {
        self.poly.slice(2 * index, 2)
    }
}

/// A matrix of encoded vectors that multiplies extended ciphertexts of one level.
#[derive(Debug)]
pub struct Weights {
    /// Row-major, over the limbs of the level and the special ones; compact for short vectors.
    poly: Poly,
    terms: usize,
    level: Level,
    scale: f64,
}

impl Weights {
    /// Encodes vectors of `period` values, a power of two, that repeat over the slots: row by row, `terms` a row. `None`
    /// stands for zeros. Every other length is refused.
    pub fn encode<E: From<Error>>(
        ctx: &Context,
        (level, scale): (Level, f64),
        (terms, period): (usize, usize),
        vectors: impl IntoIterator<Item = std::result::Result<Option<Vec<Complex64>>, E>>,
    ) -> std::result::Result<Self, E> {
        ctx.params().check_level(level)?;
        let encoder = ctx.encoder();
        let (count, words) = encoder.rows((period, scale), vectors)?;
        if terms == 0 || count == 0 || !count.is_multiple_of(terms) {
            let want = count.next_multiple_of(terms.max(1)).max(1);
            return Err(Error::Count { what: "vectors in whole rows", have: count, want }.into());
        }
        let basis = ctx.params().extended_basis(level);
        let poly = encoder.upload_rows((count, 2 * period), words, &basis)?;
        Ok(Self { poly, terms, level, scale })
    }

    /// Vectors a row: as many as the extended ciphertexts that they multiply.
    pub fn terms(&self) -> usize {
        self.terms
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.poly.shape().bytes()
    }
}

impl Evaluator {
    /// Every ciphertext under every map, extended: those of the first ciphertext first. All have one level and scale. The
    /// identity needs no key.
    pub fn rotate_all_extended(&self, xs: &[Ciphertext], maps: &[Galois]) -> Result<Extended> {
        let (level, scale) = common_level(xs)?;
        let mut poly = self.alloc(2 * xs.len() * maps.len(), &self.params().extended_basis(level))?;
        for (a, x) in xs.iter().enumerate() {
            let hoisted = self.hoist(x)?;
            for (i, map) in maps.iter().enumerate() {
                let target = poly.slice_mut(2 * (a * maps.len() + i), 2);
                self.rotate_into(x, &hoisted, *map, target)?;
            }
        }
        Ok(Extended { poly, level, scale, key_id: self.keys().id() })
    }

    /// One rotated ciphertext, or P times the ciphertext for the identity.
    fn rotate_into(
        &self,
        a: &Ciphertext,
        hoisted: &Hoisted,
        map: Galois,
        mut out: ViewMut<'_>,
    ) -> Result<()> {
        let (dev, params) = (self.context().device(), self.params());
        let (basis, special) = (params.basis(a.level()), params.special());
        let p = self.context().product_scalars(basis, special);
        if map == Galois::IDENTITY {
            dev.launch(&Kernel::ScalarMul(p), basis, out.reborrow(), &[a.poly().view()])?;
            // P times anything is zero modulo the primes of P.
            let zeros = vec![0; special.len()].into();
            dev.launch(&Kernel::ScalarMul(zeros), special, out, &[])?;
            return Ok(());
        }
        let mut extended = self.inner_product(hoisted, self.keys().galois(map, a.level())?)?;
        self.count_rotation();
        dev.launch(&Kernel::ScalarMulAdd(p), basis, extended.slice_mut(0, 1), &[a.poly().slice(0, 1)])?;
        let ext = params.extended_basis(a.level());
        dev.launch(&Kernel::Automorphism(map), &ext, out, &[extended.view()])?;
        Ok(())
    }

    /// One extended ciphertext for every row of `weights`: the sum over its terms of weight times extended ciphertext,
    /// plus the one in `sums`. Scale: the product of the scales.
    pub fn weighted_sums(&self, weights: &Weights, x: &Extended, sums: Option<Extended>) -> Result<Extended> {
        self.check_extended(x)?;
        let rows = weights.poly.batch() / weights.terms;
        let (have, want) = (x.count(), weights.terms);
        if have != want {
            return Err(Error::Count { what: "extended ciphertexts for these weights", have, want });
        }
        if x.level != weights.level {
            return Err(Error::LevelMismatch { left: x.level, right: weights.level });
        }
        let (level, scale, key_id) = (x.level, x.scale * weights.scale, x.key_id);
        let ext = self.params().extended_basis(level);
        let accumulate = sums.is_some();
        let mut sums = match sums {
            Some(sums) => sums,
            None => Extended { poly: self.alloc(2 * rows, &ext)?, level, scale, key_id },
        };
        if sums.count() != rows {
            return Err(Error::Count {
                what: "sums for the rows of weights",
                have: sums.count(),
                want: rows,
            });
        }
        self.check_extended(&sums)?;
        check_alike((sums.level, sums.scale), (level, scale))?;
        self.count_plain_products((weights.terms * rows) as u64);
        let kernel = Kernel::InnerProduct { terms: weights.terms, accumulate };
        let ins = [weights.poly.view(), x.poly.view()];
        self.context().device().run(&kernel, &ext, sums.poly.view_mut(), &ins)?;
        Ok(sums)
    }

    /// A copy of one pair of a run.
    pub fn extended_pair(&self, run: &Extended, index: usize) -> Result<Extended> {
        let pair = self.checked_pair(run, index)?;
        let ext = self.params().extended_basis(run.level);
        let mut poly = self.alloc(2, &ext)?;
        self.context().device().run(&Kernel::Copy, &ext, poly.view_mut(), &[pair])?;
        Ok(Extended { poly, ..*run })
    }

    /// `sum += run[index]`, of equal level and scale; `sum` is one pair.
    pub fn add_extended_pair(&self, sum: &mut Extended, run: &Extended, index: usize) -> Result<()> {
        let pair = self.checked_pair(run, index)?;
        self.check_one(sum)?;
        check_alike((sum.level, sum.scale), (run.level, run.scale))?;
        let ext = self.params().extended_basis(run.level);
        Ok(self.context().device().run(&Kernel::Add, &ext, sum.poly.view_mut(), &[pair])?)
    }

    /// Rotates one extended pair and keeps it extended: only `c1` is divided by P, to be decomposed again.
    pub fn rotate_extended(&self, x: &Extended, map: Galois) -> Result<Extended> {
        self.check_one(x)?;
        let key = self.keys().galois(map, x.level)?;
        self.count_rotation();
        let (dev, basis) = (self.context().device(), self.params().basis(x.level));
        let ext = self.params().extended_basis(x.level);
        let mut c1 = self.alloc(1, basis)?;
        self.divide_special(basis, &mut c1, x.poly.slice(1, 1))?;
        let digits = self.decompose(c1.view(), x.level)?;
        let mut switched = self.inner_product(&digits, key)?;
        dev.launch(&Kernel::Add, &ext, switched.slice_mut(0, 1), &[x.poly.slice(0, 1)])?;
        let mut poly = self.alloc(2, &ext)?;
        dev.launch(&Kernel::Automorphism(map), &ext, poly.view_mut(), &[switched.view()])?;
        Ok(Extended { poly, ..*x })
    }

    /// Divides one extended pair by P, with rounding. Level and scale unchanged.
    pub fn mod_down(&self, x: &Extended) -> Result<Ciphertext> {
        self.check_one(x)?;
        let basis = self.params().basis(x.level);
        let mut out = self.alloc(2, basis)?;
        self.divide_special(basis, &mut out, x.poly.view())?;
        Ok(Ciphertext::new(out, x.level, x.scale, x.key_id))
    }

    /// [`Evaluator::mod_down`] and a rescale in one division, with one base conversion and one rounding. Level: one less.
    pub fn mod_down_rescale(&self, x: &Extended) -> Result<Ciphertext> {
        self.check_one(x)?;
        let too_low = Error::LevelTooLow { op: "rescale", need: Level(1), have: x.level };
        let below = x.level.down(1).ok_or(too_low)?;
        self.divide_special_rescale(x.poly.view(), (x.level, below), x.scale)
    }

    fn check_extended(&self, x: &Extended) -> Result<()> {
        self.check_id("the extended ciphertext", x.key_id)
    }

    fn check_one(&self, x: &Extended) -> Result<()> {
        self.checked_pair(x, 0).map(drop)?;
        match x.count() {
            1 => Ok(()),
            have => Err(Error::Count { what: "extended ciphertexts", have, want: 1 }),
        }
    }

    fn checked_pair<'a>(&self, x: &'a Extended, index: usize) -> Result<View<'a>> {
        self.check_extended(x)?;
        if index < x.count() {
            return Ok(x.pair(index));
        }
        let want = index.saturating_add(1);
        Err(Error::Count { what: "extended ciphertexts", have: x.count(), want })
    }
}

/// Level and scale of ciphertexts that have one of each.
fn common_level(xs: &[Ciphertext]) -> Result<(Level, f64)> {
    let Some((first, rest)) = xs.split_first() else {
        return Err(Error::Count { what: "ciphertexts", have: 0, want: 1 });
    };
    let (level, scale) = (first.level(), first.scale());
    for x in rest {
        check_alike((level, scale), (x.level(), x.scale()))?;
    }
    Ok((level, scale))
}

/// Fails unless two operands have one level and one scale.
fn check_alike((left, left_scale): (Level, f64), (right, right_scale): (Level, f64)) -> Result<()> {
    if left != right {
        return Err(Error::LevelMismatch { left, right });
    }
    check_scales(left_scale, right_scale, left)
}
