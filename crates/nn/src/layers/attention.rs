//! Scores of queries against keys, and values weighted by probabilities, on packed heads.
//!
//! Both are sums over the shift `e` of coordinates, `-G < e < G`, of products of ciphertexts; with the
//! *skewed* keys `K^[g, t] = k[g, t + g]` and the mask `M_e[g] = (0 <= g + e < G)`,
//!
//! ```text
//! score_i[m, t] = sum_e (M_e o rot(q, e hb)) o rot(K^, e (hb - Fb) + i G Fb) = q[t] . k[t + iG + m]
//! out[g, t] = sum_(i,e) rot(A_i, e hb) o (M_e o rot(V^, (iG + e) Fb)) = sum_m A_i[m, t] v[g, t + iG + m]
//! ```
//!
//! All products of one output are summed before its single relinearization. See decision 0003 for the
//! derivation.

use aegis_circuits::{Diagonals, LinearTransform};
use aegis_ckks::{Ciphertext, Evaluator, KeyRequest, Level, Params, Product};
use num_complex::Complex64;

use crate::ops::{Walk, add_vector, bring, mul_vector, no_keys};
use crate::{Content, CtTensor, Layer, Layout, MODEL, Port, Result, Tensor};

/// `x^[g, t] = x[g, t + g]`: coordinate g of every head comes from g tokens further on. One level.
struct Skew {
    layout: Layout,
    transform: LinearTransform,
}

impl Skew {
    fn new(layout: &Layout) -> Result<Self> {
        let (block, head_dim) = (layout.block() as i64, layout.head_dim() as i64);
        let transform = LinearTransform::new(1, 1, (0..head_dim).map(|g| g * block), block)?;
        let babies = 8.min(layout.head_dim());
        Ok(Self { layout: layout.clone(), transform: transform.with_baby_steps(babies) })
    }

    fn apply(&self, ev: &Evaluator, x: &Ciphertext) -> Result<Ciphertext> {
        let mut out = self.transform.apply(ev, std::slice::from_ref(x), self)?;
        Ok(out.swap_remove(0))
    }
}

impl Diagonals for Skew {
    fn period(&self) -> usize {
        self.layout.block()
    }

