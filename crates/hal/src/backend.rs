//! The one interface between mathematics and machines.

use std::sync::Arc;

use aegis_ring::{Basis, Rns};
use zeroize::Zeroizing;

use crate::{Error, Kernel, Misfit, Parcel, Poly, Result, Shape, View, ViewMut, Words};

/// A device, passed by value: cheap to clone, never ambient.
pub type Device = Arc<dyn Backend>;

/// Data on its way to a device, or to several: clones share the words.
#[derive(Clone, Debug)]
pub enum HostData {
    /// Canonical residues: polynomial, then limb in basis order, then word.
    Residues(Words),
    /// Signed coefficients, one row of `n` words a polynomial. The device reduces them modulo every limb and transforms
    /// the rows while they are in its cache: the polynomials arrive in evaluation form, as by [`Kernel::Ntt`]. Secrets
    /// and errors travel this way, so the coefficients are overwritten when the last clone is dropped.
    Coefficients(Arc<Zeroizing<Vec<i64>>>),
}

impl HostData {
    /// Canonical residues.
    pub fn residues(words: Vec<u64>) -> Self {
        Self::Residues(Arc::new(words))
    }

    /// Signed coefficients.
    pub fn coefficients(words: impl Into<Zeroizing<Vec<i64>>>) -> Self {
        Self::Coefficients(Arc::new(words.into()))
    }

    /// Checks the data against the shape it is meant for: number of words, and canonical residues. Every backend
    /// calls it in [`Backend::upload`].
    pub fn check(&self, rns: &Rns, shape: &Shape) -> Result<()> {
        shape.check(rns)?;
        match self {
            Self::Residues(words) => shape.check_words(rns, "upload", words),
            Self::Coefficients(words) => check_length("upload", words.len(), shape.batch() * shape.n()),
        }
    }
}

impl Shape {
    /// Checks words that are to fill such a buffer: their number, and that they are canonical residues. `op` is what the
    /// error names. Every backend calls it in [`Backend::adopt`].
    pub fn check_words(&self, rns: &Rns, op: &'static str, words: &[u64]) -> Result<()> {
        check_length(op, words.len(), self.words())?;
        for (row, limb) in words.chunks_exact(self.n()).zip(self.basis().iter().cycle()) {
            let modulus = rns.modulus(limb).value();
            if let Some(&value) = row.iter().find(|&&word| word >= modulus) {
                return Err(Error::Operands { op, misfit: Misfit::NotAResidue { value, modulus } });
            }
        }
        Ok(())
    }
}

fn check_length(op: &'static str, have: usize, want: usize) -> Result<()> {
    if have == want {
        return Ok(());
    }
    Err(Error::Operands { op, misfit: Misfit::DataLength { have, want } })
}

/// What the buffers of a device take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Most that they may take at once, where that is bounded.
    pub limit: Option<u64>,
    /// In buffers that are alive: held by the host or by queued launches, and written at least once.
    pub live: u64,
    /// The most that was live at once, the scratch of launches included.
    pub peak: u64,
}

/// Something that computes on polynomials: a CPU, a GPU, a recorder, or several of these behind one face.
///
/// # Contract
/// * Launches are asynchronous: they return once enqueued, and a launch is ordered after the earlier ones that touch
///   the same buffers. [`Backend::download`] and [`Backend::sync`] wait.
/// * A launch is checked ([`Kernel::check`]) before it is enqueued, so bad operands are reported at once, and nothing has
///   happened then.
/// * Results are bit-identical on every backend, for every number of threads or devices.
/// * A buffer is not addressable by the host, and a fresh one ([`Backend::alloc`]) holds unspecified words.
///
/// # Failures
/// * A launch or upload that finds no memory when it runs *poisons* its output: the whole buffer holds no words from then
///   on, but the error. What it held before is overwritten.
/// * Whatever reads a poisoned buffer or writes to it, even all of it, fails with the same error: at once where the
///   poison is there already, otherwise by poisoning its own output. [`Backend::download`] reports it. A poisoned
///   buffer stays so until it is dropped.
/// * Other buffers are as they would be without the failure, and the device goes on working.
/// * [`Backend::sync`] reports the first failure since the last call, once.
/// * [`Error::Device`] alone is final: the device is lost with all its buffers.
pub trait Backend: Send + Sync {
    /// The degree and the primes of the ring that this device computes in.
    fn rns(&self) -> &Arc<Rns>;

    /// A fresh buffer. Words that were never written are unspecified and may be no residues; they are those that earlier
    /// buffers of the same device left, or zero, and never those of another device or process. Who holds secrets
    /// overwrites them before the buffer is dropped. A transform of such words is a bug of the caller, which debug
    /// builds may report as [`Error::Device`].
    ///
    /// Fails with [`Error::OutOfMemory`] where no launch could ever write the buffer; otherwise memory may be taken later.
    fn alloc(&self, shape: Shape) -> Result<Poly>;

    /// A buffer with this content. Fails when the number of words does not fit the shape.
    fn upload(&self, shape: Shape, data: HostData) -> Result<Poly>;

    /// The content as canonical residues: polynomial, then limb in basis order, then word.
    fn download(&self, view: View<'_>) -> Result<Vec<u64>>;

    /// Starts to copy these limbs out: polynomial, then limb in the order of `limbs`, then word. The host does not wait: the
    /// parcel is there when the launches so far that touch the buffer are done, and holds what they left.
    ///
    /// Fails at once for a foreign buffer or a limb that it does not hold; the parcel fails where the buffer is poisoned.
    fn export(&self, view: View<'_>, limbs: &Basis) -> Result<Parcel>;

    /// Enqueues the writing of these limbs with the words of a parcel, laid out as by [`Backend::export`]. Launches after it
    /// wait for the words; the host does not, unless the device has no queue and runs launches as they come. The words may come from anywhere: they are checked as those of an upload.
    ///
    /// Fails at once as [`Backend::export`]; a parcel that fails or does not fit poisons the output.
    fn adopt(&self, out: ViewMut<'_>, limbs: &Basis, parcel: &Parcel) -> Result<()>;

    /// Whether the words of an upload are looked at. Where they are not (a recorder of shapes), nobody needs to compute them,
    /// and data of no words stands for those of any shape.
    fn reads_words(&self) -> bool {
        true
    }

    /// Enqueues one kernel on `limbs`. [`Error::Unsupported`] only for a fused kernel ([`Kernel::is_fused`]).
    fn launch(&self, kernel: &Kernel, limbs: &Basis, out: ViewMut<'_>, ins: &[View<'_>]) -> Result<()>;

    /// Waits for every launch so far. Reports the first failure since the last call, and forgets it.
    fn sync(&self) -> Result<()>;

    /// What the buffers take now and took at most. Launches that wait have not taken theirs yet.
    fn memory(&self) -> Memory;

    /// Enqueues one kernel, by its lowering where this backend has no such fused kernel.
    fn run(&self, kernel: &Kernel, limbs: &Basis, mut out: ViewMut<'_>, ins: &[View<'_>]) -> Result<()> {
        match self.launch(kernel, limbs, out.reborrow(), ins) {
            Err(Error::Unsupported(_)) => kernel.lower(self, limbs, out, ins),
            result => result,
        }
    }
}
