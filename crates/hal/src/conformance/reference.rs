//! The meaning of every kernel on plain vectors, by the slow exact algorithms of `aegis_ring::exact`.

use std::sync::Arc;

use aegis_ring::{Basis, LimbId, Modulus, NttTable, Rns, exact};

use crate::{Kernel, Shape};

/// Rings up to this degree are transformed by Horner's rule, in quadratic time.
const EXACT_N: usize = 256;

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

    fn row(&self, poly: usize, limb: LimbId) -> &[u64] {
        &self.words[self.start(poly, limb)..][..self.shape.n()]
    }

    fn row_mut(&mut self, poly: usize, limb: LimbId) -> &mut [u64] {
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
        let q: &Modulus = self.rns.modulus(limb);
        let a = ins.first().unwrap_or(&old);
        // The second operand: in place, it is the only input.
        let binary = |f: &dyn Fn(u64, u64) -> u64| {
            let (a, b) = if ins.len() == 2 { (&ins[0], &ins[1]) } else { (&old, &ins[0]) };
            a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
        };
        let sum = |b: &dyn Fn(usize) -> u64| old.iter().enumerate().map(|(j, &o)| q.add(o, b(j))).collect();
        match kernel {
            Kernel::Ntt => self.evaluate(limb, a),
            Kernel::Intt => self.interpolate(limb, a),
            Kernel::Copy => a.clone(),
            Kernel::Add => binary(&|a, b| q.add(a, b)),
            Kernel::Sub => binary(&|a, b| q.sub(a, b)),
            Kernel::Mul => binary(&|a, b| q.mul(a, b)),
            Kernel::MulAdd => sum(&|j| q.mul(ins[0][j], ins[1][j])),
            Kernel::ScalarMul(c) => a.iter().map(|&a| q.mul(a, c[k])).collect(),
            Kernel::ScalarMulAdd(c) => sum(&|j| q.mul(ins[0][j], c[k])),
            Kernel::ScalarAdd(c) => a.iter().map(|&a| q.add(a, c[k])).collect(),
            Kernel::Automorphism(g) => {
                self.evaluate(limb, &exact::automorphism(&self.interpolate(limb, a), g.exponent(), q))
            }
            other => unreachable!("{} is not limb-wise", other.name()),
        }
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
