//! What each kind of task costs, counted once by a device that computes nothing.

use std::collections::{HashMap, HashSet};
use std::ops::AddAssign;
use std::sync::Arc;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{KernelCosts, KeyRequest, Params, Recorder, Totals};

use crate::program::{Kind, Place, Program, Task};
use crate::refresh::refresh;
use crate::{Layout, Result};

/// What plans weigh with: an AMD EPYC with AVX-512 IFMA on two cores, from the `hal` bench with 34 limbs and 3 digits
/// (benches/records, 2026-11-21, layers). `add_streamed` touches 1.57 MB in 43 us. With that price a byte, what is left of
/// `mod_up` (2.80 ms) and `mod_down` (6.98 ms) gives 71 ps a butterfly and 94 ps a multiply-add; transforms by themselves
/// give 53 and 102, `inner_product` 103. Encoding takes 3.6 ns a byte of one core (recorded 64 tokens, 2026-11-21).
pub const KERNEL_COSTS: KernelCosts =
    KernelCosts { byte_ps: 27, butterfly_ps: 75, multiply_add_ps: 100, upload_byte_ps: 1800 };

/// What one task asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// Of the device. The peak of the memory is what it holds at once beyond what it reads, its results included.
    pub totals: Totals,
    /// The keys that it uses, at the levels at which it uses them.
    pub keys: KeyRequest,
    /// By [`KERNEL_COSTS`].
    pub ns: u64,
}

/// What the tasks of a stage ask for together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bill {
    /// Number of tasks.
    pub tasks: u64,
    /// Of the device. The peak of the memory is the largest of a task.
    pub totals: Totals,
    /// By [`KERNEL_COSTS`].
    pub ns: u64,
}

impl Bill {
    fn add(&mut self, cost: &Cost) {
        *self += Self { tasks: 1, totals: cost.totals, ns: cost.ns };
    }
}

impl AddAssign for Bill {
    fn add_assign(&mut self, more: Self) {
        let peak = self.totals.peak_bytes.max(more.totals.peak_bytes);
        self.tasks += more.tasks;
        self.totals += more.totals;
        self.totals.peak_bytes = peak;
        self.ns = self.ns.saturating_add(more.ns);
    }
}

/// The costs of tasks with one parameter set, each kind counted when it is first asked for. Equal on all machines: both
/// sides of a protocol may plan on their own.
pub struct Catalog {
    recorder: Recorder,
    bootstrapper: Option<Arc<Bootstrapper>>,
    matrix_bytes: u64,
    /// Tasks of one kind are alike in one layout.
    known: HashMap<Layout, HashMap<Kind, Arc<Cost>>>,
}

impl Catalog {
    /// A catalog without entries, for one device.
    pub fn new(params: &Params) -> Result<Self> {
        Self::on(Recorder::new(params)?)
    }

    /// The same for the device of a recorder.
    pub fn on(recorder: Recorder) -> Result<Self> {
        let (params, before) = (recorder.context().params(), recorder.live_bytes());
        let bootstrapper = match params.bootstrap() {
            Some(_) => Some(Arc::new(Bootstrapper::new(recorder.context(), params.slots())?)),
            None => None,
        };
        let matrix_bytes = recorder.live_bytes() - before;
        Ok(Self { recorder, bootstrapper, matrix_bytes, known: HashMap::new() })
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        self.recorder.context().params()
    }

    /// Bytes of the encoded matrices of bootstrapping on a device.
    pub fn matrix_bytes(&self) -> u64 {
        self.matrix_bytes
    }

    /// What keys made for a request take on a device.
    ///
    /// # Errors
    /// Those of the request.
    pub fn key_bytes(&self, request: &KeyRequest) -> Result<u64> {
        Ok(self.recorder.key_bytes(request)?)
    }

    /// The cost of a task.
    ///
    /// # Errors
    /// Those that the task would run into.
    pub fn cost(&mut self, program: &Program, task: &Task) -> Result<Arc<Cost>> {
        let layout = *program.layout();
        if let Some(known) = self.known.get(&layout).and_then(|known| known.get(&task.kind)) {
            return Ok(Arc::clone(known));
        }
        let reads = task.reads.iter().map(|id| Ok(self.recorder.ciphertext(program.block(*id).level)?));
        let reads = reads.collect::<Result<Vec<_>>>()?;
        let cost = Arc::new(self.record(|place| task.run(program, place, &reads))?);
        self.known.entry(layout).or_default().insert(task.kind.clone(), Arc::clone(&cost));
        Ok(cost)
    }

    fn record<T>(&self, run: impl FnOnce(&Place) -> Result<T>) -> Result<Cost> {
        let (totals, keys) = self
            .recorder
            .record(|ev| run(&Place { ev: ev.clone(), bootstrapper: self.bootstrapper.clone() }).map(drop))?;
        Ok(Cost { ns: KERNEL_COSTS.ns(&totals, self.params().n()), totals, keys })
    }

    /// A bootstrap of one ciphertext or two, in nanoseconds; zero where the parameters have none.
    pub(crate) fn bootstrap_ns(&self, ciphertexts: usize) -> Result<u64> {
        if self.bootstrapper.is_none() {
            return Ok(0);
        }
        let base = self.params().base_level();
        let stale =
            (0..ciphertexts).map(|_| Ok(self.recorder.ciphertext(base)?)).collect::<Result<Vec<_>>>()?;
        Ok(self.record(|place| refresh(place, &stale, &vec![1.0; ciphertexts]))?.ns)
    }

    /// Every key that a program uses, each at the highest level of its use.
    pub fn keys(&mut self, program: &Program) -> Result<KeyRequest> {
        self.keys_of(program, program.tasks().iter())
    }

    /// The same for some of its tasks.
    pub(crate) fn keys_of<'a>(
        &mut self,
        program: &Program,
        tasks: impl Iterator<Item = &'a Task>,
    ) -> Result<KeyRequest> {
        let mut all = KeyRequest::new(self.params().n());
        let mut seen = HashSet::new();
        for task in tasks.filter(|task| seen.insert(&task.kind)) {
            all = all.merge(&self.cost(program, task)?.keys);
        }
        Ok(all)
    }

    /// What each stage of a program asks for, in their order.
    pub fn bills(&mut self, program: &Program) -> Result<Vec<Bill>> {
        let mut bills = vec![Bill::default(); program.stages().len()];
        for task in program.tasks() {
            bills[task.stage].add(&*self.cost(program, task)?);
        }
        Ok(bills)
    }
}
