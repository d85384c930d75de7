//! Plain matrices and grids of ciphertexts.

use aegis_ckks::{Ciphertext, Level};

use crate::{Error, Layout, Result};

/// A plain matrix, row-major. The rows of an activation are its tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

impl Tensor {
    /// A matrix from its rows one after another.
    pub fn new(rows: usize, cols: usize, data: Vec<f64>) -> Result<Self> {
        if data.len() != rows * cols {
            return Err(Error::Shape {
                what: "values of a matrix".into(),
                want: format!("{rows} x {cols}"),
                have: format!("{} values", data.len()),
            });
        }
        Ok(Self { rows, cols, data })
    }

    /// A matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// A matrix given entry by entry.
    pub fn from_fn(rows: usize, cols: usize, value: impl Fn(usize, usize) -> f64) -> Self {
        let data = (0..rows * cols).map(|i| value(i / cols, i % cols)).collect();
        Self { rows, cols, data }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All entries, row by row.
    pub fn data(&self) -> &[f64] {
        &self.data
    }

    /// One row.
    pub fn row(&self, r: usize) -> &[f64] {
        &self.data[r * self.cols..][..self.cols]
    }

    /// One row, to write.
    pub fn row_mut(&mut self, r: usize) -> &mut [f64] {
        &mut self.data[r * self.cols..][..self.cols]
    }

    /// One entry.
    pub fn at(&self, r: usize, c: usize) -> f64 {
        self.data[r * self.cols + c]
    }

    /// One entry, to write.
    pub fn at_mut(&mut self, r: usize, c: usize) -> &mut f64 {
        &mut self.data[r * self.cols + c]
    }

    /// Matrix product with `weight` (columns of `self` x outputs), plus a row vector.
    pub fn affine(&self, weight: &Self, bias: &[f64]) -> Self {
        assert_eq!((self.cols, bias.len()), (weight.rows, weight.cols), "operands of a matrix product");
        let mut out = Self::zeros(self.rows, weight.cols);
        for r in 0..self.rows {
            let row = out.row_mut(r);
            row.copy_from_slice(bias);
            for (k, &x) in self.row(r).iter().enumerate() {
                for (o, w) in row.iter_mut().zip(weight.row(k)) {
                    *o += x * w;
                }
            }
        }
        out
    }

    /// Entry-wise function of row and value.
    pub fn map(&self, f: impl Fn(usize, f64) -> f64) -> Self {
        Self::from_fn(self.rows, self.cols, |r, c| f(r, self.at(r, c)))
    }

    /// Entry-wise sum.
    pub fn plus(&self, other: &Self) -> Self {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols), "operands of a sum");
        Self::from_fn(self.rows, self.cols, |r, c| self.at(r, c) + other.at(r, c))
    }

    /// Matrices side by side.
    pub fn beside(&self, other: &Self) -> Self {
        assert_eq!(self.rows, other.rows, "rows of matrices side by side");
        Self::from_fn(self.rows, self.cols + other.cols, |r, c| {
            if c < self.cols { self.at(r, c) } else { other.at(r, c - self.cols) }
        })
    }

    /// `count` columns from `first`.
    pub fn columns(&self, first: usize, count: usize) -> Self {
        Self::from_fn(self.rows, count, |r, c| self.at(r, first + c))
    }

    /// The largest magnitude.
    pub fn max_abs(&self) -> f64 {
        largest(self.data.iter().copied())
    }

    /// The largest difference of two entries.
    pub fn max_difference(&self, other: &Self) -> f64 {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols), "operands of a comparison");
        largest(self.data.iter().zip(&other.data).map(|(a, b)| a - b))
    }

    /// Fails when an entry is not finite.
    pub fn check_finite(&self, what: &str) -> Result<()> {
        if self.data.iter().all(|v| v.is_finite()) {
            Ok(())
        } else {
            Err(Error::NotFinite { what: what.into() })
        }
    }
}

/// The largest magnitude, or NaN where there is one: NaN must not pass for small. Zero of nothing.
pub fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    // In the total order a NaN without its sign is above all numbers.
    values.into_iter().map(f64::abs).max_by(f64::total_cmp).unwrap_or(0.0)
}

/// An axis along which the ciphertexts of a tensor stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Matrices side by side.
    Part,
    /// Blocks of heads, hence of model features.
    Head,
    /// Blocks of intermediate features.
    Feature,
    /// Blocks of key tokens, as offsets from the query.
    Token,
}

/// What the blocks of a tensor mean: their axes, the last fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// `parts` matrices of model features after one another (query and key, say). Axes: part, head.
    Model {
        /// Number of matrices.
        parts: usize,
    },
    /// Features between the two matrices of the feed-forward network. Axis: feature.
    Intermediate,
    /// Attention scores. Axes: head, token.
    Scores,
    /// One value for each token and head, in all slots of the head. Axis: head.
    RowSums,
    /// One value for each token, in all its slots. No axis: one ciphertext.
    TokenStats,
}

impl Content {
    /// What is left when the blocks along `axis` are brought together in one; `None` without such an axis.
    fn without(self, axis: Axis) -> Option<Self> {
        match (self, axis) {
            (Self::Model { .. }, Axis::Part) => Some(MODEL),
            (Self::Scores, Axis::Token) => Some(Self::RowSums),
            (MODEL | Self::RowSums, Axis::Head) | (Self::Intermediate, Axis::Feature) => {
                Some(Self::TokenStats)
            }
            _ => None,
        }
    }
}

