//! Plain matrices, and grids of the ciphertexts that hold them.

use aegis_ckks::Ciphertext;

use crate::program::BlockId;
use crate::{Error, Layout, Result, Row, Rows};

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

    /// Matrices below each other.
    pub fn above(&self, other: &Self) -> Self {
        assert_eq!(self.cols, other.cols, "columns of matrices below each other");
        let data = self.data.iter().chain(&other.data).copied().collect();
        Self { rows: self.rows + other.rows, cols: self.cols, data }
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
    /// Token blocks.
    Token,
    /// Groups of token blocks.
    Group,
    /// Matrices side by side.
    Part,
    /// Blocks of heads, hence of model features.
    Head,
    /// Blocks of intermediate features.
    Feature,
    /// Token blocks of keys.
    Key,
    /// Blocks of key tokens inside their token block, as offsets from the query.
    Offset,
}

/// What the blocks of a tensor mean: their axes, the last fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// `parts` matrices of model features after one another (query and key, say). Axes: token, part, head.
    Model {
        /// Number of matrices.
        parts: usize,
    },
    /// Features between the two matrices of the feed-forward network. Axes: token, feature.
    Intermediate,
    /// Attention scores. Axes: token, head, key, offset.
    Scores,
    /// One value for each token and head, in all slots of the head. Axes: token, head.
    RowSums,
    /// The same values of all token blocks of a group and all blocks of heads, each at a coordinate of its own
    /// ([`Layout::unit`]). Axis: group.
    PackedSums,
    /// One value for each token, in all its slots. Axis: token.
    TokenStats,
    /// The same values of all token blocks, each in a slot of its own, or in all slots where there is one token block. No
    /// axis: one ciphertext.
    PackedStats,
    /// One row of model features for each text, in the row of its first token. Axis: head.
    Pooled,
}

/// One matrix of model features.
pub const MODEL: Content = Content::Model { parts: 1 };

/// A slot of attention scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    /// The head.
    pub head: usize,
    /// The token that asks.
    pub query: Row,
    /// The token that is asked.
    pub key: Row,
}

/// Where the values of a matrix are: packing, meaning, and the rows that are tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Where values sit in the slots.
    pub layout: Layout,
    /// What the blocks mean.
    pub content: Content,
    /// Which rows are tokens. All others hold zeros, but for scores and sums.
    pub rows: Rows,
}

impl Shape {
    /// The shape of one text of `tokens` tokens.
    pub fn one(layout: &Layout, content: Content, tokens: usize) -> Self {
        Self { layout: *layout, content, rows: Rows::one(tokens) }
    }

    /// Number of ciphertexts.
    pub fn blocks(&self) -> usize {
        self.layout.blocks(self.content)
    }

    /// Number of rows of the plain matrix: one for each token, or for each text after pooling.
    pub fn matrix_rows(&self) -> usize {
        if self.content == Content::Pooled { self.rows.lengths().len() } else { self.rows.count() }
    }

    fn check(&self, blocks: usize) -> Result<()> {
        let layout = &self.layout;
        // Texts side by side are short ones, all in one token block.
        let together = self.rows.lengths().len() == 1 || layout.token_blocks() == 1;
        if blocks == self.blocks() && self.rows.fit(layout.tokens()) && together {
            return Ok(());
        }
        Err(Error::Shape {
            what: format!("a tensor of {:?}", self.content),
            want: format!("{} ciphertexts, texts of 1 to {} tokens", self.blocks(), self.layout.tokens()),
            have: format!("{blocks} ciphertexts, {:?}", self.rows),
        })
    }

    /// The slot vectors of a matrix of [`Shape::matrix_rows`] rows. Rows that are not there are zeros.
    pub fn pack(&self, x: &Tensor) -> Result<Vec<Vec<f64>>> {
        self.check(self.blocks())?;
        let (rows, columns) = (self.matrix_rows(), self.layout.columns(self.content));
        if (x.rows(), x.cols()) != (rows, columns) {
            return Err(Error::Shape {
                what: format!("a tensor to pack as {:?}", self.content),
                want: format!("{rows} rows, {columns} columns"),
                have: format!("{} rows, {} columns", x.rows(), x.cols()),
            });
        }
        let mut blocks = vec![vec![0.0; self.layout.slots()]; self.blocks()];
        self.each(|j, slot, (row, column)| blocks[j][slot] = x.at(row, column));
        Ok(blocks)
    }

