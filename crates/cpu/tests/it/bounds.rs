//! Safe code reaches nothing outside the buffers it names, and a device survives the attempt.

use std::panic::{AssertUnwindSafe, catch_unwind};

use aegis_cpu::Cpu;
use aegis_hal::{Backend, Error, HostData, Kernel, Shape};
use aegis_ring::{Basis, LimbId};

use crate::conformance::ring;

const N: usize = 64;

/// With views whose end wrapped, these launches read and changed the words of a neighbour.
#[test]
fn views_beyond_their_batch_reach_no_neighbour_and_leave_the_device_working() {
    for threads in [1, 2] {
        let dev = Cpu::new(ring(6), threads).unwrap();
        let basis = Basis::new([LimbId(0)]);
        let upload =
            |value| dev.upload(Shape::new(1, basis.clone(), N), HostData::residues(vec![value; N])).unwrap();
        let (before, mut x, after) = (upload(1), upload(2), upload(3));
        for (first, count) in [(usize::MAX, 1), (usize::MAX, 2), ((1 << 54) - 1, 1), (1, 1), (0, 2)] {
            let read = catch_unwind(AssertUnwindSafe(|| dev.download(x.slice(first, count))));
            assert!(read.is_err(), "{threads} threads: {count} from {first} was read");
            let zeros = Kernel::ScalarMul([0].into());
            let write =
                catch_unwind(AssertUnwindSafe(|| dev.launch(&zeros, &basis, x.slice_mut(first, count), &[])));
            assert!(write.is_err(), "{threads} threads: {count} from {first} was written");
        }
        dev.sync().unwrap();
        for (poly, value) in [(&before, 1), (&x, 2), (&after, 3)] {
            assert_eq!(dev.download(poly.view()).unwrap(), [value; N], "{threads} threads");
        }
    }
}

#[test]
fn shapes_whose_words_wrap_get_no_buffer() {
    let dev = Cpu::new(ring(6), 1).unwrap();
    let both = Basis::new([LimbId(0), LimbId(1)]);
    for batch in [1 << 54, 1 << 57, (1 << 57) + 1, 1 << 58, 1 << 63, usize::MAX] {
        let shape = Shape::new(batch, both.clone(), N);
        let refused = |e: Option<Error>| matches!(e, Some(Error::Operands { .. }));
        assert!(refused(dev.alloc(shape.clone()).err()), "{batch}");
        assert!(refused(dev.upload(shape.clone(), HostData::residues(vec![])).err()), "{batch}");
        assert!(refused(dev.upload(shape, HostData::coefficients(vec![0; N])).err()), "{batch}");
    }
}
