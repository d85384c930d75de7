//! What crosses the line between client and server: values to encrypt, slots that were decrypted, and what is
//! public about them.

use aegis_nn::{Content, Excursion, Layout, MODEL, Network, Pooling, Rows, Shape, Tensor, encoder, largest};
use serde::{Deserialize, Serialize};

use super::{Bert, Calibration};
use crate::embedding;
use crate::error::{Error, NoEmbedding, Result};
use crate::hf::tokenizer::Tokens;

/// Copies of the result may differ by this part of its largest value, and empty slots hold as much. A good
/// run leaves 2^-10 of it; a ciphertext that overflowed or was decrypted with a wrong key differs by more
/// than the whole.
const TOLERATED: f64 = 0.1;

/// Every size of a shape is at most this, so that products of two do not overflow.
const LARGEST: usize = 1 << 20;

/// Most texts of a query. Their lengths stand in the header of a message, whose size is bounded.
pub(super) const MAX_TEXTS: usize = 64;

/// All that the server learns of the texts of a query: how many tokens each has, and the shape of the model.
///
/// The number of tokens is public because scores are shifted by its logarithm and padded rows are masked by
/// plaintexts; a client that must hide it pads the *text*. The ids, their order and everything computed from
/// them stay encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryShape {
    slots: usize,
    padded_tokens: usize,
    /// Rows of a text, its padding included: all of them where it is the only one.
    stride: usize,
    #[serde(rename = "tokens")]
    lengths: Vec<usize>,
    #[serde(rename = "hidden")]
    width: usize,
    heads: usize,
    intermediate: usize,
}

impl QueryShape {
    pub(super) fn new(layout: &Layout, tokens: usize) -> Self {
        QueryShape {
            slots: layout.slots(),
            padded_tokens: layout.tokens(),
            stride: layout.tokens(),
            lengths: vec![tokens],
            width: layout.width(),
            heads: layout.heads(),
            intermediate: layout.intermediate(),
        }
    }

    /// Tokens of each text, special ones included.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Tokens of all texts together.
    pub fn tokens(&self) -> usize {
        self.lengths.iter().fold(0, |all, n| all.saturating_add(*n))
    }

    /// Tokens after padding: the same for all texts of a set of keys.
    pub fn padded_tokens(&self) -> usize {
        self.padded_tokens
    }

    /// Which rows of the encrypted tensors are tokens.
    pub fn rows(&self) -> Rows {
        match self.lengths[..] {
            [tokens] => Rows::one(tokens),
            _ => Rows::several(self.stride, self.lengths.clone()),
        }
    }

    /// Where the values of the encrypted input are.
    ///
    /// # Errors
    /// Those of [`QueryShape::layout`].
    pub fn input(&self) -> Result<Shape> {
        Ok(Shape { layout: self.layout()?, content: MODEL, rows: self.rows() })
    }

