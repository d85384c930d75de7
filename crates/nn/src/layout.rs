//! Where each value of a matrix sits in the slots: packing P3, token-slow.

use crate::{Axis, Content, Error, MODEL, Result, Tensor, Unpackable};

/// The token-slow packing of a Transformer's matrices (decision 0003).
///
/// With `S` slots and `T` padded tokens (a power of two) a ciphertext holds `Fb = S/T` features of every
/// token: slot `t * Fb + f`. A head of dimension `G = D/H` has its coordinate `g` and its head `h` inside a
/// block interleaved, `f = g * hb + h` with `hb = Fb/G` heads a ciphertext, so that a shift by `hb` slots
/// moves to the next coordinate of every head at once. Intermediate features stand in their own order. Slots
/// without a feature or a token hold zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    slots: usize,
    tokens: usize,
    width: usize,
    heads: usize,
    intermediate: usize,
    /// From the others: every slot of every vector asks for these.
    head_dim: usize,
    block: usize,
    heads_per_block: usize,
}

impl Layout {
    /// A layout of `tokens` padded tokens, `width` features in `heads` heads and `intermediate` features of the
    /// feed-forward network, in `slots` slots. Slots, tokens and the head dimension are powers of two; a
    /// block must hold a head, and there must be at least as many tokens as coordinates in a head.
    pub fn new(slots: usize, tokens: usize, width: usize, heads: usize, intermediate: usize) -> Result<Self> {
        let fail = |why| Err(Error::Layout(why));
        if heads == 0 || width == 0 || intermediate == 0 || !width.is_multiple_of(heads) {
            return fail(Unpackable::Features { width, heads, intermediate });
        }
        let head_dim = width / heads;
        for (what, have) in [("slots", slots), ("padded tokens", tokens), ("the head dimension", head_dim)] {
            if !have.is_power_of_two() {
                return fail(Unpackable::PowerOfTwo { what, have });
            }
        }
        if tokens < head_dim {
            return fail(Unpackable::FewTokens { tokens, head_dim });
        }
        if slots < tokens * head_dim {
            return fail(Unpackable::ManyTokens { tokens, head_dim, slots, max: slots / head_dim });
        }
        let block = slots / tokens;
        let heads_per_block = block / head_dim;
        Ok(Self { slots, tokens, width, heads, intermediate, head_dim, block, heads_per_block })
    }

    /// Number of slots, S.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Number of padded tokens, T.
    pub fn tokens(&self) -> usize {
        self.tokens
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
    pub fn block(&self) -> usize {
        self.block
    }

    /// Coordinates of a head, G = D/H: also how many key offsets one ciphertext of scores holds.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Heads in one ciphertext, hb.
    pub fn heads_per_block(&self) -> usize {
        self.heads_per_block
    }

    /// Ciphertexts of a matrix of model features.
    pub fn model_blocks(&self) -> usize {
        self.heads.div_ceil(self.heads_per_block())
    }

    /// Ciphertexts of a matrix of intermediate features.
    pub fn intermediate_blocks(&self) -> usize {
        self.intermediate.div_ceil(self.block())
    }

    /// Ciphertexts of the scores of one block of heads, T/G: one for every `G` key offsets.
    pub fn offset_blocks(&self) -> usize {
        self.tokens / self.head_dim()
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
        let feature = j * self.block() + f;
        (feature < self.intermediate).then_some(feature)
    }

    /// The slot of local feature `f` of token `t`.
    pub fn slot(&self, t: usize, f: usize) -> usize {
        t * self.block() + f
    }

    /// A vector of all slots, given token and local feature.
    pub fn vector(&self, value: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let mut values = Vec::with_capacity(self.slots);
        for t in 0..self.tokens {
            values.extend((0..self.block).map(|f| value(t, f)));
        }
        values
    }

    /// One period of a vector that is the same for every token.
    pub fn periodic(&self, value: impl Fn(usize) -> f64) -> Vec<f64> {
        (0..self.block()).map(value).collect()
    }

    /// The column of a plain tensor at local feature `f` of token `t`, block `j`; `None` for a slot without
    /// one.
    ///
    /// The row of every content is the token. Scores have the column `h * T + key`, row sums the column `h`.
    fn column(&self, content: Content, j: usize, t: usize, f: usize) -> Option<usize> {
        match content {
            Content::Model { .. } => {
                let (part, j) = (j / self.model_blocks(), j % self.model_blocks());
                Some(part * self.width + self.model_feature(j, f)?)
            }
            Content::Intermediate => self.intermediate_feature(j, f),
            Content::Scores => {
                let (j, i) = (j / self.offset_blocks(), j % self.offset_blocks());
                Some(self.head(j, f)? * self.tokens + self.key(i, t, f))
            }
            Content::RowSums => self.head(j, f),
            Content::TokenStats => Some(0),
        }
    }

    /// The key token that meets query token `t` at local feature `f` of the scores of offset block `i`.
    pub fn key(&self, i: usize, t: usize, f: usize) -> usize {
        (t + i * self.head_dim() + self.coordinate(f)) % self.tokens
    }

    /// The axes of a tensor's ciphertexts and their lengths, the last fastest. A single matrix has no axis of parts.
    pub fn axes(&self, content: Content) -> Vec<(Axis, usize)> {
        let heads = (Axis::Head, self.model_blocks());
        match content {
            MODEL | Content::RowSums => vec![heads],
            Content::Model { parts } => vec![(Axis::Part, parts), heads],
            Content::Intermediate => vec![(Axis::Feature, self.intermediate_blocks())],
            Content::Scores => vec![heads, (Axis::Token, self.offset_blocks())],
            Content::TokenStats => vec![],
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
            Content::Scores => self.heads * self.tokens,
            Content::RowSums => self.heads,
            Content::TokenStats => 1,
        }
    }

    /// The slot vectors of a tensor of at most T rows. Rows that are not there are zeros.
    pub fn pack(&self, content: Content, x: &Tensor) -> Result<Vec<Vec<f64>>> {
        if x.rows() > self.tokens || x.cols() != self.columns(content) {
            return Err(Error::Shape {
                what: format!("a tensor to pack as {content:?}"),
                want: format!("at most {} rows, {} columns", self.tokens, self.columns(content)),
                have: format!("{} rows, {} columns", x.rows(), x.cols()),
            });
        }
        let value = |j: usize, t: usize, f: usize| match self.column(content, j, t, f) {
            Some(column) if t < x.rows() => x.at(t, column),
            _ => 0.0,
        };
        Ok((0..self.blocks(content)).map(|j| self.vector(|t, f| value(j, t, f))).collect())
    }

    /// The first `rows` rows of the tensor in these slot vectors: the inverse of [`Layout::pack`].
    pub fn unpack(&self, content: Content, blocks: &[Vec<f64>], rows: usize) -> Result<Tensor> {
        let want = self.blocks(content);
        if blocks.len() != want || rows > self.tokens || blocks.iter().any(|b| b.len() != self.slots) {
            return Err(Error::Shape {
                what: format!("slot vectors of {content:?}"),
                want: format!("{want} of {} slots, at most {} rows", self.slots, self.tokens),
                have: format!("{} vectors, {rows} rows", blocks.len()),
            });
        }
        let mut x = Tensor::zeros(rows, self.columns(content));
        for (j, block) in blocks.iter().enumerate() {
            for (slot, &value) in block.iter().enumerate() {
                let (t, f) = (slot / self.block(), slot % self.block());
                if t < rows
                    && let Some(column) = self.column(content, j, t, f)
                {
                    *x.at_mut(t, column) = value;
                }
            }
        }
        Ok(x)
    }
}
