//! The meaning of every kernel on plain vectors, by the slow exact algorithms of `aegis_ring::exact`.

use std::sync::Arc;

use aegis_ring::{Basis, LimbId, Modulus, NttTable, Rns, exact};

use crate::{Kernel, Scalars, Shape};

/// Rings up to this degree are transformed by Horner's rule, in quadratic time.
const EXACT_N: usize = 256;

/// What one word of the output follows from.
#[derive(Clone, Copy)]
pub(super) struct Words {
    /// The word that the output held.
    old: u64,
    /// That of the first input; in place, `old`.
    a: u64,
    /// That of the second input, where there is one.
    b: u64,
    /// The constant of the limb, where the kernel has some.
    c: u64,
}

/// A kernel with these constants, which most have not.
type Make = fn(Scalars) -> Kernel;
/// What becomes of one word.
type Meaning = fn(&Modulus, Words) -> u64;

/// Every word-by-word kernel with its meaning. The suite makes its cases from this table.
pub(super) const WORD_BY_WORD: &[(Make, Meaning)] = &[
    (|_| Kernel::Copy, |_, w| w.a),
    (|_| Kernel::Add, |q, w| q.add(w.a, w.b)),
    (|_| Kernel::Sub, |q, w| q.sub(w.a, w.b)),
    (|_| Kernel::Mul, |q, w| q.mul(w.a, w.b)),
    (|_| Kernel::MulAdd, |q, w| q.add(w.old, q.mul(w.a, w.b))),
    (Kernel::ScalarMul, |q, w| q.mul(w.c, w.a)),
    (Kernel::ScalarMulAdd, |q, w| q.add(w.old, q.mul(w.c, w.a))),
    (Kernel::SubScale, |q, w| q.mul(w.c, q.sub(w.b, w.a))),
    (Kernel::ScalarAdd, |q, w| q.add(w.a, w.c)),
];

/// The content of a buffer.
pub(super) struct Data {
    pub(super) shape: Shape,
    pub(super) words: Vec<u64>,
}

impl Data {
    pub(super) fn run(&self, first: usize, count: usize) -> Run<'_> {
        Run { data: self, first, count }
    }

    fn start(&self, poly: usize, limb: LimbId) -> usize {
        let position = self.shape.basis().position(limb).expect("cases name limbs that are there");
        (poly * self.shape.basis().len() + position) * self.shape.n()
    }

    pub(super) fn row(&self, poly: usize, limb: LimbId) -> &[u64] {
        &self.words[self.start(poly, limb)..][..self.shape.n()]
    }

    pub(super) fn row_mut(&mut self, poly: usize, limb: LimbId) -> &mut [u64] {
        let start = self.start(poly, limb);
        &mut self.words[start..][..self.shape.n()]
    }
}

/// Polynomials of an input.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    data: &'a Data,
    first: usize,
    count: usize,
}

impl Run<'_> {
    /// One row of `n` words: a batch of one serves all, a compact row is spread out.
    fn row(&self, poly: usize, limb: LimbId, n: usize) -> Vec<u64> {
        let row = self.data.row(self.first + if self.count == 1 { 0 } else { poly }, limb);
        let run = n / row.len();
        (0..n).map(|j| row[j / run]).collect()
    }
}

/// Evaluates kernels slowly.
pub(super) struct Reference {
    rns: Arc<Rns>,
    tables: Vec<NttTable>,
}

impl Reference {
    pub(super) fn new(rns: &Arc<Rns>) -> Self {
        let table = |q| NttTable::new(q, rns.log_n()).expect("an Rns holds NTT primes only");
        Self { rns: Arc::clone(rns), tables: rns.moduli().iter().map(table).collect() }
    }

    fn evaluate(&self, limb: LimbId, coefficients: &[u64]) -> Vec<u64> {
        let (table, n) = (&self.tables[limb.index()], coefficients.len());
        if n <= EXACT_N {
            let q = table.modulus();
            return exact::evaluate(coefficients, q.pow(table.psi(), (table.n() / n) as u64), q);
        }
        let mut x = coefficients.to_vec();
        table.forward(&mut x);
        x
    }

    fn interpolate(&self, limb: LimbId, values: &[u64]) -> Vec<u64> {
        let mut x = values.to_vec();
        self.tables[limb.index()].inverse(&mut x);
        assert_eq!(self.evaluate(limb, &x), values, "the scalar inverse transform");
        x
    }

