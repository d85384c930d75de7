//! Buffers of residues and views of them.

use std::any::Any;

use aegis_ring::{Basis, Rns};

use crate::{Error, Misfit, Result};

/// Most words of a buffer: slices hold at most `isize::MAX` bytes, and so do all products of sizes below.
const MAX_WORDS: usize = isize::MAX as usize / size_of::<u64>();

/// What a buffer holds: `batch` polynomials of `n` words for each limb of `basis`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    batch: usize,
    basis: Basis,
    n: usize,
}

impl Shape {
    /// A shape of `batch` polynomials over `basis` with `n` words a limb. Any numbers: [`Shape::check`] judges them.
    pub fn new(batch: usize, basis: Basis, n: usize) -> Self {
        Self { batch, basis, n }
    }

    /// Number of polynomials.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Limbs of each polynomial.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// Words a limb: the ring degree N, or a power of two `n < N` for a *compact* polynomial, one in
    /// `X^(N/n)`, whose `n` values in evaluation form each stand for a run of `N/n` equal ones.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Checks the shape against a ring: known limbs, `n` a power of two of at most N, and at most `isize::MAX` bytes, so
    /// that no product of these numbers wraps. Every backend calls it first.
    pub fn check(&self, rns: &Rns) -> Result<()> {
        let refuse = |misfit| Err(Error::Operands { op: "alloc", misfit });
        if !self.n.is_power_of_two() || self.n > rns.n() {
            return refuse(Misfit::Degree { n: self.n, degree: rns.n() });
        }
        if let Some(limb) = self.basis.iter().find(|l| l.index() >= rns.moduli().len()) {
            return refuse(Misfit::UnknownLimb { limb, primes: rns.moduli().len() });
        }
        // One row a polynomial counts without limbs too: signed words on their way to a device have it.
        let words = [self.basis.len().max(1), self.n].iter().try_fold(self.batch, |w, &f| w.checked_mul(f));
        if words.is_none_or(|w| w > MAX_WORDS) {
            let (batch, limbs, n) = (self.batch, self.basis.len(), self.n);
            return refuse(Misfit::TooLarge { batch, limbs, n });
        }
        Ok(())
    }

    /// Number of 64-bit words; `usize::MAX` where that does not fit, which [`Shape::check`] refuses.
    pub fn words(&self) -> usize {
        self.batch.saturating_mul(self.basis.len()).saturating_mul(self.n)
    }

    /// Size in bytes; `u64::MAX` where that does not fit, which [`Shape::check`] refuses.
    pub fn bytes(&self) -> u64 {
        (self.words() as u64).saturating_mul(8)
    }
}

/// Residues on some device: an owned, opaque buffer of canonical residues, freed when dropped.
///
/// Layout as seen by [`Backend::upload`](crate::Backend::upload) and
/// [`Backend::download`](crate::Backend::download): polynomial, then limb in basis order, then word.
#[derive(Debug)]
pub struct Poly {
    shape: Shape,
    buffer: Box<dyn Any + Send + Sync>,
}

impl Poly {
    /// Wraps a backend's own buffer. For implementers of [`Backend`](crate::Backend).
    pub fn from_buffer(shape: Shape, buffer: impl Any + Send + Sync) -> Self {
        Self { shape, buffer: Box::new(buffer) }
    }

    /// The backend's own buffer, or [`Error::WrongDevice`]. For implementers of [`Backend`](crate::Backend).
    pub fn buffer<T: 'static>(&self) -> Result<&T> {
        self.buffer.downcast_ref().ok_or(Error::WrongDevice)
    }

    /// [`Poly::buffer`], to change.
    pub fn buffer_mut<T: 'static>(&mut self) -> Result<&mut T> {
        self.buffer.downcast_mut().ok_or(Error::WrongDevice)
    }

    /// What the buffer holds.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Number of polynomials.
    pub fn batch(&self) -> usize {
        self.shape.batch
    }

    /// The limbs of each polynomial.
    pub fn basis(&self) -> &Basis {
        &self.shape.basis
    }

    /// Fails with [`Error::MissingLimb`] unless the buffer holds these limbs.
    pub(crate) fn check_limbs(&self, limbs: &Basis) -> Result<()> {
        match limbs.iter().find(|&l| !self.basis().contains(l)) {
            Some(limb) => Err(Error::MissingLimb { limb, have: self.basis().clone() }),
            None => Ok(()),
        }
    }

    /// All polynomials, to read.
    pub fn view(&self) -> View<'_> {
        View { poly: self, first: 0, count: self.shape.batch }
    }

    /// `count` polynomials from `first`, to read. Panics outside the batch: that is a bug of the caller.
    pub fn slice(&self, first: usize, count: usize) -> View<'_> {
        self.view().slice(first, count)
    }

    /// All polynomials, to write.
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        let count = self.shape.batch;
        ViewMut { poly: self, first: 0, count }
    }

    /// `count` polynomials from `first`, to write. Panics outside the batch: that is a bug of the caller.
    pub fn slice_mut(&mut self, first: usize, count: usize) -> ViewMut<'_> {
        assert_inside(first, count, self.shape.batch);
        ViewMut { poly: self, first, count }
    }
}

