//! Where each value of a matrix sits in the slots: packing P3, token-slow, in blocks of tokens.

use std::ops::Range;

use crate::{Axis, Content, Error, MODEL, Result, Unpackable};

/// The token-slow packing of a Transformer's matrices (decision 0003).
///
/// With `S` slots and `T` padded tokens of a *token block* (a power of two) a ciphertext holds `Fb = S/T` features of every
/// token of the block: slot `t * Fb + f`. A head of dimension `G = D/H` has its coordinate `g` and its head `h` inside
/// a ciphertext interleaved, `f = g * hb + h` with `hb = Fb/G` heads a ciphertext, so that a shift by `hb` slots
/// moves to the next coordinate of every head at once. Intermediate features stand in their own order. Slots
/// without a feature or a token hold zeros.
///
/// A text longer than the tokens that fill the slots takes several token blocks (decision 0013). They are computed on in
/// *groups*, which share encoded weights, walks over keys and values, and ciphertexts of packed sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    slots: usize,
    /// Padded tokens of a token block, T.
    block_tokens: usize,
    token_blocks: usize,
    group: usize,
    width: usize,
    heads: usize,
    intermediate: usize,
    /// From the others: every slot of every vector asks for these.
    head_dim: usize,
    token_slots: usize,
    heads_per_block: usize,
}

/// Token blocks that are computed on together, at most: more share more and keep more ciphertexts alive.
const GROUP: usize = 4;

impl Layout {
    /// A layout of `tokens` padded tokens, `width` features in `heads` heads and `intermediate` features of the
    /// feed-forward network, in `slots` slots. Slots and the head dimension are powers of two, and so are the tokens up
    /// to [`Layout::fill`]; above they are a multiple of it. There must be at least as many tokens as coordinates in a
    /// head.
    pub fn new(slots: usize, tokens: usize, width: usize, heads: usize, intermediate: usize) -> Result<Self> {
        let fail = |why| Err(Error::Layout(why));
        if heads == 0 || width == 0 || intermediate == 0 || !width.is_multiple_of(heads) {
            return fail(Unpackable::Features { width, heads, intermediate });
        }
        let fill = Self::fill(slots, width, heads)?;
        let head_dim = width / heads;
        if tokens < head_dim {
            return fail(Unpackable::FewTokens { tokens, head_dim });
        }
        if tokens < fill && !tokens.is_power_of_two() {
            return fail(Unpackable::PowerOfTwo { what: "padded tokens", have: tokens });
        }
        if tokens > fill && !tokens.is_multiple_of(fill) {
            return fail(Unpackable::Blocks { tokens, fill });
        }
        let block_tokens = tokens.min(fill);
        let token_slots = slots / block_tokens;
        let token_blocks = tokens / block_tokens;
        let layout = Self {
            slots,
            block_tokens,
            token_blocks,
            group: 1,
            width,
            heads,
            intermediate,
            head_dim,
            token_slots,
            heads_per_block: token_slots / head_dim,
        };
        // Sums of the heads of a group are packed by coordinates, statistics of token blocks by features.
        if layout.model_blocks() > head_dim || token_blocks > token_slots {
            return fail(Unpackable::ManyTokens { tokens, head_dim, slots, max: fill * token_slots });
        }
        Ok(Self { group: GROUP.min(token_blocks).min(head_dim / layout.model_blocks()), ..layout })
    }

    /// The same values with other groups of token blocks, at least one block each and at most as many as packed sums have
    /// room for.
    #[must_use]
    pub fn with_group(self, token_blocks: usize) -> Self {
        let room = (self.head_dim / self.model_blocks()).min(self.token_blocks);
        Self { group: token_blocks.clamp(1, room), ..self }
    }

    /// The padded tokens that fill the slots without an empty head: `S / (G 2^v)`, v the power of two in the number of
    /// heads.
    pub fn fill(slots: usize, width: usize, heads: usize) -> Result<usize> {
        let fail = |why| Err(Error::Layout(why));
        let head_dim = width.checked_div(heads).unwrap_or(0);
        for (what, have) in [("slots", slots), ("the head dimension", head_dim)] {
            if !have.is_power_of_two() {
                return fail(Unpackable::PowerOfTwo { what, have });
            }
        }
        let fill = slots / head_dim / (1 << heads.trailing_zeros());
        if fill < head_dim {
            let (tokens, max) = (head_dim, fill);
            return fail(Unpackable::ManyTokens { tokens, head_dim, slots, max });
        }
        Ok(fill)
    }

    /// Number of slots, S.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Number of padded tokens, over all token blocks.
    pub fn tokens(&self) -> usize {
        self.block_tokens * self.token_blocks
    }

    /// Padded tokens of one token block, T.
    pub fn block_tokens(&self) -> usize {
        self.block_tokens
    }

    /// Number of token blocks.
    pub fn token_blocks(&self) -> usize {
        self.token_blocks
    }

