//! Buffers of residues and views of them.

use std::any::Any;

use aegis_ring::{Basis, Rns};

use crate::{Error, Result};

/// What a buffer holds: `batch` polynomials of `n` words for each limb of `basis`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of polynomials.
    pub batch: usize,
    /// Limbs of each polynomial.
    pub basis: Basis,
    /// Words a limb: the ring degree N, or a power of two `n < N` for a *compact* polynomial, one in
    /// `X^(N/n)`, whose `n` values in evaluation form each stand for a run of `N/n` equal ones.
    pub n: usize,
}

impl Shape {
    /// A shape of `batch` polynomials over `basis` with `n` words a limb.
    pub fn new(batch: usize, basis: Basis, n: usize) -> Self {
        Self { batch, basis, n }
    }

    /// Checks the shape against a ring: known limbs, `n` a power of two of at most N. Every backend calls it first.
    pub fn check(&self, rns: &Rns) -> Result<()> {
        let refuse = |reason| Err(Error::Operands { kernel: "alloc", reason });
        if !self.n.is_power_of_two() || self.n > rns.n() {
            return refuse(format!("{} words a limb in a ring of degree {}", self.n, rns.n()));
        }
        match self.basis.iter().find(|l| l.index() >= rns.moduli().len()) {
            Some(limb) => refuse(format!("{limb:?} in a ring of {} primes", rns.moduli().len())),
            None => Ok(()),
        }
    }

    /// Number of 64-bit words.
    pub fn words(&self) -> usize {
        self.batch * self.basis.len() * self.n
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.words() as u64 * 8
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

    /// All polynomials, to read.
    pub fn view(&self) -> View<'_> {
        View { poly: self, first: 0, count: self.shape.batch }
    }

    /// `count` polynomials from `first`, to read. Panics outside the batch: that is a bug of the caller.
    pub fn slice(&self, first: usize, count: usize) -> View<'_> {
        self.check(first, count);
        View { poly: self, first, count }
    }

    /// All polynomials, to write.
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        let count = self.shape.batch;
        ViewMut { poly: self, first: 0, count }
    }

    /// `count` polynomials from `first`, to write. Panics outside the batch: that is a bug of the caller.
    pub fn slice_mut(&mut self, first: usize, count: usize) -> ViewMut<'_> {
        self.check(first, count);
        ViewMut { poly: self, first, count }
    }

    fn check(&self, first: usize, count: usize) {
        let batch = self.shape.batch;
        assert!(first + count <= batch, "polynomials {first}..{} of a batch of {batch}", first + count);
    }
}

/// A run of polynomials of a [`Poly`], to read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The buffer.
    pub poly: &'a Poly,
    /// First polynomial of the run.
    pub first: usize,
    /// Number of polynomials.
    pub count: usize,
}

/// A run of polynomials of a [`Poly`], to write.
#[derive(Debug)]
pub struct ViewMut<'a> {
    /// The buffer.
    pub poly: &'a mut Poly,
    /// First polynomial of the run.
    pub first: usize,
    /// Number of polynomials.
    pub count: usize,
}

impl ViewMut<'_> {
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
