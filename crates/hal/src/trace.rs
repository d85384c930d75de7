//! A device that computes nothing and writes down what it is asked to do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aegis_ring::{Basis, Rns};

use crate::{Backend, Error, Host, Kernel, Poly, Result, Shape, View, ViewMut};

/// One launch as recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The kernel with its arguments.
    pub kernel: Kernel,
    /// The limbs written.
    pub limbs: Basis,
    /// The output.
    pub out: Operand,
    /// The inputs; one fewer than the kernel takes when it ran in place.
    pub ins: Vec<Operand>,
}

/// An operand as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Number of the buffer, in the order of their making.
    pub buffer: u64,
    /// First polynomial.
    pub first: usize,
    /// Number of polynomials.
    pub count: usize,
    /// Words a limb.
    pub n: usize,
}

/// How often a kernel ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Number of launches.
    pub launches: u64,
    /// Rows written: limbs times polynomials, over all launches.
    pub rows: u64,
}

struct Log {
    records: Option<Vec<Record>>,
    counts: BTreeMap<&'static str, Count>,
}

/// The buffer of a trace: its number, and the trace that it belongs to.
struct Token {
    id: u64,
    owner: Arc<Mutex<Log>>,
}

/// Records launches: op counts, golden texts, the planner's graph. [`Backend::download`] gives zeros.
///
/// Fused kernels are recorded as they are asked for; [`Trace::unfused`] makes a trace that refuses them, so that
/// [`Backend::run`] records their lowerings.
pub struct Trace {
    rns: Arc<Rns>,
    fused: bool,
    next: AtomicU64,
    log: Arc<Mutex<Log>>,
}

impl Trace {
    /// A trace that keeps every launch.
    pub fn new(rns: Arc<Rns>) -> Self {
        Self::with(rns, true, Some(vec![]))
    }

    /// A trace that keeps every launch and knows primitive kernels only.
    pub fn unfused(rns: Arc<Rns>) -> Self {
        Self::with(rns, false, Some(vec![]))
    }

    /// A trace that keeps counts only: for programs of millions of launches.
    pub fn counting(rns: Arc<Rns>) -> Self {
        Self::with(rns, true, None)
    }

    fn with(rns: Arc<Rns>, fused: bool, records: Option<Vec<Record>>) -> Self {
        let log = Log { records, counts: BTreeMap::new() };
        Self { rns, fused, next: AtomicU64::new(0), log: Arc::new(Mutex::new(log)) }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every launch so far, in order. Empty for [`Trace::counting`].
    pub fn records(&self) -> Vec<Record> {
        self.log().records.clone().unwrap_or_default()
    }

    /// How often each kernel ran, by name.
    pub fn counts(&self) -> BTreeMap<&'static str, Count> {
        self.log().counts.clone()
    }

    /// Forgets what was recorded.
    pub fn clear(&self) {
        let mut log = self.log();
        log.counts.clear();
        if let Some(records) = &mut log.records {
            records.clear();
        }
    }

    /// One line a launch, for golden tests: kernel, limbs, output and inputs as `buffer[first..end]`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for r in self.records() {
            let _ = write!(text, "{} {:?} {}", describe(&r.kernel), r.limbs, r.out);
            let _ = match r.ins.as_slice() {
                [] => writeln!(text),
                ins => {
                    let ins: Vec<String> = ins.iter().map(ToString::to_string).collect();
                    writeln!(text, " <- {}", ins.join(" "))
                }
            };
        }
        text
    }

    fn operand(&self, view: View<'_>) -> Result<Operand> {
        let token = view.poly().buffer::<Token>()?;
        if !Arc::ptr_eq(&token.owner, &self.log) {
            return Err(Error::WrongDevice);
        }
        let n = view.poly().shape().n();
        Ok(Operand { buffer: token.id, first: view.first(), count: view.count(), n })
    }
}

impl std::fmt::Display for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "%{}[{}..{}]x{}", self.buffer, self.first, self.first + self.count, self.n)
    }
}

/// Name and arguments, without the values of constants.
fn describe(kernel: &Kernel) -> String {
    match kernel {
        Kernel::Automorphism(g) => format!("automorphism({})", g.exponent()),
        Kernel::InnerProduct { terms, accumulate: false } => format!("inner_product({terms})"),
        Kernel::InnerProduct { terms, accumulate: true } => format!("inner_product({terms}, accumulate)"),
        other => match other.gathers() {
            Some(from) => format!("{}({from:?})", other.name()),
            None => other.name().to_owned(),
        },
    }
}

impl Backend for Trace {
    fn rns(&self) -> &Arc<Rns> {
        &self.rns
    }

    fn alloc(&self, shape: Shape) -> Result<Poly> {
        shape.check(&self.rns)?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(Poly::from_buffer(shape, Token { id, owner: Arc::clone(&self.log) }))
    }

    fn upload(&self, shape: Shape, data: Host) -> Result<Poly> {
        data.check(&self.rns, &shape)?;
        self.alloc(shape)
    }

    fn download(&self, view: View<'_>) -> Result<Vec<u64>> {
        self.operand(view)?;
        Ok(vec![0; view.count() * view.poly().basis().len() * view.poly().shape().n()])
    }

    fn launch(&self, kernel: &Kernel, limbs: &Basis, out: ViewMut<'_>, ins: &[View<'_>]) -> Result<()> {
        if kernel.is_fused() && !self.fused {
            return Err(Error::Unsupported(kernel.name()));
        }
        kernel.check(&self.rns, limbs, &out, ins)?;
        let target = self.operand(out.as_view())?;
        let ins = ins.iter().map(|&i| self.operand(i)).collect::<Result<Vec<_>>>()?;
        let mut log = self.log();
        let count = log.counts.entry(kernel.name()).or_default();
        count.launches += 1;
        count.rows += (limbs.len() * target.count) as u64;
        if let Some(records) = &mut log.records {
            records.push(Record { kernel: kernel.clone(), limbs: limbs.clone(), out: target, ins });
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}
