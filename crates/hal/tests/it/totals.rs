//! Totals of a trace, against numbers counted by hand. A row of this ring has 16 words, 128 bytes.

use std::sync::Arc;

use aegis_hal::trace::{Event, KernelCosts, Totals};
use aegis_hal::{Backend, HostData, Kernel, Poly, Shape, Trace};
use aegis_ring::{Basis, Rns};
use expect_test::expect;

use crate::{basis, ring};

const ROW: u64 = 128;

/// Launches on a trace that makes its operands itself.
struct Bench {
    trace: Trace,
}

impl Bench {
    fn new(make: fn(Arc<Rns>) -> Trace) -> Self {
        Self { trace: make(ring()) }
    }

    fn poly(&self, batch: usize, n: usize) -> Poly {
        self.trace.alloc(Shape::new(batch, basis(0..4), n)).unwrap()
    }

    /// What one launch adds, with an output of this batch and inputs of these batches and words.
    fn run(&self, kernel: &Kernel, limbs: &Basis, out: usize, ins: &[(usize, usize)]) -> Totals {
        let mut out = self.poly(out, 16);
        let ins: Vec<Poly> = ins.iter().map(|&(batch, n)| self.poly(batch, n)).collect();
        let views: Vec<_> = ins.iter().map(Poly::view).collect();
        let before = self.trace.totals();
        self.trace.run(kernel, limbs, out.view_mut(), &views).unwrap();
        self.trace.totals() - before
    }
}

fn fused() -> Bench {
    Bench::new(Trace::counting)
}

fn unfused() -> Bench {
    Bench::new(Trace::unfused)
}

#[test]
fn every_operand_is_read_and_written_once() {
    let (bench, three) = (fused(), basis(0..3));
    let c = || [2, 3, 5].into();
    for (kernel, ins, bytes) in [
        (Kernel::Copy, vec![(2, 16)], (6 + 6) * ROW),
        (Kernel::Add, vec![(2, 16), (2, 16)], (6 + 6 + 6) * ROW),
        // In place: what the output holds is read.
        (Kernel::Add, vec![(2, 16)], (6 + 6 + 6) * ROW),
        (Kernel::ScalarMul(c()), vec![(2, 16)], (6 + 6) * ROW),
        (Kernel::ScalarMul(c()), vec![], (6 + 6) * ROW),
        // A sum is read before it is written.
        (Kernel::ScalarMulAdd(c()), vec![(2, 16)], (6 + 6 + 6) * ROW),
        (Kernel::MulAdd, vec![(2, 16), (2, 16)], (6 + 6 + 6 + 6) * ROW),
        // A batch of one serves both polynomials.
        (Kernel::Mul, vec![(2, 16), (1, 16)], (6 + 6 + 3) * ROW),
        (Kernel::Mul, vec![(1, 16)], (6 + 6 + 3) * ROW),
        // Compact: four words a limb, and one.
        (Kernel::Mul, vec![(2, 4), (2, 16)], (6 + 6) * ROW + 6 * 32),
        (Kernel::MulAdd, vec![(2, 16), (1, 1)], (6 + 6 + 6) * ROW + 3 * 8),
    ] {
        let totals = bench.run(&kernel, &three, 2, &ins);
        assert_eq!((totals.launches, totals.bytes_touched), (1, bytes), "{kernel:?} {ins:?}");
        assert_eq!((totals.ntt_rows, totals.multiply_adds, totals.gathers), (0, 0, 0), "{kernel:?}");
    }
    assert_eq!(bench.trace.counts()["mul_add"].bytes_touched, (24 + 18) * ROW + 24);
}

#[test]
fn transforms_count_rows_of_the_whole_ring() {
    let (bench, three) = (fused(), basis(0..3));
    let copied = bench.run(&Kernel::Ntt, &three, 2, &[(2, 16)]);
    let in_place = bench.run(&Kernel::Intt, &three, 2, &[]);
    for totals in [copied, in_place] {
        assert_eq!((totals.ntt_rows, totals.bytes_touched), (6, 12 * ROW));
    }
    let mut compact = bench.poly(2, 4);
    let before = bench.trace.totals();
    bench.trace.launch(&Kernel::Ntt, &three, compact.view_mut(), &[]).unwrap();
    let totals = bench.trace.totals() - before;
    assert_eq!((totals.launches, totals.ntt_rows, totals.bytes_touched), (1, 0, 12 * 32));
}

/// The numbers that describe arithmetic are those of the lowering; bytes and launches are not.
fn arithmetic(t: Totals) -> [u64; 4] {
    [t.ntt_rows, t.multiply_adds, t.gathers, t.gathered_rows]
}

