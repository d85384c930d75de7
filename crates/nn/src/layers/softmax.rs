//! Softmax without a maximum, by normalize-and-square.
//!
//! `softmax(s) = normalize(square(... normalize(exp(s / 2^k))))`, k rounds (Cho, Hanrot, Kim, Park, Stehlé
//! 2024, arXiv 2410.11184). A row is shifted by a change of the key bias and constants that are folded into
//! the scores; the inverses run on ciphertexts of sums, and the last one multiplies the attention context
//! instead of the scores.

use aegis_circuits::{Polynomial, goldschmidt};
use aegis_ckks::{Evaluator, KeyRequest, Level, Params};

use crate::calibration::ExpPolynomial;
use crate::ops::{BlockSum, add_vector, bring, no_keys, total};
use crate::{Axis, Content, CtTensor, Layer, Layout, MODEL, Port, Result, Tensor, ValidRange};

/// `p(u)^(2^k)` of scores normalized to `[-1, 1]`: an exponential. Levels of the polynomial and one a
/// squaring.
pub struct Exp {
    layout: Layout,
    polynomial: Polynomial,
    squarings: u32,
}

impl Exp {
    /// The exponential of these constants, its input normalized from `[a, b]` to `[-1, 1]` already.
    pub fn new(layout: &Layout, constants: &ExpPolynomial) -> Result<Self> {
        let polynomial = Polynomial::chebyshev(constants.cheb.iter().copied(), (-1.0, 1.0))?;
        Ok(Self { layout: layout.clone(), polynomial, squarings: constants.squarings })
    }

    /// The normalized score at which the polynomial is nearest to zero: what padding gets instead of a score.
    pub fn idle_score(&self) -> f64 {
        let candidates = (0..=2000).map(|i| f64::from(i) / 1000.0 - 1.0);
        let magnitude = |u: f64| self.polynomial.plain(u, 0).abs();
        candidates.min_by(|a, b| magnitude(*a).total_cmp(&magnitude(*b))).unwrap_or(-1.0)
    }
}

impl Layer for Exp {
    fn name(&self) -> &str {
        "exp"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(Content::Scores, self.polynomial.depth() + self.squarings)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(Content::Scores, 0)]
    }

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        self.polynomial.keys(params, level.up(self.depth()))
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let power = 2f64.powi(self.squarings as i32);
        Ok(vec![inputs[0].map(|_, u| self.polynomial.plain(u, 0).powf(power))])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        inputs[0].expect(Content::Scores, "scores")?;
        let exp = inputs[0].map(|_, score| {
            let mut value = self.polynomial.evaluate(ev, score)?;
            for _ in 0..self.squarings {
                value = ev.square_rescale(&value)?;
            }
            Ok(value)
        })?;
        Ok(vec![exp])
    }

    fn ranges(&self) -> Vec<ValidRange> {
        vec![ValidRange { input: 0, low: -1.0, high: 1.0 }]
    }
}

/// The sum of each row of the scores of a head, in all slots of the head. One level.
///
/// Padded keys hold next to nothing after the exponential, so they need no mask. Where there is no row (a
/// padded query, a head that does not exist) the sum is set to `IDLE_SUM`, which no inverse minds.
///
/// ```
/// # use std::sync::Arc;
/// # use aegis_ckks::{Context, Level, Params, insecure_levelled_spec};
/// # let params = Params::insecure(insecure_levelled_spec(9, 8))?;
/// # let ctx = Context::new(params.clone(), Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 1)?))?;
/// use aegis_nn::layers::softmax::{Normalize, RowSum};
/// use aegis_nn::{Content, Layer, Layout, Tensor, check};
///
/// // Room for 8 tokens of 8 features in 2 heads, 16 features between the maps of the feed-forward network.
/// let layout = Layout::new(ctx.params().slots(), 8, 8, 2, 16)?;
/// // Three tokens: each head weighs as many keys, the padded ones with zero.
/// let real = |key: usize| key % layout.tokens() < 3;
/// let weights = Tensor::from_fn(3, layout.columns(Content::Scores), |_, key| if real(key) { 0.2 } else { 0.0 });
/// let sums = &RowSum::new(&layout).plain(&[&weights])?[0];
/// assert!((sums.at(2, 1) - 0.6).abs() < 1e-12);
/// // The same on ciphertexts: sums, and weights times (the inverses of) sums.
/// check(&RowSum::new(&layout), &ctx, Level(1), &[&weights], 1e-5)?;
/// check(&Normalize::scores(&layout), &ctx, Level(1), &[&weights, sums], 1e-5)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RowSum {
    layout: Layout,
}

/// The sum of a row that does not exist: inside the range of every inverse schedule.
const IDLE_SUM: f64 = 0.5;

