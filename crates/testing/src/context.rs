//! Contexts in one call.

use std::sync::Arc;

use aegis_ckks::{Context, Params, ParamsSpec};
use aegis_cpu::Cpu;
use aegis_hal::Trace;
use aegis_ring::Rns;

/// A ring without security on the CPU, with two threads.
pub fn insecure(spec: ParamsSpec) -> Context {
    on_cpu(Params::insecure(spec).expect("parameters"), 2)
}

/// These parameters on the CPU.
pub fn on_cpu(params: Params, threads: usize) -> Context {
    let device = Cpu::new(params.rns().clone(), threads).expect("a device");
    Context::new(params, Arc::new(device)).expect("a context")
}

/// A ring without security on a recorder: `Trace::new`, `Trace::unfused` or `Trace::counting`.
pub fn recorded(spec: ParamsSpec, make: fn(Arc<Rns>) -> Trace) -> (Context, Arc<Trace>) {
    let params = Params::insecure(spec).expect("parameters");
    let trace = Arc::new(make(params.rns().clone()));
    (Context::new(params, trace.clone()).expect("a context"), trace)
}
