//! Tests of the recorder, and of lowerings through it.

mod totals;

use std::sync::Arc;

use aegis_hal::{Backend, Device, Error, Kernel, Shape, Trace, conformance};
use aegis_ring::{Basis, LimbId, Rns, primes};
use expect_test::expect;

pub(crate) fn ring() -> Arc<Rns> {
    let mut taken = vec![];
    for _ in 0..4 {
        taken.push(primes::nearest_ntt_prime(2f64.powi(40), 1 << 39..1 << 41, 4, &taken).unwrap());
    }
    Arc::new(Rns::new(4, &taken).unwrap())
}

fn basis(limbs: std::ops::Range<u16>) -> Basis {
    limbs.map(LimbId).collect()
}

#[test]
fn a_recorder_that_computes_nothing_fails_the_suite() {
    let dev: Device = Arc::new(Trace::new(ring()));
    assert!(matches!(conformance::check(&dev, 1), Err(conformance::Failure::Wrong { .. })));
}

#[test]
fn lowering_of_mod_down() {
    let trace = Trace::unfused(ring());
    let (q, special) = (basis(0..3), basis(3..4));
    let x = trace.alloc(Shape::new(2, basis(0..4), 16)).unwrap();
    let mut out = trace.alloc(Shape::new(2, q.clone(), 16)).unwrap();
    let kernel = Kernel::ModDown { from: special };
    let refused = trace.launch(&kernel, &q, out.view_mut(), &[x.view()]);
    assert_eq!(refused, Err(Error::Unsupported("mod_down")));
    trace.run(&kernel, &q, out.view_mut(), &[x.view()]).unwrap();
    expect![[r#"
        intt {3} %2[0..2]x16 <- %0[0..2]x16
        base_conv({3}) {0..=2} %4[0..2]x16 <- %2[0..2]x16
        ntt {0..=2} %3[0..2]x16 <- %4[0..2]x16
        sub_scale {0..=2} %1[0..2]x16 <- %3[0..2]x16 %0[0..2]x16
    "#]]
    .assert_eq(&trace.text());
    assert_eq!(trace.counts()["base_conv"].rows, 6);
    trace.clear();
    assert!(trace.events().is_empty());
}

#[test]
fn lowering_of_inner_products() {
    let trace = Trace::unfused(ring());
    let q = basis(0..2);
    let poly = |batch| trace.alloc(Shape::new(batch, q.clone(), 16)).unwrap();
    let (w, x, mut out) = (poly(4), poly(4), poly(4));
    let kernel = Kernel::InnerProduct { terms: 2, accumulate: false };
    trace.run(&kernel, &q, out.view_mut(), &[w.view(), x.view()]).unwrap();
    expect![[r#"
        mul {0..=1} %2[0..2]x16 <- %0[0..1]x16 %1[0..2]x16
        mul_add {0..=1} %2[0..2]x16 <- %0[1..2]x16 %1[2..4]x16
        mul {0..=1} %2[2..4]x16 <- %0[2..3]x16 %1[0..2]x16
        mul_add {0..=1} %2[2..4]x16 <- %0[3..4]x16 %1[2..4]x16
    "#]]
    .assert_eq(&trace.text());
}

#[test]
fn a_counting_trace_keeps_no_events() {
    let trace = Trace::counting(ring());
    let q = basis(0..2);
    let mut x = trace.alloc(Shape::new(3, q.clone(), 16)).unwrap();
    for _ in 0..5 {
        trace.launch(&Kernel::Ntt, &q, x.view_mut(), &[]).unwrap();
    }
    assert_eq!((trace.counts()["ntt"].launches, trace.counts()["ntt"].rows), (5, 30));
    assert!(trace.events().is_empty() && trace.text().is_empty());
    assert_eq!(trace.download(x.slice(1, 1)).unwrap(), vec![0; 32]);
}
