//! What every object is wrapped in: header, key set and checksum.

use std::io::{Read, Write};

use aegis_ring::Basis;

use crate::{Context, Damage, Error, InvalidFile, KeyId, Level, Params, ParamsError, ParamsSpec, Result};

const MAGIC: [u8; 5] = *b"AEGIS";
/// 2: keys and key identities are bound to their parameters.
const VERSION: u16 = 2;
/// No parameter set is near this long; a longer one is not read into memory.
const MAX_SPEC_BYTES: usize = 4096;

/// What a file or a message of this crate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum FileKind {
    /// A [`SecretKey`](crate::SecretKey).
    SecretKey = 1,
    /// A [`PublicKey`](crate::PublicKey).
    PublicKey = 2,
    /// [`EvaluationKeys`](crate::EvaluationKeys).
    EvaluationKeys = 3,
    /// A [`Ciphertext`](crate::Ciphertext).
    Ciphertext = 4,
    /// [`Params`].
    Params = 5,
}

impl FileKind {
    /// What to call it: "the secret key".
    pub fn name(self) -> &'static str {
        match self {
            Self::SecretKey => "the secret key",
            Self::PublicKey => "the public key",
            Self::EvaluationKeys => "the evaluation keys",
            Self::Ciphertext => "the ciphertext",
            Self::Params => "the parameters",
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::SecretKey, Self::PublicKey, Self::EvaluationKeys, Self::Ciphertext, Self::Params]
            .into_iter()
            .find(|k| *k as u8 == byte)
    }
}

/// What the bytes hold, by the first six of them; `None` if nothing of this crate. The rest may be damaged.
pub fn file_kind(bytes: &[u8]) -> Option<FileKind> {
    FileKind::from_byte(*bytes.strip_prefix(&MAGIC)?.first()?)
}

/// Writes and hashes.
pub(super) struct Sink<W> {
    inner: W,
    hash: blake3::Hasher,
}

impl<W: Write> Sink<W> {
    pub(super) fn open(inner: W, kind: FileKind, params: &Params, id: KeyId) -> Result<Self> {
        let mut sink = Self { inner, hash: blake3::Hasher::new() };
        let spec = postcard::to_stdvec(params.spec()).map_err(ParamsError::Unwritable)?;
        sink.put(&MAGIC)?;
        sink.put(&[kind as u8])?;
        sink.put(&VERSION.to_le_bytes())?;
        sink.put(&(spec.len() as u32).to_le_bytes())?;
        sink.put(&spec)?;
        sink.put(&params.digest())?;
        sink.put(&id.0)?;
        Ok(sink)
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        Ok(self.inner.write_all(bytes)?)
    }

    /// Polynomials of `view` in full.
    pub(super) fn put_residues(
        &mut self,
        ctx: &Context,
        view: aegis_hal::View<'_>,
        basis: &Basis,
    ) -> Result<()> {
        let words = ctx.device().download(view)?;
        let (n, have) = (ctx.params().n(), view.poly().basis());
        let mut bytes = vec![];
        for polynomial in words.chunks(n * have.len()) {
            for limb in basis.iter() {
                let at = have
                    .position(limb)
                    .ok_or_else(|| aegis_hal::Error::MissingLimb { limb, have: have.clone() })?;
                let width = residue_bytes(ctx.params(), limb);
                bytes.clear();
                bytes.extend(
                    polynomial[at * n..][..n].iter().flat_map(|w| w.to_le_bytes().into_iter().take(width)),
                );
                self.put(&bytes)?;
            }
        }
        Ok(())
    }

    pub(super) fn close(mut self) -> Result<()> {
        let digest = self.hash.finalize();
        self.inner.write_all(digest.as_bytes())?;
        Ok(self.inner.flush()?)
    }
}

pub(super) fn residue_bytes(params: &Params, limb: aegis_ring::LimbId) -> usize {
    let q = params.rns().modulus(limb).value();
    (64 - q.leading_zeros() as usize).div_ceil(8)
}

