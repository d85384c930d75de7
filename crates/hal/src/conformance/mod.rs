//! The suite that every backend passes: each kernel, in every form that [`Kernel`] allows, against
//! [`aegis_ring::exact`].
//!
//! ```no_run
//! # fn open() -> aegis_hal::Device { unimplemented!() }
//! let device: aegis_hal::Device = open();
//! aegis_hal::conformance::check(&device, 7).unwrap();
//! ```

mod cases;
mod reference;
mod transfers;

use aegis_ring::Basis;

use crate::{Device, Error, HostData, Kernel, Poly, Shape, View, ViewMut};
use reference::{Data, Reference, Run};

/// Why a device does not conform.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The device refused a launch that the contract allows.
    #[error("seed {seed}, {case}: {error}")]
    Refused {
        /// Seed of the random data.
        seed: u64,
        /// The launch.
        case: String,
        /// What the device said.
        error: Error,
    },
    /// The device computed something else.
    #[error("seed {seed}, {case}: word {word} of the output buffer is {have}, not {want}")]
    Wrong {
        /// Seed of the random data.
        seed: u64,
        /// The launch.
        case: String,
        /// Position in the downloaded buffer.
        word: usize,
        /// What the device computed.
        have: u64,
        /// What the reference computed.
        want: u64,
    },
    /// The device accepted a launch that the contract forbids, or refused it with another error.
    #[error("{case}: {result}")]
    Accepted {
        /// The launch.
        case: String,
        /// What the device said.
        result: String,
    },
}

/// Checks every kernel and the uploads of a device on random data. The ring needs at least four limbs; rings of up to 2^8 words take
/// milliseconds, one of 2^16 words takes seconds and compares transforms with the scalar ones of `aegis-ring`.
pub fn check(dev: &Device, seed: u64) -> Result<(), Failure> {
    let oracle = Oracle::new(dev);
    cases::cases(dev.rns())
        .iter()
        .enumerate()
        .try_for_each(|(i, case)| oracle.compare(case, seed.wrapping_mul(1000).wrapping_add(i as u64)))?;
    cases::uploads(dev.rns()).into_iter().try_for_each(|shape| oracle.upload(shape, seed))?;
    transfers::check(dev, seed)?;
    cases::refusals(dev)
}

/// A launch to check: shapes, and the runs of polynomials used.
#[derive(Clone, Debug)]
pub struct Case {
    /// The operation.
    pub kernel: Kernel,
    /// The limbs to write.
    pub limbs: Basis,
    /// The output.
    pub out: Slot,
    /// The inputs.
    pub ins: Vec<Slot>,
}

/// An operand of a [`Case`]: a buffer of this shape, of which `count` polynomials from `first` are used.
#[derive(Clone, Debug)]
pub struct Slot {
    /// What the buffer holds.
    pub shape: Shape,
    /// First polynomial of the run.
    pub first: usize,
    /// Number of polynomials; the run lies inside the batch.
    pub count: usize,
}

/// A device beside the reference of every kernel: compares one launch at a time.
pub struct Oracle {
    dev: Device,
    reference: Reference,
}

impl Oracle {
    /// An oracle for this device.
    pub fn new(dev: &Device) -> Self {
        Self { dev: Device::clone(dev), reference: Reference::new(dev.rns()) }
    }

    /// Runs a launch on random data and compares every word of the output buffer. A launch that the device does not take
    /// is [`Failure::Refused`]. The buffers must fit the host's memory: their content is made there.
    pub fn compare(&self, case: &Case, seed: u64) -> Result<(), Failure> {
        let (dev, mut random) = (&self.dev, Random(seed));
        let refused = |error| Failure::Refused { seed, case: format!("{case:?}"), error };
        let upload = |data: &Data| {
            dev.upload(data.shape.clone(), HostData::residues(data.words.clone())).map_err(refused)
        };
        let shapes = || case.ins.iter().chain([&case.out]).map(|slot| &slot.shape);
        shapes().try_for_each(|shape| shape.check(dev.rns())).map_err(refused)?;
        let mut want = random_data(dev, &case.out.shape, &mut random);
        let ins: Vec<Data> = case.ins.iter().map(|s| random_data(dev, &s.shape, &mut random)).collect();
        let mut out = upload(&want)?;
        let polys: Vec<Poly> = ins.iter().map(upload).collect::<Result<_, _>>()?;
        let views: Vec<View<'_>> =
            polys.iter().zip(&case.ins).map(|(p, s)| p.slice(s.first, s.count)).collect();
        let runs: Vec<Run<'_>> = ins.iter().zip(&case.ins).map(|(d, s)| d.run(s.first, s.count)).collect();

        let target: ViewMut<'_> = out.slice_mut(case.out.first, case.out.count);
        dev.run(&case.kernel, &case.limbs, target, &views).map_err(refused)?;
        self.reference.eval(&case.kernel, &case.limbs, &mut want, (case.out.first, case.out.count), &runs);

        let have = dev.download(out.view()).map_err(refused)?;
        equal(&have, &want.words, seed, || format!("{case:?}"))
    }