    fn diagonal(&self, _: usize, _: usize, index: i64) -> Option<Vec<Complex64>> {
        let g = index as usize / self.layout.block();
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
    let step = (layout.head_dim() * layout.block()) as i64;
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

fn finish(ev: &Evaluator, sum: Option<Product>) -> Result<Ciphertext> {
    let Some(sum) = sum else { unreachable!("there is at least the shift by 0") };
    Ok(ev.relinearize_rescale(sum)?)
}

/// Attention scores, shifted and scaled for the polynomial that follows: `q . k + c_h(n)` for head h and n
/// tokens. Queries and keys are two levels above: queries lose one to the masks, keys one to the skew, both
/// one to the product.
///
/// Scores of padded keys or queries, or of heads that do not exist, get the constant `idle` instead, at
/// which the exponential all but vanishes: sums need no mask.
pub struct Scores {
    layout: Layout,
    /// For each head the constant without its part in log n.
    row_constant: Vec<f64>,
    /// What is subtracted for each unit of log n.
    log_n_factor: f64,
    idle: f64,
    skew: Skew,
}

impl Scores {
    /// Scores with the constant `row_constant[h] - log_n_factor * ln n` for head h, and `idle` where there
    /// is no score.
    pub fn new(layout: &Layout, row_constant: Vec<f64>, log_n_factor: f64, idle: f64) -> Result<Self> {
        Ok(Self { layout: layout.clone(), row_constant, log_n_factor, idle, skew: Skew::new(layout)? })
    }

    fn constant(&self, head: usize, rows: usize) -> f64 {
        self.row_constant[head] - self.log_n_factor * (rows as f64).ln()
    }

    /// The vector added to the scores of block `j` of heads, offset block `i`.
    fn offsets(&self, j: usize, i: usize, rows: usize) -> Vec<f64> {
        self.layout.vector(|t, f| match self.layout.head(j, f) {
            Some(h) if t < rows && self.layout.key(i, t, f) < rows => self.constant(h, rows),
            _ => self.idle,
        })
    }

    fn block(&self, ev: &Evaluator, q: &Ciphertext, k: &Ciphertext) -> Result<Vec<Ciphertext>> {
        let layout = &self.layout;
        let (hb, block, reach) = (layout.heads_per_block() as i64, layout.block() as i64, layout.head_dim());
        let keys = offset_rotations(ev, layout, self.skew.apply(ev, k)?)?;
        let mut key_walks: Vec<Walk> = keys.iter().map(|k| Walk::new(k, hb - block, reach)).collect();
        let mut query_walk = Walk::new(q, hb, reach);
        let mut sums: Vec<Option<Product>> = keys.iter().map(|_| None).collect();
        for e in shifts(layout) {
            let query = mul_vector(ev, &query_walk.at(ev, e)?, &shift_mask(layout, e))?;
            for (walk, sum) in key_walks.iter_mut().zip(&mut sums) {
                accumulate(ev, sum, &query, &walk.at(ev, e)?)?;
            }
        }
        sums.into_iter().map(|sum| finish(ev, sum)).collect()
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

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        let layout = &self.layout;
        let (hb, block, reach) = (layout.heads_per_block() as i64, layout.block() as i64, layout.head_dim());
        let (top, below) = (level.up(2), level.up(1));
        let keys = no_keys(params).merge(&self.skew.transform.keys(params, top)).relinearize(below);
        let keys = Walk::keys(Walk::keys(keys, hb, reach, top), hb - block, reach, below);
        if layout.offset_blocks() > 1 { keys.rotation(reach as i64 * block, below) } else { keys }
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (x, width, head_dim) = (inputs[0], self.layout.width(), self.layout.head_dim());
        let score = |t: usize, column: usize| {
            let (h, key) = (column / self.layout.tokens(), column % self.layout.tokens());
            if key >= x.rows() {
                return self.idle;
            }
            let (q, k) =
                (&x.row(t)[h * head_dim..][..head_dim], &x.row(key)[width + h * head_dim..][..head_dim]);
            q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() + self.constant(h, x.rows())
        };
        Ok(vec![Tensor::from_fn(x.rows(), self.layout.columns(Content::Scores), score)])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        let x = inputs[0];
        x.expect(Content::Model { parts: 2 }, "queries and keys")?;
        let mut scores = vec![];
        for (j, (q, k)) in x.part(0).iter().zip(x.part(1)).enumerate() {
            for (i, score) in self.block(ev, q, k)?.iter().enumerate() {
                scores.push(add_vector(ev, score, &self.offsets(j, i, x.rows()))?);
            }
        }
        Ok(vec![x.with(Content::Scores, scores)?])
    }
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
/// check(&attend, &ctx, Level(1), &[&weights, &values], 1e-5)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Attend {
    layout: Layout,
    skew: Skew,
}

impl Attend {
    /// The weighted sum in this layout.
    pub fn new(layout: &Layout) -> Result<Self> {
        Ok(Self { layout: layout.clone(), skew: Skew::new(layout)? })
    }

    fn block(&self, ev: &Evaluator, scores: &[Ciphertext], v: &Ciphertext) -> Result<Ciphertext> {
        let layout = &self.layout;
        let (hb, block, reach) = (layout.heads_per_block() as i64, layout.block() as i64, layout.head_dim());
        let values = offset_rotations(ev, layout, self.skew.apply(ev, v)?)?;
        let mut sum = None;
        for (score, value) in scores.iter().zip(&values) {
            let (mut score_walk, mut value_walk) =
                (Walk::new(score, hb, reach), Walk::new(value, block, reach));
            for e in shifts(layout) {
                let value = mul_vector(ev, &value_walk.at(ev, e)?, &shift_mask(layout, e))?;
                accumulate(ev, &mut sum, &score_walk.at(ev, e)?, &value)?;
            }
        }
        finish(ev, sum)
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

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        let layout = &self.layout;
        let (hb, block, reach) = (layout.heads_per_block() as i64, layout.block() as i64, layout.head_dim());
        let [product, skewed, top] = [1, 2, 3].map(|above| level.up(above));
        let keys = no_keys(params).merge(&self.skew.transform.keys(params, top)).relinearize(product);
        let keys = Walk::keys(Walk::keys(keys, hb, reach, product), block, reach, skewed);
        if layout.offset_blocks() > 1 { keys.rotation(reach as i64 * block, skewed) } else { keys }
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (scores, v, head_dim) = (inputs[0], inputs[1], self.layout.head_dim());
        let out = Tensor::from_fn(v.rows(), v.cols(), |t, c| {
            let first = c / head_dim * self.layout.tokens();
            (0..v.rows()).map(|key| scores.at(t, first + key) * v.at(key, c)).sum()
        });
        Ok(vec![out])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        let (scores, v) = (inputs[0], inputs[1]);
        scores.expect(Content::Scores, "attention probabilities")?;
        v.expect(MODEL, "values")?;
        // Where the probabilities stand: the values arrive there through two levels.
        let level = v.level().lowered(2);
        let scores = scores.map(|_, score| bring(ev, score, level))?;
        Ok(vec![v.map(|j, value| self.block(ev, scores.offsets(j), value))?])
    }
}
