//! The secret key: encryption under it and decryption.

use aegis_hal::{Device, HostData, Kernel, Poly, Shape};
use aegis_ring::Basis;
use num_complex::Complex64;
use zeroize::{Zeroize, Zeroizing};

use crate::{Ciphertext, Context, Error, KeyId, Params, Plaintext, Result, Seed, sampling};

/// Separates the fingerprint of a secret key from every other use of BLAKE3.
const FINGERPRINT: &str = "aegis 2026-11-21 fingerprint of a secret key and its parameters";

/// The ternary secret `s`. Wiped when dropped, never printed, written to disk only by
/// [`SecretKey::write`](crate::SecretKey::write).
pub struct SecretKey {
    pub(crate) coefficients: Zeroizing<Vec<i64>>,
    /// A hash of the parameters and the coefficients, as secret as these. All randomness that is used under the key is
    /// derived from it too, so that no two keys share any, whatever seeds their owner takes.
    pub(crate) fingerprint: Seed,
    pub(crate) id: KeyId,
    /// Digest of the parameters that the key belongs to.
    params: [u8; 32],
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey({}, secret)", self.id)
    }
}

/// Secret residues on a device, overwritten when dropped.
pub(crate) struct SecretPoly {
    device: Device,
    pub(crate) poly: Poly,
}

impl SecretPoly {
    pub(crate) fn new(device: &Device, poly: Poly) -> Self {
        Self { device: device.clone(), poly }
    }

    /// A small secret polynomial in evaluation form over `basis`.
    pub(crate) fn upload(ctx: &Context, coefficients: &[i64], basis: &Basis) -> Result<Self> {
        Ok(Self::new(ctx.device(), upload_small(ctx, &[coefficients], basis)?))
    }
}

/// Small polynomials in evaluation form over `basis`, leaving no copy of their coefficients behind.
pub(crate) fn upload_small(ctx: &Context, rows: &[&[i64]], basis: &Basis) -> Result<Poly> {
    let shape = Shape::new(rows.len(), basis.clone(), ctx.params().n());
    Ok(ctx.device().upload(shape, HostData::coefficients(Zeroizing::new(rows.concat())))?)
}

impl Drop for SecretPoly {
    fn drop(&mut self) {
        let basis = self.poly.basis().clone();
        let zeros = vec![0; basis.len()].into();
        // A device that cannot run this launch has failed before, and its buffers are gone with it; or this buffer was lost
        // when memory ran out, and was overwritten then.
        let _ = self.device.launch(&Kernel::ScalarMul(zeros), &basis, self.poly.view_mut(), &[]);
    }
}

impl SecretKey {
    /// A key with these ternary coefficients. Its identity follows from them and from the parameters.
    pub(crate) fn new(params: &Params, coefficients: Zeroizing<Vec<i64>>) -> Self {
        let mut hash = blake3::Hasher::new_derive_key(FINGERPRINT);
        hash.update(&params.digest());
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(coefficients.iter().map(|c| *c as u8).collect());
        hash.update(&bytes);
        let fingerprint = Seed::new(*hash.finalize().as_bytes());
        hash.zeroize();
        let id = KeyId::of(&fingerprint.derive("key id", &[]));
        Self { coefficients, fingerprint, id, params: params.digest() }
    }

    /// Whose keys and ciphertexts belong to it.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Fails in a context of other parameters than those that the key was made under.
    pub(crate) fn check(&self, ctx: &Context) -> Result<()> {
        if self.params == ctx.params().digest() {
            return Ok(());
        }
        let want = ctx.params().name().to_owned();
        Err(Error::ForeignParams { what: "the secret key", want })
    }

    /// Encrypts under the secret: `(-a s + e + m, a)` with a uniform `a`.
    ///
    /// The randomness is a function of `seed`, the key, the parameters, the level, the scale and the message: equal
    /// calls give equal ciphertexts, and two that differ in anything share nothing. A seed that others know is still no
    /// protection: they can confirm a guessed message. Level and scale: those of the plaintext.
    pub fn encrypt(&self, ctx: &Context, plaintext: &Plaintext, seed: &Seed) -> Result<Ciphertext> {
        self.check(ctx)?;
        let (dev, n) = (ctx.device(), ctx.params().n());
        let basis = ctx.params().basis(plaintext.level()).clone();
        let seed = plaintext.bind(&seed.derive("secret-key encryption", self.fingerprint.bytes()));
        let s = SecretPoly::upload(ctx, &self.coefficients, &basis)?;
        let a = sampling::uniform(ctx.params().rns(), &basis, 1, &seed.derive("mask", &[]));
        let a = dev.upload(Shape::new(1, basis.clone(), n), HostData::residues(a))?;
        let e = sampling::gaussian(n, &mut seed.derive("error", &[]).rng());
        let mut masked = SecretPoly::upload(ctx, &e, &basis)?;
        let mut product = SecretPoly::new(dev, dev.alloc(Shape::new(1, basis.clone(), n))?);
        dev.launch(&Kernel::Mul, &basis, product.poly.view_mut(), &[a.view(), s.poly.view()])?;
        dev.launch(&Kernel::Sub, &basis, masked.poly.view_mut(), &[product.poly.view()])?;
        let mut ct = dev.alloc(Shape::new(2, basis.clone(), n))?;
        dev.launch(&Kernel::Add, &basis, ct.slice_mut(0, 1), &[masked.poly.view(), plaintext.poly().view()])?;
        dev.launch(&Kernel::Copy, &basis, ct.slice_mut(1, 1), &[a.view()])?;
        Ok(Ciphertext::new(ct, plaintext.level(), plaintext.scale(), self.id))
    }

