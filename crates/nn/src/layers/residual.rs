//! The sum of two branches.

use std::sync::Arc;

use crate::program::Emitter;
use crate::{Layer, Layout, MODEL, Port, Result, Tensor, TensorRef};

/// `a + b`, at the level of the lower one. No level.
///
/// ```
/// # use std::sync::Arc;
/// # use aegis_ckks::{Context, Level, Params, insecure_levelled_spec};
/// # let params = Params::insecure(insecure_levelled_spec(9, 8))?;
/// # let ctx = Context::new(params.clone(), Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 1)?))?;
/// use aegis_nn::layers::residual::Residual;
/// use aegis_nn::{Layer, Layout, Tensor, check};
///
/// // Room for 8 tokens of 8 features in 2 heads, 16 features between the maps of the feed-forward network.
/// let layout = Layout::new(ctx.params().slots(), 8, 8, 2, 16)?;
/// let residual = Residual::new(&layout);
/// let x = Tensor::from_fn(3, 8, |token, feature| 0.1 * (token + feature) as f64);
/// let branch = x.map(|_token, value| -value);
/// assert_eq!(residual.plain(&[&x, &branch])?, [Tensor::zeros(3, 8)]);
/// // The same on ciphertexts.
/// check(&Arc::new(residual), &ctx, Level(1), &[&x, &branch], 1e-5)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Residual {
    layout: Layout,
}

impl Residual {
    /// The sum in this layout.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: *layout }
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

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].plus(inputs[1])])
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        let (a, b) = (&inputs[0], &inputs[1]);
        a.expect(MODEL, "the first term")?;
        b.expect(MODEL, "the second term")?;
        Ok(vec![program.zip("", (a, b), Port::new(MODEL, 0), |ev, _, a, b| Ok(ev.add(a, b)?))?])
    }
}
