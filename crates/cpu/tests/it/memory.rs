//! Buffers come back while the host runs ahead, and belong to one device.

use std::sync::Arc;

use aegis_cpu::Cpu;
use aegis_hal::{Backend, Error, HostData, Kernel, Shape, Trace};
use aegis_ring::{Basis, LimbId};

use crate::conformance::ring;

#[test]
fn memory_is_bounded_while_the_host_runs_ahead() {
    for threads in [1, 2] {
        let dev = Cpu::new(ring(12), threads).unwrap();
        let basis: Basis = (0..4).map(LimbId).collect();
        let shape = Shape::new(1, basis.clone(), 1 << 12);
        let mut x = dev.upload(shape.clone(), HostData::coefficients(vec![1; 1 << 12])).unwrap();
        let mut most = 0;
        for _ in 0..2000 {
            let mut next = dev.alloc(shape.clone()).unwrap();
            dev.launch(&Kernel::Add, &basis, next.view_mut(), &[x.view(), x.view()]).unwrap();
            dev.launch(&Kernel::Ntt, &basis, next.view_mut(), &[]).unwrap();
            x = next;
            most = most.max(dev.memory().live);
        }
        dev.sync().unwrap();
        assert!(most <= 4 * shape.bytes(), "{threads} threads: {most} bytes of buffers of {}", shape.bytes());
        drop(x);
        dev.sync().unwrap();
        assert_eq!(dev.memory().live, 0, "{threads} threads");
    }
}

#[test]
fn buffers_of_another_device_are_refused() {
    let rns = ring(5);
    let (dev, other) = (Cpu::new(Arc::clone(&rns), 1).unwrap(), Cpu::new(Arc::clone(&rns), 1).unwrap());
    let trace = Trace::new(rns);
    let basis = Basis::new([LimbId(0)]);
    let shape = Shape::new(1, basis.clone(), 32);
    let mut out = dev.alloc(shape.clone()).unwrap();
    for foreign in [other.alloc(shape.clone()).unwrap(), trace.alloc(shape).unwrap()] {
        let result = dev.launch(&Kernel::Copy, &basis, out.view_mut(), &[foreign.view()]);
        assert_eq!(result, Err(Error::WrongDevice));
        assert_eq!(dev.download(foreign.view()), Err(Error::WrongDevice));
    }
}
