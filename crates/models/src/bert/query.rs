//! What crosses the line between client and server: values to encrypt, slots that were decrypted, and what is
//! public about them.

use aegis_nn::{
    Calibration, Content, Layout, MODEL, Network, Pooling, Rows, Shape, Tensor, encoder, largest,
};
use serde::{Deserialize, Serialize};

use super::Bert;
use crate::embedding;
use crate::error::{Error, NoEmbedding, Result};
use crate::hf::tokenizer::Tokens;

/// Copies of the result may differ by this part of its largest value, and empty slots hold as much. A good
/// run leaves 2^-10 of it; a ciphertext that overflowed or was decrypted with a wrong key differs by more
/// than the whole.
const TOLERATED: f64 = 0.1;

/// Every size of a shape is at most this, so that products of two do not overflow.
const LARGEST: usize = 1 << 20;

/// All that the server learns of a text: how many tokens it has, and the shape of the model.
///
/// The number of tokens is public because scores are shifted by its logarithm and padded rows are masked by
/// plaintexts; a client that must hide it pads the *text*. The ids, their order and everything computed from
/// them stay encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryShape {
    slots: usize,
    padded_tokens: usize,
    tokens: usize,
    #[serde(rename = "hidden")]
    width: usize,
    heads: usize,
    intermediate: usize,
}

impl QueryShape {
    fn new(layout: &Layout, tokens: usize) -> Self {
        QueryShape {
            slots: layout.slots(),
            padded_tokens: layout.tokens(),
            tokens,
            width: layout.width(),
            heads: layout.heads(),
            intermediate: layout.intermediate(),
        }
    }

    /// Tokens of the text, special ones included.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens after padding: the same for all texts of a set of keys.
    pub fn padded_tokens(&self) -> usize {
        self.padded_tokens
    }

    /// Which rows of the encrypted tensors are tokens.
    pub fn rows(&self) -> Rows {
        Rows::one(self.tokens)
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
        let sizes = [self.slots, self.padded_tokens, self.width, self.heads, self.intermediate];
        if self.tokens == 0 || self.tokens > self.padded_tokens || sizes.iter().any(|&n| n > LARGEST) {
            return Err(Error::DamagedShape(self.clone()));
        }
        Ok(Layout::new(self.slots, self.padded_tokens, self.width, self.heads, self.intermediate)?)
    }

    /// The embedding in the decrypted slots of a result, of unit length. This is the client's last step; it
    /// needs neither the model nor the text.
    ///
    /// Every token's slots hold a copy of the mean: their average is taken.
    ///
    /// # Errors
    /// [`Error::Embedding`] if the copies disagree or empty slots do not hold zeros: a ciphertext of other
    /// keys, or a run that left the calibrated ranges. [`Error::Nn`] for slots of another shape.
    pub fn finish(&self, slots: &[Vec<f64>]) -> Result<Vec<f64>> {
        let layout = self.layout()?;
        // The embedding stands in every row of the slots.
        Shape::one(&layout, Content::Pooled, 1).unpack(slots)?;
        let mut mean = vec![0.0; layout.width()];
        let at = |slot: usize| (slot / layout.token_slots(), slot % layout.token_slots());
        for (j, slot, value) in entries(slots) {
            if let Some(feature) = layout.model_feature(j, at(slot).1) {
                mean[feature] += value / layout.block_tokens() as f64;
            }
        }
        // What the slots should hold: the copies, and zeros where there is no feature.
        let expected = |j, slot| layout.model_feature(j, at(slot).1).map_or(0.0, |feature| mean[feature]);
        let top = largest(mean.iter().copied());
        let worst = largest(entries(slots).map(|(j, slot, value)| value - expected(j, slot)));
        if worst <= TOLERATED * top {
            return embedding::normalize(mean);
        }
        Err(Error::Embedding(NoEmbedding::Copies { difference: worst, largest: top }))
    }
}

/// Every slot as block, slot and value.
fn entries(slots: &[Vec<f64>]) -> impl Iterator<Item = (usize, usize, f64)> + '_ {
    let blocks = slots.iter().enumerate();
    blocks.flat_map(|(j, block)| block.iter().enumerate().map(move |(slot, value)| (j, slot, *value)))
}

/// A text made ready for encryption. Its values are secret, and never printed.
#[derive(Clone)]
pub struct Query {
    /// What goes to the server beside the ciphertexts.
    pub shape: QueryShape,
    /// The embedded tokens, tokens x width: what [`aegis_nn::encrypt`] and [`Network::plain`] take.
    pub hidden: Tensor,
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
    pub fn network(&self, layout: &Layout, constants: &Calibration) -> Result<Network> {
        self.check_constants(constants)?;
        Ok(encoder(layout, &self.weights, constants, Pooling::Mean)?)
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
        if !own || shape.tokens > c.positions || !fits()? {
            let (have, positions) = (shape.clone(), c.positions);
            return Err(Error::OtherShape { have, positions, width, heads, intermediate });
        }
        Ok(())
    }

    /// Whether the encrypted run can give this text's embedding. The client asks before it encrypts: the server sees no
    /// values, and a text that leaves a range comes back as noise.
    ///
    /// # Errors
    /// [`Error::NotCovered`] with the excursion that is farthest outside, in widths of its range. Once values have
    /// overflowed nothing can be compared: then with the first.
    pub fn check_covered(&self, network: &Network, query: &Query) -> Result<()> {
        let excursions = network.plain(&query.hidden)?.excursions;
        let outside = |e: &aegis_nn::Excursion| {
            let (low, high) = e.range;
            (e.value - high).max(low - e.value) / (high - low)
        };
        let finite = excursions.iter().filter(|e| outside(e).is_finite());
        let worst = finite.max_by(|a, b| outside(a).total_cmp(&outside(b))).or(excursions.first());
        worst.map_or(Ok(()), |e| Err(Error::NotCovered(e.clone())))
    }

    /// The embedding that the encrypted run would give without noise: the approximated twin.
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
    ) -> Result<(Vec<f64>, Vec<aegis_nn::Excursion>)> {
        let run = network.plain(&query.hidden)?;
        Ok((embedding::normalize(run.output.row(0).to_vec())?, run.excursions))
    }
}