    /// The matrix in these slot vectors: the inverse of [`Shape::pack`].
    pub fn unpack(&self, blocks: &[Vec<f64>]) -> Result<Tensor> {
        self.check(blocks.len())?;
        let slots = self.layout.slots();
        if let Some(block) = blocks.iter().find(|b| b.len() != slots) {
            return Err(Error::Shape {
                what: format!("slot vectors of {:?}", self.content),
                want: format!("{slots} slots"),
                have: format!("{}", block.len()),
            });
        }
        let mut x = Tensor::zeros(self.matrix_rows(), self.layout.columns(self.content));
        self.each(|j, slot, (row, column)| *x.at_mut(row, column) = blocks[j][slot]);
        Ok(x)
    }

    /// The score at local feature `f` of token `t` of a block of [`Content::Scores`], or `None` where a head, a query or a
    /// key does not exist, or the two belong to different texts.
    pub fn score(&self, block: usize, t: usize, f: usize) -> Option<Score> {
        let (layout, tokens) = (&self.layout, self.layout.block_tokens());
        let (blocks, offsets) = (layout.token_blocks(), layout.offset_blocks());
        let (rest, i) = (block / offsets, block % offsets);
        let (rest, b) = (rest / blocks, rest % blocks);
        let (a, j) = (rest / layout.model_blocks(), rest % layout.model_blocks());
        let head = layout.head(j, f)?;
        let met = (t + i * layout.head_dim() + layout.coordinate(f)) % tokens;
        let (query, key) = (self.rows.row(a * tokens + t)?, self.rows.row(b * tokens + met)?);
        (query.text == key.text).then_some(Score { head, query, key })
    }

    /// The largest magnitude in the slots of rows that are not tokens.
    pub fn padding(&self, blocks: &[Vec<f64>]) -> f64 {
        let layout = &self.layout;
        let real = |j: usize, slot: usize| {
            let a = j / (self.blocks() / layout.token_blocks()).max(1);
            self.rows.row(a * layout.block_tokens() + slot / layout.token_slots()).is_some()
        };
        let values = blocks.iter().enumerate().flat_map(|(j, block)| {
            block.iter().enumerate().filter(move |(slot, _)| !real(j, *slot)).map(|(_, value)| *value)
        });
        largest(values)
    }

    /// Calls `f` with each slot that holds an entry, as block and slot, and the row and column of the entry.
    fn each(&self, mut f: impl FnMut(usize, usize, (usize, usize))) {
        let layout = &self.layout;
        let mut starts = vec![0];
        self.rows.lengths().iter().for_each(|n| starts.push(starts[starts.len() - 1] + n));
        for j in 0..self.blocks() {
            for t in 0..layout.block_tokens() {
                for local in 0..layout.token_slots() {
                    let Some((at, column)) = self.entry(j, t, local) else { continue };
                    let Some(row) = self.rows.row(at) else { continue };
                    let entry = match (self.content, row.token) {
                        (Content::Pooled, 0) => row.text,
                        (Content::Pooled, _) => continue,
                        _ => starts[row.text] + row.token,
                    };
                    f(j, layout.slot(t, local), (entry, column));
                }
            }
        }
    }

