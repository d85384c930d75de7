//! Softmax without a maximum, by normalize-and-square.
//!
//! `softmax(s) = normalize(square(... normalize(exp(s / 2^k))))`, k rounds (Cho, Hanrot, Kim, Park, Stehlé
//! 2024, arXiv 2410.11184). A row is shifted by a change of the key bias and constants that are folded into
//! the scores; the inverses run on ciphertexts of sums, and the last one multiplies the attention context
//! instead of the scores.

use std::sync::Arc;

use aegis_circuits::{Polynomial, chebyshev, goldschmidt};
use aegis_ckks::{Ciphertext, Evaluator};

use crate::calibration::ExpPolynomial;
use crate::ops::{BlockSum, pattern, total};
use crate::program::Emitter;
use crate::{Axis, Content, Layer, Layout, MODEL, Port, Result, Rows, Shape, Tensor, TensorRef, ValidRange};

/// `p(u)^(2^k)` of scores normalized to `[-1, 1]`: an exponential. Levels of the polynomial and one a
/// squaring.
///
/// Where there is no score the result is zero. The input is zero there too, and the polynomial `p(u) - p(0)`, for the price
/// of a vector as its constant term; between texts side by side, where the input is anything, it is the polynomial zero.
/// Keys that do not exist thus weigh nothing, however flat the exponential is.
pub struct Exp {
    layout: Layout,
    /// Coefficients by class of slots.
    polynomials: [Vec<f64>; 3],
    depth: u32,
    squarings: u32,
}

/// Classes of slots, as indices of their polynomials.
const SCORE: usize = 0;
const NO_SCORE: usize = 1;
const OTHER_TEXT: usize = 2;

impl Exp {
    /// The exponential of these constants, its input normalized from `[a, b]` to `[-1, 1]` already.
    pub fn new(layout: &Layout, constants: &ExpPolynomial) -> Result<Self> {
        let mut vanishing = constants.cheb.clone();
        if let Some(constant) = vanishing.first_mut() {
            *constant -= chebyshev::evaluate(&constants.cheb, (-1.0, 1.0), 0.0);
        }
        let depth = Polynomial::chebyshev(constants.cheb.iter().copied(), (-1.0, 1.0))?.depth();
        let polynomials = [constants.cheb.clone(), vanishing, vec![]];
        Ok(Self { layout: *layout, polynomials, depth, squarings: constants.squarings })
    }

    /// The polynomial of every slot of a block of scores.
    fn of_block(&self, block: usize, shape: &Shape) -> Result<Polynomial> {
        let without = if shape.rows.lengths().len() == 1 { NO_SCORE } else { OTHER_TEXT };
        let class = |t, f| if shape.score(block, t, f).is_some() { SCORE } else { without };
        Ok(Polynomial::by_class(&self.polynomials, self.layout.vector(class), (-1.0, 1.0))?)
    }

    fn exp(&self, ev: &Evaluator, score: &Ciphertext, block: usize, shape: &Shape) -> Result<Ciphertext> {
        let mut value = self.of_block(block, shape)?.evaluate(ev, score)?;
        for _ in 0..self.squarings {
            value = ev.square_rescale(&value)?;
        }
        Ok(value)
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
        vec![Port::new(Content::Scores, self.depth + self.squarings)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(Content::Scores, 0)]
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (x, tokens, power) = (inputs[0], self.layout.tokens(), 2f64.powi(self.squarings as i32));
        let value = |t: usize, c: usize| {
            let class = if c % tokens < x.rows() { SCORE } else { NO_SCORE };
            chebyshev::evaluate(&self.polynomials[class], (-1.0, 1.0), x.at(t, c)).powf(power)
        };
        Ok(vec![Tensor::from_fn(x.rows(), x.cols(), value)])
    }

    fn kind(&self) -> String {
        format!("exp, {}, {} squarings", pattern(&self.polynomials[SCORE]), self.squarings)
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        inputs[0].expect(Content::Scores, "scores")?;
        let shape = inputs[0].shape().clone();
        let exp = program.map("", &inputs[0], Port::new(Content::Scores, 0), move |ev, block, score| {
            self.exp(ev, score, block, &shape)
        })?;
        Ok(vec![exp])
    }

    fn ranges(&self) -> Vec<ValidRange> {
        vec![ValidRange { input: 0, low: -1.0, high: 1.0 }]
    }
}

/// The sum of each row of the scores of a head, over all keys. One level.
///
/// The sums of a group, all its token blocks and blocks of heads, stand in one ciphertext, each at a coordinate of its own:
/// a bootstrap refreshes them together. Keys that do not exist hold zeros after the exponential, so they need no mask.
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
/// check(&Arc::new(RowSum::new(&layout)), &ctx, Level(1), &[&weights], 1e-5)?;
/// check(&Arc::new(Normalize::scores(&layout)), &ctx, Level(1), &[&weights, sums], 1e-5)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RowSum {
    layout: Layout,
}

impl RowSum {
    /// The sum in this layout.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: *layout }
    }
}

