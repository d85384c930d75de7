//! Between complex vectors and plaintexts: embedding, rounding, residues.

use std::collections::BTreeMap;

use aegis_hal::{Device, HostData, Kernel, Poly, Shape};
use aegis_ring::Basis;
use num_complex::Complex64;
use rustfft::FftPlanner;
use zeroize::{Zeroize, Zeroizing};

use crate::embedding::Embedding;
use crate::rounding::Rounding;
use crate::secret::SecretPoly;
use crate::{Context, Error, Level, Result, Seed, Unencodable};

/// The embedding for every power-of-two slot count up to N/2.
pub struct Encoder {
    device: Device,
    n: usize,
    sizes: BTreeMap<usize, Embedding>,
}

impl Encoder {
    pub(crate) fn new(n: usize, device: Device) -> Self {
        let mut planner = FftPlanner::new();
        let sizes = (0..n.ilog2()).map(|log| (1 << log, Embedding::new(1 << log, &mut planner))).collect();
        Self { device, n, sizes }
    }

    fn embedding(&self, slots: usize) -> Result<&Embedding> {
        let wrong = Unencodable::Length { have: slots, max: self.n / 2 };
        self.sizes.get(&slots).ok_or(Error::Encoding(wrong))
    }

    /// The real coefficients, not rounded, of the polynomial whose slots are `values`. A vector shorter than N/2 stands
    /// for its periodic repetition; its `2 p` coefficients are those of a polynomial in `X^(N/2p)`.
    pub fn embed(&self, values: &[Complex64], scale: f64) -> Result<Vec<f64>> {
        let embedding = self.embedding(values.len())?;
        let mut work = embedding.work();
        embedding.embed(values, scale, &mut work);
        Ok(work.coefficients)
    }

    /// The slots of the polynomial with these `2 p` real coefficients.
    pub fn unembed(&self, coefficients: &[f64]) -> Result<Vec<Complex64>> {
        Ok(self.embedding(coefficients.len() / 2)?.unembed(coefficients))
    }

    /// [`Encoder::embed`], rounded. Fails on values that are not finite or too large for the scale, and on a scale that is
    /// none. Empty where nobody reads them ([`aegis_hal::Backend::reads_words`]).
    pub fn coefficients(&self, values: &[Complex64], scale: f64) -> Result<Vec<i64>> {
        Ok(self.nearest(values, scale)?.0)
    }

    /// [`Encoder::coefficients`] and the largest of their magnitudes.
    fn nearest(&self, values: &[Complex64], scale: f64) -> Result<(Vec<i64>, f64)> {
        check_scale(scale)?;
        if !self.device.reads_words() {
            return Ok((vec![], 0.0));
        }
        let coefficients = self.embed(values, scale)?;
        let rounding = Rounding::of(&coefficients).ok_or_else(|| too_large(scale))?;
        Ok((rounding.round(coefficients.into_iter()).collect(), rounding.largest))
    }

    /// The number of vectors, of `period` values each, and their coefficients, one row after the other; `None` for zeros.
    pub(crate) fn rows<E: From<Error>>(
        &self,
        (period, scale): (usize, f64),
        vectors: impl IntoIterator<Item = std::result::Result<Option<Vec<Complex64>>, E>>,
    ) -> std::result::Result<(usize, Zeroizing<Vec<i64>>), E> {
        check_scale(scale)?;
        let (embedding, vectors) = (self.embedding(period)?, vectors.into_iter());
        let mut work = embedding.work();
        let reads_words = self.device.reads_words();
        let capacity = if reads_words { 2 * period * vectors.size_hint().0 } else { 0 };
        let (mut count, mut words) = (0, Vec::with_capacity(capacity));
        for vector in vectors {
            count += 1;
            match vector? {
                _ if !reads_words => {}
                None => words.resize(words.len() + 2 * period, 0),
                Some(values) if values.len() == period => {
                    embedding.embed(&values, scale, &mut work);
                    let rounding = Rounding::of(&work.coefficients).ok_or_else(|| too_large(scale))?;
                    words.extend(rounding.round(work.coefficients.iter().copied()));
                }
                Some(values) => {
                    return Err(Error::Encoding(Unencodable::Period { have: values.len(), period }).into());
                }
            }
        }
        Ok((count, words.into()))
    }

    /// One polynomial in evaluation form over `basis`, of `2 p` words a limb for `p` values (compact below `p = N/2`).
    /// Fails where a coefficient does not fit the modulus of `basis` ([`Error::ModulusTooSmall`]).
    ///
    /// A scale beyond `2^50`, as of a constant added to a product, is reached by an exact multiplication with a power of
    /// two, so that coefficients stay within a signed word.
    pub fn encode(&self, values: &[Complex64], scale: f64, basis: &Basis) -> Result<Poly> {
        let rounded = self.round(values, scale)?;
        self.place(rounded, basis)
    }

    /// The integers of a plaintext at this scale.
    fn round(&self, values: &[Complex64], scale: f64) -> Result<Rounded> {
        check_scale(scale)?;
        let surplus = (scale.log2() - 50.0).ceil().clamp(0.0, 120.0);
        let (coefficients, largest) = self.nearest(values, scale / surplus.exp2())?;
        let coefficients = Zeroizing::new(coefficients);
        Ok(Rounded { coefficients, n: 2 * values.len(), largest, surplus_log2: surplus as u32 })
    }

