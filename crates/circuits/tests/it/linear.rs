//! Linear transforms against matrix products in `f64`.

use std::collections::BTreeMap;

use aegis_circuits::{Diagonals, Error, InvalidCircuit, LinearTransform, Result};
use aegis_ckks::{Ciphertext, KeyRequest, Level, N16_B13_S40, Params, Recorder, insecure_levelled_spec};
use aegis_testing::{Setup, distance, insecure, uniform_complex};
use num_complex::Complex64;

/// Random diagonals: every (output, input, index) has its own.
struct Random {
    period: usize,
    zero: Option<i64>,
}

impl Diagonals for Random {
    fn period(&self) -> usize {
        self.period
    }

    fn diagonal(&self, output: usize, input: usize, index: i64) -> Option<Vec<Complex64>> {
        let seed = (output * 64 + input) as u64 * 4096 + index.rem_euclid(4096) as u64;
        (Some(index) != self.zero).then(|| uniform_complex(self.period, seed))
    }
}

fn plain(d: &dyn Diagonals, outputs: usize, xs: &[Vec<Complex64>], indices: &[i64]) -> Vec<Vec<Complex64>> {
    let slots = xs[0].len();
    let mut out = vec![vec![Complex64::default(); slots]; outputs];
    for (o, out) in out.iter_mut().enumerate() {
        for (a, x) in xs.iter().enumerate() {
            for &index in indices {
                let Some(diagonal) = d.diagonal(o, a, index) else { continue };
                for (p, value) in out.iter_mut().enumerate() {
                    let moved = (p as i64 + index).rem_euclid(slots as i64) as usize;
                    *value += diagonal[p % diagonal.len()] * x[moved];
                }
            }
        }
    }
    out
}

struct Case {
    inputs: usize,
    outputs: usize,
    indices: Vec<i64>,
    stride: i64,
    period: usize,
    n1: Option<usize>,
}

#[test]
fn block_matrices() {
    let case = |inputs, outputs, indices: Vec<i64>, stride, period, n1| Case {
        inputs,
        outputs,
        indices,
        stride,
        period,
        n1,
    };
    let cases = [
        case(1, 1, vec![0], 1, 1, None),
        case(1, 1, vec![5], 5, 256, None),
        case(1, 1, (-7..8).collect(), 1, 16, None),
        case(1, 1, (-7..8).map(|d| 8 * d).collect(), 8, 64, Some(4)),
        case(1, 2, (0..16).collect(), 1, 256, None),
        case(3, 2, vec![-6, -1, 0, 3, 4, 9], 1, 32, Some(3)),
        case(2, 1, (-4..3).collect(), 1, 8, Some(1)),
        case(2, 3, (0..9).collect(), 1, 8, Some(100)),
    ];
    let s = Setup::new(insecure(insecure_levelled_spec(9, 2)));
    for (number, c) in cases.into_iter().enumerate() {
        let mut t = LinearTransform::new(c.inputs, c.outputs, c.indices.clone(), c.stride).unwrap();
        if let Some(n1) = c.n1 {
            t = t.with_baby_steps(n1);
        }
        let d = Random { period: c.period, zero: c.indices.get(3).copied() };
        let keys = t.keys(s.ctx.params(), Level(2));
        let ev = s.evaluator(&keys);
        let xs: Vec<_> = (0..c.inputs).map(|a| uniform_complex(s.ctx.params().slots(), a as u64)).collect();
        let cts: Vec<_> = xs.iter().map(|x| s.encrypt_at(x, Level(2))).collect();
        let out = t.apply(&ev, &cts, &d).unwrap();

        let counts = ev.counts();
        assert_eq!(counts.rotations, (t.rotations().0 + t.rotations().1) as u64, "case {number}");
        let target = s.ctx.params().scale(Level(1));
        let encoded = t.encode(&s.ctx, &d, Level(2), cts[0].scale(), target).unwrap();
        let again = t.apply_encoded(&ev, &cts, &encoded).unwrap();
        let want = plain(&d, c.outputs, &xs, &c.indices);
        assert_eq!(out.len(), c.outputs);
        for ((ct, again), want) in out.iter().zip(&again).zip(&want) {
            let got = s.decrypt(ct);
            let error = distance(&got, want);
            assert!(error < 1e-6, "case {number}: off by {error:e}");
            assert_eq!((ct.level(), ct.level()), (Level(1), again.level()));
            assert!((ct.scale() / target - 1.0).abs() < 1e-9);
            assert_eq!(got, s.decrypt(again), "case {number}: encoded in advance");
        }
    }
}

