//! The launches of the suite.

use aegis_ring::{Basis, Galois, LimbId, Rns};

use super::reference::WORD_BY_WORD;
use super::{Case, Failure, Slot};
use crate::{Device, Error, HostData, Kernel, Scalars, Shape};

/// A whole buffer of `batch` polynomials.
pub(super) fn whole(batch: usize, basis: &Basis, n: usize) -> Slot {
    Slot { shape: Shape::new(batch, basis.clone(), n), first: 0, count: batch }
}

/// `count` polynomials in the middle of a buffer.
pub(super) fn middle(count: usize, basis: &Basis, n: usize) -> Slot {
    Slot { shape: Shape::new(count + 2, basis.clone(), n), first: 1, count }
}

fn scalars(rns: &Rns, limbs: &Basis) -> Scalars {
    limbs.iter().map(|l| rns.modulus(l).value() / 3 + 5).collect()
}

/// All cases for a ring of at least four limbs.
pub(super) fn cases(rns: &Rns) -> Vec<Case> {
    let n = rns.n();
    let all: Basis = (0..rns.moduli().len() as u16).map(LimbId).collect();
    // Out of order and with a gap: nothing may assume consecutive limbs.
    let some: Basis = all.iter().rev().filter(|l| l.0 != 1).collect();
    let mut cases = vec![];
    for kernel in [
        Kernel::Ntt,
        Kernel::Intt,
        Kernel::Automorphism(Galois::rotation(1, n)),
        Kernel::Automorphism(Galois::rotation(-3, n)),
        Kernel::Automorphism(Galois::conjugation(n)),
    ] {
        let one = |out, ins| Case { kernel: kernel.clone(), limbs: some.clone(), out, ins };
        cases.push(one(whole(2, &all, n), vec![middle(2, &some, n)]));
        for words in [n / 4, 1] {
            cases.push(one(whole(1, &all, words), vec![whole(1, &some, words)]));
        }
        if kernel.facts().in_place {
            cases.push(one(middle(2, &all, n), vec![]));
        }
    }
    cases.extend(word_by_word(rns, &all, &some));
    cases.extend(conversions(&all, n));
    cases.extend(inner_products(&all, &some, n));
    cases
}

fn word_by_word(rns: &Rns, all: &Basis, some: &Basis) -> Vec<Case> {
    let (n, c) = (rns.n(), scalars(rns, some));
    let mut cases = vec![];
    for (kernel, _) in WORD_BY_WORD {
        let kernel = kernel(Scalars::clone(&c));
        let facts = kernel.facts();
        let mut push = |ins: &[Slot]| {
            let case = |out, ins| Case { kernel: kernel.clone(), limbs: some.clone(), out, ins };
            cases.push(case(middle(3, all, n), ins[..facts.inputs].to_vec()));
            if facts.in_place {
                cases.push(case(whole(3, all, n), ins[..facts.inputs - 1].to_vec()));
            }
        };
        push(&[middle(3, some, n), whole(3, all, n)]);
        push(&[middle(1, all, n), middle(3, some, n)]);
        push(&[whole(3, all, n), middle(1, all, n / 8)]);
        push(&[middle(1, some, 1), middle(3, some, n / 2)]);
    }
    cases
}

fn conversions(all: &Basis, n: usize) -> Vec<Case> {
    let mut cases = vec![];
    let split = |k: usize| -> (Basis, Basis) {
        (all.iter().skip(k).collect(), all.iter().take(k).collect::<Vec<_>>().into_iter().rev().collect())
    };
    for k in [1, 2, all.len() - 1] {
        let (from, to) = split(k);
        for kernel in [Kernel::BaseConv { from: from.clone() }, Kernel::ModUp { from: from.clone() }] {
            let case = |out, ins| Case { kernel: kernel.clone(), limbs: to.clone(), out, ins };
            cases.push(case(middle(2, &to, n), vec![whole(2, all, n)]));
            for words in [n / 2, 1] {
                cases.push(case(whole(1, all, words), vec![middle(1, &from, words)]));
            }
        }
        let kernel = Kernel::ModDown { from: from.clone() };
        let case = |out, ins| Case { kernel: kernel.clone(), limbs: to.clone(), out, ins };
        cases.push(case(middle(2, &to, n), vec![middle(2, all, n)]));
        cases.push(case(middle(2, all, n), vec![]));
        cases.push(case(whole(1, all, 1), vec![]));
    }
    cases
}

