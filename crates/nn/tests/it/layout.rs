//! Packings.

use aegis_nn::{Content, Error, ErrorKind, Layout, MODEL, Unpackable};
use aegis_testing::Numbers;

use crate::support::{Matrices, narrow, wide};

const CONTENTS: [Content; 6] = [
    MODEL,
    Content::Model { parts: 2 },
    Content::Intermediate,
    Content::Scores,
    Content::RowSums,
    Content::TokenStats,
];

#[test]
fn unpack_undoes_pack() {
    let minilm = Layout::new(1 << 15, 64, 384, 12, 1536).expect("MiniLM fits");
    for layout in [narrow(1024), wide(1024), minilm] {
        for content in CONTENTS {
            for rows in [1, 11, layout.tokens()] {
                let x = Numbers::new(3).tensor(rows, layout.columns(content), 1.0);
                let slots = layout.pack(content, &x).expect("packs");
                assert_eq!(slots.len(), layout.blocks(content));
                assert_eq!(
                    layout.unpack(content, &slots, rows).expect("unpacks"),
                    x,
                    "{content:?}, {layout:?}"
                );
            }
        }
    }
}

#[test]
fn minilm_has_the_block_counts_of_the_decision() {
    let layout = Layout::new(1 << 15, 64, 384, 12, 1536).expect("MiniLM fits");
    assert_eq!((layout.block(), layout.heads_per_block()), (512, 16));
    assert_eq!(CONTENTS.map(|c| layout.blocks(c)), [1, 2, 3, 2, 1, 1]);
    let longer = Layout::new(1 << 15, 128, 384, 12, 1536).expect("MiniLM fits");
    assert_eq!(CONTENTS.map(|c| longer.blocks(c)), [2, 4, 6, 8, 2, 1]);
}

#[test]
fn what_does_not_fit_is_refused() {
    for ((slots, tokens, width, heads, intermediate), why) in [
        ((1024, 12, 16, 4, 32), Unpackable::PowerOfTwo { what: "padded tokens", have: 12 }),
        ((1024, 16, 18, 4, 32), Unpackable::Features { width: 18, heads: 4, intermediate: 32 }),
        ((1024, 2, 16, 4, 32), Unpackable::FewTokens { tokens: 2, head_dim: 4 }),
        ((64, 32, 16, 4, 32), Unpackable::ManyTokens { tokens: 32, head_dim: 4, slots: 64, max: 16 }),
        ((1024, 16, 0, 1, 1), Unpackable::Features { width: 0, heads: 1, intermediate: 1 }),
    ] {
        let refused = Layout::new(slots, tokens, width, heads, intermediate).expect_err("it does not fit");
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(matches!(&refused, Error::Layout(e) if *e == why), "{refused}");
    }
    let x = Numbers::new(1).tensor(17, 16, 1.0);
    assert!(matches!(narrow(1024).pack(MODEL, &x), Err(Error::Shape { .. })));
}