#[test]
fn conversions_read_what_they_gather() {
    let (two, three) = (basis(0..2), basis(0..3));
    let up = Kernel::ModUp { from: basis(2..4) };
    let down = Kernel::ModDown { from: basis(3..4) };

    let totals = fused().run(&Kernel::BaseConv { from: basis(2..4) }, &two, 2, &[(2, 16)]);
    assert_eq!(totals.bytes_touched, (4 + 4) * ROW);
    assert_eq!(arithmetic(totals), [0, 2 * 2 * 16 * 2, 1, 4]);

    let (whole, parts) = (fused().run(&up, &two, 2, &[(2, 16)]), unfused().run(&up, &two, 2, &[(2, 16)]));
    assert_eq!((whole.launches, whole.bytes_touched), (1, (4 + 4) * ROW));
    // base_conv, ntt out of place.
    assert_eq!((parts.launches, parts.bytes_touched), (2, (8 + 8) * ROW));
    assert_eq!((parts.allocations, parts.frees), (1, 1));
    assert_eq!(arithmetic(whole), [4, 2 * 2 * 16 * 2, 1, 4]);
    assert_eq!(arithmetic(parts), arithmetic(whole));

    let (whole, parts) =
        (fused().run(&down, &three, 2, &[(2, 16)]), unfused().run(&down, &three, 2, &[(2, 16)]));
    assert_eq!((whole.launches, whole.bytes_touched), (1, (6 + 8) * ROW));
    // intt, base_conv, ntt, sub_scale.
    assert_eq!((parts.launches, parts.bytes_touched), (4, (4 + 8 + 12 + 18) * ROW));
    assert_eq!(arithmetic(whole), [8, 2 * 3 * 16, 1, 2]);
    assert_eq!(arithmetic(parts), arithmetic(whole));
    let in_place = fused().run(&down, &three, 2, &[]);
    assert_eq!((in_place.bytes_touched, arithmetic(in_place)), ((6 + 8) * ROW, arithmetic(whole)));
}

#[test]
fn inner_products_sum_terms() {
    let (bench, two) = (fused(), basis(0..2));
    let inner = |accumulate| Kernel::InnerProduct { terms: 2, accumulate };
    // Two rows of weights by two columns.
    let totals = bench.run(&inner(false), &two, 4, &[(4, 16), (4, 16)]);
    assert_eq!((totals.bytes_touched, totals.multiply_adds), ((8 + 8 + 8) * ROW, 4 * 2 * 16 * 2));
    let totals = bench.run(&inner(true), &two, 4, &[(4, 1), (4, 16)]);
    assert_eq!((totals.bytes_touched, totals.multiply_adds), ((8 + 8 + 8) * ROW + 8 * 8, 4 * 2 * 16 * 2));
    // A mul and a mul_add for each of two rows; what they multiply is in their bytes.
    let totals = unfused().run(&inner(false), &two, 4, &[(4, 16), (4, 16)]);
    assert_eq!((totals.launches, totals.bytes_touched), (4, 2 * (10 + 14) * ROW));
}

#[test]
fn memory_is_live_from_alloc_to_drop() {
    let trace = Trace::counting(ring());
    let alloc = |batch, n| trace.alloc(Shape::new(batch, basis(0..1), n)).unwrap();
    let memory = || (trace.memory().live, trace.memory().peak);
    let (a, b) = (alloc(2, 16), alloc(4, 16));
    assert_eq!(memory(), (768, 768));
    drop(a);
    let c = alloc(1, 16);
    assert_eq!(memory(), (640, 768));
    let before = trace.totals();
    trace.reset_peak();
    drop(b);
    assert_eq!(memory(), (128, 640));
    let during = trace.totals() - before;
    assert_eq!((during.allocations, during.frees, during.live_bytes, during.peak_bytes), (0, 1, 128, 640));
    trace.clear();
    assert_eq!(memory(), (128, 128));
    assert_eq!(trace.totals().allocations, 0);
    // No buffer takes memory of the host, and no sum wraps.
    let huge: Vec<Poly> = (0..4).map(|_| alloc(1 << 55, 16)).collect();
    assert_eq!(memory(), (u64::MAX, u64::MAX));
    drop((huge, c));
    assert_eq!(trace.totals().frees, 5);
}

#[test]
fn bytes_to_and_from_the_host_are_counted() {
    let trace = Trace::counting(ring());
    let shape = Shape::new(2, basis(0..3), 16);
    let signed = trace.upload(shape.clone(), HostData::coefficients(vec![0; 32])).unwrap();
    let residues = trace.upload(shape, HostData::residues(vec![0; 96])).unwrap();
    trace.download(signed.slice(1, 1)).unwrap();
    let totals = trace.totals();
    assert_eq!((totals.uploads, totals.upload_bytes), (2, 32 * 8 + 96 * 8));
    assert_eq!((totals.downloads, totals.download_bytes), (1, 48 * 8));
    assert_eq!((totals.allocations, totals.live_bytes), (2, 2 * 96 * 8));
    drop(residues);
    assert_eq!((trace.totals().live_bytes, trace.totals().peak_bytes), (96 * 8, 2 * 96 * 8));
}