fn inner_products(all: &Basis, some: &Basis, n: usize) -> Vec<Case> {
    let mut cases = vec![];
    for accumulate in [false, true] {
        for (rows, terms, columns, weight_n) in [
            (1, 1, 1, n),
            (1, 4, 2, n),
            (3, 2, 2, n),
            (5, 7, 2, n / 8),
            (2, 37, 1, n),
            (9, 33, 2, n / 2),
            (1, 3, 2, 1),
        ] {
            cases.push(Case {
                kernel: Kernel::InnerProduct { terms, accumulate },
                limbs: some.clone(),
                out: middle(rows * columns, all, n),
                ins: vec![middle(rows * terms, all, weight_n), whole(terms * columns, some, n)],
            });
        }
    }
    cases
}

/// Shapes of coefficients to upload: whole polynomials, compact ones, constants.
pub(super) fn uploads(rns: &Rns) -> Vec<Shape> {
    let all: Basis = (0..rns.moduli().len() as u16).map(LimbId).collect();
    let some: Basis = all.iter().skip(1).step_by(2).collect();
    let n = rns.n();
    vec![
        Shape::new(2, all.clone(), n),
        Shape::new(1, some, n),
        Shape::new(3, all.clone(), n / 4),
        Shape::new(2, all, 1),
    ]
}

/// Launches and uploads that every device refuses, with the right error.
pub(super) fn refusals(dev: &Device) -> Result<(), Failure> {
    let wrong = |case: &str, result: String| Err(Failure::Accepted { case: case.into(), result });
    let setup = |error| Failure::Refused { seed: 0, case: "alloc".into(), error };
    let n = dev.rns().n();
    let (zero, both) = (Basis::new([LimbId(0)]), Basis::new([LimbId(0), LimbId(1)]));
    let a = dev.alloc(Shape::new(1, zero.clone(), n)).map_err(setup)?;
    let mut out = dev.alloc(Shape::new(2, both.clone(), n)).map_err(setup)?;

    match dev.launch(&Kernel::Copy, &both, out.view_mut(), &[a.view()]) {
        Err(Error::MissingLimb { limb: LimbId(1), .. }) => {}
        other => return wrong("a missing limb", format!("{other:?}")),
    }
    let from_itself = Kernel::BaseConv { from: zero.clone() };
    let too_large = Kernel::ScalarAdd([dev.rns().modulus(LimbId(0)).value()].into());
    for (case, kernel) in [
        ("one input of two", Kernel::MulAdd),
        ("a batch of one for a transform of two", Kernel::Ntt),
        ("a limb read and written", from_itself),
        ("a constant that is no residue", too_large),
        ("no constants", Kernel::ScalarMul([].into())),
        ("no terms", Kernel::InnerProduct { terms: 0, accumulate: false }),
    ] {
        match dev.launch(&kernel, &zero, out.view_mut(), &[a.view()]) {
            Err(Error::Operands { .. }) => {}
            other => return wrong(case, format!("{other:?}")),
        }
    }
    let data = [
        ("too few words", HostData::coefficients(vec![0; n - 1])),
        ("no residue", HostData::residues(vec![u64::MAX; n])),
    ];
    for (case, data) in data {
        match dev.upload(Shape::new(1, zero.clone(), n), data) {
            Err(Error::Operands { .. }) => {}
            other => return wrong(case, format!("{other:?}")),
        }
    }
    for (case, shape) in [
        ("a limb outside the ring", Shape::new(1, Basis::new([LimbId(u16::MAX)]), n)),
        ("words that are no power of two", Shape::new(1, zero.clone(), 12)),
        ("more words than the ring has", Shape::new(1, zero.clone(), 2 * n)),
        ("words whose number wraps", Shape::new(1 << 63, zero.clone(), n)),
        ("more bytes than a slice may have", Shape::new(1 << 60, zero, n)),
    ] {
        match dev.alloc(shape) {
            Err(Error::Operands { .. }) => {}
            other => return wrong(case, format!("{other:?}")),
        }
    }
    Ok(())
}
