//! Circuits counted instead of run.

use std::sync::Arc;

use aegis_hal::trace::Totals;
use aegis_hal::{Device, Shape, Trace};

use crate::{Ciphertext, Context, EvaluationKeys, Evaluator, KeyId, KeyRequest, Level, Params, Result};

/// Runs circuits on shapes: a device that only counts, keys and ciphertexts without content, and plaintexts that nobody
/// encodes. What a circuit costs at a level is known so before any key is made.
pub struct Recorder {
    ctx: Context,
    /// What the device is made of.
    traces: Vec<Arc<Trace>>,
}

/// Whose keys and ciphertexts they are: nobody's.
const NOBODY: KeyId = KeyId([0; 16]);

impl Recorder {
    /// A recorder for these parameters on one device.
    pub fn new(params: &Params) -> Result<Self> {
        let trace = Arc::new(Trace::of_shapes(params.rns().clone()));
        Self::on(params, trace.clone(), vec![trace])
    }

    /// A recorder on a device that is made of these recorders ([`Trace::of_shapes`]): counts are those of all of them
    /// together, what each receives from others included.
    pub fn on(params: &Params, device: Device, traces: Vec<Arc<Trace>>) -> Result<Self> {
        Ok(Self { ctx: Context::new(params.clone(), device)?, traces })
    }

    /// What all devices did, and hold.
    fn totals(&self) -> Totals {
        let mut all = Totals::default();
        for totals in self.traces.iter().map(|trace| trace.totals()) {
            all += totals;
            all.live_bytes += totals.live_bytes;
            all.peak_bytes += totals.peak_bytes;
        }
        all
    }

    /// Bytes of everything that is on the device now.
    pub fn live_bytes(&self) -> u64 {
        self.totals().live_bytes
    }

    /// What keys made for a request take.
    ///
    /// # Errors
    /// Those of the request.
    pub fn key_bytes(&self, request: &KeyRequest) -> Result<u64> {
        let before = self.live_bytes();
        let keys = EvaluationKeys::shapes(&self.ctx, request, NOBODY)?;
        let bytes = self.live_bytes() - before;
        drop(keys);
        Ok(bytes)
    }

    /// What circuits that encode in advance are made with.
    pub fn context(&self) -> &Context {
        &self.ctx
    }

    /// A ciphertext at `level`, of its canonical scale.
    pub fn ciphertext(&self, level: Level) -> Result<Ciphertext> {
        let params = self.ctx.params();
        params.check_level(level)?;
        let shape = Shape::new(2, params.basis(level).clone(), params.n());
        let poly = self.ctx.device().alloc(shape)?;
        Ok(Ciphertext::new(poly, level, params.scale(level), NOBODY))
    }

    /// What `circuit` asks of the device, and the keys that it uses, at the levels at which it uses them. The peak of the
    /// memory is what it holds at once beyond what there was before.
    pub fn record<T, E>(
        &self,
        circuit: impl FnOnce(&Evaluator) -> std::result::Result<T, E>,
    ) -> std::result::Result<(Totals, KeyRequest), E>
    where
        E: From<crate::Error>,
    {
        let keys = Arc::new(EvaluationKeys::of_any_shape(&self.ctx, NOBODY)?);
        let ev = Evaluator::new(&self.ctx, Arc::clone(&keys));
        self.traces.iter().for_each(|trace| trace.reset_peak());
        let before = self.totals();
        circuit(&ev)?;
        let mut totals = self.totals() - before;
        totals.peak_bytes -= before.live_bytes;
        Ok((totals, keys.contents()))
    }
}