#[test]
fn a_trace_of_shapes_counts_uploads_without_their_words() {
    let shape = Shape::new(2, basis(0..3), 16);
    let totals = [Trace::counting(ring()), Trace::of_shapes(ring())].map(|trace| {
        let words = |n| if trace.reads_words() { n } else { 0 };
        let data = HostData::coefficients(vec![0; words(32)]);
        let kept = trace.upload(shape.clone(), data).unwrap();
        trace.upload(shape.clone(), HostData::residues(vec![0; words(96)])).unwrap();
        drop(kept);
        trace.totals()
    });
    assert_eq!(totals[0], totals[1]);
    let empty = Trace::counting(ring()).upload(shape, HostData::residues(vec![]));
    assert!(empty.is_err(), "a trace that reads words wants them all");
}

#[test]
fn costs_are_sums_of_counts_and_saturate() {
    let costs = KernelCosts { byte_ps: 1000, butterfly_ps: 10, multiply_add_ps: 2000, upload_byte_ps: 5_000 };
    let mut totals = Totals::default();
    (totals.bytes_touched, totals.ntt_rows, totals.multiply_adds, totals.upload_bytes) = (7, 100, 3, 2);
    // A row of 16 words takes 8 butterflies in each of four passes.
    assert_eq!(costs.ns(&totals, 16), 7 + 100 * 8 * 4 / 100 + 2 * 3 + 5 * 2);
    totals.bytes_touched = u64::MAX;
    assert_eq!(costs.ns(&totals, 16), u64::MAX);
}

/// A product and its rescale: a change of these numbers is a change of what is counted.
#[test]
fn totals_of_a_fixed_sequence() {
    let (trace, four, three) = (Trace::new(ring()), basis(0..4), basis(0..3));
    let x = trace.upload(Shape::new(1, four.clone(), 16), HostData::coefficients(vec![1; 16])).unwrap();
    let mut product = trace.alloc(x.shape().clone()).unwrap();
    trace.launch(&Kernel::Mul, &four, product.view_mut(), &[x.view(), x.view()]).unwrap();
    let mut out = trace.alloc(Shape::new(1, three.clone(), 16)).unwrap();
    let rescale = Kernel::ModDown { from: basis(3..4) };
    trace.launch(&rescale, &three, out.view_mut(), &[product.view()]).unwrap();
    trace.launch(&Kernel::Intt, &three, out.view_mut(), &[]).unwrap();
    drop(out);
    trace.download(x.view()).unwrap();
    expect![[r#"
        Totals {
            launches: 3,
            bytes_touched: 3200,
            ntt_rows: 11,
            multiply_adds: 48,
            gathers: 1,
            gathered_rows: 1,
            uploads: 1,
            upload_bytes: 128,
            downloads: 1,
            download_bytes: 512,
            exported_bytes: 0,
            adopted_bytes: 0,
            allocations: 3,
            frees: 1,
            live_bytes: 1024,
            peak_bytes: 1408,
        }
    "#]]
    .assert_debug_eq(&trace.totals());
}

#[test]
fn events_tell_the_limbs_of_operands_and_the_life_of_buffers() {
    let (trace, two) = (Trace::new(ring()), basis(0..2));
    let x = trace.upload(Shape::new(1, basis(0..4), 16), HostData::coefficients(vec![1; 16])).unwrap();
    let mut out = trace.alloc(Shape::new(1, two.clone(), 16)).unwrap();
    trace.launch(&Kernel::ModDown { from: basis(3..4) }, &two, out.view_mut(), &[x.view()]).unwrap();
    trace.launch(&Kernel::Add, &basis(0..1), out.view_mut(), &[x.view()]).unwrap();
    trace.download(out.view()).unwrap();
    drop(x);
    let describe = |event: &Event| match event {
        Event::Alloc { buffer, shape } => format!("alloc %{buffer} {:?}", shape.basis()),
        Event::Upload { buffer, bytes } => format!("upload %{buffer} {bytes}"),
        Event::Launch(l) => {
            let ins: Vec<String> = l.ins.iter().map(|i| format!("%{} {:?}", i.buffer, i.limbs)).collect();
            format!("{} %{} {:?} <- {}", l.kernel.name(), l.out.buffer, l.out.limbs, ins.join(", "))
        }
        Event::Download(operand) => format!("download {operand}"),
        Event::Free { buffer } => format!("free %{buffer}"),
        other => format!("{other:?}"),
    };
    let events: String = trace.events().iter().map(|event| describe(event) + "\n").collect();
    expect![[r#"
        alloc %0 {0..=3}
        upload %0 128
        alloc %1 {0..=1}
        mod_down %1 {0..=1} <- %0 {0..=1,3}
        add %1 {0} <- %0 {0}
        download %1[0..1]x16
        free %0
    "#]]
    .assert_eq(&events);
}