    /// The row, counted in all token blocks, and the column of a plain tensor at local feature `f` of token `t`, block
    /// `j`; `None` for a slot without one.
    ///
    /// Scores have the column `h * T + key` with the key counted in its text, row sums the column `h`.
    fn entry(&self, j: usize, t: usize, f: usize) -> Option<(usize, usize)> {
        let layout = &self.layout;
        // Blocks along all axes but that of tokens, which is the first.
        let (blocks, heads) = (layout.token_blocks(), layout.model_blocks());
        let (a, inner) = (j / (self.blocks() / blocks).max(1), j % (self.blocks() / blocks).max(1));
        let row = a * layout.block_tokens() + t;
        let column = match self.content {
            Content::Model { .. } => {
                inner / heads * layout.width() + layout.model_feature(inner % heads, f)?
            }
            Content::Intermediate => layout.intermediate_feature(inner, f)?,
            Content::Scores => {
                let score = self.score(j, t, f)?;
                score.head * layout.tokens() + score.key.token
            }
            Content::RowSums => layout.head(inner, f)?,
            Content::TokenStats => 0,
            Content::PackedSums => {
                let unit = layout.coordinate(f);
                let a = j * layout.group() + unit / heads;
                let there = unit / heads < layout.group() && a < blocks;
                let head = there.then(|| layout.head(unit % heads, f))??;
                return Some((a * layout.block_tokens() + t, head));
            }
            Content::PackedStats if blocks == 1 => 0,
            Content::PackedStats => return (f < blocks).then_some((f * layout.block_tokens() + t, 0)),
            Content::Pooled => return Some((t, layout.model_feature(j, f)?)),
        };
        Some((row, column))
    }
}

/// The blocks of a tensor: ciphertexts ([`CtTensor`]), or the places of a program where ciphertexts will be
/// ([`TensorRef`]).
///
/// Rows that are padding hold zeros (within noise): every layer keeps it so, because a padded row that drifts out of an
/// approximation's range would destroy the whole ciphertext.
#[derive(Clone, Debug)]
pub struct Grid<B> {
    shape: Shape,
    blocks: Vec<B>,
}

/// An encrypted tensor.
pub type CtTensor = Grid<Ciphertext>;

/// A tensor of a program.
pub type TensorRef = Grid<BlockId>;

impl<B> Grid<B> {
    /// A tensor from its blocks, in the order of the axes of its content, the last fastest.
    pub fn new(shape: Shape, blocks: Vec<B>) -> Result<Self> {
        shape.check(blocks.len())?;
        Ok(Self { shape, blocks })
    }

    /// Where its values are.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Where values sit in the slots.
    pub fn layout(&self) -> &Layout {
        &self.shape.layout
    }

    /// What the blocks mean.
    pub fn content(&self) -> Content {
        self.shape.content
    }

    /// Which rows are tokens. Public, as the length of a ciphertext is.
    pub fn rows(&self) -> &Rows {
        &self.shape.rows
    }

    /// The blocks.
    pub fn blocks(&self) -> &[B] {
        &self.blocks
    }

    /// The blocks by themselves.
    pub fn into_blocks(self) -> Vec<B> {
        self.blocks
    }

    /// The blocks of token block `a`.
    pub fn token_block(&self, a: usize) -> &[B] {
        let n = self.blocks.len() / self.layout().token_blocks();
        &self.blocks[a * n..][..n]
    }

    /// Fails unless this is a tensor of `content`.
    pub fn expect(&self, content: Content, what: &str) -> Result<()> {
        if self.content() == content {
            return Ok(());
        }
        Err(Error::Shape {
            what: what.into(),
            want: format!("{content:?}"),
            have: format!("{:?}", self.content()),
        })
    }

    /// A tensor of the same rows with other blocks.
    pub fn with<C>(&self, content: Content, blocks: Vec<C>) -> Result<Grid<C>> {
        Grid::new(Shape { content, ..self.shape.clone() }, blocks)
    }

    /// For each block of this tensor the place of the one of `other` that stands beside it. A tensor without the last axes
    /// of this one is repeated along them: the row sums along the keys of scores, the statistics of tokens along all heads.
    pub fn beside<C>(&self, other: &Grid<C>) -> Result<usize> {
        let (mine, others) = (self.layout().axes(self.content()), self.layout().axes(other.content()));
        if self.layout() != other.layout() || self.rows() != other.rows() || !mine.starts_with(&others) {
            return Err(Error::Shape {
                what: format!("a tensor beside one of {:?}, {:?}", self.content(), self.rows()),
                want: format!("the same layout and rows, and the first of the axes {mine:?}"),
                have: format!("{:?}, {:?}, axes {others:?}", other.content(), other.rows()),
            });
        }
        Ok(self.blocks.len() / other.blocks.len())
    }
}
