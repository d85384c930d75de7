//! A device that runs out of memory says so with the numbers, loses what it could not compute, and goes on working.

use std::sync::Arc;

use aegis_cpu::{Cpu, CpuOptions};
use aegis_hal::{Backend, Error, HostData, Kernel, Poly, Shape};
use aegis_ring::{Basis, Galois, LimbId, Rns};
use proptest::prelude::*;

use crate::conformance::ring;

const LOG_N: u32 = 8;
const N: usize = 1 << LOG_N;
/// Bytes of one limb of one polynomial.
const ROW: u64 = 8 * N as u64;

fn limited(threads: usize, memory_limit: u64) -> Cpu {
    let options = CpuOptions { threads, memory_limit: Some(memory_limit), ..CpuOptions::default() };
    Cpu::with_options(ring(LOG_N), options).unwrap()
}

fn limbs(range: std::ops::Range<u16>) -> Basis {
    range.map(LimbId).collect()
}

fn shape(basis: &Basis) -> Shape {
    Shape::new(1, basis.clone(), N)
}

/// A small polynomial, linear in `value`.
fn upload(dev: &Cpu, basis: &Basis, value: i64) -> Poly {
    let words = (0..N as i64).map(|i| value * (i - 5)).collect::<Vec<_>>();
    dev.upload(shape(basis), HostData::coefficients(words)).unwrap()
}

fn full(asked: u64, limit: u64, live: u64) -> Error {
    Error::OutOfMemory { asked, limit: Some(limit), live }
}

fn assert_bounded(dev: &Cpu) {
    let memory = dev.memory();
    assert!(memory.live <= memory.peak && memory.peak <= memory.limit.unwrap(), "{memory:?}");
}

#[test]
fn a_buffer_beyond_the_limit_is_refused_at_once() {
    for limit in [0, 63, 4 * ROW] {
        let dev = limited(1, limit);
        let (q, whole_lines) = (limbs(0..5), limit / 64 * 64);
        assert_eq!(dev.alloc(shape(&q)).unwrap_err(), full(5 * ROW, whole_lines, 0));
        assert_eq!(dev.memory().limit, Some(whole_lines));
        assert_eq!(dev.sync(), Ok(()));
    }
    let options = CpuOptions { threads: 1, memory_limit: Some(u64::MAX), ..CpuOptions::default() };
    assert!(matches!(Cpu::with_options(ring(LOG_N), options), Err(Error::OutOfMemory { .. })));
}

#[test]
fn an_output_without_room_poisons_itself_alone() {
    for threads in [1, 2] {
        let q = limbs(0..4);
        let limit = 8 * ROW;
        let dev = limited(threads, limit);
        let (x, mut y) = (upload(&dev, &q, 3), upload(&dev, &q, 4));
        let mut sum = dev.alloc(shape(&q)).unwrap();
        dev.launch(&Kernel::Add, &q, sum.view_mut(), &[x.view(), y.view()]).unwrap();
        let error = full(4 * ROW, limit, limit);
        assert_eq!(dev.download(sum.view()), Err(error.clone()), "{threads} threads");
        // Reported once; what needs the lost sum is refused from now on, before anything is enqueued.
        assert_eq!(dev.sync(), Err(error.clone()), "{threads} threads");
        assert_eq!(dev.sync(), Ok(()), "{threads} threads");
        assert_eq!(dev.launch(&Kernel::Add, &q, y.view_mut(), &[sum.view()]), Err(error.clone()));
        assert_eq!(dev.run(&Kernel::Copy, &q, sum.view_mut(), &[x.view()]), Err(error));
        // The others are whole, and the device computes.
        dev.launch(&Kernel::Sub, &q, y.view_mut(), &[x.view()]).unwrap();
        drop((x, sum));
        let want = upload(&dev, &q, 1);
        assert_eq!(dev.download(y.view()), dev.download(want.view()), "{threads} threads");
        assert_eq!(dev.sync(), Ok(()), "{threads} threads");
        assert_bounded(&dev);
    }
}

