//! Scores of queries against keys, and values weighted by probabilities, on packed heads.
//!
//! Both are sums over the shift `e` of coordinates, `-G < e < G`, of products of ciphertexts; with the
//! *skewed* keys `K^[g, t] = k[g, t + g]` and the mask `M_e[g] = (0 <= g + e < G)`,
//!
//! ```text
//! score_i[m, t] = sum_e (M_e o rot(q, e hb)) o rot(K^, e (hb - Fb) + i G Fb) = q[t] . k[t + iG + m]
//! out[g, t] = sum_e rot(sum_i A_i o W_(i,e), e hb) = sum_m A_i[m, t] v[g, t + iG + m]
//! W_(i,e) = M_(-e) o rot(V^, iG Fb + e (Fb - hb))
//! ```
//!
//! Tokens are counted in their token block, around its end: queries of one token block meet keys and values of each other
//! one by the same formulas. All products of one score are summed before its single relinearization, and so are all
//! products of a context that are rotated alike, over all keys: the number of rotations of sums does not depend on the
//! length of the text. The walks over keys and values serve a whole group of query blocks. See decisions 0003 and 0013 for
//! the derivation.

use std::ops::Range;
use std::sync::Arc;

use aegis_circuits::{Diagonals, LinearTransform};
use aegis_ckks::{Ciphertext, Evaluator, Product};
use num_complex::Complex64;

use crate::ops::{Walk, add_vector, mul_vector};
use crate::program::{BlockId, Emitter};
use crate::{Content, Layer, Layout, MODEL, Port, Result, Score, Shape, Tensor, TensorRef};

/// `x^[g, t] = x[g, t + g]`: coordinate g of every head comes from g tokens further on. One level.
struct Skew {
    layout: Layout,
    transform: LinearTransform,
}

impl Skew {
    fn new(layout: &Layout) -> Result<Self> {
        let (block, head_dim) = (layout.token_slots() as i64, layout.head_dim() as i64);
        let transform = LinearTransform::new(1, 1, (0..head_dim).map(|g| g * block), block)?;
        let babies = 8.min(layout.head_dim());
        Ok(Self { layout: *layout, transform: transform.with_baby_steps(babies) })
    }

    fn apply(&self, ev: &Evaluator, x: &Ciphertext) -> Result<Ciphertext> {
        let mut out = self.transform.apply(ev, std::slice::from_ref(x), self)?;
        Ok(out.swap_remove(0))
    }
}

impl Diagonals for Skew {
    fn period(&self) -> usize {
        self.layout.token_slots()
    }

    fn diagonal(&self, _: usize, _: usize, index: i64) -> Option<Vec<Complex64>> {
        let g = index as usize / self.layout.token_slots();
        let mask = self.layout.periodic(|f| if self.layout.coordinate(f) == g { 1.0 } else { 0.0 });
        Some(mask.into_iter().map(|v| Complex64::new(v, 0.0)).collect())
    }
}

/// Shifts `e` of coordinates, in the order of the walks.
fn shifts(layout: &Layout) -> impl Iterator<Item = i64> + use<> {
    let reach = layout.head_dim() as i64;
    1 - reach..reach
}

/// `M_e`: where a shift by `e` coordinates stays inside the block.
fn shift_mask(layout: &Layout, e: i64) -> Vec<f64> {
    let inside = |f: usize| (0..layout.head_dim() as i64).contains(&(layout.coordinate(f) as i64 + e));
    layout.periodic(|f| if inside(f) { 1.0 } else { 0.0 })
}

/// `x` rotated by `i G` tokens for each offset block `i`.
fn offset_rotations(ev: &Evaluator, layout: &Layout, x: Ciphertext) -> Result<Vec<Ciphertext>> {
    let step = (layout.head_dim() * layout.token_slots()) as i64;
    let mut all = vec![x];
    for i in 1..layout.offset_blocks() {
        all.push(ev.rotate(&all[i - 1], step)?);
    }
    Ok(all)
}

fn accumulate(ev: &Evaluator, sum: &mut Option<Product>, a: &Ciphertext, b: &Ciphertext) -> Result<()> {
    match sum {
        Some(sum) => Ok(ev.mul_accumulate(sum, a, b)?),
        None => {
            *sum = Some(ev.mul_no_relin(a, b)?);
            Ok(())
        }
    }
}

