//! Blocks of tensors meet along their axes.

use aegis_ckks::{Ciphertext, KeyGenerator, Level, Seed, insecure_levelled_spec};
use aegis_nn::{Axis, Content, CtTensor, Error, Layout, MODEL, Tensor, encrypt};
use aegis_testing::insecure;

/// Zeros of each content where every axis is longer than one: 16 tokens, 6 heads of 4, four heads a ciphertext.
fn tensors() -> impl Fn(Content) -> CtTensor {
    let ctx = insecure(insecure_levelled_spec(9, 1));
    let layout = Layout::new(ctx.params().slots(), 16, 24, 6, 32).expect("a layout");
    let secret = KeyGenerator::new(&ctx, Seed::new([1; 32])).secret_key();
    move |content| {
        let x = Tensor::zeros(5, layout.columns(content));
        encrypt(&ctx, &secret, &layout, content, &x, Level(1), &Seed::new([2; 32])).expect("zeros")
    }
}

#[test]
fn shorter_tensors_repeat_along_the_axes_they_lack() {
    let of = tensors();
    let (scores, sums, stats) = (of(Content::Scores), of(Content::RowSums), of(Content::TokenStats));
    let offsets = scores.layout().offset_blocks();
    assert!(offsets > 1 && sums.blocks().len() > 1, "the packing has both axes");
    for (other, along) in [(&sums, offsets), (&stats, scores.blocks().len()), (&scores, 1)] {
        let mut seen = 0;
        let zipped = scores.zip(other, |j, mine, others| {
            seen += 1;
            assert!(std::ptr::eq(mine, &scores.blocks()[j]));
            assert!(std::ptr::eq(others, &other.blocks()[j / along]), "block {j} of {:?}", other.content());
            Ok(mine.clone())
        });
        assert_eq!((zipped.expect("axes fit").content(), seen), (Content::Scores, scores.blocks().len()));
    }
}

#[test]
fn a_fold_brings_the_last_axis_together() {
    let of = tensors();
    let scores = of(Content::Scores);
    let mut lines = vec![];
    let sums = scores.fold(Axis::Token, |j, line| {
        lines.push((j, line.len()));
        Ok(line[0].clone())
    });
    assert_eq!(sums.expect("scores have tokens").content(), Content::RowSums);
    let offsets = scores.layout().offset_blocks();
    assert_eq!(lines, (0..lines.len()).map(|j| (j, offsets)).collect::<Vec<_>>());
    let first = |_: usize, line: &[Ciphertext]| Ok(line[0].clone());
    for (content, axis) in
        [(MODEL, Axis::Head), (Content::RowSums, Axis::Head), (Content::Intermediate, Axis::Feature)]
    {
        assert_eq!(of(content).fold(axis, first).expect("the last axis").content(), Content::TokenStats);
    }
}

#[test]
fn axes_that_do_not_fit_are_refused() {
    let of = tensors();
    let (sums, features) = (of(Content::RowSums), of(Content::Intermediate));
    let first = |_: usize, line: &[Ciphertext]| Ok(line[0].clone());
    let refused = [
        sums.zip(&of(Content::Scores), |_, a, _| Ok(a.clone())),
        sums.zip(&features, |_, a, _| Ok(a.clone())),
        sums.zip(&of(MODEL).with_rows(4).expect("4 rows"), |_, a, _| Ok(a.clone())),
        of(Content::Scores).fold(Axis::Head, first),
        of(Content::Model { parts: 2 }).fold(Axis::Part, first),
        of(Content::TokenStats).fold(Axis::Head, first),
    ];
    for (i, result) in refused.into_iter().enumerate() {
        assert!(matches!(result, Err(Error::Shape { .. })), "case {i}");
    }
}