/// Without waiting in between, a job finds its operand poisoned.
#[test]
fn poison_is_passed_on_in_the_queue() {
    for threads in [1, 2] {
        let q = limbs(0..4);
        let dev = limited(threads, 8 * ROW);
        let (x, mut y) = (upload(&dev, &q, 3), upload(&dev, &q, 4));
        let mut sum = dev.alloc(shape(&q)).unwrap();
        let error = full(4 * ROW, 8 * ROW, 8 * ROW);
        dev.launch(&Kernel::Add, &q, sum.view_mut(), &[x.view(), y.view()]).unwrap();
        let next = dev.launch(&Kernel::MulAdd, &q, y.view_mut(), &[sum.view(), x.view()]);
        match next {
            // The queue was quick, or there is none: refused, and nothing has happened to `y`.
            Err(e) => {
                assert_eq!(e, error, "{threads} threads");
                assert!(dev.download(y.view()).is_ok());
            }
            Ok(()) => {
                assert_eq!(dev.download(y.view()), Err(error.clone()), "{threads} threads");
                assert_eq!(dev.memory().live, 4 * ROW, "a poisoned buffer keeps no memory");
            }
        }
        assert_eq!(dev.sync(), Err(error), "{threads} threads");
        assert_bounded(&dev);
    }
}

#[test]
fn mod_down_without_room_for_scratch_fails_typed_and_works_later() {
    let (q, special, all) = (limbs(0..4), limbs(4..6), limbs(0..6));
    let kernel = Kernel::ModDown { from: special };
    let down = |dev: &Cpu, x: &Poly| {
        let mut out = dev.alloc(shape(&q)).unwrap();
        dev.launch(&kernel, &q, out.view_mut(), &[x.view()]).unwrap();
        dev.download(out.view())
    };
    let free = Cpu::new(ring(LOG_N), 1).unwrap();
    let want = down(&free, &upload(&free, &all, 7)).unwrap();
    for threads in [1, 2] {
        let limit = 12 * ROW;
        let dev = limited(threads, limit);
        let (x, ballast) = (upload(&dev, &all, 7), upload(&dev, &limbs(0..1), 1));
        let error = full(2 * ROW, limit, 11 * ROW);
        assert_eq!(down(&dev, &x), Err(error.clone()), "{threads} threads");
        assert_eq!(dev.sync(), Err(error), "{threads} threads");
        drop(ballast);
        assert_eq!(down(&dev, &x).as_ref(), Ok(&want), "{threads} threads");
        assert_eq!((dev.sync(), dev.memory().peak), (Ok(()), limit), "{threads} threads");
        // In place, four rows of scratch are needed besides, and the operand is lost.
        let (mut x, ballast) = (x, upload(&dev, &limbs(0..1), 1));
        dev.launch(&kernel, &q, x.view_mut(), &[]).unwrap();
        assert_eq!(dev.download(x.view()), Err(full(4 * ROW, limit, 9 * ROW)), "{threads} threads");
        drop((x, ballast));
        assert_eq!(down(&dev, &upload(&dev, &all, 7)).as_ref(), Ok(&want), "{threads} threads");
        assert_bounded(&dev);
    }
}

#[test]
fn an_upload_without_room_is_reported_where_it_is_used() {
    for threads in [1, 2] {
        let q = limbs(0..4);
        let dev = limited(threads, 7 * ROW);
        let (x, mut lost) = (upload(&dev, &q, 3), upload(&dev, &q, 4));
        let error = full(4 * ROW, 7 * ROW, 4 * ROW);
        assert_eq!(dev.sync(), Err(error.clone()), "{threads} threads");
        assert_eq!(dev.download(lost.view()), Err(error.clone()), "{threads} threads");
        assert_eq!(dev.launch(&Kernel::Ntt, &q, lost.view_mut(), &[]), Err(error), "{threads} threads");
        let want = dev.download(x.view()).unwrap();
        drop(x);
        assert_eq!(dev.download(upload(&dev, &q, 3).view()), Ok(want), "{threads} threads");
        assert_bounded(&dev);
    }
}

/// How secrets are overwritten before they are dropped: that must not need memory.
#[test]
fn a_full_device_still_overwrites_in_place() {
    for threads in [1, 2] {
        let q = limbs(0..4);
        let dev = limited(threads, 4 * ROW);
        let mut x = upload(&dev, &q, 3);
        dev.launch(&Kernel::ScalarMul([0; 4].into()), &q, x.view_mut(), &[]).unwrap();
        assert_eq!(dev.download(x.view()).unwrap(), [0; 4 * N], "{threads} threads");
        assert_eq!(dev.sync(), Ok(()), "{threads} threads");
    }
}

