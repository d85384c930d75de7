//! From token embeddings to one embedding.

use std::sync::Arc;

use aegis_ckks::{Ciphertext, Evaluator};

use crate::ops::{mul_vector, sum_steps, total};
use crate::program::{Emitter, Place};
use crate::{Content, Layer, Layout, MODEL, Port, Result, Rows, Tensor, TensorRef};

/// The mean over the tokens of each text, in the row of its first token; that of one text is in all rows. One level.
/// Normalizing the result is the client's.
///
/// ```
/// # use std::sync::Arc;
/// # use aegis_ckks::{Context, Level, Params, insecure_levelled_spec};
/// # let params = Params::insecure(insecure_levelled_spec(9, 8))?;
/// # let ctx = Context::new(params.clone(), Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 1)?))?;
/// use aegis_nn::layers::pooling::MeanPool;
/// use aegis_nn::{Layer, Layout, Tensor, check};
///
/// // Room for 8 tokens of 8 features in 2 heads, 16 features between the maps of the feed-forward network.
/// let layout = Layout::new(ctx.params().slots(), 8, 8, 2, 16)?;
/// let pool = MeanPool::new(&layout);
/// // Three tokens; the other five rows are padding.
/// let x = Tensor::from_fn(3, 8, |token, feature| 0.1 * (token + feature) as f64);
/// assert!((pool.plain(&[&x])?[0].at(0, 4) - 0.5).abs() < 1e-12);
/// // The same on ciphertexts.
/// check(&Arc::new(pool), &ctx, Level(1), &[&x], 1e-5)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MeanPool {
    layout: Layout,
}

impl MeanPool {
    /// The mean in this layout.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: *layout }
    }

    /// The mean over the token blocks of one block of heads.
    fn mean(&self, ev: &Evaluator, x: &[Ciphertext], rows: &Rows) -> Result<Ciphertext> {
        let (layout, tokens) = (&self.layout, self.layout.block_tokens());
        let parts = x.iter().enumerate().map(|(a, block)| {
            let part = |t, _| rows.row(a * tokens + t).map_or(0.0, |row| 1.0 / row.tokens as f64);
            mul_vector(ev, block, &layout.vector(part))
        });
        let width = if rows.lengths().len() == 1 { tokens } else { rows.stride() };
        sum_steps(ev, &total(ev, &parts.collect::<Result<Vec<_>>>()?)?, layout.token_slots() as i64, width)
    }
}

impl Layer for MeanPool {
    fn name(&self) -> &str {
        "mean pool"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(MODEL, 1)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(Content::Pooled, 0)]
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let x = inputs[0];
        let mean = |c: usize| (0..x.rows()).map(|t| x.at(t, c)).sum::<f64>() / x.rows() as f64;
        Ok(vec![Tensor::from_fn(1, x.cols(), |_, c| mean(c))])
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        let (x, layout) = (&inputs[0], self.layout);
        x.expect(MODEL, "token embeddings")?;
        let port = Port::new(Content::Pooled, 0);
        let mut made = vec![];
        for j in 0..layout.model_blocks() {
            let reads: Vec<_> = (0..layout.token_blocks()).map(|a| x.token_block(a)[j]).collect();
            let (this, rows) = (Arc::clone(&self), x.rows().clone());
            let mean = move |place: &Place, x: &[Ciphertext]| Ok(vec![this.mean(&place.ev, x, &rows)?]);
            made.extend(program.task("", &reads, (port, &[j]), mean));
        }
        Ok(vec![x.with(Content::Pooled, made)?])
    }
}