/// True when `first + count`, which may not fit a word, is at most `of`.
fn is_inside(first: usize, count: usize, of: usize) -> bool {
    first.checked_add(count).is_some_and(|end| end <= of)
}

fn assert_inside(first: usize, count: usize, of: usize) {
    assert!(is_inside(first, count, of), "{count} polynomials from {first} of {of}");
}

/// A run of polynomials of a [`Poly`], to read. It lies inside the batch: there is no other way to make one.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    poly: &'a Poly,
    first: usize,
    count: usize,
}

impl<'a> View<'a> {
    /// The buffer.
    pub fn poly(&self) -> &'a Poly {
        self.poly
    }

    /// First polynomial of the run.
    pub fn first(&self) -> usize {
        self.first
    }

    /// Number of polynomials.
    pub fn count(&self) -> usize {
        self.count
    }

    /// `count` polynomials from the run's `first`. Panics outside the run: that is a bug of the caller.
    pub fn slice(&self, first: usize, count: usize) -> View<'a> {
        assert_inside(first, count, self.count);
        View { poly: self.poly, first: self.first + first, count }
    }

    /// Fails unless the buffer holds these limbs and the run lies inside its batch. Every backend calls it in
    /// [`Backend::export`](crate::Backend::export) and [`Backend::adopt`](crate::Backend::adopt).
    pub fn check_limbs(&self, op: &'static str, limbs: &Basis) -> Result<()> {
        self.check().map_err(|misfit| Error::Operands { op, misfit })?;
        self.poly.check_limbs(limbs)
    }

    /// What a buffer for these limbs of the run holds.
    pub fn shape_of(&self, limbs: &Basis) -> Shape {
        Shape::new(self.count, limbs.clone(), self.poly.shape.n)
    }

    /// Checks that the run lies inside the batch: what backends with memory of their own rely on.
    pub(crate) fn check(&self) -> std::result::Result<(), Misfit> {
        let (first, count, batch) = (self.first, self.count, self.poly.batch());
        if is_inside(first, count, batch) { Ok(()) } else { Err(Misfit::Run { first, count, batch }) }
    }
}

/// A run of polynomials of a [`Poly`], to write. It lies inside the batch: there is no other way to make one.
#[derive(Debug)]
pub struct ViewMut<'a> {
    poly: &'a mut Poly,
    first: usize,
    count: usize,
}

impl ViewMut<'_> {
    /// The buffer.
    pub fn poly(&self) -> &Poly {
        self.poly
    }

    /// The buffer, to change. For implementers of [`Backend`](crate::Backend) whose buffers are made of others.
    pub fn poly_mut(&mut self) -> &mut Poly {
        self.poly
    }

    /// First polynomial of the run.
    pub fn first(&self) -> usize {
        self.first
    }

    /// Number of polynomials.
    pub fn count(&self) -> usize {
        self.count
    }

    /// `count` polynomials from the run's `first`. Panics outside the run: that is a bug of the caller.
    pub fn slice_mut(&mut self, first: usize, count: usize) -> ViewMut<'_> {
        assert_inside(first, count, self.count);
        ViewMut { poly: self.poly, first: self.first + first, count }
    }

    /// The same run for a shorter time.
    pub fn reborrow(&mut self) -> ViewMut<'_> {
        ViewMut { poly: self.poly, first: self.first, count: self.count }
    }

    /// The same run, to read.
    pub fn as_view(&self) -> View<'_> {
        View { poly: self.poly, first: self.first, count: self.count }
    }
}

impl<'a> From<&'a Poly> for View<'a> {
    fn from(poly: &'a Poly) -> Self {
        poly.view()
    }
}