/// One matrix of model features.
pub const MODEL: Content = Content::Model { parts: 1 };

/// An encrypted tensor: a grid of ciphertexts, each with its level, and the number of tokens that are not
/// padding.
///
/// The rows beyond [`CtTensor::rows`] hold zeros (within noise): every layer keeps it so, because a padded
/// row that drifts out of an approximation's range would destroy the whole ciphertext.
#[derive(Clone, Debug)]
pub struct CtTensor {
    layout: Layout,
    content: Content,
    rows: usize,
    blocks: Vec<Ciphertext>,
}

impl CtTensor {
    /// A tensor of `rows` real tokens from its ciphertexts, in the order of the axes of `content`, the last
    /// fastest.
    pub fn new(layout: &Layout, content: Content, rows: usize, blocks: Vec<Ciphertext>) -> Result<Self> {
        let want = layout.blocks(content);
        if blocks.len() != want || rows == 0 || rows > layout.tokens() {
            return Err(Error::Shape {
                what: format!("a tensor of {content:?}"),
                want: format!("{want} ciphertexts, 1 to {} rows", layout.tokens()),
                have: format!("{} ciphertexts, {rows} rows", blocks.len()),
            });
        }
        Ok(Self { layout: layout.clone(), content, rows, blocks })
    }

    /// Where values sit in the slots.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the blocks mean.
    pub fn content(&self) -> Content {
        self.content
    }

    /// Number of tokens that are not padding. Public, as the length of a ciphertext is.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The ciphertexts.
    pub fn blocks(&self) -> &[Ciphertext] {
        &self.blocks
    }

    /// The ciphertexts of one of several matrices.
    pub fn part(&self, part: usize) -> &[Ciphertext] {
        let n = self.layout.model_blocks();
        &self.blocks[part * n..][..n]
    }

    /// The ciphertexts of the scores of block `j` of heads.
    pub fn offsets(&self, j: usize) -> &[Ciphertext] {
        let n = self.layout.offset_blocks();
        &self.blocks[j * n..][..n]
    }

    /// The lowest level of a block.
    pub fn level(&self) -> Level {
        self.blocks.iter().map(Ciphertext::level).min().unwrap_or(Level::BASE)
    }

    /// Fails unless this is a tensor of `content`.
    pub fn expect(&self, content: Content, what: &str) -> Result<()> {
        if self.content == content {
            return Ok(());
        }
        Err(Error::Shape {
            what: what.into(),
            want: format!("{content:?}"),
            have: format!("{:?}", self.content),
        })
    }

    /// A tensor of the same tokens with other blocks.
    pub fn with(&self, content: Content, blocks: Vec<Ciphertext>) -> Result<Self> {
        Self::new(&self.layout, content, self.rows, blocks)
    }

    /// The same blocks as a tensor of `rows` tokens: for layers that bring the tokens together.
    pub fn with_rows(self, rows: usize) -> Result<Self> {
        Self::new(&self.layout, self.content, rows, self.blocks)
    }

    /// Each block on its own: `f` of its number and the block.
    pub fn map(&self, mut f: impl FnMut(usize, &Ciphertext) -> Result<Ciphertext>) -> Result<Self> {
        let blocks = self.blocks.iter().enumerate().map(|(j, block)| f(j, block));
        self.with(self.content, blocks.collect::<Result<_>>()?)
    }

    /// Each block with the one of `other` at its place: `f` of the block's number and the two. A tensor without the last
    /// axes of this one is repeated along them: the row sums along the tokens of scores, the statistics of tokens along
    /// all axes.
    pub fn zip(
        &self,
        other: &Self,
        mut f: impl FnMut(usize, &Ciphertext, &Ciphertext) -> Result<Ciphertext>,
    ) -> Result<Self> {
        let (mine, others) = (self.layout.axes(self.content), self.layout.axes(other.content));
        if self.layout != other.layout || self.rows != other.rows || !mine.starts_with(&others) {
            return Err(Error::Shape {
                what: format!("a tensor beside one of {:?}, {} rows", self.content, self.rows),
                want: format!("the same layout and rows, and the first of the axes {mine:?}"),
                have: format!("{:?}, {} rows, axes {others:?}", other.content, other.rows),
            });
        }
        let repeated = self.blocks.len() / other.blocks.len();
        self.map(|j, block| f(j, block, &other.blocks[j / repeated]))
    }

    /// The blocks along the last axis, which must be `axis`, brought together: `f` of the number of the new block and of
    /// those that it replaces, at least one.
    pub fn fold(
        &self,
        axis: Axis,
        mut f: impl FnMut(usize, &[Ciphertext]) -> Result<Ciphertext>,
    ) -> Result<Self> {
        let axes = self.layout.axes(self.content);
        let content = self.content.without(axis).filter(|_| axes.last().is_some_and(|last| last.0 == axis));
        let (Some(content), Some((_, length))) = (content, axes.last()) else {
            return Err(Error::Shape {
                what: format!("a tensor folded along {axis:?}"),
                want: format!("{axis:?} as its last axis"),
                have: format!("{:?}, axes {axes:?}", self.content),
            });
        };
        let lines = self.blocks.chunks_exact(*length).enumerate().map(|(j, line)| f(j, line));
        self.with(content, lines.collect::<Result<_>>()?)
    }
}
