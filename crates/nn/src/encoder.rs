//! A Transformer encoder (post-LayerNorm, as BERT) assembled from layers.
//!
//! Constants are folded into weights wherever that saves a level: `1/sqrt(G)`, the score scale and the
//! normalization of the exponential's input into queries and keys, that of the activation's input into the
//! feed-forward network's first matrix, the factors on token 0 into LayerNorm's weights and the activation's
//! coefficients.

use crate::calibration::{Calibration, LayerCalibration};
use crate::layers::activation::Gelu;
use crate::layers::attention::{Attend, Scores};
use crate::layers::layer_norm::{GammaBeta, InverseSqrt, Moments};
use crate::layers::linear::Linear;
use crate::layers::pooling::MeanPool;
use crate::layers::residual::Residual;
use crate::layers::softmax::{Exp, Inverse, Normalize, RowSum, Square};
use crate::levels::ValueId;
use crate::network::Network;
use crate::program::Section;
use crate::{Content, Error, Layout, MODEL, Result, Tensor};

/// An affine map: `x W + b` with `weight` inputs x outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// Inputs x outputs.
    pub weight: Tensor,
    /// One value an output.
    pub bias: Vec<f64>,
}

impl Affine {
    /// Checks shape and values.
    fn check(&self, what: &str, inputs: usize, outputs: usize) -> Result<()> {
        let have = (self.weight.rows(), self.weight.cols(), self.bias.len());
        if have != (inputs, outputs, outputs) {
            return Err(Error::Shape {
                what: what.into(),
                want: format!("a weight {inputs} x {outputs} and a bias of {outputs}"),
                have: format!("a weight {} x {} and a bias of {}", have.0, have.1, have.2),
            });
        }
        self.weight.check_finite(what)?;
        Tensor::new(1, outputs, self.bias.clone())?.check_finite(what)
    }

    fn scaled(&self, factor: f64) -> Self {
        let bias = self.bias.iter().map(|b| b * factor).collect();
        Self { weight: self.weight.map(|_, w| w * factor), bias }
    }
}

/// Weights of a LayerNorm.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Factor of each feature.
    pub gamma: Vec<f64>,
    /// Offset of each feature.
    pub beta: Vec<f64>,
}

/// Weights of one encoder layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// Queries, D x D; features of head h are `h * D/H ..`.
    pub query: Affine,
    /// Keys, D x D.
    pub key: Affine,
    /// Values, D x D.
    pub value: Affine,
    /// Attention output, D x D.
    pub output: Affine,
    /// LayerNorm after attention.
    pub norm1: Norm,
    /// First matrix of the feed-forward network, D x F.
    pub up: Affine,
    /// Second matrix, F x D.
    pub down: Affine,
    /// LayerNorm after the feed-forward network.
    pub norm2: Norm,
}

/// Weights of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderWeights {
    /// One entry a layer.
    pub layers: Vec<LayerWeights>,
}

impl EncoderWeights {
    /// Checks shapes and values against a layout.
    pub fn check(&self, layout: &Layout) -> Result<()> {
        let (d, f) = (layout.width(), layout.intermediate());
        for (i, w) in self.layers.iter().enumerate() {
            let affine = [
                (&w.query, "query", d, d),
                (&w.key, "key", d, d),
                (&w.value, "value", d, d),
                (&w.output, "output", d, d),
                (&w.up, "up", d, f),
                (&w.down, "down", f, d),
            ];
            for (map, name, inputs, outputs) in affine {
                map.check(&format!("layer {i}, {name}"), inputs, outputs)?;
            }
        }
        Ok(())
    }
}

/// How the embeddings of the tokens become the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Not at all: the result is a row for each token.
    None,
    /// By their mean, one row.
    Mean,
}

/// The network of an encoder: its input are token embeddings, rows x D.
///
/// Fails with a typed error when weights or calibration do not fit the layout.
pub fn encoder(
    layout: &Layout,
    weights: &EncoderWeights,
    calibration: &Calibration,
    pooling: Pooling,
) -> Result<Network> {
    weights.check(layout)?;
    calibration.validate(None, weights.layers.len(), layout.heads(), layout.head_dim())?;
    let bound = calibration.layers.first().map_or(1.0, |l| l.bounds.input);
    let mut network = Network::new(layout, "input", bound);
    let mut x = network.input();
    for (i, (w, c)) in weights.layers.iter().zip(&calibration.layers).enumerate() {
        let mut builder = Builder {
            network: &mut network,
            layout,
            group: format!("layer {i}"),
            section: Section::Other,
            weights: w,
            constants: c,
        };
        let context = builder.attention(x)?;
        let (up_input, residual) = builder.norm1(x, context)?;
        x = builder.feed_forward(up_input, residual)?;
    }
    if pooling == Pooling::Mean {
        x = network.add(("pooling", Section::Other), MeanPool::new(layout), &[x], &[f64::INFINITY])?[0];
    }
    Ok(network.finish(x))
}

