//! Launches on the CPU, on every instruction set of this machine: one that is accepted gives what the slow reference of
//! `hal` gives, one that is refused leaves the device working.
//!
//! Every byte string is a launch: bytes that are missing are zero. [`Record`] says what each one means.

use std::sync::Arc;

use aegis_cpu::{Cpu, CpuOptions, Isa};
use aegis_hal::conformance::{Case, Failure, Oracle, Slot};
use aegis_hal::{Device, Error, Kernel, Shape};
use aegis_ring::{Basis, Galois, LimbId, Rns, primes};

use crate::{Outcome, Target};

/// Rings: below, at and above the width of the widest vectors.
const LOG_N: [u32; 3] = [3, 4, 6];
const LIMBS: usize = 6;
/// What a device may take: a few buffers of most launches, one of some.
const MEMORY_BYTES: u64 = 1 << 20;

/// Numbers at which sizes wrap or exceed what there is.
const ABSURD: [usize; 8] =
    [usize::MAX, usize::MAX - 1, isize::MAX as usize, 1 << 61, (1 << 61) + 1, 1 << 60, 1 << 32, 1 << 8];

struct Launches {
    /// For each ring, a device for each instruction set.
    rings: Vec<Vec<Probed>>,
}

/// A device beside its oracle.
struct Probed {
    device: Device,
    oracle: Oracle,
}

pub(super) fn open() -> Box<dyn Target> {
    let device = |rns: &Arc<Rns>, isa| {
        let options = CpuOptions {
            threads: 1,
            isa: Some(isa),
            memory_limit: Some(MEMORY_BYTES),
            ..CpuOptions::default()
        };
        let device: Device = Arc::new(Cpu::with_options(Arc::clone(rns), options).expect("a device"));
        Probed { oracle: Oracle::new(&device), device }
    };
    let ring = |log_n| {
        let rns = ring(log_n);
        Isa::available().into_iter().map(|isa| device(&rns, isa)).collect()
    };
    Box::new(Launches { rings: LOG_N.into_iter().map(ring).collect() })
}

/// Primes of all sizes that programs use, two at the upper bound of 2^50.
fn ring(log_n: u32) -> Arc<Rns> {
    let mut taken = vec![];
    for bits in [50, 40, 28, 28, 50, 36] {
        let range = 1 << (bits - 1)..1 << bits;
        let prime = primes::nearest_ntt_prime((range.end - 1) as f64, range, log_n, &taken);
        taken.push(prime.expect("a prime"));
    }
    Arc::new(Rns::new(log_n, &taken).expect("a ring"))
}

/// A launch as bytes.
#[derive(Clone, Default)]
struct Record {
    kernel: u8,
    ring: u8,
    /// Below 128 as many inputs as the kernel takes, from there this number modulo 4.
    inputs: u8,
    /// One input fewer, the output being the first.
    in_place: bool,
    terms: u8,
    galois: u16,
    /// What the constants are: residues below 224, from there none.
    scalars: u8,
    limbs: [u8; 2],
    from: [u8; 2],
    out: [u8; SLOT],
    ins: [[u8; SLOT]; 3],
    seed: u64,
}

/// Batch, set and order of limbs, words, first polynomial, number of polynomials.
const SLOT: usize = 6;

impl Record {
    fn read(input: &[u8]) -> Self {
        let mut bytes = input.iter().copied().chain(std::iter::repeat(0));
        let mut next = || bytes.next().unwrap_or_default();
        Self {
            kernel: next(),
            ring: next(),
            inputs: next(),
            in_place: next() % 4 == 1,
            terms: next(),
            galois: u16::from_le_bytes([next(), next()]),
            scalars: next(),
            limbs: [next(), next()],
            from: [next(), next()],
            out: std::array::from_fn(|_| next()),
            ins: std::array::from_fn(|_| std::array::from_fn(|_| next())),
            seed: u64::from_le_bytes(std::array::from_fn(|_| next())),
        }
    }

    fn write(&self) -> Vec<u8> {
        let head = [self.kernel, self.ring, self.inputs, self.in_place.into(), self.terms];
        let galois = self.galois.to_le_bytes();
        let rest =
            [&[self.scalars], &self.limbs[..], &self.from, &self.out, self.ins.as_flattened()].concat();
        [&head[..], &galois, &rest, &self.seed.to_le_bytes()].concat()
    }

    fn case(&self, rns: &Rns) -> Case {
        let limbs = basis(self.limbs);
        let kernel = self.kernel(rns, &limbs);
        let inputs = if self.inputs < 128 { kernel.facts().inputs } else { usize::from(self.inputs % 4) };
        let slots = self.ins.iter().map(|slot| slot_of(rns, *slot));
        let ins = slots.take(inputs.saturating_sub(self.in_place.into())).collect();
        Case { kernel, limbs, out: slot_of(rns, self.out), ins }
    }

    fn kernel(&self, rns: &Rns, limbs: &Basis) -> Kernel {
        let scalars = limbs.iter().map(|limb| match (self.scalars, rns.moduli().get(limb.index())) {
            (0..224, Some(q)) => self.seed.wrapping_mul(u64::from(self.scalars) + 1) % q.value(),
            (224..240, Some(q)) => q.value(),
            _ => u64::MAX,
        });
        let scalars = scalars.skip((self.scalars == 255).into()).collect();
        let from = basis(self.from);
        let galois = Galois::from_exponent(self.galois.into(), rns.n());
        let galois = galois.unwrap_or(Galois::rotation(self.galois.into(), rns.n()));
        match self.kernel % 16 {
            0 => Kernel::Ntt,
            1 => Kernel::Intt,
            2 => Kernel::Copy,
            3 => Kernel::Add,
            4 => Kernel::Sub,
            5 => Kernel::Mul,
            6 => Kernel::MulAdd,
            7 => Kernel::ScalarMul(scalars),
            8 => Kernel::ScalarMulAdd(scalars),
            9 => Kernel::ScalarAdd(scalars),
            10 => Kernel::Automorphism(galois),
            11 => Kernel::BaseConv { from },
            12 => Kernel::ModUp { from },
            13 => Kernel::ModDown { from },
            k => Kernel::InnerProduct { terms: number(self.terms), accumulate: k == 14 },
        }
    }
}