/// A sum over all shifts.
fn some(sum: Option<Product>) -> Product {
    let Some(sum) = sum else { unreachable!("there is at least the shift by 0") };
    sum
}

/// The skewed blocks of one of several matrices: a task each.
fn skewed(
    program: &mut Emitter<'_>,
    skew: &Arc<Skew>,
    x: &TensorRef,
    part: usize,
    above: u32,
) -> Result<TensorRef> {
    let (layout, port) = (x.layout(), Port::new(MODEL, above));
    let n = layout.model_blocks();
    let of_part = |a| x.token_block(a)[part * n..][..n].iter().copied();
    let blocks = (0..layout.token_blocks()).flat_map(of_part).collect();
    let matrix: TensorRef = x.with(MODEL, blocks)?;
    let skew = Arc::clone(skew);
    program.map("skew", &matrix, port, move |ev, _, block| skew.apply(ev, block))
}

/// Attention scores, shifted and scaled for the polynomial that follows: `q . k + c_h(n)` for head h and n
/// tokens. Queries and keys are two levels above: queries lose one to the masks, keys one to the skew, both
/// one to the product.
///
/// Where there is no score (a padded key or query, a head that does not exist) there is a zero, which the exponential
/// knows: sums need no mask. Between two texts side by side there stands what their tokens make.
pub struct Scores {
    layout: Layout,
    /// For each head the constant without its part in log n.
    row_constant: Vec<f64>,
    /// What is subtracted for each unit of log n.
    log_n_factor: f64,
    skew: Arc<Skew>,
}

impl Scores {
    /// Scores with the constant `row_constant[h] - log_n_factor * ln n` for head h.
    pub fn new(layout: &Layout, row_constant: Vec<f64>, log_n_factor: f64) -> Result<Self> {
        Ok(Self { layout: *layout, row_constant, log_n_factor, skew: Arc::new(Skew::new(layout)?) })
    }

    fn constant(&self, head: usize, rows: usize) -> f64 {
        self.row_constant[head] - self.log_n_factor * (rows as f64).ln()
    }

    /// The vector added to a block of scores.
    fn offsets(&self, block: usize, shape: &Shape) -> Vec<f64> {
        let constant = |score: Score| self.constant(score.head, score.query.tokens);
        self.layout.vector(|t, f| shape.score(block, t, f).map_or(0.0, constant))
    }

    /// The scores of these query blocks against one key block, for one block of heads: those of a query block after
    /// another.
    fn scores(&self, ev: &Evaluator, queries: &[Ciphertext], keys: &Ciphertext) -> Result<Vec<Ciphertext>> {
        let layout = &self.layout;
        let (hb, stride, reach) =
            (layout.heads_per_block() as i64, layout.token_slots() as i64, layout.head_dim());
        let keys = offset_rotations(ev, layout, keys.clone())?;
        let walk = |x: &Ciphertext, step| Walk::new(x, step, reach);
        let mut key_walks: Vec<Walk> = keys.iter().map(|k| walk(k, hb - stride)).collect();
        let mut query_walks: Vec<Walk> = queries.iter().map(|q| walk(q, hb)).collect();
        let mut sums: Vec<Vec<Option<Product>>> =
            queries.iter().map(|_| keys.iter().map(|_| None).collect()).collect();
        for e in shifts(layout) {
            let keys = key_walks.iter_mut().map(|walk| walk.at(ev, e)).collect::<Result<Vec<_>>>()?;
            for (walk, sums) in query_walks.iter_mut().zip(&mut sums) {
                let query = mul_vector(ev, &walk.at(ev, e)?, &shift_mask(layout, e))?;
                for (key, sum) in keys.iter().zip(sums) {
                    accumulate(ev, sum, &query, key)?;
                }
            }
        }
        let sums = sums.into_iter().flatten();
        sums.map(|sum| Ok(ev.relinearize_rescale(some(sum))?)).collect()
    }
}