/// Reads and hashes; every refusal says what the file is and what to do.
pub(super) struct Source<R> {
    pub(super) inner: R,
    hash: blake3::Hasher,
    pub(super) what: &'static str,
}

impl<R: Read> Source<R> {
    /// The header: spec and parameter digest, then the reader at the key set.
    pub(super) fn header(inner: R, kind: Option<FileKind>) -> Result<(Self, ParamsSpec, [u8; 32])> {
        let what = kind.map_or("the file", FileKind::name);
        let mut source = Self { inner, hash: blake3::Hasher::new(), what };
        if source.take::<5>()? != MAGIC {
            return Err(source.refuse(InvalidFile::NotOurs));
        }
        let found = FileKind::from_byte(source.take::<1>()?[0]);
        if found.is_none() || kind.is_some_and(|k| found != Some(k)) {
            return Err(source.refuse(InvalidFile::OtherKind(found)));
        }
        let version = u16::from_le_bytes(source.take()?);
        if version != VERSION {
            return Err(source.refuse(InvalidFile::Version { have: version, want: VERSION }));
        }
        let length = u32::from_le_bytes(source.take()?) as usize;
        if length > MAX_SPEC_BYTES {
            return Err(source.damaged(Damage::Header));
        }
        let spec = source.take_bytes(length)?;
        let spec = postcard::from_bytes(&spec).map_err(|_| source.damaged(Damage::Spec))?;
        let digest = source.take()?;
        Ok((source, spec, digest))
    }

    pub(super) fn open(inner: R, kind: FileKind, params: &Params) -> Result<(Self, KeyId)> {
        let (mut source, spec, digest) = Self::header(inner, Some(kind))?;
        if digest != params.digest() {
            let (have, want) = (spec.name.into_owned(), params.name().to_owned());
            return Err(source.refuse(InvalidFile::OtherParams { have, want }));
        }
        let id = KeyId(source.take()?);
        Ok((source, id))
    }

    fn refuse(&self, fault: InvalidFile) -> Error {
        Error::Format { what: self.what, fault }
    }

    pub(super) fn damaged(&self, damage: Damage) -> Error {
        self.refuse(InvalidFile::Damaged(damage))
    }

    pub(super) fn read_exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.inner.read_exact(bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => self.damaged(Damage::Truncated),
            _ => e.into(),
        })?;
        self.hash.update(bytes);
        Ok(())
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn take_bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// One polynomial over `basis`, every residue below its prime.
    pub(super) fn take_residues(&mut self, ctx: &Context, basis: &Basis, words: &mut Vec<u64>) -> Result<()> {
        let n = ctx.params().n();
        for limb in basis.iter() {
            let (width, q) = (residue_bytes(ctx.params(), limb), ctx.params().rns().modulus(limb).value());
            let bytes = self.take_bytes(n * width)?;
            for residue in bytes.chunks(width) {
                let mut word = [0; 8];
                word[..width].copy_from_slice(residue);
                let word = u64::from_le_bytes(word);
                if word >= q {
                    return Err(self.damaged(Damage::Residue));
                }
                words.push(word);
            }
        }
        Ok(())
    }

    pub(super) fn take_level(&mut self, params: &Params) -> Result<Level> {
        let level = Level(u32::from_le_bytes(self.take()?));
        if level > params.max_level() {
            return Err(self.damaged(Damage::Level));
        }
        Ok(level)
    }

    /// The end: the digest must match and nothing may follow.
    pub(super) fn close(mut self) -> Result<()> {
        let want = *self.hash.finalize().as_bytes();
        if self.take::<32>()? != want {
            return Err(self.damaged(Damage::Checksum));
        }
        let mut more = [0];
        match self.inner.read(&mut more)? {
            0 => Ok(()),
            _ => Err(self.damaged(Damage::Trailing)),
        }
    }
}