impl RowSum {
    /// The sum in this layout.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone() }
    }

    fn sum(&self) -> BlockSum {
        let layout = &self.layout;
        BlockSum { block: layout.block(), step: layout.heads_per_block(), width: layout.head_dim() }
    }
}

impl Layer for RowSum {
    fn name(&self) -> &str {
        "row sum"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(Content::Scores, 1)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(Content::RowSums, 0)]
    }

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        let sum = self.sum();
        sum.spread_keys(sum.gather_keys(no_keys(params), level.up(1)), level)
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (scores, tokens) = (inputs[0], self.layout.tokens());
        let sum = |t: usize, h: usize| scores.row(t)[h * tokens..][..scores.rows()].iter().sum();
        Ok(vec![Tensor::from_fn(scores.rows(), self.layout.heads(), sum)])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        let (scores, layout) = (inputs[0], &self.layout);
        scores.expect(Content::Scores, "attention weights")?;
        let sums = scores.fold(Axis::Token, |j, offsets| {
            let total = total(ev, offsets)?;
            let sum = self.sum().spread(ev, &self.sum().gather(ev, &total, 1.0)?)?;
            let no_row = |t: usize, f: usize| t >= scores.rows() || layout.head(j, f).is_none();
            let idle = layout.vector(|t, f| if no_row(t, f) { IDLE_SUM } else { 0.0 });
            add_vector(ev, &sum, &idle)
        })?;
        Ok(vec![sums])
    }
}

/// The inverse of each sum, by Goldschmidt steps. One level a step.
pub struct Inverse {
    layout: Layout,
    schedule: Vec<f64>,
    smallest: f64,
}

impl Inverse {
    /// The inverse of sums in `[smallest, 1]` by this schedule.
    pub fn new(layout: &Layout, schedule: &[f64], smallest: f64) -> Self {
        Self { layout: layout.clone(), schedule: schedule.to_vec(), smallest }
    }
}

impl Layer for Inverse {
    fn name(&self) -> &str {
        "inverse"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(Content::RowSums, self.schedule.len() as u32)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(Content::RowSums, 0)]
    }

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        no_keys(params).relinearize(level.up(self.depth()))
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].map(|_, sum| goldschmidt::plain(sum, &self.schedule))])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        inputs[0].expect(Content::RowSums, "row sums")?;
        Ok(vec![inputs[0].map(|_, sum| Ok(goldschmidt::inverse(ev, sum, &self.schedule)?))?])
    }

    fn ranges(&self) -> Vec<ValidRange> {
        vec![ValidRange { input: 0, low: self.smallest, high: 1.0 }]
    }
}

/// Multiplies the rows of each head by one value each: scores, or the attention context. One level.
pub struct Normalize {
    layout: Layout,
    content: Content,
}

impl Normalize {
    /// Rows of attention scores.
    pub fn scores(layout: &Layout) -> Self {
        Self { layout: layout.clone(), content: Content::Scores }
    }

    /// Rows of the attention context, when its scores were not normalized.
    pub fn context(layout: &Layout) -> Self {
        Self { layout: layout.clone(), content: MODEL }
    }
}

impl Layer for Normalize {
    fn name(&self) -> &str {
        "normalize"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(self.content, 1), Port::new(Content::RowSums, 1)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(self.content, 0)]
    }

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        no_keys(params).relinearize(level.up(1))
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (x, factors) = (inputs[0], inputs[1]);
        let columns = x.cols() / self.layout.heads();
        Ok(vec![Tensor::from_fn(x.rows(), x.cols(), |t, c| x.at(t, c) * factors.at(t, c / columns))])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        let (x, factors) = (inputs[0], inputs[1]);
        x.expect(self.content, "rows to normalize")?;
        factors.expect(Content::RowSums, "factors of rows")?;
        let level = x.level().min(factors.level());
        let factors = factors.map(|_, factor| bring(ev, factor, level))?;
        let rows = x.zip(&factors, |_, x, factor| Ok(ev.mul_rescale(&bring(ev, x, level)?, factor)?))?;
        Ok(vec![rows])
    }
}

/// The square of every score: the second half of a round. One level.
pub struct Square {
    layout: Layout,
}

impl Square {
    /// Squares in this layout.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone() }
    }
}

impl Layer for Square {
    fn name(&self) -> &str {
        "square"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(Content::Scores, 1)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(Content::Scores, 0)]
    }

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        no_keys(params).relinearize(level.up(1))
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].map(|_, v| v * v)])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        inputs[0].expect(Content::Scores, "attention weights")?;
        Ok(vec![inputs[0].map(|_, weight| Ok(ev.square_rescale(weight)?))?])
    }
}
