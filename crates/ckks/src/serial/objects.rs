//! The bodies of the objects.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom, Write};

use aegis_hal::{HostData, Poly, Shape};
use aegis_ring::{Basis, Galois};
use zeroize::Zeroizing;

use super::frame::{FileKind, Sink, Source, residue_bytes};
use crate::keys::{SwitchingKey, uniform_halves};
use crate::{
    Ciphertext, Context, Damage, EncapsulationKeys, Error, EvaluationKeys, InvalidFile, KeyId, KeyRequest,
    Level, Params, ParamsSpec, PublicKey, Result, SecretKey, Seed,
};

impl Params {
    /// Writes the set, for a program that makes keys elsewhere.
    pub fn write(&self, writer: impl Write) -> Result<()> {
        // A set belongs to no key.
        Sink::open(writer, FileKind::Params, self, KeyId([0; 16]))?.close()
    }

    /// Reads what [`Params::write`] wrote and checks it anew: a set below 128 bits of security is refused.
    pub fn read(reader: impl Read) -> Result<Self> {
        let (mut source, spec, digest) = Source::header(reader, Some(FileKind::Params))?;
        let _no_key: [u8; 16] = source.take()?;
        let what = source.what;
        source.close()?;
        let params = Self::try_from(spec)?;
        if params.digest() == digest {
            return Ok(params);
        }
        Err(Error::Format { what, fault: InvalidFile::OtherChain })
    }
}

/// The parameter set a file of any kind was made for. Unchecked: pass it to [`Params::try_from`](crate::Params).
pub fn read_spec(reader: impl Read) -> Result<ParamsSpec> {
    Ok(Source::header(reader, None)?.1)
}

impl SecretKey {
    /// Writes the secret itself. The caller keeps the file private, and the writer unbuffered: the secret is wiped here
    /// after use, a buffer is not.
    pub fn write(&self, ctx: &Context, writer: impl Write) -> Result<()> {
        let mut sink = Sink::open(writer, FileKind::SecretKey, ctx.params(), self.id)?;
        let bytes: Zeroizing<Vec<u8>> =
            Zeroizing::new(self.coefficients.iter().map(|c| (*c + 1) as u8).collect());
        sink.put(&bytes)?;
        sink.close()
    }

    /// Reads what [`SecretKey::write`] wrote, best from an unbuffered reader.
    pub fn read(ctx: &Context, reader: impl Read) -> Result<Self> {
        let (mut source, id) = Source::open(reader, FileKind::SecretKey, ctx.params())?;
        let mut bytes = Zeroizing::new(vec![0; ctx.params().n()]);
        source.read_exact(&mut bytes)?;
        if bytes.iter().any(|b| *b > 2) {
            return Err(source.damaged(Damage::Coefficient));
        }
        let coefficients = Zeroizing::new(bytes.iter().map(|b| i64::from(*b) - 1).collect());
        let key = Self::new(ctx.params(), coefficients);
        if key.id != id {
            return Err(source.damaged(Damage::Identity));
        }
        source.close()?;
        Ok(key)
    }
}

impl PublicKey {
    /// Writes the key: one polynomial and a seed.
    pub fn write(&self, ctx: &Context, writer: impl Write) -> Result<()> {
        let mut sink = Sink::open(writer, FileKind::PublicKey, ctx.params(), self.id)?;
        sink.put(self.seed.bytes())?;
        sink.put_residues(ctx, self.poly.slice(0, 1), self.poly.basis())?;
        sink.close()
    }

    /// Reads what [`PublicKey::write`] wrote.
    pub fn read(ctx: &Context, reader: impl Read) -> Result<Self> {
        let (mut source, id) = Source::open(reader, FileKind::PublicKey, ctx.params())?;
        let seed = Seed::new(source.take()?);
        let basis = ctx.params().basis(ctx.params().fresh_level()).clone();
        let poly = take_pairs(&mut source, ctx, &basis, 1, &seed)?;
        source.close()?;
        Ok(Self { poly, seed, id })
    }
}