/// Sums over the coordinates of a head.
fn head_sum(layout: &Layout) -> BlockSum {
    let (step, width) = (layout.heads_per_block(), layout.head_dim());
    BlockSum { token_slots: layout.token_slots(), step, width }
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
        vec![Port::new(Content::PackedSums, 0)]
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (scores, tokens) = (inputs[0], self.layout.tokens());
        let sum = |t: usize, h: usize| scores.row(t)[h * tokens..][..scores.rows()].iter().sum();
        Ok(vec![Tensor::from_fn(scores.rows(), self.layout.heads(), sum)])
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        let (scores, layout) = (&inputs[0], self.layout);
        scores.expect(Content::Scores, "attention weights")?;
        let port = Port::new(Content::RowSums, 0);
        let sum =
            move |ev: &Evaluator, _, line: &[Ciphertext]| head_sum(&layout).gather(ev, &total(ev, line)?);
        let sums = program.fold("sum", (scores, &[Axis::Key, Axis::Offset]), port, sum)?;
        let port = Port::new(Content::PackedSums, 0);
        let groups = sums.chunks(layout.group() * layout.model_blocks()).enumerate();
        let packed = groups.flat_map(|(group, sums)| {
            program.task("pack", sums, (port, &[group]), move |place, sums| {
                Ok(vec![head_sum(&layout).pack(&place.ev, sums)?])
            })
        });
        let packed = packed.collect();
        Ok(vec![scores.with(Content::PackedSums, packed)?])
    }
}

/// The inverse of each sum, in all slots of its head, by Goldschmidt steps. One level a step. The steps unpack the sums of a
/// group; rows that are padding, and heads that do not exist, get zero.
pub struct Inverse {
    layout: Layout,
    schedule: Vec<f64>,
    smallest: f64,
}

impl Inverse {
    /// The inverse of sums in `[smallest, 1]` by this schedule.
    pub fn new(layout: &Layout, schedule: &[f64], smallest: f64) -> Self {
        Self { layout: *layout, schedule: schedule.to_vec(), smallest }
    }

    fn inverses(
        &self,
        ev: &Evaluator,
        sums: &Ciphertext,
        units: &[usize],
        rows: &Rows,
    ) -> Result<Vec<Ciphertext>> {
        let (layout, heads, sum) = (&self.layout, self.layout.model_blocks(), head_sum(&self.layout));
        let place = |unit: usize| layout.unit(unit / heads, unit % heads);
        let mask = |unit: &usize| {
            let first = unit / heads * layout.block_tokens();
            let wanted = |t: usize, f: usize| {
                sum.is_at(f, place(*unit))
                    && layout.head(unit % heads, f).is_some()
                    && rows.row(first + t).is_some()
            };
            layout.vector(|t, f| if wanted(t, f) { 1.0 } else { 0.0 })
        };
        let masks: Vec<_> = units.iter().map(mask).collect();
        let inverses = goldschmidt::inverses(ev, sums, &self.schedule, &masks)?;
        inverses.iter().zip(units).map(|(inverse, unit)| sum.spread(ev, inverse, place(*unit))).collect()
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
        vec![Port::new(Content::PackedSums, self.schedule.len() as u32)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(Content::RowSums, 0)]
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].map(|_, sum| goldschmidt::plain(sum, &self.schedule))])
    }

    fn kind(&self) -> String {
        format!("inverse, {} steps", self.schedule.len())
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        let (sums, layout) = (&inputs[0], self.layout);
        sums.expect(Content::PackedSums, "row sums")?;
        let heads = layout.model_blocks();
        let mut made = vec![];
        for (blocks, sum) in layout.groups().zip(sums.blocks()) {
            let units: Vec<_> = (blocks.start * heads..blocks.end * heads).collect();
            let (this, rows, places) = (Arc::clone(&self), sums.rows().clone(), units.clone());
            let port = (Port::new(Content::RowSums, 0), places.as_slice());
            made.extend(
                program.task("", &[*sum], port, move |place, sum| {
                    this.inverses(&place.ev, &sum[0], &units, &rows)
                }),
            );
        }
        Ok(vec![sums.with(Content::RowSums, made)?])
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
        Self { layout: *layout, content: Content::Scores }
    }

    /// Rows of the attention context, when its scores were not normalized.
    pub fn context(layout: &Layout) -> Self {
        Self { layout: *layout, content: MODEL }
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

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (x, factors) = (inputs[0], inputs[1]);
        let columns = x.cols() / self.layout.heads();
        Ok(vec![Tensor::from_fn(x.rows(), x.cols(), |t, c| x.at(t, c) * factors.at(t, c / columns))])
    }

    fn kind(&self) -> String {
        format!("normalize {:?}", self.content)
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        let (x, factors) = (&inputs[0], &inputs[1]);
        x.expect(self.content, "rows to normalize")?;
        factors.expect(Content::RowSums, "factors of rows")?;
        let rows = program.zip("", (x, factors), Port::new(self.content, 0), |ev, _, x, factor| {
            Ok(ev.mul_rescale(x, factor)?)
        })?;
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
        Self { layout: *layout }
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

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].map(|_, v| v * v)])
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        inputs[0].expect(Content::Scores, "attention weights")?;
        let square = |ev: &Evaluator, _, weight: &Ciphertext| Ok(ev.square_rescale(weight)?);
        Ok(vec![program.map("", &inputs[0], Port::new(Content::Scores, 0), square)?])
    }
}
