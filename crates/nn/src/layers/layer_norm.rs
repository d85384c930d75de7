//! LayerNorm in three parts, so that a bootstrap can fall between them: moments, inverse square root,
//! gamma and beta.
//!
//! The variance is the mean square minus the square of the mean, one level less deep than centring first;
//! residual streams have means far below their deviations, so nothing cancels (measured over 851 texts:
//! |mean| < 0.6 sigma).
//!
//! LayerNorm ignores a factor on a row, so token 0, whose variance can be a hundred times the others', is
//! scaled by a public constant first; the factor is folded into masks and weights.

use aegis_circuits::Polynomial;
use aegis_ckks::{Evaluator, KeyRequest, Level, Params};

use crate::calibration::NormCalibration;
use crate::ops::{BlockSum, add_vector, bring, mul_vector, no_keys, sum_steps, total};
use crate::{Axis, Content, CtTensor, Error, Layer, Layout, MODEL, Port, Result, Tensor, ValidRange};

/// From a matrix: its rows without their means (one level down), and the variances of the rows, normalized
/// from their calibrated range to `[-1, 1]` (two levels down).
///
/// ```
/// # use std::sync::Arc;
/// # use aegis_ckks::{Context, Level, Params, insecure_levelled_spec};
/// # let params = Params::insecure(insecure_levelled_spec(9, 8))?;
/// # let ctx = Context::new(params.clone(), Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 1)?))?;
/// use aegis_nn::layers::layer_norm::Moments;
/// use aegis_nn::{Layer, Layout, NormCalibration, Tensor, check};
///
/// // Room for 8 tokens of 8 features in 2 heads, 16 features between the maps of the feed-forward network.
/// let layout = Layout::new(ctx.params().slots(), 8, 8, 2, 16)?;
/// let norm = NormCalibration { var_range: (0.0, 2.0), cheb: vec![1.2, -0.5, 0.2], token0_scale: 1.0 };
/// let moments = Moments::new(&layout, &norm, 1.0);
/// // Rows of plus and minus one: mean 0, variance 1, which is the middle of the range.
/// let x = Tensor::from_fn(3, 8, |_token, feature| if feature % 2 == 0 { 1.0 } else { -1.0 });
/// let parts = moments.plain(&[&x])?;
/// assert!(parts[0].max_difference(&x) < 1e-12 && parts[1].at(2, 0).abs() < 1e-12);
/// // The same on ciphertexts.
/// check(&moments, &ctx, Level(1), &[&x], 1e-4)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Moments {
    layout: Layout,
    range: (f64, f64),
    first_scale: f64,
}

impl Moments {
    /// Moments of rows of which row 0 is to be multiplied by `first_scale` before.
    pub fn new(layout: &Layout, constants: &NormCalibration, first_scale: f64) -> Self {
        Self { layout: layout.clone(), range: constants.var_range, first_scale }
    }

    fn sum(&self) -> BlockSum {
        BlockSum { block: self.layout.block(), step: 1, width: self.layout.block() }
    }

    /// `2 / (b - a)`: what a variance is multiplied by.
    fn slope(&self) -> f64 {
        2.0 / (self.range.1 - self.range.0)
    }

    fn intercept(&self) -> f64 {
        -(self.range.0 + self.range.1) / (self.range.1 - self.range.0)
    }

    /// A vector that is `value` in the first slot of each token, for token 0 times `first_scale`, and zero
    /// elsewhere.
    fn heads_of_blocks(&self, value: f64) -> Vec<f64> {
        self.layout.vector(|t, f| match (t, f) {
            (0, 0) => value * self.first_scale,
            (_, 0) => value,
            _ => 0.0,
        })
    }

    /// The sum over all features of a token in the first slot of its block; other slots hold garbage.
    fn raw_sum(&self, ev: &Evaluator, x: &CtTensor) -> Result<CtTensor> {
        x.fold(Axis::Head, |_, blocks| sum_steps(ev, &total(ev, blocks)?, 1, self.layout.block()))
    }

    fn variance(&self, ev: &Evaluator, x: &CtTensor, sum: &CtTensor) -> Result<CtTensor> {
        let (width, slope) = (self.layout.width() as f64, self.slope());
        let squares = x.map(|_, block| Ok(ev.square_rescale(block)?))?;
        let factor = slope * self.first_scale;
        let mask = self.layout.vector(|t, f| match (t, f) {
            (0, 0) => factor * self.first_scale / width,
            (_, 0) => slope / width,
            _ => 0.0,
        });
        self.raw_sum(ev, &squares)?.zip(sum, |_, squares, sum| {
            let mean_square = mul_vector(ev, squares, &mask)?;
            let mean = mul_vector(ev, sum, &self.heads_of_blocks(slope.sqrt() / width))?;
            let variance = self.sum().spread(ev, &ev.sub(&mean_square, &ev.square_rescale(&mean)?)?)?;
            let centre = self.layout.vector(|t, _| if t < x.rows() { self.intercept() } else { 0.0 });
            add_vector(ev, &variance, &centre)
        })
    }
}

