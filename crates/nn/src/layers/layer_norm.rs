//! LayerNorm in three parts, so that a bootstrap can fall between them: moments, inverse square root,
//! gamma and beta.
//!
//! The variance is the mean square minus the square of the mean, one level less deep than centring first;
//! residual streams have means far below their deviations, so nothing cancels (measured over 851 texts:
//! |mean| < 0.6 sigma).
//!
//! LayerNorm ignores a factor on a row, so token 0, whose variance can be a hundred times the others', is
//! scaled by a public constant first; the factor is folded into masks and weights.

use std::sync::Arc;

use aegis_circuits::Polynomial;
use aegis_ckks::{Ciphertext, Evaluator};

use crate::calibration::NormCalibration;
use crate::ops::{BlockSum, add_vector, bring, mul_vector, pattern, sum_steps, total};
use crate::program::{Emitter, Place};
use crate::{Content, Error, Layer, Layout, MODEL, Port, Result, Rows, Tensor, TensorRef, ValidRange};

/// From a matrix: its rows without their means (one level down), and the variances of the rows, normalized
/// from their calibrated range to `[-1, 1]` (two levels down). The variances of several token blocks stand in one ciphertext,
/// a slot each: a bootstrap refreshes them together. Those of a single one stand in all slots of their tokens at once.
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
/// check(&Arc::new(moments), &ctx, Level(1), &[&x], 1e-4)?;
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
        Self { layout: *layout, range: constants.var_range, first_scale }
    }

    /// `2 / (b - a)`: what a variance is multiplied by.
    fn slope(&self) -> f64 {
        2.0 / (self.range.1 - self.range.0)
    }

    fn intercept(&self) -> f64 {
        -(self.range.0 + self.range.1) / (self.range.1 - self.range.0)
    }

    /// A vector that is `value` in the first slot of each token, for token 0 of a text times `first`, and zero elsewhere.
    fn starts(&self, a: usize, rows: &Rows, value: f64, first: f64) -> Vec<f64> {
        self.layout.vector(|t, f| match rows.row(a * self.layout.block_tokens() + t) {
            _ if f > 0 => 0.0,
            Some(row) if row.token == 0 => value * first,
            _ => value,
        })
    }

    /// The sum over all features of a token in the first slot of its block; other slots hold garbage.
    fn raw_sum(&self, ev: &Evaluator, x: &[Ciphertext]) -> Result<Ciphertext> {
        sum_steps(ev, &total(ev, x)?, 1, self.layout.token_slots())
    }

    /// Token block `a`: its rows without their means, and its variances, without what is added to all, in the first
    /// slot of each token.
    fn moments(&self, ev: &Evaluator, x: &[Ciphertext], a: usize, rows: &Rows) -> Result<Vec<Ciphertext>> {
        let (layout, width, slope, first) =
            (&self.layout, self.layout.width() as f64, self.slope(), self.first_scale);
        let spread = token_sum(layout);
        let sum = self.raw_sum(ev, x)?;
        let starts = layout.periodic(|f| if f == 0 { 1.0 / width } else { 0.0 });
        let mean = spread.spread(ev, &mul_vector(ev, &sum, &starts)?, 0)?;
        // Slots without a feature get minus the mean here and a zero gamma later.
        let mut made = x.iter().map(|x| Ok(ev.sub(x, &mean)?)).collect::<Result<Vec<_>>>()?;

        let squares = x.iter().map(|x| Ok(ev.square_rescale(x)?)).collect::<Result<Vec<_>>>()?;
        let squares = self.raw_sum(ev, &squares)?;
        let mean_square = mul_vector(ev, &squares, &self.starts(a, rows, slope / width, first * first))?;
        let mean = mul_vector(ev, &sum, &self.starts(a, rows, slope.sqrt() / width, first))?;
        made.push(ev.sub(&mean_square, &ev.square_rescale(&mean)?)?);
        Ok(made)
    }

    /// The variances of all token blocks in one, with the constant that brings them into the range.
    fn pack(&self, ev: &Evaluator, variances: &[Ciphertext], rows: &Rows) -> Result<Ciphertext> {
        let (layout, tokens) = (&self.layout, self.layout.block_tokens());
        let packed = match variances {
            [variance] => token_sum(layout).spread(ev, variance, 0)?,
            several => token_sum(layout).pack(ev, several)?,
        };
        let there = |t: usize, f: usize| {
            let a = if layout.token_blocks() == 1 { 0 } else { f };
            a < layout.token_blocks() && rows.row(a * tokens + t).is_some()
        };
        add_vector(ev, &packed, &layout.vector(|t, f| if there(t, f) { self.intercept() } else { 0.0 }))
    }
}