    /// The message in all N/2 slots. Fails for a ciphertext of another key.
    ///
    /// What this returns depends on the noise, and the noise on the key: see the crate's notes on IND-CPA-D before
    /// showing exact results to others.
    pub fn decrypt(&self, ctx: &Context, ct: &Ciphertext) -> Result<Vec<Complex64>> {
        let coefficients = self.decrypt_coefficients(ctx, ct)?;
        ctx.encoder().unembed(&coefficients)
    }

    /// The message rounded to multiples of `2^-bits` in every slot: for results that leave the hands of the key's owner.
    /// Rounding well above the noise hides it in all but a fraction of slots near a rounding boundary; it is a
    /// mitigation of IND-CPA-D attacks, not a proof against them.
    ///
    /// Fails with [`Error::RoundingTooFine`] where the grid lies below the noise of even a fresh encryption at the
    /// ciphertext's scale ([`SecretKey::finest_rounding`]), and so would hide nothing. What a computation added to that
    /// noise only its circuit knows: choose far fewer bits.
    pub fn decrypt_rounded(&self, ctx: &Context, ct: &Ciphertext, bits: u32) -> Result<Vec<Complex64>> {
        let max = Self::finest_rounding(ctx, ct);
        if bits > max {
            return Err(Error::RoundingTooFine { bits, max });
        }
        let grid = f64::from(bits).exp2();
        let round = |v: f64| {
            let steps = v * grid;
            // From 2^53 steps on an f64 is a multiple of the grid by itself. Adding zero takes the noise's sign off a zero.
            if steps.abs() < 53f64.exp2() { steps.round() / grid + 0.0 } else { v }
        };
        Ok(self.decrypt(ctx, ct)?.into_iter().map(|v| Complex64::new(round(v.re), round(v.im))).collect())
    }

    /// The most bits after the point that rounding this ciphertext's slots may keep: a grid of six deviations of the
    /// noise that a fresh encryption at its scale has in a slot, `6 sigma sqrt(N) / scale`.
    pub fn finest_rounding(ctx: &Context, ct: &Ciphertext) -> u32 {
        let noise = 6.0 * crate::security::ERROR_SIGMA * (ctx.params().n() as f64).sqrt() / ct.scale();
        // A noise above one leaves no bits after the point.
        (-noise.log2()).floor().max(0.0) as u32
    }

    /// The message as N real coefficients.
    pub fn decrypt_coefficients(&self, ctx: &Context, ct: &Ciphertext) -> Result<Vec<f64>> {
        self.check(ctx)?;
        if ct.key_id() != self.id {
            return Err(Error::ForeignKey { what: "the ciphertext", have: ct.key_id(), want: self.id });
        }
        let (dev, n) = (ctx.device(), ctx.params().n());
        // Message and noise are far below the product of three limbs, so those decide them.
        let basis: Basis = ctx.params().basis(ct.level()).iter().take(3).collect();
        let s = SecretPoly::upload(ctx, &self.coefficients, &basis)?;
        let mut m = SecretPoly::new(dev, dev.alloc(Shape::new(1, basis.clone(), n))?);
        dev.launch(&Kernel::Mul, &basis, m.poly.view_mut(), &[ct.poly().slice(1, 1), s.poly.view()])?;
        dev.launch(&Kernel::Add, &basis, m.poly.view_mut(), &[ct.poly().slice(0, 1)])?;
        dev.launch(&Kernel::Intt, &basis, m.poly.view_mut(), &[])?;
        let residues = Zeroizing::new(dev.download(m.poly.view())?);
        Ok(centered_values(ctx, &basis, &residues, ct.scale()))
    }
}

/// Residues over a few limbs as centred integers over `scale`: Garner's mixed radix with centred digits, in which the
/// high digits of a small number are exactly zero.
fn centered_values(ctx: &Context, basis: &Basis, residues: &[u64], scale: f64) -> Vec<f64> {
    let (rns, n) = (ctx.params().rns(), ctx.params().n());
    let moduli: Vec<_> = basis.iter().map(|l| *rns.modulus(l)).collect();
    // For each prime the products of those before it: the weights of the known digits, and the inverse of its own.
    let weights: Vec<(Vec<u64>, u64)> = (0..moduli.len())
        .map(|k| {
            let (q, mut weights, mut weight) = (&moduli[k], vec![], 1);
            for m in &moduli[..k] {
                weights.push(weight);
                weight = q.mul(weight, q.reduce(m.value()));
            }
            (weights, q.inv(weight).expect("distinct primes are invertible modulo each other"))
        })
        .collect();
    let digit = |at: usize, known: &[i64]| {
        // (x - sum of known digits) / (product of earlier primes) mod this prime.
        let (q, (weights, inverse)) = (&moduli[known.len()], &weights[known.len()]);
        let rest = known.iter().zip(weights).fold(residues[known.len() * n + at], |rest, (d, weight)| {
            q.sub(rest, q.mul(*weight, q.from_signed(*d)))
        });
        q.centered(q.mul(rest, *inverse))
    };
    (0..n)
        .map(|at| {
            let mut digits = Vec::with_capacity(moduli.len());
            for _ in 0..moduli.len() {
                digits.push(digit(at, &digits));
            }
            let value =
                digits.iter().zip(&moduli).rev().fold(0.0, |v, (d, m)| v * m.value() as f64 + *d as f64);
            value / scale
        })
        .collect()
}