/// Small below 240, absurd from there.
fn number(byte: u8) -> usize {
    match byte.checked_sub(240) {
        None => usize::from(byte % 12),
        Some(i) => ABSURD[usize::from(i) % ABSURD.len()],
    }
}

/// The limbs of a mask, turned, perhaps backwards; rarely one that no ring here has.
fn basis([mask, order]: [u8; 2]) -> Basis {
    let mut limbs: Vec<LimbId> = (0..LIMBS as u16).filter(|i| mask >> i & 1 == 1).map(LimbId).collect();
    if !limbs.is_empty() {
        let turn = usize::from(order % 8) % limbs.len();
        limbs.rotate_left(turn);
    }
    if order & 8 != 0 {
        limbs.reverse();
    }
    match order {
        0xf8..=0xfb => limbs.push(LimbId(LIMBS as u16)),
        0xfc..=0xff => limbs.push(LimbId(u16::MAX)),
        _ => {}
    }
    Basis::new(limbs)
}

fn slot_of(rns: &Rns, [batch, mask, order, n, first, count]: [u8; SLOT]) -> Slot {
    let batch = number(batch);
    let n = match n {
        0..160 => rns.n(),
        160..240 => 1 << (n % 8),
        _ => number(n),
    };
    // A run outside the batch is a bug of the caller by contract: what is beyond is cut off.
    let first = number(first).min(batch);
    let count = if count < 128 { batch - first } else { number(count - 128).min(batch - first) };
    Slot { shape: Shape::new(batch, basis([mask, order]), n), first, count }
}

impl Target for Launches {
    /// Every kernel on every ring: out of place, in place, with compact inputs, in the middle of buffers.
    fn seeds(&self) -> Vec<Vec<u8>> {
        const ALL: u8 = 0b11_1111;
        let slot = |batch, n, first, count| [batch, ALL, 0, n, first, count];
        let whole = |batch| slot(batch, 0, 0, 0);
        let mut seeds = vec![];
        for (kernel, ring) in
            (0..16).flat_map(|kernel| (0..LOG_N.len() as u8).map(move |ring| (kernel, ring)))
        {
            let splits = (11..14).contains(&kernel);
            let plain = Record {
                kernel,
                ring,
                terms: 2,
                galois: 5,
                scalars: 3,
                limbs: if splits { [0b00_1101, kernel] } else { [ALL, ring] },
                from: [0b11_0010, ring],
                out: whole(4),
                ins: [whole(4); 3],
                seed: u64::from(kernel) << 8 | u64::from(ring),
                ..Record::default()
            };
            seeds.push(plain.write());
            seeds.push(Record { in_place: true, ..plain.clone() }.write());
            seeds.push(Record { ins: [slot(4, 161, 0, 0), whole(4), whole(4)], ..plain.clone() }.write());
            let (middle, one) = (slot(6, 0, 1, 128 + 4), slot(3, 0, 2, 128 + 1));
            seeds.push(Record { out: middle, ins: [middle, one, middle], ..plain }.write());
        }
        seeds
    }

    fn run(&self, input: &[u8]) -> Outcome {
        let record = Record::read(input);
        let ring = &self.rings[usize::from(record.ring) % LOG_N.len()];
        let case = record.case(ring[0].device.rns());
        let outcomes: Vec<Outcome> = ring.iter().map(|probed| probed.run(&case, record.seed)).collect();
        assert!(outcomes.iter().all(|o| *o == outcomes[0]), "instruction sets disagree: {outcomes:?}");
        outcomes[0]
    }

    fn bound(&self) -> usize {
        1 << 23
    }
}

impl Probed {
    fn run(&self, case: &Case, seed: u64) -> Outcome {
        let shapes = || case.ins.iter().chain([&case.out]).map(|slot| &slot.shape);
        let refusal = match shapes().find(|shape| shape.bytes() > MEMORY_BYTES) {
            Some(shape) => self.device.alloc(shape.clone()).expect_err("memory that there is not"),
            None => match self.oracle.compare(case, seed) {
                Ok(()) => return Outcome::Accepted,
                Err(Failure::Refused { error, .. }) => error,
                Err(other) => panic!("{other}"),
            },
        };
        assert!(!matches!(refusal, Error::Device(_)), "{refusal}");
        // A launch that found no memory reports once more here. The device works on.
        let _ = self.device.sync();
        let probe = self.oracle.compare(&probe(self.device.rns()), seed);
        probe.unwrap_or_else(|e| panic!("after {refusal}: {e}"));
        Outcome::Refused
    }
}

/// A small launch that every device takes.
fn probe(rns: &Rns) -> Case {
    let limbs = Basis::new([LimbId(0)]);
    let slot = Slot { shape: Shape::new(1, limbs.clone(), rns.n()), first: 0, count: 1 };
    Case { kernel: Kernel::Add, limbs, out: slot.clone(), ins: vec![slot.clone(), slot] }
}