    /// Uploads random coefficients, each as likely of one length in bits as of another, and compares every word.
    pub fn upload(&self, shape: Shape, seed: u64) -> Result<(), Failure> {
        let (dev, mut random) = (&self.dev, Random(seed));
        let case = format!("an upload of {shape:?}");
        let refused = |error| Failure::Refused { seed, case: case.clone(), error };
        shape.check(dev.rns()).map_err(refused)?;
        let mut coefficient = || random.next().cast_signed() >> (random.next() % 64);
        let coefficients: Vec<i64> = (0..shape.batch() * shape.n()).map(|_| coefficient()).collect();
        let reduced = coefficients.chunks_exact(shape.n()).flat_map(|row| {
            let moduli = shape.basis().iter().map(|limb| i128::from(dev.rns().modulus(limb).value()));
            moduli.flat_map(move |q| row.iter().map(move |&c| i128::from(c).rem_euclid(q) as u64))
        });
        let mut want = Data { words: reduced.collect(), shape: shape.clone() };
        self.reference.eval(&Kernel::Ntt, shape.basis(), &mut want, (0, shape.batch()), &[]);

        let data = HostData::coefficients(coefficients);
        let have = dev.upload(shape.clone(), data).and_then(|poly| dev.download(poly.view()));
        equal(&have.map_err(refused)?, &want.words, seed, || case.clone())
    }
}

fn equal(have: &[u64], want: &[u64], seed: u64, case: impl Fn() -> String) -> Result<(), Failure> {
    match have.iter().zip(want).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(word) => Err(Failure::Wrong { seed, case: case(), word, have: have[word], want: want[word] }),
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): test data need no more.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform up to a bias of 2^-14; every eighth word is an extreme one.
    fn residue(&mut self, q: u64) -> u64 {
        match self.next() % 16 {
            0 => 0,
            1 => q - 1,
            _ => self.next() % q,
        }
    }
}

fn random_data(dev: &Device, shape: &Shape, random: &mut Random) -> Data {
    let moduli: Vec<u64> = shape.basis().iter().map(|l| dev.rns().modulus(l).value()).collect();
    // Counted in words: polynomials without limbs may be more than can be counted.
    let words = (0..shape.words()).map(|i| random.residue(moduli[i / shape.n() % moduli.len()])).collect();
    Data { shape: shape.clone(), words }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aegis_ring::Rns;

    use super::*;

    /// The row of a kernel, without its meaning.
    fn row(kernel: &Kernel) -> String {
        let facts = kernel.facts();
        let either = |is: bool, then: &'static str| if is { then } else { "-" };
        let compact = match facts.compact {
            0 => "-",
            k if k == facts.inputs => "all",
            _ => "first",
        };
        let (in_place, gathers) = (either(facts.in_place, "yes"), either(facts.gathers.is_some(), "`from`"));
        let (inputs, fused) = (facts.inputs, either(facts.fused, "yes"));
        format!("| `{}` | {inputs} | {in_place} | {compact} | {gathers} | {fused} |", facts.name)
    }

    #[test]
    fn the_table_of_kernels_states_their_facts() {
        let page = include_str!("../../../../docs/kernels.md");
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let without_meaning = |line: &str| {
            let mut columns: Vec<&str> = line.split(" | ").collect();
            columns.remove(1);
            columns.join(" | ")
        };
        let page: BTreeSet<String> = rows.map(without_meaning).collect();
        let cases = cases::cases(&Rns::new(3, &[17, 97, 113, 193]).unwrap());
        let suite: BTreeSet<String> = cases.iter().map(|case| row(&case.kernel)).collect();
        let (missing, wrong) = (suite.difference(&page), page.difference(&suite));
        let text =
            format!("{:#?} are missing, {:#?} are wrong", Vec::from_iter(missing), Vec::from_iter(wrong));
        assert!(page == suite, "rows of docs/kernels.md, without meanings: {text}");
    }
}