    /// Fails unless the integers fit the modulus of `basis`.
    fn place(&self, rounded: Rounded, basis: &Basis) -> Result<Poly> {
        let rns = self.device.rns();
        rounded.check_fits(rns.log2_product(basis))?;
        let Rounded { coefficients, n, surplus_log2, .. } = rounded;
        let mut poly = self.upload_rows((1, n), coefficients, basis)?;
        if surplus_log2 > 0 {
            let power = basis.iter().map(|l| rns.modulus(l).reduce_u128(1 << surplus_log2)).collect();
            self.device.launch(&Kernel::ScalarMul(power), basis, poly.view_mut(), &[])?;
        }
        Ok(poly)
    }

    /// `batch` polynomials of `n` coefficients each, in evaluation form over `basis`; no words at all where the device does
    /// not read them.
    pub(crate) fn upload_rows(
        &self,
        (batch, n): (usize, usize),
        words: Zeroizing<Vec<i64>>,
        basis: &Basis,
    ) -> Result<Poly> {
        let shape = Shape::new(batch, basis.clone(), n);
        Ok(self.device.upload(shape, HostData::coefficients(words))?)
    }
}

fn too_large(scale: f64) -> Error {
    Error::Encoding(Unencodable::TooLarge { scale_log2: scale.log2() })
}

/// A scale is finite and above zero: zero would turn every value into NaN.
pub(crate) fn check_scale(scale: f64) -> Result<()> {
    if scale.is_finite() && scale > 0.0 { Ok(()) } else { Err(Error::InvalidScale { scale }) }
}

/// Coefficients times `2^surplus_log2`: what a plaintext holds.
struct Rounded {
    coefficients: Zeroizing<Vec<i64>>,
    /// How many there are, whether or not they were computed.
    n: usize,
    /// Their largest magnitude.
    largest: f64,
    surplus_log2: u32,
}

impl Rounded {
    /// Fails where a coefficient would wrap around a modulus of this size.
    fn check_fits(&self, have_log2: f64) -> Result<()> {
        // Twice the largest: residues stand for both signs. The logarithm of zero fits everywhere.
        let need_log2 = self.largest.log2() + f64::from(self.surplus_log2) + 1.0;
        if need_log2 < have_log2 {
            return Ok(());
        }
        Err(Error::ModulusTooSmall { op: "an encoded vector", need_log2, have_log2 })
    }

    /// BLAKE3 of the coefficients; the power of two follows from the scale.
    fn digest(&self) -> Zeroizing<[u8; 32]> {
        let mut hash = blake3::Hasher::new();
        // 16 KiB at a time: sixteen chunks of the hash, which AVX-512 compresses side by side.
        let mut bytes = Zeroizing::new([0; 8 * 2048]);
        for coefficients in self.coefficients.chunks(2048) {
            let bytes = &mut bytes[..8 * coefficients.len()];
            for (b, c) in bytes.as_chunks_mut().0.iter_mut().zip(coefficients) {
                *b = c.to_le_bytes();
            }
            hash.update(bytes);
        }
        let digest = Zeroizing::new(*hash.finalize().as_bytes());
        hash.zeroize();
        digest
    }
}

/// An encoded vector.
pub struct Plaintext {
    /// Evaluation form over the limbs of `level`; compact for short periodic vectors.
    poly: Poly,
    level: Level,
    scale: f64,
    /// Of the integers in `poly`: as secret as these, since it confirms a guess.
    digest: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plaintext({:?}, scale 2^{:.6}, message not shown)", self.level, self.scale.log2())
    }
}

impl Plaintext {
    /// Encodes a vector whose length divides N/2, repeated periodically. Fails where it does not fit the modulus of the
    /// level at this scale: it would decrypt to something else. (The noise is not counted: leave it a bit.)
    pub fn encode(ctx: &Context, values: &[Complex64], scale: f64, level: Level) -> Result<Self> {
        ctx.params().check_level(level)?;
        let rounded = ctx.encoder().round(values, scale)?;
        let digest = rounded.digest();
        Ok(Self { poly: ctx.encoder().place(rounded, ctx.params().basis(level))?, level, scale, digest })
    }

    /// Encodes a real vector, as [`Plaintext::encode`].
    pub fn encode_real(ctx: &Context, values: &[f64], scale: f64, level: Level) -> Result<Self> {
        let values: Vec<Complex64> = values.iter().map(|&v| Complex64::new(v, 0.0)).collect();
        Self::encode(ctx, &values, scale, level)
    }

    /// Evaluation form over the limbs of [`Plaintext::level`]; compact for short periodic vectors.
    pub fn poly(&self) -> &Poly {
        &self.poly
    }

    /// Level of the ciphertexts that it can meet.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Scale of the values.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Overwrites the message on the device: for vectors that were secret, once they are encrypted.
    pub fn wipe(self, ctx: &Context) {
        drop(SecretPoly::new(ctx.device(), self.poly));
    }

    /// `seed` for encrypting this message at this level and scale alone.
    pub(crate) fn bind(&self, seed: &Seed) -> Seed {
        let mut context = [0; 12];
        context[..4].copy_from_slice(&self.level.0.to_le_bytes());
        context[4..].copy_from_slice(&self.scale.to_le_bytes());
        seed.derive("level and scale", &context).derive("message", &*self.digest)
    }
}
