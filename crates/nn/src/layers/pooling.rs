//! From token embeddings to one embedding.

use aegis_ckks::{Evaluator, KeyRequest, Level, Params};

use crate::ops::{no_keys, sum_keys, sum_steps};
use crate::{CtTensor, Layer, Layout, MODEL, Port, Result, Tensor};

/// The mean over the real tokens, as a tensor of one row (every row of slots holds it). One level. Padded
/// rows are zeros, so that the sum needs no mask. Normalizing the result is the client's.
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
