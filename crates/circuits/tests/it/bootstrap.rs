//! Bootstraps against their budget.

use aegis_circuits::Bootstrapper;
use aegis_ckks::insecure_bootstrap_spec;

use crate::setup::{Setup, distance, uniform_complex};

#[test]
fn first() {
    let s = Setup::insecure(insecure_bootstrap_spec(11));
    let b = Bootstrapper::new(&s.ctx, s.ctx.params().slots()).unwrap();
    let ev = s.evaluator(&b.keys());
    let z = uniform_complex(s.ctx.params().slots(), 1);
    let ct = s.encrypt(&z, s.ctx.params().base_level());
    let out = b.bootstrap(&ev, &ct, 1.0).unwrap();
    let d = distance(&s.decrypt(&out), &z);
    println!("error {:.2}", d.log2());
    assert!(d < 1e-5);
}
