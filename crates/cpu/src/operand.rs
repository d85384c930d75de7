//! What a job knows of one operand.
//!
//! The unsafe code of this crate outside `simd` rests on these facts, which comments call by their names:
//! * *Bounds*: `Operand::of` finds a run of polynomials to fit its buffer, and `Rows::start` asserts that a row is one
//!   of the run. (`Shape::check` and `Kernel::check` see to it that no launch fails so.)
//! * *Executor*: jobs run one at a time, in `Executor::submit` or on its thread, so that nothing else touches the
//!   buffers of the running one; operands are opened before its tasks start.
//! * *Others*: the inputs of a launch are other buffers than its output, for `Backend::launch` borrows the output
//!   exclusively and a buffer has one `Poly`. No task writes them. Scratch has no `Poly` and is another buffer too.
//! * *Apart*: tasks are numbered by polynomials of the run, limbs, which are distinct in a `Basis`, and blocks of
//!   words: no two have words of the output in common.

use std::ptr::NonNull;
use std::sync::Arc;

use aegis_hal::{Error, Misfit, Result, Shape, View};
use aegis_ring::{Basis, LimbId};

use crate::memory::{Buffer, Pool};

/// A run of polynomials of a buffer, kept alive by a queued job.
pub(crate) struct Operand {
    buffer: Arc<Buffer>,
    basis: Basis,
    first: usize,
    count: usize,
    n: usize,
}

impl Operand {
    /// Fails with `WrongDevice` for a buffer of another device, and on a poisoned one.
    pub(crate) fn new(pool: &Arc<Pool>, view: View<'_>) -> Result<Self> {
        let buffer = view.poly().buffer::<Arc<Buffer>>()?;
        if !buffer.is_of(pool) {
            return Err(Error::WrongDevice);
        }
        buffer.check()?;
        Self::of(Arc::clone(buffer), view.poly().shape(), view.first(), view.count())
    }

    /// A buffer for the running job alone.
    pub(crate) fn scratch(pool: &Arc<Pool>, shape: &Shape) -> Result<Self> {
        Self::of(Arc::new(Buffer::new(pool, shape.words())), shape, 0, shape.batch())
    }

    /// The polynomials `first..first + count` of a buffer of this shape. Refuses what reaches beyond the words of the
    /// buffer: all access in bounds rests on this, and nothing but this.
    fn of(buffer: Arc<Buffer>, shape: &Shape, first: usize, count: usize) -> Result<Self> {
        let rows = first.checked_add(count).and_then(|end| end.checked_mul(shape.basis().len()));
        if rows.and_then(|rows| rows.checked_mul(shape.n())).is_none_or(|words| words > buffer.len()) {
            let misfit = Misfit::Run { first, count, batch: shape.batch() };
            return Err(Error::Operands { op: "operand", misfit });
        }
        Ok(Self { buffer, basis: shape.basis().clone(), first, count, n: shape.n() })
    }

    /// Number of polynomials.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Makes the words accessible to the tasks of the running job. Fails when there is no memory for them, and on a
    /// poisoned buffer.
    ///
    /// # Safety
    /// Only from the executor, outside the parallel part of a job.
    pub(crate) unsafe fn open(&self) -> Result<Rows<'_>> {
        // SAFETY: passed on.
        let words = unsafe { self.buffer.materialise() }?;
        Ok(Rows { operand: self, words })
    }

    /// Poisons the whole buffer: see [`Buffer::poison`].
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn poison(&self, error: &Error) {
        // SAFETY: passed on.
        unsafe { self.buffer.poison(error) };
    }
}

/// The rows (one limb of one polynomial) of an operand of the running job.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    operand: &'a Operand,
    words: NonNull<u64>,
}

// SAFETY: a `Rows` only hands out memory through `row` and `part_mut`, whose callers keep tasks apart.
unsafe impl Send for Rows<'_> {}
// SAFETY: as above.
unsafe impl Sync for Rows<'_> {}

impl<'a> Rows<'a> {
    /// Words a limb.
    pub(crate) fn n(&self) -> usize {
        self.operand.n
    }

    /// Number of polynomials.
    pub(crate) fn count(&self) -> usize {
        self.operand.count
    }

    /// Where `limb` stands in a polynomial. The launch was checked, so it is there.
    pub(crate) fn position(&self, limb: LimbId) -> usize {
        self.operand.basis.position(limb).expect("a checked launch names limbs of its operands")
    }

    /// Positions of many limbs.
    pub(crate) fn positions(&self, limbs: &Basis) -> Vec<usize> {
        limbs.iter().map(|l| self.position(l)).collect()
    }

    /// Where a row begins. Asserts that it is a row of the operand.
    fn start(&self, poly: usize, position: usize) -> *mut u64 {
        let o = self.operand;
        // A batch of one serves every polynomial.
        let poly = if o.count == 1 { 0 } else { poly };
        assert!(
            poly < o.count && position < o.basis.len(),
            "polynomial {poly}, limb {position} of an operand"
        );
        let row = (o.first + poly) * o.basis.len() + position;
        // SAFETY: Bounds. By the assertion `(row + 1) * n <= (first + count) * limbs * n`, which `Operand::of` found to
        // fit the buffer; nothing wraps for the same reason.
        unsafe { self.words.as_ptr().add(row * o.n) }
    }

    /// Where a row begins, for prefetching.
    pub(crate) fn address(&self, poly: usize, position: usize) -> *const u64 {
        self.start(poly, position)
    }

    /// One row, to read.
    ///
    /// # Safety
    /// No task of the running job writes this row while the slice lives.
    pub(crate) unsafe fn row(&self, poly: usize, position: usize) -> &'a [u64] {
        // SAFETY: in bounds by `Rows::start`; unwritten by the condition above.
        unsafe { std::slice::from_raw_parts(self.start(poly, position), self.operand.n) }
    }

    /// The words `start..start + len` of one row, to write.
    ///
    /// # Safety
    /// No other task of the running job touches these words while the slice lives.
    pub(crate) unsafe fn part_mut(
        &self,
        poly: usize,
        position: usize,
        start: usize,
        len: usize,
    ) -> &'a mut [u64] {
        let n = self.operand.n;
        assert!(start <= n && len <= n - start, "{len} words from {start} of {n}");
        // SAFETY: in bounds by `Rows::start` and the assertion; exclusive by the condition above.
        unsafe { std::slice::from_raw_parts_mut(self.start(poly, position).add(start), len) }
    }

    /// One row, to write.
    ///
    /// # Safety
    /// No other task of the running job touches this row while the slice lives.
    pub(crate) unsafe fn row_mut(&self, poly: usize, position: usize) -> &'a mut [u64] {
        // SAFETY: passed on.
        unsafe { self.part_mut(poly, position, 0, self.operand.n) }
    }
}