/// One step of a random program on slots of buffers.
#[derive(Clone, Copy, Debug)]
enum Step {
    Upload(usize),
    Ntt(usize),
    Mul(usize, usize),
    Turn(usize, usize),
    ModDown(usize),
    Drop(usize),
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = 0usize..6;
    let two = (slot.clone(), slot.clone());
    let step = prop_oneof![
        3 => slot.clone().prop_map(Step::Upload),
        2 => slot.clone().prop_map(Step::Ntt),
        2 => two.clone().prop_map(|(a, b)| Step::Mul(a, b)),
        3 => two.prop_map(|(a, b)| Step::Turn(a, b)),
        1 => slot.clone().prop_map(Step::ModDown),
        1 => slot.prop_map(Step::Drop),
        1 => Just(Step::Sync),
    ];
    prop::collection::vec(step, 1..60)
}

/// Runs one step; an error leaves the slots as they are, but for outputs that were taken from them.
fn run(dev: &Cpu, slots: &mut [Option<Poly>; 6], step: Step) -> Result<(), Error> {
    let (all, special) = (limbs(0..6), limbs(4..6));
    match step {
        Step::Upload(a) => slots[a] = Some(upload(dev, &all, a as i64 + 2)),
        Step::Ntt(a) => {
            if let Some(x) = &mut slots[a] {
                dev.launch(&Kernel::Ntt, &all, x.view_mut(), &[])?;
            }
        }
        Step::Mul(a, b) => {
            if let Ok([Some(x), Some(y)]) = slots.get_disjoint_mut([a, b]) {
                dev.launch(&Kernel::Mul, &all, x.view_mut(), &[y.view()])?;
            }
        }
        Step::Turn(a, b) => {
            if let Some(x) = &slots[b] {
                let mut out = dev.alloc(shape(&all))?;
                let kernel = Kernel::Automorphism(Galois::rotation(3, N));
                dev.launch(&kernel, &all, out.view_mut(), &[x.view()])?;
                slots[a] = Some(out);
            }
        }
        Step::ModDown(a) => {
            if let Some(x) = &mut slots[a] {
                dev.launch(
                    &Kernel::ModDown { from: special.clone() },
                    &all.minus(&special),
                    x.view_mut(),
                    &[],
                )?;
            }
        }
        Step::Drop(a) => slots[a] = None,
        Step::Sync => dev.sync()?,
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is lost on the way, the rest is right, and the memory stays within its limit.
    #[test]
    fn what_a_full_device_gives_is_right(steps in steps(), rows in 6u64..40, threads in 1usize..3) {
        let rns: Arc<Rns> = ring(LOG_N);
        let (dev, free) = (limited(threads, rows * ROW), Cpu::new(rns, 1).unwrap());
        let (mut slots, mut want) = ([const { None }; 6], [const { None }; 6]);
        for &step in &steps {
            match run(&dev, &mut slots, step) {
                Ok(()) => run(&free, &mut want, step).unwrap(),
                Err(e) => {
                    let limit = if let Error::OutOfMemory { limit, .. } = e { limit } else { None };
                    prop_assert_eq!(limit, Some(rows * ROW), "{}", e);
                }
            }
        }
        for (have, want) in slots.iter().zip(&want) {
            match have.as_ref().map(|x| dev.download(x.view())) {
                Some(Ok(words)) => {
                    let right = words == free.download(want.as_ref().unwrap().view()).unwrap();
                    prop_assert!(right, "{steps:?}");
                }
                Some(Err(e)) => {
                    let typed = matches!(e, Error::OutOfMemory { .. });
                    prop_assert!(typed, "{e}");
                }
                None => prop_assert!(want.is_none()),
            }
        }
        drop(slots);
        let broken = matches!(dev.sync(), Err(Error::Device(_)));
        prop_assert!(!broken);
        let memory = dev.memory();
        prop_assert!(memory.live == 0 && memory.peak <= rows * ROW, "{memory:?}");
    }
}
