//! The sum of two branches.

use aegis_ckks::{Evaluator, KeyRequest, Level, Params};

use crate::ops::{bring, no_keys};
use crate::{CtTensor, Layer, Layout, MODEL, Port, Result, Tensor};

/// `a + b`, at the level of the lower one. No level.
pub struct Residual {
    layout: Layout,
}

impl Residual {
    /// The sum in this layout.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone() }
    }
}

impl Layer for Residual {
    fn name(&self) -> &str {
        "residual"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(MODEL, 0), Port::new(MODEL, 0)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(MODEL, 0)]
    }

    fn keys(&self, params: &Params, _: Level) -> KeyRequest {
        no_keys(params)
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].plus(inputs[1])])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        let (a, b) = (inputs[0], inputs[1]);
        a.expect(MODEL, "the first term")?;
        b.expect(MODEL, "the second term")?;
        let level = a.level().min(b.level());
        let sum = a.zip(b, |_, x, y| Ok(ev.add(&bring(ev, x, level)?, &bring(ev, y, level)?)?))?;
        Ok(vec![sum])
    }
}