/// Sums over the features of a token.
fn token_sum(layout: &Layout) -> BlockSum {
    BlockSum { token_slots: layout.token_slots(), step: 1, width: layout.token_slots() }
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
        vec![Port::new(MODEL, 1), Port::new(Content::PackedStats, 0)]
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

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        let x = &inputs[0];
        x.expect(MODEL, "rows to normalize")?;
        let (mut centred, mut variances) = (vec![], vec![]);
        for a in 0..self.layout.token_blocks() {
            let blocks = x.token_block(a);
            let centred_at = (0..blocks.len()).map(|j| (Port::new(MODEL, 1), a * blocks.len() + j));
            let makes: Vec<_> = centred_at.chain([(Port::new(Content::TokenStats, 0), a)]).collect();
            let (this, rows) = (Arc::clone(&self), x.rows().clone());
            let made = program
                .task_of("moments", blocks, &makes, move |place, x| this.moments(&place.ev, x, a, &rows));
            centred.extend_from_slice(&made[..blocks.len()]);
            variances.extend_from_slice(&made[blocks.len()..]);
        }
        let (rows, port) = (x.rows().clone(), Port::new(Content::PackedStats, 0));
        let pack =
            move |place: &Place, variances: &[Ciphertext]| Ok(vec![self.pack(&place.ev, variances, &rows)?]);
        let packed = program.task("pack", &variances, (port, &[0]), pack);
        Ok(vec![x.with(MODEL, centred)?, x.with(Content::PackedStats, packed)?])
    }
}

/// `1 / sqrt` of normalized variances, in all slots of their tokens. The polynomial's levels. The polynomial unpacks them: it
/// is zero in all slots but those of one token block, where there are several.
pub struct InverseSqrt {
    layout: Layout,
    cheb: Vec<f64>,
    polynomial: Polynomial,
}

impl InverseSqrt {
    /// The polynomial of these constants, its input normalized from the range to `[-1, 1]` already.
    pub fn new(layout: &Layout, constants: &NormCalibration) -> Result<Self> {
        let polynomial = Polynomial::chebyshev(constants.cheb.iter().copied(), (-1.0, 1.0))?;
        Ok(Self { layout: *layout, cheb: constants.cheb.clone(), polynomial })
    }

    fn unpacked(&self, ev: &Evaluator, x: &Ciphertext, rows: &Rows) -> Result<Vec<Ciphertext>> {
        let (layout, tokens) = (&self.layout, self.layout.block_tokens());
        if layout.token_blocks() == 1 {
            let polynomial = Polynomial::chebyshev(self.cheb.iter().copied(), (-1.0, 1.0))?;
            return Ok(vec![polynomial.evaluate(ev, x)?]);
        }
        let of_block = |a: usize| {
            let class = |t, f| usize::from(f == a && rows.row(a * tokens + t).is_some());
            Polynomial::by_class(&[vec![], self.cheb.clone()], layout.vector(class), (-1.0, 1.0))
        };
        let units = (0..layout.token_blocks()).map(of_block).collect::<aegis_circuits::Result<Vec<_>>>()?;
        let inverses = Polynomial::evaluate_units(ev, x, &units)?;
        let level = x.level().lowered(self.depth());
        let spread = |(a, inverse): (usize, &Ciphertext)| {
            // That of a token block without a token vanishes and takes no level, and the keys are for this one.
            token_sum(layout).spread(ev, &bring(ev, inverse, level)?, a)
        };
        inverses.iter().enumerate().map(spread).collect()
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
        vec![Port::new(Content::PackedStats, self.polynomial.depth())]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(Content::TokenStats, 0)]
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].map(|_, u| self.polynomial.plain(u, 0))])
    }

    fn kind(&self) -> String {
        format!("inverse sqrt, {}", pattern(&self.cheb))
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        let x = &inputs[0];
        x.expect(Content::PackedStats, "variances")?;
        let all: Vec<_> = (0..self.layout.token_blocks()).collect();
        let (rows, port) = (x.rows().clone(), (Port::new(Content::TokenStats, 0), all.as_slice()));
        let made = program.task("", x.blocks(), port, move |place, x| self.unpacked(&place.ev, &x[0], &rows));
        Ok(vec![x.with(Content::TokenStats, made)?])
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
        Ok(Self { layout: *layout, gamma, beta, first_scale, versions })
    }

    /// Weights of the features of block `j`, token 0 times `first`, zero in padded rows.
    fn vector(&self, weights: &[f64], j: usize, first: f64, rows: &Rows) -> Vec<f64> {
        let (layout, heads) = (&self.layout, self.layout.model_blocks());
        let start = j / heads * layout.block_tokens();
        layout.vector(|t, f| match (layout.model_feature(j % heads, f), rows.row(start + t)) {
            (Some(c), Some(row)) if row.token == 0 => weights[c] * first,
            (Some(c), Some(_)) => weights[c],
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

    fn kind(&self) -> String {
        format!("gamma beta, {} versions", self.versions.len())
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        let (centred, inverse) = (&inputs[0], &inputs[1]);
        centred.expect(MODEL, "centred rows")?;
        inverse.expect(Content::TokenStats, "inverse deviations")?;
        let version = |&first: &f64| {
            let (this, rows) = (Arc::clone(&self), centred.rows().clone());
            program.zip("", (centred, inverse), Port::new(MODEL, 0), move |ev, j, block, factor| {
                let gamma = this.vector(&this.gamma, j, this.first_scale * first, &rows);
                let beta = this.vector(&this.beta, j, first, &rows);
                let scaled = ev.mul_rescale(&mul_vector(ev, block, &gamma)?, factor)?;
                add_vector(ev, &scaled, &beta)
            })
        };
        self.versions.iter().map(version).collect()
    }
}