impl Layer for Moments {
    fn name(&self) -> &str {
        "moments"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(MODEL, 2)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(MODEL, 1), Port::new(Content::TokenStats, 0)]
    }

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        let (sum, top, below) = (self.sum(), level.up(2), level.up(1));
        sum.spread_keys(sum.gather_keys(no_keys(params), top), below).relinearize(top)
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let x = inputs[0];
        let mut centred = x.clone();
        let mut variance = Tensor::zeros(x.rows(), 1);
        for t in 0..x.rows() {
            let n = x.cols() as f64;
            let mean = x.row(t).iter().sum::<f64>() / n;
            centred.row_mut(t).iter_mut().for_each(|v| *v -= mean);
            let scale = if t == 0 { self.first_scale } else { 1.0 };
            let var = centred.row(t).iter().map(|v| v * v).sum::<f64>() / n * scale * scale;
            *variance.at_mut(t, 0) = var * self.slope() + self.intercept();
        }
        Ok(vec![centred, variance])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        let x = inputs[0];
        x.expect(MODEL, "rows to normalize")?;
        let sum = self.raw_sum(ev, x)?;
        let variance = self.variance(ev, x, &sum)?;
        let width = self.layout.width() as f64;
        let first = self.layout.periodic(|f| if f == 0 { 1.0 / width } else { 0.0 });
        let mean = sum.map(|_, sum| self.sum().spread(ev, &mul_vector(ev, sum, &first)?))?;
        // Slots without a feature get minus the mean here and a zero gamma later.
        let centred = x.zip(&mean, |_, block, mean| Ok(ev.sub(block, mean)?))?;
        Ok(vec![centred, variance])
    }
}

/// `1 / sqrt` of normalized variances. The polynomial's levels.
pub struct InverseSqrt {
    layout: Layout,
    polynomial: Polynomial,
}

impl InverseSqrt {
    /// The polynomial of these constants, its input normalized from the range to `[-1, 1]` already.
    pub fn new(layout: &Layout, constants: &NormCalibration) -> Result<Self> {
        let polynomial = Polynomial::chebyshev(constants.cheb.iter().copied(), (-1.0, 1.0))?;
        Ok(Self { layout: layout.clone(), polynomial })
    }
}

impl Layer for InverseSqrt {
    fn name(&self) -> &str {
        "inverse sqrt"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(Content::TokenStats, self.polynomial.depth())]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(Content::TokenStats, 0)]
    }

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        self.polynomial.keys(params, level.up(self.depth()))
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].map(|_, u| self.polynomial.plain(u, 0))])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        inputs[0].expect(Content::TokenStats, "variances")?;
        Ok(vec![inputs[0].map(|_, variance| Ok(self.polynomial.evaluate(ev, variance)?))?])
    }

    fn ranges(&self) -> Vec<ValidRange> {
        vec![ValidRange { input: 0, low: -1.0, high: 1.0 }]
    }
}

/// `gamma * centred / sigma + beta`, in one or more versions that differ by a factor on token 0. The centred
/// rows are two levels above the output, the inverse deviations one.
pub struct GammaBeta {
    layout: Layout,
    gamma: Vec<f64>,
    beta: Vec<f64>,
    first_scale: f64,
    versions: Vec<f64>,
}

impl GammaBeta {
    /// Gamma and beta for rows whose row 0 was taken with the factor `first_scale` by [`Moments`]; output `i` has
    /// row 0 multiplied by `versions[i]`.
    pub fn new(
        layout: &Layout,
        (gamma, beta): (Vec<f64>, Vec<f64>),
        first_scale: f64,
        versions: Vec<f64>,
    ) -> Result<Self> {
        if gamma.len() != layout.width() || beta.len() != layout.width() {
            return Err(Error::Shape {
                what: "gamma and beta".into(),
                want: format!("{} values each", layout.width()),
                have: format!("{} and {}", gamma.len(), beta.len()),
            });
        }
        for (values, what) in [(&gamma, "gamma"), (&beta, "beta")] {
            Tensor::new(1, values.len(), values.clone())?.check_finite(what)?;
        }
        Ok(Self { layout: layout.clone(), gamma, beta, first_scale, versions })
    }

    /// Weights of the features of block `j`, row 0 times `first`, zero in padded rows.
    fn vector(&self, weights: &[f64], j: usize, first: f64, rows: usize) -> Vec<f64> {
        self.layout.vector(|t, f| match self.layout.model_feature(j, f) {
            Some(c) if t == 0 => weights[c] * first,
            Some(c) if t < rows => weights[c],
            _ => 0.0,
        })
    }
}

impl Layer for GammaBeta {
    fn name(&self) -> &str {
        "gamma beta"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(MODEL, 2), Port::new(Content::TokenStats, 1)]
    }

    fn outputs(&self) -> Vec<Port> {
        self.versions.iter().map(|_| Port::new(MODEL, 0)).collect()
    }

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        no_keys(params).relinearize(level.up(1))
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (centred, inverse) = (inputs[0], inputs[1]);
        let version = |first: f64| {
            Tensor::from_fn(centred.rows(), centred.cols(), |t, c| {
                let (scale, first) = if t == 0 { (self.first_scale, first) } else { (1.0, 1.0) };
                (centred.at(t, c) * scale * inverse.at(t, 0) * self.gamma[c] + self.beta[c]) * first
            })
        };
        Ok(self.versions.iter().map(|first| version(*first)).collect())
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        let (centred, inverse) = (inputs[0], inputs[1]);
        centred.expect(MODEL, "centred rows")?;
        inverse.expect(Content::TokenStats, "inverse deviations")?;
        let level = centred.level().lowered(1).min(inverse.level());
        let inverse = inverse.map(|_, factor| bring(ev, factor, level))?;
        let version = |&first: &f64| {
            centred.zip(&inverse, |j, block, factor| {
                let gamma = self.vector(&self.gamma, j, self.first_scale * first, centred.rows());
                let beta = self.vector(&self.beta, j, first, centred.rows());
                let block = bring(ev, block, level.up(1))?;
                let scaled = ev.mul_rescale(&mul_vector(ev, &block, &gamma)?, factor)?;
                add_vector(ev, &scaled, &beta)
            })
        };
        self.versions.iter().map(version).collect()
    }
}