/// `count` stored halves and the halves expanded from the seed, interleaved.
fn take_pairs<R: Read>(
    source: &mut Source<R>,
    ctx: &Context,
    basis: &Basis,
    count: usize,
    seed: &Seed,
) -> Result<Poly> {
    let (n, dev) = (ctx.params().n(), ctx.device());
    let uniform = uniform_halves(ctx, basis, count, seed)?;
    let mut key = dev.alloc(Shape::new(2 * count, basis.clone(), n))?;
    for d in 0..count {
        let mut words = Vec::with_capacity(basis.len() * n);
        source.take_residues(ctx, basis, &mut words)?;
        let stored = dev.upload(Shape::new(1, basis.clone(), n), HostData::residues(words))?;
        let copy = aegis_hal::Kernel::Copy;
        dev.launch(&copy, basis, key.slice_mut(2 * d, 1), &[stored.view()])?;
        dev.launch(&copy, basis, key.slice_mut(2 * d + 1, 1), &[uniform.slice(d, 1)])?;
    }
    Ok(key)
}

/// Tags of the entries of an evaluation key file.
const END: u8 = 0;
const RELINEARIZATION: u8 = 1;
const GALOIS: u8 = 2;
const TO_SPARSE: u8 = 3;
const TO_DENSE: u8 = 4;

impl EvaluationKeys {
    /// Writes all keys, each cut to its level, uniform halves as seeds.
    pub fn write(&self, ctx: &Context, writer: impl Write) -> Result<()> {
        let mut sink = Sink::open(writer, FileKind::EvaluationKeys, ctx.params(), self.id)?;
        let mut put = |tag: u8, map: u32, key: &SwitchingKey| -> Result<()> {
            sink.put(&[tag])?;
            sink.put(&map.to_le_bytes())?;
            sink.put(&key.level.0.to_le_bytes())?;
            sink.put(key.seed.bytes())?;
            (0..key.poly.batch() / 2)
                .try_for_each(|d| sink.put_residues(ctx, key.poly.slice(2 * d, 1), key.poly.basis()))
        };
        if let Some(key) = &self.relinearization {
            put(RELINEARIZATION, 0, key)?;
        }
        for (map, key) in &self.galois {
            put(GALOIS, map.exponent(), key)?;
        }
        if let Some(keys) = &self.encapsulation {
            put(TO_SPARSE, 0, &keys.to_sparse)?;
            put(TO_DENSE, 0, &keys.to_dense)?;
        }
        sink.put(&[END])?;
        sink.close()
    }

    /// Reads what [`EvaluationKeys::write`] wrote.
    pub fn read(ctx: &Context, reader: impl Read) -> Result<Self> {
        let (mut source, id) = Source::open(reader, FileKind::EvaluationKeys, ctx.params())?;
        let mut keys = Self {
            id,
            n: ctx.params().n(),
            relinearization: None,
            galois: Default::default(),
            encapsulation: None,
            any: None,
        };
        let (mut to_sparse, mut to_dense) = (None, None);
        each_entry(&mut source, ctx.params(), |source, entry| {
            let poly = take_pairs(source, ctx, &entry.basis, entry.count, &entry.seed)?;
            let key = SwitchingKey { level: entry.level, poly, seed: entry.seed };
            match entry.purpose {
                Purpose::Relinearization => keys.relinearization = Some(key),
                Purpose::Galois(map) => drop(keys.galois.insert(map, key)),
                Purpose::ToSparse => to_sparse = Some(key),
                Purpose::ToDense => to_dense = Some(key),
            }
            Ok(())
        })?;
        keys.encapsulation =
            to_sparse.zip(to_dense).map(|(to_sparse, to_dense)| EncapsulationKeys { to_sparse, to_dense });
        source.close()?;
        Ok(keys)
    }

    /// The keys in a file for these parameters, found by its entries alone: the residues are passed over, neither read
    /// nor checked. Fails unless the file ends just behind the last entry's checksum, so that a caller knows from a few
    /// kilobytes what [`EvaluationKeys::read`] will ask of memory.
    pub fn inventory(params: &Params, reader: impl Read + Seek) -> Result<KeyRequest> {
        let (mut source, _) = Source::open(reader, FileKind::EvaluationKeys, params)?;
        let mut request = KeyRequest::new(params.n());
        each_entry(&mut source, params, |source, entry| {
            let row: usize = entry.basis.iter().map(|limb| residue_bytes(params, limb)).sum();
            // At most 256 limbs of 7 bytes, 2^17 words and as many digits as limbs.
            source.inner.seek_relative((entry.count * row * params.n()) as i64)?;
            let others = std::mem::take(&mut request);
            request = match entry.purpose {
                Purpose::Relinearization => others.relinearize(entry.level),
                Purpose::Galois(map) => others.galois(map, entry.level),
                Purpose::ToSparse | Purpose::ToDense => others.encapsulation(),
            };
            Ok(())
        })?;
        let end = source.inner.stream_position()?.saturating_add(blake3::OUT_LEN as u64);
        if source.inner.seek(SeekFrom::End(0))? != end {
            return Err(source.damaged(Damage::Length));
        }
        Ok(request)
    }
}