    /// Ciphertexts of a result.
    ///
    /// # Errors
    /// Those of [`QueryShape::layout`].
    pub fn result_ciphertexts(&self) -> Result<usize> {
        Ok(self.layout()?.blocks(Content::Pooled))
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn heads(&self) -> usize {
        self.heads
    }

    pub(crate) fn intermediate(&self) -> usize {
        self.intermediate
    }

    /// Where the values sit in the slots.
    ///
    /// # Errors
    /// [`Error::Nn`] or [`Error::DamagedShape`] for a shape from a damaged file.
    pub fn layout(&self) -> Result<Layout> {
        let damaged = || Err(Error::DamagedShape(self.clone()));
        if self.sizes().iter().any(|&n| n > LARGEST) || !self.rows_fit() {
            return damaged();
        }
        let layout = Layout::new(self.slots, self.padded_tokens, self.width, self.heads, self.intermediate)?;
        if self.lengths.len() > 1 && layout.token_blocks() > 1 {
            return damaged();
        }
        Ok(layout)
    }

    /// The shape of these texts and others, in so many rows each.
    pub(super) fn beside(self, others: &[usize], stride: usize) -> Self {
        let lengths = [&self.lengths, others].concat();
        Self { stride, lengths, ..self }
    }

    /// What queries that share a run have in common.
    pub(super) fn sizes(&self) -> [usize; 5] {
        [self.slots, self.padded_tokens, self.width, self.heads, self.intermediate]
    }

    /// One text has all rows. Several have as many each, a power of two: pooling adds up so many rows.
    fn rows_fit(&self) -> bool {
        let (texts, padded, stride) = (self.lengths.len(), self.padded_tokens, self.stride);
        let alone = texts == 1 && stride == padded;
        let shared = (2..=MAX_TEXTS).contains(&texts) && stride.is_power_of_two();
        let shared = shared && padded.is_multiple_of(stride) && texts <= padded / stride;
        (alone || shared) && self.lengths.iter().all(|n| (1..=stride).contains(n))
    }

    /// The rows of a result that hold the mean of a text, which is the sum of `stride` rows from there on. That of the
    /// only text is everywhere; of several each stands in its first row, and before as far as the sums reach all of its
    /// tokens and none of the text before: the result is cyclic.
    fn copies(&self, layout: &Layout, text: usize) -> Vec<usize> {
        let rows = layout.block_tokens();
        if self.lengths.len() == 1 {
            return (0..rows).collect();
        }
        let padding = |text: usize| self.stride - self.lengths.get(text).copied().unwrap_or(0);
        let places = rows / self.stride;
        let early = padding(text).min(padding((text + places - 1) % places));
        (0..=early).map(|k| (text * self.stride + rows - k) % rows).collect()
    }

    /// The embedding of each text in the decrypted slots of a result, of unit length. This is the client's last
    /// step; it needs neither the model nor the texts.
    ///
    /// Padded rows hold copies of the means: their average is taken.
    ///
    /// # Errors
    /// [`Error::Embedding`] if the copies disagree or empty slots do not hold zeros: a ciphertext of other
    /// keys, or a run that left the calibrated ranges. [`Error::Nn`] for slots of another shape.
    pub fn finish(&self, slots: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        let layout = self.layout()?;
        Shape { layout, content: Content::Pooled, rows: self.rows() }.unpack(slots)?;
        let texts = 0..self.lengths.len();
        texts.map(|text| mean(&layout, slots, &self.copies(&layout, text))).collect()
    }
}

/// The unit vector in the direction of the mean that stands in each of these rows.
fn mean(layout: &Layout, slots: &[Vec<f64>], rows: &[usize]) -> Result<Vec<f64>> {
    let of_row = |row: usize| {
        let of_block = move |(j, block): (usize, &Vec<f64>)| -> Vec<_> {
            let values = &block[layout.slot(row, 0)..][..layout.token_slots()];
            values.iter().enumerate().map(|(f, value)| (layout.model_feature(j, f), *value)).collect()
        };
        slots.iter().enumerate().flat_map(of_block)
    };
    let entries = || rows.iter().copied().flat_map(of_row);
    let mut mean = vec![0.0; layout.width()];
    for (feature, value) in entries() {
        if let Some(feature) = feature {
            mean[feature] += value / rows.len() as f64;
        }
    }
    // What the slots should hold: the copies, and zeros where there is no feature.
    let expected = |feature: Option<usize>| feature.map_or(0.0, |feature| mean[feature]);
    let top = largest(mean.iter().copied());
    let worst = largest(entries().map(|(feature, value)| value - expected(feature)));
    if worst <= TOLERATED * top {
        return embedding::normalize(mean);
    }
    Err(Error::Embedding(NoEmbedding::Copies { difference: worst, largest: top }))
}

/// A text made ready for encryption, or several that share ciphertexts. Its values are secret, and never printed.
#[derive(Clone)]
pub struct Query {
    /// What goes to the server beside the ciphertexts.
    pub shape: QueryShape,
    /// The embedded tokens, text by text, tokens x width: what [`aegis_nn::encrypt`] takes, and for each text
    /// [`Network::plain`].
    pub hidden: Tensor,
}

impl Query {
    /// The embedded tokens of each text.
    ///
    /// # Errors
    /// [`Error::Nn`] for `hidden` of another shape.
    pub fn texts(&self) -> Result<Vec<Tensor>> {
        let width = self.hidden.cols();
        let mut values = self.hidden.data().iter().copied();
        let text = |&tokens: &usize| {
            let values = values.by_ref().take(tokens * width).collect();
            Ok(Tensor::new(tokens, width, values)?)
        };
        self.shape.lengths.iter().map(text).collect()
    }
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Query({:?}, secret)", self.shape)
    }
}