    /// Token blocks that are computed on together; the last group may have fewer.
    pub fn group(&self) -> usize {
        self.group
    }

    /// The token blocks of each group.
    pub fn groups(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (all, group) = (self.token_blocks, self.group);
        (0..all).step_by(group).map(move |first| first..(first + group).min(all))
    }

    /// Number of model features, D.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of heads, H.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Number of intermediate features, F.
    pub fn intermediate(&self) -> usize {
        self.intermediate
    }

    /// Slots of one token in one ciphertext, Fb: the period of a weight vector.
    pub fn token_slots(&self) -> usize {
        self.token_slots
    }

    /// Coordinates of a head, G = D/H: also how many key offsets one ciphertext of scores holds.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Heads in one ciphertext, hb.
    pub fn heads_per_block(&self) -> usize {
        self.heads_per_block
    }

    /// Ciphertexts of the model features of a token block.
    pub fn model_blocks(&self) -> usize {
        self.heads.div_ceil(self.heads_per_block())
    }

    /// Ciphertexts of the intermediate features of a token block.
    pub fn intermediate_blocks(&self) -> usize {
        self.intermediate.div_ceil(self.token_slots())
    }

    /// Ciphertexts of the scores of one block of heads against the keys of one token block, T/G: one for every `G` key
    /// offsets.
    pub fn offset_blocks(&self) -> usize {
        self.block_tokens / self.head_dim()
    }

    /// The head at local feature `f` of block `j`.
    pub fn head(&self, j: usize, f: usize) -> Option<usize> {
        let h = j * self.heads_per_block() + f % self.heads_per_block();
        (h < self.heads).then_some(h)
    }

    /// The coordinate inside its head of local feature `f`.
    pub fn coordinate(&self, f: usize) -> usize {
        f / self.heads_per_block()
    }

    /// The model feature at local feature `f` of block `j`.
    pub fn model_feature(&self, j: usize, f: usize) -> Option<usize> {
        Some(self.head(j, f)? * self.head_dim() + self.coordinate(f))
    }

    /// The intermediate feature at local feature `f` of block `j`.
    pub fn intermediate_feature(&self, j: usize, f: usize) -> Option<usize> {
        let feature = j * self.token_slots() + f;
        (feature < self.intermediate).then_some(feature)
    }

    /// The slot of local feature `f` of token `t`.
    pub fn slot(&self, t: usize, f: usize) -> usize {
        t * self.token_slots() + f
    }

    /// A vector of all slots, given token and local feature.
    pub fn vector<T>(&self, value: impl Fn(usize, usize) -> T) -> Vec<T> {
        let mut values = Vec::with_capacity(self.slots);
        for t in 0..self.block_tokens {
            values.extend((0..self.token_slots).map(|f| value(t, f)));
        }
        values
    }

    /// One period of a vector that is the same for every token.
    pub fn periodic(&self, value: impl Fn(usize) -> f64) -> Vec<f64> {
        (0..self.token_slots()).map(value).collect()
    }

    /// The coordinate at which the sums of unit (token block `a`, block `j` of heads) stand in the ciphertext of its group.
    pub fn unit(&self, a: usize, j: usize) -> usize {
        a % self.group * self.model_blocks() + j
    }

    /// The axes of a tensor's ciphertexts and their lengths, the last fastest; that of token blocks is the first. A single
    /// matrix has no axis of parts.
    pub fn axes(&self, content: Content) -> Vec<(Axis, usize)> {
        let (tokens, heads) = ((Axis::Token, self.token_blocks), (Axis::Head, self.model_blocks()));
        match content {
            MODEL | Content::RowSums => vec![tokens, heads],
            Content::Model { parts } => vec![tokens, (Axis::Part, parts), heads],
            Content::Intermediate => vec![tokens, (Axis::Feature, self.intermediate_blocks())],
            Content::Scores => {
                vec![tokens, heads, (Axis::Key, self.token_blocks), (Axis::Offset, self.offset_blocks())]
            }
            Content::PackedSums => vec![(Axis::Group, self.token_blocks.div_ceil(self.group))],
            Content::TokenStats => vec![tokens],
            Content::PackedStats => vec![],
            Content::Pooled => vec![heads],
        }
    }

    /// Number of ciphertexts of a tensor.
    pub fn blocks(&self, content: Content) -> usize {
        self.axes(content).iter().map(|(_, length)| length).product()
    }

    /// Number of columns of a plain tensor.
    pub fn columns(&self, content: Content) -> usize {
        match content {
            Content::Model { parts } => parts * self.width,
            Content::Intermediate => self.intermediate,
            Content::Scores => self.heads * self.tokens(),
            Content::RowSums | Content::PackedSums => self.heads,
            Content::TokenStats | Content::PackedStats => 1,
            Content::Pooled => self.width,
        }
    }
}