/// Adds the parts of one encoder layer.
struct Builder<'a> {
    network: &'a mut Network,
    layout: &'a Layout,
    group: String,
    /// Of what is added now.
    section: Section,
    weights: &'a LayerWeights,
    constants: &'a LayerCalibration,
}

impl Builder<'_> {
    fn one(&mut self, layer: impl crate::Layer + 'static, inputs: &[ValueId], bound: f64) -> Result<ValueId> {
        Ok(self.network.add((&self.group, self.section), layer, inputs, &[bound])?[0])
    }

    fn linear(
        &self,
        name: &str,
        ports: (Content, Content),
        map: &Affine,
        first_bias: Vec<f64>,
    ) -> Result<Linear> {
        Linear::new(name, self.layout, ports, map.weight.clone(), map.bias.clone(), first_bias)
    }

    /// Queries and keys whose product is the normalized score, up to a constant of the row.
    fn queries_and_keys(&self) -> Result<(Linear, f64)> {
        let (s, head_dim) = (&self.constants.softmax, self.layout.head_dim());
        let exp = &s.exp_poly;
        let shrink = s.score_scale / (head_dim as f64).sqrt() / 2f64.powi(exp.squarings as i32);
        // The factor of the product is shared out evenly, so that queries and keys have similar bounds.
        let factor = (shrink * 2.0 / (exp.b - exp.a)).sqrt();
        let mut key = self.weights.key.clone();
        let mut shift = 0.0f64;
        for (c, bias) in key.bias.iter_mut().enumerate() {
            let delta = s.key_bias_offset_delta[c / head_dim][c % head_dim] / s.score_scale;
            *bias -= delta;
            shift = shift.max(delta.abs());
        }
        let (query, key) = (self.weights.query.scaled(factor), key.scaled(factor));
        let both = Affine {
            weight: query.weight.beside(&key.weight),
            bias: query.bias.iter().chain(&key.bias).copied().collect(),
        };
        let bound = (self.constants.bounds.query_key + shift) * factor;
        let first = both.bias.clone();
        Ok((self.linear("query, key", (MODEL, Content::Model { parts: 2 }), &both, first)?, bound))
    }

    fn scores(&self) -> Result<Scores> {
        let s = &self.constants.softmax;
        let (a, b) = (s.exp_poly.a, s.exp_poly.b);
        let slope = 2.0 / (b - a) / 2f64.powi(s.exp_poly.squarings as i32);
        let constants = s.row_constant.iter().map(|c| -c * slope - (a + b) / (b - a)).collect();
        Scores::new(self.layout, constants, slope)
    }

    /// From the layer's input to the normalized context.
    fn attention(&mut self, x: ValueId) -> Result<ValueId> {
        let (layout, s, bounds) = (self.layout, &self.constants.softmax, self.constants.bounds);
        self.section = Section::Attention;
        let (projection, bound) = self.queries_and_keys()?;
        let exp = Exp::new(layout, &s.exp_poly)?;
        let scores = self.scores()?;
        let query_key = self.one(projection, &[x], bound)?;
        let score = self.one(scores, &[query_key], 1.0)?;
        let mut weights = self.one(exp, &[score], 1.0)?;
        let first = (s.inv0.schedule.as_slice(), s.inv0.eps);
        let next = (s.next_schedule(layout.tokens())?, 1.0 / layout.tokens() as f64);
        for round in 0..s.normalize_and_square_rounds {
            let (schedule, smallest) = if round == 0 { first } else { next };
            let sum = self.one(RowSum::new(layout), &[weights], 1.0)?;
            // Inverses span too many magnitudes for the absolute error of a bootstrap.
            let inverse = self.one(Inverse::new(layout, schedule, smallest), &[sum], f64::INFINITY)?;
            weights = self.one(Normalize::scores(layout), &[weights, inverse], 1.0)?;
            weights = self.one(Square::new(layout), &[weights], 1.0)?;
        }
        let (schedule, smallest) = if s.normalize_and_square_rounds == 0 { first } else { next };
        let sum = self.one(RowSum::new(layout), &[weights], 1.0)?;
        let map = &self.weights.value;
        let value = self.linear("value", (MODEL, MODEL), map, map.bias.clone())?;
        let value = self.one(value, &[x], bounds.context)?;
        let context = self.one(Attend::new(layout)?, &[weights, value], bounds.context)?;
        let inverse = self.one(Inverse::new(layout, schedule, smallest), &[sum], f64::INFINITY)?;
        self.one(Normalize::context(layout), &[context, inverse], bounds.context)
    }

    /// A LayerNorm of which row 0 comes multiplied by `first_scale` in effect; the outputs have row 0
    /// multiplied by `versions`.
    fn norm(
        &mut self,
        x: ValueId,
        second: bool,
        first_scale: f64,
        versions: Vec<f64>,
        bound: f64,
    ) -> Result<Vec<ValueId>> {
        let (c, w) = (self.constants, self.weights);
        let (constants, weights) = if second { (&c.ln2, &w.norm2) } else { (&c.ln1, &w.norm1) };
        let input_bound = if second { c.residual_bound } else { c.bounds.residual1 };
        self.section = Section::Other;
        let moments = Moments::new(self.layout, constants, first_scale);
        let made = self.network.add((&self.group, self.section), moments, &[x], &[input_bound, 1.0])?;
        let largest = constants.var_range.0.sqrt().recip();
        let inverse = self.one(InverseSqrt::new(self.layout, constants)?, &[made[1]], largest)?;
        let bounds = vec![bound; versions.len()];
        let gamma_beta = GammaBeta::new(
            self.layout,
            (weights.gamma.clone(), weights.beta.clone()),
            first_scale,
            versions,
        )?;
        self.network.add((&self.group, self.section), gamma_beta, &[made[0], inverse], &bounds)
    }

    /// Attention output, residual and the first LayerNorm: the feed-forward network's input and the next
    /// residual.
    fn norm1(&mut self, x: ValueId, context: ValueId) -> Result<(ValueId, ValueId)> {
        let c = self.constants;
        let map = &self.weights.output;
        let output = self.linear("output", (MODEL, MODEL), map, map.bias.clone())?;
        let output = self.one(output, &[context], c.bounds.residual1)?;
        let sum = self.one(Residual::new(self.layout), &[x, output], c.bounds.residual1)?;
        // Row 0 of the first version meets the activation's own range for token 0 through the common
        // weights; the second carries the factor of the second LayerNorm.
        let ((a, b), (a0, b0)) = (c.gelu.range, c.gelu.token0.range);
        let versions = vec![(b - a) / (b0 - a0), c.ln2.token0_scale];
        let made = self.norm(sum, false, c.ln1.token0_scale, versions, c.bounds.norm1)?;
        Ok((made[0], made[1]))
    }

    fn feed_forward(&mut self, x: ValueId, residual: ValueId) -> Result<ValueId> {
        let (c, w) = (self.constants, self.weights);
        self.section = Section::FeedForward;
        let (g, first_scale) = (&c.gelu, c.ln2.token0_scale);
        let normalize = |bias: &[f64], (a, b): (f64, f64)| -> Vec<f64> {
            bias.iter().map(|v| (2.0 * v - a - b) / (b - a)).collect()
        };
        let up = Affine {
            weight: w.up.weight.map(|_, v| v * 2.0 / (g.range.1 - g.range.0)),
            bias: normalize(&w.up.bias, g.range),
        };
        let up =
            self.linear("up", (MODEL, Content::Intermediate), &up, normalize(&w.up.bias, g.token0.range))?;
        let inner = self.one(up, &[x], 1.0)?;
        let first = g.token0.cheb.iter().map(|v| v * first_scale).collect();
        let gelu = Gelu::new(self.layout, g.cheb.clone(), first)?;
        let active = self.one(gelu, &[inner], c.bounds.gelu)?;
        let first_bias = w.down.bias.iter().map(|v| v * first_scale).collect();
        let down = self.linear("down", (Content::Intermediate, MODEL), &w.down, first_bias)?;
        let output = self.one(down, &[active], c.bounds.feed_forward)?;
        let sum = self.one(Residual::new(self.layout), &[residual, output], c.residual_bound)?;
        Ok(self.norm(sum, true, 1.0, vec![1.0], c.bounds.input)?[0])
    }
}