impl Layer for Scores {
    fn name(&self) -> &str {
        "scores"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(Content::Model { parts: 2 }, 2)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(Content::Scores, 0)]
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (x, width, head_dim) = (inputs[0], self.layout.width(), self.layout.head_dim());
        let score = |t: usize, column: usize| {
            let (h, key) = (column / self.layout.tokens(), column % self.layout.tokens());
            if key >= x.rows() {
                return 0.0;
            }
            let (q, k) =
                (&x.row(t)[h * head_dim..][..head_dim], &x.row(key)[width + h * head_dim..][..head_dim]);
            q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() + self.constant(h, x.rows())
        };
        Ok(vec![Tensor::from_fn(x.rows(), self.layout.columns(Content::Scores), score)])
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        let (x, layout) = (&inputs[0], self.layout);
        x.expect(Content::Model { parts: 2 }, "queries and keys")?;
        let keys = skewed(program, &self.skew, x, 1, 1)?;
        let (heads, blocks, offsets) = (layout.model_blocks(), layout.token_blocks(), layout.offset_blocks());
        let shape = Shape { content: Content::Scores, ..x.shape().clone() };
        let mut scores: Vec<Option<BlockId>> = vec![None; shape.blocks()];
        for (queries, j, b) in units(&layout) {
            let queries_of = queries.clone().map(|a| x.token_block(a)[j]);
            let reads: Vec<_> = queries_of.chain([keys.token_block(b)[j]]).collect();
            let first = |a: usize| ((a * heads + j) * blocks + b) * offsets;
            let places: Vec<_> = queries.flat_map(|a| first(a)..first(a) + offsets).collect();
            let (this, shape, at) = (Arc::clone(&self), shape.clone(), places.clone());
            let port = (Port::new(Content::Scores, 0), places.as_slice());
            let made = program.task("scores", &reads, port, move |place, x| {
                let (queries, keys) = x.split_at(x.len() - 1);
                let sums = this.scores(&place.ev, queries, &keys[0])?;
                let shifted = sums.iter().zip(&at);
                shifted.map(|(sum, at)| add_vector(&place.ev, sum, &this.offsets(*at, &shape))).collect()
            });
            places.iter().zip(made).for_each(|(at, id)| scores[*at] = Some(id));
        }
        Ok(vec![x.with(Content::Scores, scores.into_iter().flatten().collect())?])
    }
}

/// The units of scores: a group of query blocks, a block of heads, a key block.
fn units(layout: &Layout) -> impl Iterator<Item = (Range<usize>, usize, usize)> + use<> {
    let (heads, blocks) = (layout.model_blocks(), layout.token_blocks());
    layout.groups().flat_map(move |queries| {
        (0..heads).flat_map(move |j| {
            let queries = queries.clone();
            (0..blocks).map(move |b| (queries.clone(), j, b))
        })
    })
}

/// Values weighted by scores: `out[t] = sum_key a[t, key] v[key]` for each head. The scores are one level
/// above the output, the values three.
///
/// ```
/// # use std::sync::Arc;
/// # use aegis_ckks::{Context, Level, Params, insecure_levelled_spec};
/// # let params = Params::insecure(insecure_levelled_spec(9, 8))?;
/// # let ctx = Context::new(params.clone(), Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 1)?))?;
/// use aegis_nn::layers::attention::Attend;
/// use aegis_nn::{Content, Layer, Layout, Tensor, check};
///
/// // Room for 8 tokens of 8 features in 2 heads, 16 features between the maps of the feed-forward network.
/// let layout = Layout::new(ctx.params().slots(), 8, 8, 2, 16)?;
/// let attend = Attend::new(&layout)?;
/// // Every query looks at the first of three keys.
/// let first = |key: usize| key % layout.tokens() == 0;
/// let weights = Tensor::from_fn(3, layout.columns(Content::Scores), |_, key| if first(key) { 1.0 } else { 0.0 });
/// let values = Tensor::from_fn(3, 8, |token, feature| 0.1 * (token + feature) as f64);
/// assert!((attend.plain(&[&weights, &values])?[0].at(2, 5) - 0.5).abs() < 1e-12);
/// // The same on ciphertexts.
/// check(&Arc::new(attend), &ctx, Level(1), &[&weights, &values], 1e-5)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Attend {
    layout: Layout,
    skew: Arc<Skew>,
}

