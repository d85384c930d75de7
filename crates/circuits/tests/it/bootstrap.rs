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

#[test]
#[ignore]
fn full_size() {
    use std::time::Instant;
    let t = Instant::now();
    let s = Setup::new(aegis_ckks::Params::try_from(aegis_ckks::N16_B13_S40).unwrap(), 1);
    let b = Bootstrapper::new(&s.ctx, s.ctx.params().slots()).unwrap();
    println!("matrices {:?} {} MiB", t.elapsed(), b.bytes() >> 20);
    println!("keys {} MiB", b.keys().bytes(s.ctx.params()) >> 20);
    let ev = s.evaluator(&b.keys());
    println!("keys {:?}", t.elapsed());
    let z = uniform_complex(s.ctx.params().slots(), 1);
    let ct = s.encrypt(&z, s.ctx.params().base_level());
    s.ctx.device().sync().unwrap();
    for _ in 0..2 {
        let t = Instant::now();
        let out = b.bootstrap(&ev, &ct, 1.0).unwrap();
        s.ctx.device().sync().unwrap();
        println!("complex {:?}", t.elapsed());
        let d = distance(&s.decrypt(&out), &z);
        println!("error {:.2}", d.log2());
        let t = Instant::now();
        b.bootstrap_real(&ev, &ct, 1.0).unwrap();
        s.ctx.device().sync().unwrap();
        println!("real {:?}", t.elapsed());
    }
    println!(
        "peak {}",
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .find(|l| l.starts_with("VmHWM"))
            .unwrap()
    );
}
