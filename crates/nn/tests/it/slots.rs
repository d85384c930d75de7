//! Proofs of the packed algorithms on plain slot vectors: rotations, masks and products only, against matrix
//! algebra. They say that decision 0003 is right, whatever the encryption does.

use aegis_nn::{Content, Layout, MODEL, Shape, Tensor};
use aegis_testing::Numbers;

use crate::support::{Matrices, long, narrow, wide};

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

/// Queries of each token block meet keys of each other one by the formulas of a single block.
#[test]
fn scores_are_sums_over_shifts_of_coordinates() {
    for layout in [narrow(1024), wide(1024), long(256)] {
        let (mut numbers, tokens) = (Numbers::new(2), layout.tokens());
        let (q, k) =
            (numbers.tensor(tokens, layout.width(), 1.0), numbers.tensor(tokens, layout.width(), 1.0));
        let (hb, stride, reach) =
            (layout.heads_per_block() as i64, layout.token_slots() as i64, layout.head_dim() as i64);
        let (heads, blocks) = (layout.model_blocks(), layout.token_blocks());
        let pack = |x: &Tensor| Shape::one(&layout, MODEL, tokens).pack(x).expect("packs");
        let (queries, keys) = (pack(&q), pack(&k));
        let mut scores = vec![];
        for query in 0..queries.len() {
            for b in 0..blocks {
                let skewed = skew(&layout, &keys[b * heads + query % heads]);
                for i in 0..layout.offset_blocks() as i64 {
                    let mut sum = vec![0.0; layout.slots()];
                    for e in 1 - reach..reach {
                        let masked = product(&shift_mask(&layout, e), &rotate(&queries[query], e * hb));
                        let key = rotate(&skewed, e * (hb - stride) + i * reach * stride);
                        add(&mut sum, &product(&masked, &key));
                    }
                    scores.push(sum);
                }
            }
        }
        let got = Shape::one(&layout, Content::Scores, tokens).unpack(&scores).expect("unpacks");
        let want = Tensor::from_fn(tokens, layout.columns(Content::Scores), |t, c| {
            let (h, key) = (c / tokens, c % tokens);
            let features = h * layout.head_dim()..(h + 1) * layout.head_dim();
            features.map(|f| q.at(t, f) * k.at(key, f)).sum()
        });
        assert!(got.max_difference(&want) < 1e-12, "{}", got.max_difference(&want));
    }
}

/// Sums of products over all keys are rotated, not probabilities: their number does not depend on the length.
#[test]
fn contexts_are_rotated_sums_over_all_keys() {
    for layout in [narrow(1024), wide(1024), long(256)] {
        let (mut numbers, tokens) = (Numbers::new(3), layout.tokens());
        let a = numbers.tensor(tokens, layout.columns(Content::Scores), 1.0);
        let v = numbers.tensor(tokens, layout.width(), 1.0);
        let (hb, stride, reach) =
            (layout.heads_per_block() as i64, layout.token_slots() as i64, layout.head_dim() as i64);
        let (heads, blocks, offsets) = (layout.model_blocks(), layout.token_blocks(), layout.offset_blocks());
        let weights = Shape::one(&layout, Content::Scores, tokens).pack(&a).expect("packs");
        let values = Shape::one(&layout, MODEL, tokens).pack(&v).expect("packs");
        let mut out = vec![];
        for (unit, weights) in weights.chunks_exact(blocks * offsets).enumerate() {
            let mut context = vec![0.0; layout.slots()];
            for e in 1 - reach..reach {
                let mut sum = vec![0.0; layout.slots()];
                for (at, a) in weights.iter().enumerate() {
                    let (b, i) = (at / offsets, (at % offsets) as i64);
                    let skewed = skew(&layout, &values[b * heads + unit % heads]);
                    let value = rotate(&skewed, i * reach * stride + e * (hb - stride));
                    add(&mut sum, &product(a, &product(&shift_mask(&layout, e), &value)));
                }
                add(&mut context, &rotate(&sum, -e * hb));
            }
            out.push(context);
        }
        let got = Shape::one(&layout, MODEL, tokens).unpack(&out).expect("unpacks");
        let want = Tensor::from_fn(tokens, layout.width(), |t, f| {
            let h = f / layout.head_dim();
            (0..tokens).map(|key| a.at(t, h * tokens + key) * v.at(key, f)).sum()
        });
        assert!(got.max_difference(&want) < 1e-12, "{}", got.max_difference(&want));
    }
}

/// Sums of all units of a group stand in one vector; the first step of an inverse, which is linear, unpacks them, and all
/// later steps leave zeros where there are zeros.
#[test]
fn inverses_unpack_the_sums_of_a_group() {
    let layout = long(256);
    let (hb, width, heads) = (layout.heads_per_block(), layout.head_dim(), layout.model_blocks());
    let units = layout.group() * heads;
    assert!(units > 1 && units <= width);
    let mut numbers = Numbers::new(9);
    let first = mask(&layout, |f| f < hb);
    let sums: Vec<Slots> = (0..units)
        .map(|_| product(&first, &numbers.vector(layout.slots(), 0.4).iter().map(|v| v + 0.5).collect()))
        .collect();
    let mut packed = vec![0.0; layout.slots()];
    for (unit, sum) in sums.iter().enumerate() {
        add(&mut packed, &rotate(sum, -((unit * hb) as i64)));
    }
    let schedule = [1.8, 1.5, 1.2, 1.05];
    for (unit, sum) in sums.iter().enumerate() {
        let (mut a, mut b) = (mask(&layout, |f| f / hb == unit), packed.clone());
        for k in schedule {
            let t: Slots = b.iter().map(|b| k * (2.0 - k * b)).collect();
            (a, b) = (product(&a, &t), product(&b, &t));
        }
        let mut inverse = rotate(&a, (unit * hb) as i64);
        for i in 0..width.ilog2() {
            let turned = rotate(&inverse, -((hb << i) as i64));
            add(&mut inverse, &turned);
        }
        for (slot, got) in inverse.iter().enumerate() {
            let of = sum[slot / layout.token_slots() * layout.token_slots() + slot % hb];
            let want = aegis_nn::goldschmidt::plain(of, &schedule);
            assert!((got - want).abs() < 1e-12, "unit {unit}, slot {slot}: {got} for {want}");
        }
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