#[test]
fn every_declared_key_is_needed() {
    let s = Setup::new(insecure(insecure_levelled_spec(9, 1)));
    let t = LinearTransform::new(1, 1, -3..5, 1).unwrap().with_baby_steps(3);
    let keys = t.keys(s.ctx.params(), Level(1));
    let declared: BTreeMap<_, _> = keys.galois_maps().collect();
    assert_eq!(declared.len(), 4);
    let d = Random { period: 16, zero: None };
    let x = [s.encrypt_at(&uniform_complex(16, 1), Level(1))];
    for missing in declared.keys() {
        let kept = declared.iter().filter(|(map, _)| *map != missing);
        let request = kept.fold(KeyRequest::new(s.ctx.params().n()), |r, (map, l)| r.galois(*map, *l));
        assert!(
            t.apply(&s.evaluator(&request), &x, &d).unwrap_err().to_string().contains("no switching key")
        );
    }
    assert!(t.apply(&s.evaluator(&keys), &x, &d).is_ok());
}

#[test]
fn misuse_is_an_error() {
    let refusal = |t: Result<LinearTransform>| match t.map(drop) {
        Err(Error::Invalid(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(LinearTransform::new(1, 1, [1, 2], 2)), InvalidCircuit::Stride(2));
    assert_eq!(refusal(LinearTransform::new(1, 1, [0], 0)), InvalidCircuit::Stride(0));
    let empty = |inputs, diagonals| InvalidCircuit::Empty { inputs, outputs: 1, diagonals };
    assert_eq!(refusal(LinearTransform::new(0, 1, [0], 1)), empty(0, 1));
    assert_eq!(refusal(LinearTransform::new(1, 1, [], 1)), empty(1, 0));
    let s = Setup::new(insecure(insecure_levelled_spec(9, 2)));
    let t = LinearTransform::new(2, 1, [0], 1).unwrap();
    let ev = s.evaluator(&KeyRequest::new(s.ctx.params().n()));
    let d = Random { period: 1, zero: None };
    let (high, low) = (s.encrypt_real_at(&[1.0], Level(2)), s.encrypt_real_at(&[1.0], Level(1)));
    let refused = t.apply(&ev, std::slice::from_ref(&high), &d).unwrap_err();
    assert!(matches!(refused, Error::Invalid(InvalidCircuit::Inputs { have: 1, want: 2 })), "{refused}");
    let refused = t.apply(&ev, &[high.clone(), low], &d).unwrap_err();
    assert!(matches!(refused, Error::Unaligned { left: Level(2), right: Level(1) }), "{refused}");
    let bottom = ev.drop_to(&high, Level(0)).unwrap();
    let refused = t.apply(&ev, &[bottom.clone(), bottom], &d).unwrap_err();
    assert!(matches!(refused, Error::TooDeep { depth: 1, .. }), "{refused}");
}

/// Maps between 3, 6 and 12 ciphertexts, as in large models: their baby steps were made again for every few outputs,
/// because the sums of all outputs had to fit a chunk.
#[test]
fn baby_steps_are_made_once_an_input() {
    let params = Params::try_from(N16_B13_S40).unwrap();
    let recorder = Recorder::new(&params).unwrap();
    let shapes = [(12, 3, 256, 10), (6, 2, 256, 10), (12, 3, 128, 16), (3, 12, 128, 16), (3, 12, 256, 16)];
    for (inputs, outputs, reach, level) in shapes {
        let t = LinearTransform::new(inputs, outputs, -reach..reach, 1).unwrap().with_baby_steps(32);
        let d = Random { period: reach as usize, zero: None };
        let xs: Vec<_> = (0..inputs).map(|_| recorder.ciphertext(Level(level)).unwrap()).collect();
        let mut rotations = 0;
        let (totals, keys) = recorder
            .record(|ev| {
                let made = t.apply(ev, &xs, &d);
                rotations = ev.counts().rotations;
                made
            })
            .unwrap();
        let (hoisted, single) = t.rotations();
        assert_eq!(rotations, (hoisted + single) as u64, "{inputs} to {outputs}");
        assert_eq!(keys, t.keys(&params, Level(level)), "keys used and keys declared");
        // Baby steps and open sums, a chunk of sums and one of weights.
        assert!(totals.peak_bytes <= 7 << 29, "{inputs} to {outputs}: {}", totals.peak_bytes);
    }
}

#[test]
fn columns_have_the_bits_of_each_alone() {
    let s = Setup::new(insecure(insecure_levelled_spec(9, 2)));
    let t = LinearTransform::new(2, 3, -4..5, 1).unwrap();
    let d = Random { period: 32, zero: Some(2) };
    let ev = s.evaluator(&t.keys(s.ctx.params(), Level(2)));
    let x = |seed| s.encrypt_at(&uniform_complex(s.ctx.params().slots(), seed), Level(2));
    let columns: Vec<_> = (0..3).map(|c| [x(2 * c), x(2 * c + 1)]).collect();
    let alone: Vec<_> = columns.iter().map(|xs| t.apply(&ev, xs, &d).unwrap()).collect();
    for count in 1..=3 {
        let columns: Vec<_> = columns[..count].iter().map(|xs| &xs[..]).collect();
        let together = t.apply_columns(&ev, &columns, &d).unwrap();
        assert_eq!(together.len(), count);
        for (got, want) in together.iter().flatten().zip(alone.iter().flatten()) {
            assert_eq!((got.level(), got.scale()), (want.level(), want.scale()));
            assert_eq!(s.decrypt(got), s.decrypt(want), "{count} columns");
        }
        assert!(together.iter().all(|outputs| outputs.len() == 3));
    }
}

/// Weights are encoded once for all columns, unless all of them together are too large to be kept.
#[test]
fn columns_share_encoded_weights() {
    let params = Params::try_from(N16_B13_S40).unwrap();
    let recorder = Recorder::new(&params).unwrap();
    for (reach, level, encodings) in [(128, 10, 1), (128, 16, 1), (256, 12, 1), (256, 13, 3)] {
        let t = LinearTransform::new(3, 12, -reach..reach, 1).unwrap().with_baby_steps(32);
        let d = Random { period: reach as usize, zero: None };
        let xs: [_; 3] = std::array::from_fn(|_| recorder.ciphertext(Level(level)).unwrap());
        let recorded = |columns: &[&[Ciphertext]]| {
            let mut rotations = 0;
            let counted = recorder.record(|ev| {
                let made = t.apply_columns(ev, columns, &d);
                rotations = ev.counts().rotations;
                made
            });
            (counted.unwrap().0, rotations)
        };
        let ((one, rotations), (three, all_rotations)) = (recorded(&[&xs]), recorded(&[xs.as_slice(); 3]));
        assert_eq!(three.upload_bytes, encodings * one.upload_bytes, "{reach} at {level}");
        assert_eq!(all_rotations, 3 * rotations, "{reach} at {level}");
        assert_eq!(three.bytes_touched, 3 * one.bytes_touched, "{reach} at {level}");
        // The kept weights, and the outputs of the two columns before.
        let outputs = 2 * 12 * 2 * params.basis(Level(level - 1)).len() as u64 * 8 * params.n() as u64;
        assert!(three.peak_bytes <= one.peak_bytes + (3 << 29) + outputs, "{reach} at {level}");
    }
}

#[test]
fn columns_that_do_not_fit() {
    let s = Setup::new(insecure(insecure_levelled_spec(9, 2)));
    let t = LinearTransform::new(2, 1, [0], 1).unwrap();
    let ev = s.evaluator(&KeyRequest::new(s.ctx.params().n()));
    let x = [0.5, 0.25].map(|value| s.encrypt_real_at(&[value], Level(2)));
    let low = [0.5, 0.25].map(|value| s.encrypt_real_at(&[value], Level(1)));
    let wide = [0, 1].map(|i| ev.reinterpret(&x[i], 2.0 * x[i].scale()).unwrap());
    let refused =
        |columns: &[&[_]]| t.apply_columns(&ev, columns, &Random { period: 1, zero: None }).unwrap_err();
    assert!(matches!(refused(&[]), Error::Invalid(InvalidCircuit::NoColumns)));
    let short = refused(&[&x, &x[..1]]);
    assert!(matches!(short, Error::Invalid(InvalidCircuit::Inputs { have: 1, want: 2 })), "{short}");
    let lower = refused(&[&x, &low]);
    assert!(matches!(lower, Error::Unaligned { left: Level(2), right: Level(1) }), "{lower}");
    let wider = refused(&[&x, &wide]);
    assert!(matches!(wider, Error::Unaligned { left: Level(2), right: Level(2) }), "{wider}");
    assert_eq!(ev.counts().plain_products, 0);
}
