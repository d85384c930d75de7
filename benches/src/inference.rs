//! An encrypted inference on the device that only records: no weight is multiplied and no key made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis::{Client, Model, Server};
use aegis_ckks::{Context, EvaluationKeys, KeyGenerator, OpCounts, Params, Seed};
use aegis_hal::Trace;
use aegis_hal::trace::Totals;
use aegis_nn::{Observer, TaskInfo};

/// What the tasks of stages of one name do, over all layers.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// Their number.
    pub times: u64,
    /// Bootstraps among them.
    pub bootstraps: u64,
    /// What they ask of the device; `peak_bytes` is the largest of theirs.
    pub counts: Totals,
    /// Time of the host.
    pub host: Duration,
}

/// What an inference does, by the name of the stage.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Stages by name.
    pub stages: BTreeMap<String, Stage>,
    /// Bytes of the evaluation keys, part of every peak.
    pub key_bytes: u64,
}

impl Recording {
    /// Records an inference of `model` with these parameters on a text, which may lie outside the calibration:
    /// no value is computed.
    ///
    /// # Errors
    /// Those of the model and of the evaluation.
    pub fn new(params: &Params, model: &Model, text: &str) -> anyhow::Result<Self> {
        let trace = Arc::new(Trace::counting(params.rns().clone()));
        let ctx = Context::new(params.clone(), trace.clone())?;
        let server = Server::new(&ctx, model.clone())?;
        let secret = KeyGenerator::new(&ctx, Seed::new([1; 32])).secret_key();
        let keys = Arc::new(EvaluationKeys::shapes(&ctx, server.request(), secret.id())?);
        let query = model.bert().query(model.layout(), text)?;
        let x = Client::new(&ctx, secret).encrypt(model, &query, &Seed::new([2; 32]))?;
        let before = trace.totals();
        let mut recorder = Recorder { trace, before, start: Instant::now(), stages: BTreeMap::new() };
        drop(server.evaluate(&keys, x, &mut recorder)?);
        Ok(Self { stages: recorder.stages, key_bytes: keys.bytes() })
    }

    /// All stages together.
    pub fn all(&self) -> Stage {
        let mut all = Stage::default();
        self.stages
            .values()
            .for_each(|stage| all.add(stage.times, stage.bootstraps, stage.counts, stage.host));
        all
    }
}

impl Stage {
    fn add(&mut self, times: u64, bootstraps: u64, counts: Totals, host: Duration) {
        let peak_bytes = self.counts.peak_bytes.max(counts.peak_bytes);
        self.times += times;
        self.bootstraps += bootstraps;
        self.counts += counts;
        self.counts.peak_bytes = peak_bytes;
        self.host += host;
    }
}

struct Recorder {
    trace: Arc<Trace>,
    before: Totals,
    start: Instant,
    stages: BTreeMap<String, Stage>,
}

impl Observer for Recorder {
    fn begin(&mut self, _task: &TaskInfo<'_>) {
        self.trace.reset_peak();
        self.before = self.trace.totals();
        self.start = Instant::now();
    }

    fn end(&mut self, task: &TaskInfo<'_>, _counts: &OpCounts) {
        let (host, counts) = (self.start.elapsed(), self.trace.totals() - self.before);
        let bootstraps = u64::from(&*task.kind.layer == "bootstrap");
        self.stages.entry(task.stage.layer.clone()).or_default().add(1, bootstraps, counts, host);
    }
}