/// What an entry of a file of evaluation keys is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Relinearization,
    Galois(Galois),
    ToSparse,
    ToDense,
}

/// An entry without its residues: `count` polynomials over `basis` follow.
struct Entry {
    purpose: Purpose,
    level: Level,
    seed: Seed,
    basis: Basis,
    count: usize,
}

/// Visits the entries up to the end mark. No key appears twice, and the two encapsulation keys both or not at all.
fn each_entry<R: Read>(
    source: &mut Source<R>,
    params: &Params,
    mut visit: impl FnMut(&mut Source<R>, Entry) -> Result<()>,
) -> Result<()> {
    let mut seen = BTreeSet::new();
    while let Some(entry) = take_entry(source, params)? {
        if !seen.insert(entry.purpose) {
            return Err(source.damaged(Damage::RepeatedKey));
        }
        visit(source, entry)?;
    }
    if seen.contains(&Purpose::ToSparse) != seen.contains(&Purpose::ToDense) {
        return Err(source.damaged(Damage::HalfEncapsulation));
    }
    Ok(())
}

fn take_entry<R: Read>(source: &mut Source<R>, params: &Params) -> Result<Option<Entry>> {
    let tag = source.take::<1>()?[0];
    if tag == END {
        return Ok(None);
    }
    let map = u64::from(u32::from_le_bytes(source.take()?));
    let purpose = match tag {
        RELINEARIZATION => Purpose::Relinearization,
        // No one makes a key for the map that changes nothing, and no request counts it.
        GALOIS => match Galois::from_exponent(map, params.n()) {
            Some(map) if map != Galois::IDENTITY => Purpose::Galois(map),
            _ => return Err(source.damaged(Damage::Galois)),
        },
        TO_SPARSE => Purpose::ToSparse,
        TO_DENSE => Purpose::ToDense,
        _ => return Err(source.damaged(Damage::Entry)),
    };
    let level = source.take_level(params)?;
    // A bootstrap uses the two encapsulation keys at the ends of the chain and nowhere else.
    let fixed = match purpose {
        Purpose::ToSparse => Some(Level(0)),
        Purpose::ToDense => Some(params.max_level()),
        _ => None,
    };
    if fixed.is_some_and(|fixed| fixed != level) {
        return Err(source.damaged(Damage::EncapsulationLevel));
    }
    let seed = Seed::new(source.take()?);
    let (basis, count) = match purpose {
        Purpose::ToSparse => (params.encapsulation_basis(), 1),
        _ => (params.extended_basis(level), params.digits(level).len()),
    };
    Ok(Some(Entry { purpose, level, seed, basis, count }))
}

impl Ciphertext {
    /// Writes the ciphertext with the limbs of its level.
    pub fn write(&self, ctx: &Context, writer: impl Write) -> Result<()> {
        let mut sink = Sink::open(writer, FileKind::Ciphertext, ctx.params(), self.key_id())?;
        sink.put(&self.level().0.to_le_bytes())?;
        sink.put(&self.scale().to_le_bytes())?;
        sink.put_residues(ctx, self.poly().view(), ctx.params().basis(self.level()))?;
        sink.close()
    }

    /// Reads what [`Ciphertext::write`] wrote.
    pub fn read(ctx: &Context, reader: impl Read) -> Result<Self> {
        let (mut source, id) = Source::open(reader, FileKind::Ciphertext, ctx.params())?;
        let level = source.take_level(ctx.params())?;
        let scale = f64::from_le_bytes(source.take()?);
        // A message of one fits the modulus.
        if !(scale >= 1.0 && scale.log2() + 1.0 < ctx.params().log2_modulus(level)) {
            return Err(source.damaged(Damage::Scale));
        }
        let basis = ctx.params().basis(level).clone();
        let mut words = vec![];
        for _ in 0..2 {
            source.take_residues(ctx, &basis, &mut words)?;
        }
        source.close()?;
        let shape = Shape::new(2, basis, ctx.params().n());
        let poly = ctx.device().upload(shape, HostData::residues(words))?;
        Ok(Self::new(poly, level, scale, id))
    }
}
