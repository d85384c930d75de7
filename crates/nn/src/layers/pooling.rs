//! From token embeddings to one embedding.

use aegis_ckks::{Evaluator, KeyRequest, Level, Params};

use crate::ops::{no_keys, sum_keys, sum_steps};
use crate::{CtTensor, Layer, Layout, MODEL, Port, Result, Tensor};

/// The mean over the real tokens, as a tensor of one row (every row of slots holds it). One level. Padded
/// rows are zeros, so that the sum needs no mask. Normalizing the result is the client's.
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
/// check(&pool, &ctx, Level(1), &[&x], 1e-5)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MeanPool {
    layout: Layout,
}

impl MeanPool {
    /// The mean in this layout.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone() }
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
        vec![Port::new(MODEL, 0)]
    }

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        sum_keys(no_keys(params), self.layout.block() as i64, self.layout.tokens(), level)
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let x = inputs[0];
        let mean = |c: usize| (0..x.rows()).map(|t| x.at(t, c)).sum::<f64>() / x.rows() as f64;
        Ok(vec![Tensor::from_fn(1, x.cols(), |_, c| mean(c))])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        let x = inputs[0];
        x.expect(MODEL, "token embeddings")?;
        let mean = x.map(|_, block| {
            let part = ev.mul_const(block, 1.0 / x.rows() as f64)?;
            sum_steps(ev, &part, self.layout.block() as i64, self.layout.tokens())
        })?;
        Ok(vec![mean.with_rows(1)?])
    }
}
