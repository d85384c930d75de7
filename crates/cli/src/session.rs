//! What the commands make of their arguments: a device, a model, the two sides.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use aegis::{Model, Server};
use aegis_ckks::{Context, Params};
use aegis_cpu::Cpu;
use aegis_models::{Bert, Query, Shared};
use aegis_nn::{Layout, Memory};
use anyhow::{Context as _, Result};

use crate::args::{self, Rounding};
use crate::devices::Devices;
use crate::memory;
use crate::presets::DEFAULT_TOKENS;

/// A device context for these parameters; without a number, every core works.
pub(crate) fn context(params: Params, threads: Option<NonZeroUsize>) -> Result<Context> {
    let threads = limit_threads(threads);
    let device = Cpu::new(params.rns().clone(), threads).context("cannot open the CPU as a device")?;
    Context::new(params, Arc::new(device)).context("cannot prepare the parameters")
}

/// Makes the process's own pool of as many threads, and says how many: on it uniform halves of keys are expanded and
/// calibrations made. It keeps the size that it got first.
pub(crate) fn limit_threads(threads: Option<NonZeroUsize>) -> usize {
    let threads = thread_count(threads);
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    threads
}

/// Worker threads asked for, or as many as there are cores.
pub(crate) fn thread_count(threads: Option<NonZeroUsize>) -> usize {
    threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// Reads a model directory.
pub(crate) fn load_model(dir: &Path) -> Result<Arc<Bert>> {
    Ok(Arc::new(Bert::load(dir).with_context(|| format!("model {}", dir.display()))?))
}

/// A model for texts of up to `tokens` tokens, and for the usual length at least.
pub(crate) fn model(params: &Params, bert: &Arc<Bert>, tokens: usize) -> Result<Model> {
    exact_model(params, bert, tokens.max(DEFAULT_TOKENS.min(bert.config().positions)))
}

/// A model for texts of up to `tokens` tokens.
pub(crate) fn exact_model(params: &Params, bert: &Arc<Bert>, tokens: usize) -> Result<Model> {
    let layout = bert.layout(params.slots(), tokens).with_context(|| {
        format!("texts of {tokens} tokens do not fit the model or preset {}", params.name())
    })?;
    model_with(bert, layout)
}

/// A model in the layout of a query.
pub(crate) fn model_with(bert: &Arc<Bert>, layout: Layout) -> Result<Model> {
    Model::with_layout(Arc::clone(bert), layout).context("the model cannot be evaluated under encryption")
}

/// The client's first step: texts made ready for encryption in as few queries as possible, or refused. A refused one is
/// named by its number: others may read what is printed.
pub(crate) fn queries(model: &Model, texts: &[String]) -> Result<Vec<Shared>> {
    let query = |(i, text): (usize, &String)| {
        let cannot = || format!("text {} cannot be embedded under encryption", i + 1);
        model.query(text).with_context(cannot)
    };
    let queries = texts.iter().enumerate().map(query).collect::<Result<Vec<_>>>()?;
    Ok(Query::share(&queries))
}

/// The server's first step.
pub(crate) fn server(ctx: &Context, model: Model) -> Result<Server> {
    Server::new(ctx, model)
        .with_context(|| format!("preset {} does not carry this model", ctx.params().name()))
}

/// The same on several devices, where the run fits the memory that this process may take; and what it will take.
pub(crate) fn server_within(
    devices: &Devices,
    model: Model,
    limit: args::Memory,
) -> Result<(Server, Memory)> {
    let ctx = &devices.ctx;
    let cannot = || format!("preset {} does not carry this model", ctx.params().name());
    let plan = model.plan(ctx.params()).with_context(cannot)?;
    let memory = devices.memory(&plan, model.network()).with_context(cannot)?;
    if let Some(free) = memory::free_bytes(limit.limit) {
        let checked = match devices.count() {
            1 => model.check_memory(&plan, ctx.params(), free).map_err(anyhow::Error::from),
            _ => memory::check_device(memory.peak(), free, model.layout().tokens()),
        };
        checked.context("the run was not begun")?;
    }
    Ok((Server::with_plan(ctx, model, plan).with_context(cannot)?, memory))
}

/// An embedding as others may see it, where that was asked for.
pub(crate) fn rounded(embedding: Vec<f64>, rounding: Rounding) -> Result<Vec<f64>> {
    match rounding.bits {
        Some(bits) => Ok(aegis_models::round(&embedding, bits)?),
        None => Ok(embedding),
    }
}