impl Bert {
    /// The packing for texts of at most `max_tokens` tokens in ciphertexts of `slots` slots. Keys are made
    /// for it.
    ///
    /// Pads to the next power of two, at least the size of a head (a condition of the packing); texts longer than the tokens
    /// that fill the slots to whole blocks of these.
    ///
    /// # Errors
    /// [`Error::TextTooLong`] for more tokens than the model has positions, [`Error::Nn`] if the model does
    /// not fit the slots.
    pub fn layout(&self, slots: usize, max_tokens: usize) -> Result<Layout> {
        self.config().layout(slots, max_tokens)
    }

    /// The client's first step: tokens, embedding layer in plain.
    ///
    /// # Errors
    /// Those of [`tokenize`](Self::tokenize); [`Error::TextTooLong`] if the text does not fit the layout.
    pub fn query(&self, layout: &Layout, text: &str) -> Result<Query> {
        self.query_tokens(layout, &self.tokenize(text)?)
    }

    /// As [`query`](Self::query) for tokens.
    ///
    /// # Errors
    /// [`Error::TextTooLong`] if they do not fit the layout, [`Error::Tokens`] if they are of another model.
    pub fn query_tokens(&self, layout: &Layout, tokens: &Tokens) -> Result<Query> {
        if tokens.len() > layout.tokens() {
            return Err(Error::TextTooLong { tokens: tokens.len(), max: layout.tokens() });
        }
        let hidden = self.embeddings().forward(tokens)?;
        Ok(Query { shape: QueryShape::new(layout, tokens.len()), hidden })
    }

    /// The server's part: the encoder layers and the mean over the tokens. It can be planned, run on
    /// ciphertexts, and run on plain tensors with the same approximations.
    ///
    /// # Errors
    /// [`Error::Nn`] for constants or a layout that do not fit the model.
    pub fn network(&self, layout: &Layout, calibration: &Calibration) -> Result<Network> {
        self.check_constants(calibration)?;
        Ok(encoder(layout, &self.weights, &calibration.constants, Pooling::Mean)?)
    }

    /// Whether a query of this shape is one of this model.
    ///
    /// # Errors
    /// [`Error::OtherShape`], [`Error::DamagedShape`].
    pub fn check_shape(&self, shape: &QueryShape) -> Result<()> {
        let c = self.config();
        let (width, heads, intermediate) = (c.width, c.heads, c.intermediate);
        let own = (shape.width, shape.heads, shape.intermediate) == (width, heads, intermediate);
        // What `layout` makes of the longest text: a forged shape must not make the server plan for more.
        let layout = shape.layout()?;
        let fits =
            || Ok::<_, Error>(shape.padded_tokens <= self.layout(layout.slots(), c.positions)?.tokens());
        if !own || shape.lengths.iter().any(|&tokens| tokens > c.positions) || !fits()? {
            let (have, positions) = (shape.clone(), c.positions);
            return Err(Error::OtherShape { have, positions, width, heads, intermediate });
        }
        Ok(())
    }

    /// Whether the encrypted run can give the embeddings of these texts. The client asks before it encrypts: the server
    /// sees no values, and a text that leaves a range comes back as noise, with all that share its ciphertexts.
    ///
    /// # Errors
    /// [`Error::NotCovered`] with the excursion that is farthest outside, in widths of its range. Once values have
    /// overflowed nothing can be compared: then with the first.
    pub fn check_covered(&self, network: &Network, query: &Query) -> Result<()> {
        let mut excursions = vec![];
        for text in query.texts()? {
            excursions.extend(network.plain(&text)?.excursions);
        }
        let outside = |e: &Excursion| {
            let (low, high) = e.range;
            (e.value - high).max(low - e.value) / (high - low)
        };
        let finite = excursions.iter().filter(|e| outside(e).is_finite());
        let worst = finite.max_by(|a, b| outside(a).total_cmp(&outside(b))).or(excursions.first());
        worst.map_or(Ok(()), |e| Err(Error::NotCovered(e.clone())))
    }

    /// The embedding of each text that the encrypted run would give without noise: the approximated twin.
    ///
    /// Second, where values left the ranges of the approximations, by stage; empty for a text that the
    /// calibration covers.
    ///
    /// # Errors
    /// [`Error::Embedding`] if the approximations diverged altogether.
    pub fn embed_approximated(
        &self,
        network: &Network,
        query: &Query,
    ) -> Result<Vec<(Vec<f64>, Vec<Excursion>)>> {
        let embed = |text: &Tensor| {
            let run = network.plain(text)?;
            Ok((embedding::normalize(run.output.row(0).to_vec())?, run.excursions))
        };
        query.texts()?.iter().map(embed).collect()
    }
}
