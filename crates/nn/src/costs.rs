//! What a network costs at each level: its layers and a bootstrap, counted by a device that computes nothing.

use std::iter;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{KernelCosts, Level, Params, Recorder, Totals};

use crate::bootstraps::refresh;
use crate::schedule::Costs;
use crate::{Content, CtTensor, Layer, Layout, Port, Result};

/// What schedules weigh with: an AMD EPYC with AVX-512 IFMA on two cores, from the `hal` bench with 34 limbs and 3 digits
/// (benches/records, 2026-11-21, layers). `add_streamed` touches 1.57 MB in 43 us. With that price a byte, what is left of
/// `mod_up` (2.80 ms) and `mod_down` (6.98 ms) gives 71 ps a butterfly and 94 ps a multiply-add; transforms by themselves
/// give 53 and 102, `inner_product` 103. Encoding takes 3.6 ns a byte of one core (recorded 64 tokens, 2026-11-21).
pub const KERNEL_COSTS: KernelCosts =
    KernelCosts { byte_ps: 27, butterfly_ps: 75, multiply_add_ps: 100, upload_byte_ps: 1800 };

/// The costs of these layers and of a bootstrap. Equal for equal layers and parameters, on any machine: both sides of a
/// protocol may plan on their own.
pub(crate) fn costs<'a>(params: &Params, layers: impl Iterator<Item = &'a dyn Layer>) -> Result<Costs> {
    let recorder = Recorder::new(params)?;
    let mut known: Vec<(Kind, Vec<u64>)> = vec![];
    let mut ops_ns = vec![];
    for layer in layers {
        let Some(top) = params.fresh_level().0.checked_sub(layer.depth()) else {
            ops_ns.push(vec![]);
            continue;
        };
        let at_base = count(&recorder, layer, Level::BASE)?;
        let kind = Kind { inputs: layer.inputs(), outputs: layer.outputs(), at_base };
        if let Some((_, costs)) = known.iter().find(|(other, _)| *other == kind) {
            ops_ns.push(costs.clone());
            continue;
        }
        let above = (1..=top).map(|level| count(&recorder, layer, Level(level)));
        let totals = iter::once(Ok(at_base)).chain(above);
        let costs = totals.map(|totals| Ok(ns(params, &totals?))).collect::<Result<Vec<_>>>()?;
        known.push((kind, costs.clone()));
        ops_ns.push(costs);
    }
    let [single_ns, pair_ns] = bootstraps_ns(&recorder)?;
    Ok(Costs { ops_ns, pair_ns, single_ns })
}

/// Layers of one kind, as those in the same place of each block of an encoder: they ask the same of a device at the
/// lowest level, and so at all. The other levels are counted once a kind.
#[derive(PartialEq)]
struct Kind {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    at_base: Totals,
}

fn ns(params: &Params, totals: &Totals) -> u64 {
    KERNEL_COSTS.ns(totals, params.n())
}

/// What one run of a layer at a level asks of the device.
fn count(recorder: &Recorder, layer: &dyn Layer, level: Level) -> Result<Totals> {
    let ev = recorder.evaluator(&layer.keys(recorder.context().params(), level))?;
    let inputs = layer.inputs();
    let inputs = inputs.iter().map(|port| {
        let level = level.up(port.above);
        tensor(recorder, layer.layout(), port.content, level)
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    recorder.count(|| layer.forward(&ev, &inputs.iter().collect::<Vec<_>>()))
}

/// A tensor without padding, at one level.
fn tensor(recorder: &Recorder, layout: &Layout, content: Content, level: Level) -> Result<CtTensor> {
    let blocks = (0..layout.blocks(content)).map(|_| Ok(recorder.ciphertext(level)?));
    CtTensor::new(layout, content, layout.tokens(), blocks.collect::<Result<_>>()?)
}

/// Bootstraps of one and of two ciphertexts; zeros where the parameters have none.
fn bootstraps_ns(recorder: &Recorder) -> Result<[u64; 2]> {
    let params = recorder.context().params();
    if params.bootstrap().is_none() {
        return Ok([0, 0]);
    }
    let bootstrapper = Bootstrapper::new(recorder.context(), params.slots())?;
    let ev = recorder.evaluator(&bootstrapper.keys())?;
    let x = (recorder.ciphertext(params.base_level())?, 1.0);
    let pair = [x.clone(), x];
    let cost = |stale: &[_]| {
        let totals = recorder.count(|| refresh(&ev, &bootstrapper, stale))?;
        Ok::<_, crate::Error>(ns(params, &totals))
    };
    Ok([cost(&pair[..1])?, cost(&pair)?])
}
