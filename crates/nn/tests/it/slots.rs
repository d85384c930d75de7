//! Proofs of the packed algorithms on plain slot vectors: rotations, masks and products only, against matrix
//! algebra. They say that decision 0003 is right, whatever the encryption does.

use aegis_nn::{Content, Layout, MODEL, Shape, Tensor};
use aegis_testing::Numbers;

use crate::support::{Matrices, narrow, wide};

type Slots = Vec<f64>;

fn rotate(x: &Slots, steps: i64) -> Slots {
    let mut y = x.clone();
    y.rotate_left(steps.rem_euclid(x.len() as i64) as usize);
    y
}

fn product(x: &Slots, y: &Slots) -> Slots {
    x.iter().zip(y).map(|(a, b)| a * b).collect()
}

fn add(sum: &mut Slots, x: &Slots) {
    sum.iter_mut().zip(x).for_each(|(s, v)| *s += v);
}

/// A vector that is 1 where `holds` says so for the local feature.
fn mask(layout: &Layout, holds: impl Fn(usize) -> bool) -> Slots {
    layout.vector(|_, f| if holds(f) { 1.0 } else { 0.0 })
}

fn shift_mask(layout: &Layout, e: i64) -> Slots {
    mask(layout, |f| (0..layout.head_dim() as i64).contains(&(layout.coordinate(f) as i64 + e)))
}

/// `x^[g, t] = x[g, t + g]`.
fn skew(layout: &Layout, x: &Slots) -> Slots {
    let mut sum = vec![0.0; x.len()];
    for g in 0..layout.head_dim() {
        let turned = rotate(x, (g * layout.token_slots()) as i64);
        add(&mut sum, &product(&turned, &mask(layout, |f| layout.coordinate(f) == g)));
    }
    sum
}

#[test]
fn linear_maps_are_sums_of_periodic_diagonals() {
    for layout in [narrow(1024), wide(1024)] {
        let mut numbers = Numbers::new(1);
        let (x, w) = (
            numbers.tensor(16, layout.width(), 1.0),
            numbers.tensor(layout.width(), layout.intermediate(), 1.0),
        );
        let packed = Shape::one(&layout, MODEL, 16).pack(&x).expect("packs");
        let reach = layout.token_slots() as i64;
        let mut out = vec![vec![0.0; layout.slots()]; layout.intermediate_blocks()];
        for (o, out) in out.iter_mut().enumerate() {
            for (a, input) in packed.iter().enumerate() {
                for d in 1 - reach..reach {
                    let diagonal = layout.vector(|_, f| {
                        let source = usize::try_from(f as i64 + d).ok().filter(|s| *s < layout.token_slots());
                        let from = source.and_then(|s| layout.model_feature(a, s));
                        from.zip(layout.intermediate_feature(o, f)).map_or(0.0, |(i, j)| w.at(i, j))
                    });
                    add(out, &product(&diagonal, &rotate(input, d)));
                }
            }
        }
        let got = Shape::one(&layout, Content::Intermediate, 16).unpack(&out).expect("unpacks");
        let error = got.max_difference(&x.affine(&w, &vec![0.0; layout.intermediate()]));
        assert!(error < 1e-12, "{error}");
    }
}

#[test]
fn scores_are_sums_over_shifts_of_coordinates() {
    for layout in [narrow(1024), wide(1024)] {
        let mut numbers = Numbers::new(2);
        let (q, k) = (numbers.tensor(16, layout.width(), 1.0), numbers.tensor(16, layout.width(), 1.0));
        let (hb, block, reach) =
            (layout.heads_per_block() as i64, layout.token_slots() as i64, layout.head_dim() as i64);
        let mut scores = vec![];
        for (q, k) in Shape::one(&layout, MODEL, 16)
            .pack(&q)
            .expect("packs")
            .iter()
            .zip(&Shape::one(&layout, MODEL, 16).pack(&k).expect("packs"))
        {
            let skewed = skew(&layout, k);
            for i in 0..layout.offset_blocks() as i64 {
                let mut sum = vec![0.0; layout.slots()];
                for e in 1 - reach..reach {
                    let query = product(&shift_mask(&layout, e), &rotate(q, e * hb));
                    add(&mut sum, &product(&query, &rotate(&skewed, e * (hb - block) + i * reach * block)));
                }
                scores.push(sum);
            }
        }
        let got = Shape::one(&layout, Content::Scores, 16).unpack(&scores).expect("unpacks");
        let want = Tensor::from_fn(16, layout.columns(Content::Scores), |t, c| {
            let (h, key) = (c / 16, c % 16);
            let features = h * layout.head_dim()..(h + 1) * layout.head_dim();
            features.map(|f| q.at(t, f) * k.at(key, f)).sum()
        });
        assert!(got.max_difference(&want) < 1e-12, "{}", got.max_difference(&want));
    }
}

#[test]
fn contexts_are_sums_over_shifts_and_offset_blocks() {
    for layout in [narrow(1024), wide(1024)] {
        let mut numbers = Numbers::new(3);
        let a = numbers.tensor(16, layout.columns(Content::Scores), 1.0);
        let v = numbers.tensor(16, layout.width(), 1.0);
        let (hb, block, reach) =
            (layout.heads_per_block() as i64, layout.token_slots() as i64, layout.head_dim() as i64);
        let packed = Shape::one(&layout, Content::Scores, 16).pack(&a).expect("packs");
        let mut out = vec![];
        for (j, v) in Shape::one(&layout, MODEL, 16).pack(&v).expect("packs").iter().enumerate() {
            let (skewed, n) = (skew(&layout, v), layout.offset_blocks());
            let mut sum = vec![0.0; layout.slots()];
            for (i, a) in packed[j * n..][..n].iter().enumerate() {
                for e in 1 - reach..reach {
                    let value = rotate(&skewed, (i as i64 * reach + e) * block);
                    add(&mut sum, &product(&rotate(a, e * hb), &product(&shift_mask(&layout, e), &value)));
                }
            }
            out.push(sum);
        }
        let got = Shape::one(&layout, MODEL, 16).unpack(&out).expect("unpacks");
        let want = Tensor::from_fn(16, layout.width(), |t, f| {
            let h = f / layout.head_dim();
            (0..16).map(|key| a.at(t, h * 16 + key) * v.at(key, f)).sum()
        });
        assert!(got.max_difference(&want) < 1e-12, "{}", got.max_difference(&want));
    }
}

#[test]
fn block_sums_reach_every_slot_of_a_head() {
    let layout = wide(1024);
    let x = Numbers::new(4).vector(layout.slots(), 1.0);
    let (hb, width) = (layout.heads_per_block(), layout.head_dim());
    let mut sum = x.clone();
    for i in 0..width.ilog2() {
        let turned = rotate(&sum, (hb << i) as i64);
        add(&mut sum, &turned);
    }
    let mut sum = product(&sum, &mask(&layout, |f| f < hb));
    for i in 0..width.ilog2() {
        let turned = rotate(&sum, -((hb << i) as i64));
        add(&mut sum, &turned);
    }
    for (slot, got) in sum.iter().enumerate() {
        let (start, head) = (slot / layout.token_slots() * layout.token_slots(), slot % hb);
        let want: f64 = (0..width).map(|g| x[start + g * hb + head]).sum();
        assert!((got - want).abs() < 1e-12, "slot {slot}: {got} for {want}");
    }
}
