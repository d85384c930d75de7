//! Packings.

use aegis_nn::{Content, Error, ErrorKind, Layout, MODEL, Rows, Shape, Tensor, Unpackable};
use aegis_testing::Numbers;

use crate::support::{Matrices, long, narrow, wide};

const CONTENTS: [Content; 9] = [
    MODEL,
    Content::Model { parts: 2 },
    Content::Intermediate,
    Content::Scores,
    Content::RowSums,
    Content::PackedSums,
    Content::TokenStats,
    Content::PackedStats,
    Content::Pooled,
];

#[test]
fn unpack_undoes_pack() {
    let minilm = |tokens| Layout::new(1 << 15, tokens, 384, 12, 1536).expect("MiniLM fits");
    let layouts = [narrow(1024), wide(1024), narrow(128), long(256), minilm(64), minilm(512)];
    for layout in layouts {
        for content in CONTENTS {
            let lengths = [1, 11, layout.tokens()].map(Rows::one);
            let texts = Rows::several(4, vec![3, 1, 4]);
            let short = (layout.token_blocks() == 1).then_some(texts);
            for rows in lengths.into_iter().chain(short) {
                let shape = Shape { layout, content, rows };
                let x = Numbers::new(3).tensor(shape.matrix_rows(), layout.columns(content), 1.0);
                // Scores of a short text have columns for keys that it does not have.
                let real = |row: usize, key: usize| {
                    let t = shape.rows.tokens().nth(row).expect("a row");
                    key < shape.rows.row(t).expect("a token").tokens
                };
                let x = match content {
                    Content::Scores => Tensor::from_fn(x.rows(), x.cols(), |row, c| {
                        if real(row, c % layout.tokens()) { x.at(row, c) } else { 0.0 }
                    }),
                    _ => x,
                };
                let slots = shape.pack(&x).expect("packs");
                assert_eq!(slots.len(), layout.blocks(content));
                assert_eq!(shape.unpack(&slots).expect("unpacks"), x, "{shape:?}");
            }
        }
    }
}

#[test]
fn minilm_has_the_block_counts_of_the_decision() {
    let layout = Layout::new(1 << 15, 64, 384, 12, 1536).expect("MiniLM fits");
    assert_eq!((layout.token_slots(), layout.heads_per_block()), (512, 16));
    assert_eq!(CONTENTS.map(|c| layout.blocks(c)), [1, 2, 3, 2, 1, 1, 1, 1, 1]);
    let longer = Layout::new(1 << 15, 128, 384, 12, 1536).expect("MiniLM fits");
    assert_eq!(CONTENTS.map(|c| longer.blocks(c)), [2, 4, 6, 8, 2, 1, 1, 1, 2]);
    let two_blocks = Layout::new(1 << 15, 512, 384, 12, 1536).expect("MiniLM fits");
    assert_eq!((two_blocks.block_tokens(), two_blocks.token_blocks(), two_blocks.group()), (256, 2, 2));
    assert_eq!(CONTENTS.map(|c| two_blocks.blocks(c)), [6, 12, 24, 96, 6, 1, 2, 1, 3]);
    let base = Layout::new(1 << 15, 2048, 768, 12, 3072).expect("BERT-Base fits");
    assert_eq!((base.block_tokens(), base.token_blocks(), base.group()), (128, 16, 4));
    assert_eq!(CONTENTS.map(|c| base.blocks(c)), [48, 96, 192, 1536, 48, 4, 16, 1, 3]);
}

#[test]
fn what_does_not_fit_is_refused() {
    for ((slots, tokens, width, heads, intermediate), why) in [
        ((1024, 12, 16, 4, 32), Unpackable::PowerOfTwo { what: "padded tokens", have: 12 }),
        ((1024, 16, 18, 4, 32), Unpackable::Features { width: 18, heads: 4, intermediate: 32 }),
        ((1024, 2, 16, 4, 32), Unpackable::FewTokens { tokens: 2, head_dim: 4 }),
        ((256, 24, 16, 4, 32), Unpackable::Blocks { tokens: 24, fill: 16 }),
        ((32, 4, 16, 4, 32), Unpackable::ManyTokens { tokens: 4, head_dim: 4, slots: 32, max: 2 }),
        ((1024, 16, 0, 1, 1), Unpackable::Features { width: 0, heads: 1, intermediate: 1 }),
    ] {
        let refused = Layout::new(slots, tokens, width, heads, intermediate).expect_err("it does not fit");
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(matches!(&refused, Error::Layout(e) if *e == why), "{refused}");
    }
    let x = Numbers::new(1).tensor(17, 16, 1.0);
    assert!(matches!(Shape::one(&narrow(1024), MODEL, 17).pack(&x), Err(Error::Shape { .. })));
    assert!(matches!(Shape::one(&narrow(1024), MODEL, 16).pack(&x), Err(Error::Shape { .. })));
}