impl<'a> From<&'a mut Poly> for ViewMut<'a> {
    fn from(poly: &'a mut Poly) -> Self {
        poly.view_mut()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use aegis_ring::LimbId;

    use super::*;
    use crate::{Backend, HostData, Kernel, Trace};

    const HUGE: [usize; 5] = [1 << 54, 1 << 60, (1 << 60) + 1, 1 << 61, usize::MAX];

    fn rns() -> Rns {
        Rns::new(3, &[97, 113]).unwrap()
    }

    fn basis(limbs: u16) -> Basis {
        (0..limbs).map(LimbId).collect()
    }

    #[test]
    fn shapes_whose_words_do_not_fit_memory_are_refused() {
        let trace = Trace::new(Arc::new(rns()));
        for (batch, limbs) in HUGE.into_iter().flat_map(|b| [(b, 0), (b, 1), (b, 2)]) {
            let shape = Shape::new(batch, basis(limbs), 8);
            let wide = batch as u128 * u128::from(limbs.max(1)) * 8 * 8;
            assert_eq!(shape.check(&rns()).is_ok(), wide <= isize::MAX as u128, "{shape:?}");
            assert!(shape.bytes() >= shape.words() as u64, "{shape:?}");
            let data = HostData::coefficients(vec![0; 8]);
            assert!(matches!(trace.upload(shape, data), Err(Error::Operands { .. })), "{batch} x {limbs}");
        }
        // Wraps to nothing, and to eight words.
        assert_eq!(Shape::new(1 << 61, basis(1), 8).words(), usize::MAX);
        assert_eq!(Shape::new((1 << 61) + 1, basis(1), 8).bytes(), u64::MAX);
    }

    #[test]
    #[cfg_attr(miri, ignore = "twenty panics take Miri minutes")]
    fn runs_whose_end_wraps_are_no_runs() {
        let mut poly = Poly::from_buffer(Shape::new(4, basis(1), 8), ());
        for (first, count) in [(usize::MAX, 1), (usize::MAX, usize::MAX), (1, usize::MAX), (4, 1), (0, 5)] {
            let mut cases: [&mut dyn FnMut(&mut Poly) -> usize; 4] = [
                &mut |p| p.slice(first, count).count(),
                &mut |p| p.view().slice(first, count).count(),
                &mut |p| p.slice_mut(first, count).count(),
                &mut |p| p.view_mut().slice_mut(first, count).count(),
            ];
            for (i, case) in cases.iter_mut().enumerate() {
                let result = catch_unwind(AssertUnwindSafe(|| case(&mut poly)));
                assert!(result.is_err(), "case {i}: {count} from {first}");
            }
        }
        // Inside the batch, but not inside the run.
        assert!(catch_unwind(AssertUnwindSafe(|| poly.slice(1, 2).slice(1, 2).count())).is_err());
    }

    #[test]
    fn runs_of_runs_count_from_the_outer_one() {
        let mut poly = Poly::from_buffer(Shape::new(8, basis(1), 8), ());
        let inner = poly.slice(2, 5).slice(1, 3);
        assert_eq!((inner.first(), inner.count()), (3, 3));
        let mut outer = poly.slice_mut(2, 5);
        let inner = outer.slice_mut(5, 0);
        assert_eq!((inner.first(), inner.count()), (7, 0));
    }

    /// Nothing outside this module can make such a view; a launch would refuse it all the same.
    #[test]
    fn a_launch_on_a_view_beyond_its_batch_is_refused() {
        let trace = Trace::new(Arc::new(rns()));
        let alloc = || trace.alloc(Shape::new(2, basis(1), 8)).unwrap();
        let (mut out, input) = (alloc(), alloc());
        for (first, count) in [((1 << 54) - 1, 2), (usize::MAX, 2), (1, 2)] {
            let beyond = View { poly: &input, first, count };
            let result = trace.launch(&Kernel::Copy, &basis(1), out.view_mut(), &[beyond]);
            assert!(
                matches!(result, Err(Error::Operands { op: "copy", misfit: Misfit::Run { batch: 2, .. } })),
                "{result:?}"
            );
            let beyond = ViewMut { poly: &mut out, first, count };
            let result = trace.launch(&Kernel::Copy, &basis(1), beyond, &[input.view()]);
            assert!(
                matches!(result, Err(Error::Operands { op: "copy", misfit: Misfit::Run { batch: 2, .. } })),
                "{result:?}"
            );
        }
    }

    #[test]
    fn inner_products_whose_number_of_sums_wraps_are_refused() {
        let trace = Trace::new(Arc::new(Rns::new(3, &[97]).unwrap()));
        // 2^32 rows by 2^32 columns, of one word each: no output has so many polynomials, an empty one has 2^64 fewer.
        let alloc = |batch| trace.alloc(Shape::new(batch, basis(1), 1)).unwrap();
        let (mut out, w, x) = (alloc(0), alloc(1 << 32), alloc(1 << 32));
        let kernel = Kernel::InnerProduct { terms: 1, accumulate: false };
        let result = trace.launch(&kernel, &basis(1), out.view_mut(), &[w.view(), x.view()]);
        assert!(matches!(result, Err(Error::Operands { .. })), "{result:?}");
    }
}