impl Attend {
    /// The weighted sum in this layout.
    pub fn new(layout: &Layout) -> Result<Self> {
        Ok(Self { layout: *layout, skew: Arc::new(Skew::new(layout)?) })
    }

    /// The contexts of query blocks for one block of heads. `weights` holds the scores of each query block against all
    /// keys, `values` the skewed values of all token blocks.
    fn contexts(
        &self,
        ev: &Evaluator,
        weights: &[&[Ciphertext]],
        values: &[Ciphertext],
    ) -> Result<Vec<Ciphertext>> {
        let layout = &self.layout;
        let (hb, stride, reach) =
            (layout.heads_per_block() as i64, layout.token_slots() as i64, layout.head_dim());
        let mut walks = vec![];
        for block in values {
            let offsets = offset_rotations(ev, layout, block.clone())?;
            // The steps of a walk rise, and so do the shifts of the sums from the last to the first.
            walks.extend(offsets.iter().map(|v| Walk::new(v, hb - stride, reach)));
        }
        let mut contexts: Vec<Option<Ciphertext>> = weights.iter().map(|_| None).collect();
        for e in shifts(layout) {
            let mut sums: Vec<Option<Product>> = weights.iter().map(|_| None).collect();
            for (i, walk) in walks.iter_mut().enumerate() {
                let value = mul_vector(ev, &walk.at(ev, e)?, &shift_mask(layout, e))?;
                for (weights, sum) in weights.iter().zip(&mut sums) {
                    accumulate(ev, sum, &weights[i], &value)?;
                }
            }
            for (sum, context) in sums.into_iter().zip(&mut contexts) {
                let term = ev.relinearize_rescale(some(sum))?;
                // Horner's scheme: the sum of shift -e is rotated by -e coordinates in all.
                *context = Some(match context.take() {
                    None => term,
                    Some(above) => ev.add(&ev.rotate(&above, hb)?, &term)?,
                });
            }
        }
        // Back by (G - 1) hb, with rotations that the walks have keys for.
        let back = |context: &Ciphertext| Ok(ev.rotate(&ev.rotate(context, -(reach as i64) * hb)?, hb)?);
        contexts.iter().flatten().map(back).collect()
    }
}

impl Layer for Attend {
    fn name(&self) -> &str {
        "attend"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(Content::Scores, 1), Port::new(MODEL, 3)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(MODEL, 0)]
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (scores, v, head_dim) = (inputs[0], inputs[1], self.layout.head_dim());
        let out = Tensor::from_fn(v.rows(), v.cols(), |t, c| {
            let first = c / head_dim * self.layout.tokens();
            (0..v.rows()).map(|key| scores.at(t, first + key) * v.at(key, c)).sum()
        });
        Ok(vec![out])
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        let (scores, v, layout) = (&inputs[0], &inputs[1], self.layout);
        scores.expect(Content::Scores, "attention probabilities")?;
        v.expect(MODEL, "values")?;
        let values = skewed(program, &self.skew, v, 0, 2)?;
        let heads = layout.model_blocks();
        let keys = layout.token_blocks() * layout.offset_blocks();
        let mut made: Vec<Option<BlockId>> = vec![None; v.blocks().len()];
        for queries in layout.groups() {
            for j in 0..heads {
                let weights = queries.clone().flat_map(|a| &scores.token_block(a)[j * keys..][..keys]);
                let values = (0..layout.token_blocks()).map(|b| &values.token_block(b)[j]);
                let reads: Vec<_> = weights.chain(values).copied().collect();
                let places: Vec<_> = queries.clone().map(|a| a * heads + j).collect();
                let (this, split) = (Arc::clone(&self), queries.len() * keys);
                let contexts =
                    program.task("attend", &reads, (Port::new(MODEL, 0), &places), move |place, x| {
                        let (weights, values) = x.split_at(split);
                        this.contexts(&place.ev, &weights.chunks_exact(keys).collect::<Vec<_>>(), values)
                    });
                places.iter().zip(contexts).for_each(|(at, id)| made[*at] = Some(id));
            }
        }
        Ok(vec![v.with(MODEL, made.into_iter().flatten().collect())?])
    }
}