    /// Runs a kernel on the polynomials `first..first + count` of `out`.
    pub(super) fn eval(
        &self,
        kernel: &Kernel,
        limbs: &Basis,
        out: &mut Data,
        (first, count): (usize, usize),
        ins: &[Run<'_>],
    ) {
        // Without limbs there is nothing to write, for however many polynomials.
        for poly in 0..if limbs.is_empty() { 0 } else { count } {
            let n = out.shape.n();
            // In place, the output is the first input.
            let input = |limb| match ins.first() {
                Some(run) => run.row(poly, limb, n),
                None => out.row(first + poly, limb).to_vec(),
            };
            let rows: Vec<Vec<u64>> = match kernel {
                Kernel::BaseConv { from } => self.convert(from, limbs, &input),
                Kernel::ModUp { from } => {
                    let rows = self.convert(from, limbs, &input);
                    limbs.iter().zip(&rows).map(|(l, row)| self.evaluate(l, row)).collect()
                }
                Kernel::ModDown { from } => self.mod_down(from, limbs, &input),
                Kernel::InnerProduct { terms, accumulate } => limbs
                    .iter()
                    .map(|l| {
                        let old = accumulate.then(|| out.row(first + poly, l).to_vec());
                        self.inner_product(*terms, l, old.unwrap_or(vec![0; n]), poly, [ins[0], ins[1]])
                    })
                    .collect(),
                limbwise => limbs
                    .iter()
                    .enumerate()
                    .map(|(k, limb)| {
                        let old = out.row(first + poly, limb).to_vec();
                        let ins: Vec<Vec<u64>> = ins.iter().map(|i| i.row(poly, limb, n)).collect();
                        self.limbwise(limbwise, (k, limb), old, &ins)
                    })
                    .collect(),
            };
            for (limb, row) in limbs.iter().zip(rows) {
                out.row_mut(first + poly, limb).copy_from_slice(&row);
            }
        }
    }

    fn limbwise(
        &self,
        kernel: &Kernel,
        (k, limb): (usize, LimbId),
        old: Vec<u64>,
        ins: &[Vec<u64>],
    ) -> Vec<u64> {
        let a = ins.first().unwrap_or(&old);
        match kernel {
            Kernel::Ntt => self.evaluate(limb, a),
            Kernel::Intt => self.interpolate(limb, a),
            Kernel::Automorphism(g) => {
                let coefficients = self.interpolate(limb, a);
                self.evaluate(limb, &exact::automorphism(&coefficients, g.exponent(), self.rns.modulus(limb)))
            }
            word_by_word => self.word_by_word(word_by_word, (k, limb), &old, ins),
        }
    }

    fn word_by_word(
        &self,
        kernel: &Kernel,
        (k, limb): (usize, LimbId),
        old: &[u64],
        ins: &[Vec<u64>],
    ) -> Vec<u64> {
        let (facts, q) = (kernel.facts(), self.rns.modulus(limb));
        let row = WORD_BY_WORD.iter().find(|(make, _)| make([].into()).name() == facts.name);
        let (_, meaning) = row.expect("the table has every word-by-word kernel");
        let mut operands = ins.iter().map(Vec::as_slice).collect::<Vec<_>>();
        if ins.len() < facts.inputs {
            operands.insert(0, old);
        }
        let word = |i: usize, j: usize| operands.get(i).map_or(0, |row| row[j]);
        let c = facts.scalars.map_or(0, |c| c[k]);
        (0..old.len()).map(|j| meaning(q, Words { old: old[j], a: word(0, j), b: word(1, j), c })).collect()
    }

    fn convert(&self, from: &Basis, limbs: &Basis, input: &dyn Fn(LimbId) -> Vec<u64>) -> Vec<Vec<u64>> {
        let source: Vec<Vec<u64>> = from.iter().map(input).collect();
        let mut rows = vec![Vec::with_capacity(source[0].len()); limbs.len()];
        for j in 0..source[0].len() {
            let residues: Vec<u64> = source.iter().map(|row| row[j]).collect();
            let images = exact::base_conv(&self.rns, from, limbs, &residues);
            rows.iter_mut().zip(images).for_each(|(row, x)| row.push(x));
        }
        rows
    }

    fn mod_down(&self, from: &Basis, limbs: &Basis, input: &dyn Fn(LimbId) -> Vec<u64>) -> Vec<Vec<u64>> {
        let coefficients = |basis: &Basis| -> Vec<Vec<u64>> {
            basis.iter().map(|l| self.interpolate(l, &input(l))).collect()
        };
        let (rest, own) = (coefficients(from), coefficients(limbs));
        let mut rows = vec![Vec::with_capacity(rest[0].len()); limbs.len()];
        for j in 0..rest[0].len() {
            let at = |rows: &[Vec<u64>]| -> Vec<u64> { rows.iter().map(|row| row[j]).collect() };
            let quotient = exact::divide_round(&self.rns, from, limbs, &at(&rest), &at(&own));
            rows.iter_mut().zip(quotient).for_each(|(row, x)| row.push(x));
        }
        limbs.iter().zip(&rows).map(|(l, row)| self.evaluate(l, row)).collect()
    }

    fn inner_product(
        &self,
        terms: usize,
        limb: LimbId,
        mut sum: Vec<u64>,
        poly: usize,
        [w, x]: [Run<'_>; 2],
    ) -> Vec<u64> {
        let (q, n, columns) = (self.rns.modulus(limb), sum.len(), x.count / terms);
        let (row, column) = (poly / columns, poly % columns);
        for i in 0..terms {
            let weights = w.row(row * terms + i, limb, n);
            let values = x.row(i * columns + column, limb, n);
            for (s, (&w, &x)) in sum.iter_mut().zip(weights.iter().zip(&values)) {
                *s = q.add(*s, q.mul(w, x));
            }
        }
        sum
    }
}
