//! The activation of the feed-forward network.

use aegis_circuits::{Polynomial, chebyshev};
use aegis_ckks::{Evaluator, KeyRequest, Level, Params};

use crate::{Content, CtTensor, Error, Layer, Layout, Port, Result, Tensor, ValidRange};

/// One polynomial for all tokens but the first and one for the first, evaluated together on inputs
/// normalized to `[-1, 1]`: the coefficients are vectors over the slots, the powers are shared. Padded rows
/// have zero coefficients.
///
/// Token 0, CLS, carries activations several times those of other tokens; one range for all would cost a
/// level.
///
/// ```
/// # use std::sync::Arc;
/// # use aegis_ckks::{Context, Level, Params, insecure_levelled_spec};
/// # let params = Params::insecure(insecure_levelled_spec(9, 8))?;
/// # let ctx = Context::new(params.clone(), Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 1)?))?;
/// use aegis_nn::layers::activation::Gelu;
/// use aegis_nn::{Layer, Layout, Tensor, check};
///
/// // Room for 8 tokens of 8 features in 2 heads, 16 features between the maps of the feed-forward network.
/// let layout = Layout::new(ctx.params().slots(), 8, 8, 2, 16)?;
/// // `(u + u^2) / 2 = (T_0 + 2 T_1 + T_2) / 4` for all tokens but the first, which keeps its value.
/// let gelu = Gelu::new(&layout, vec![0.25, 0.5, 0.25], vec![0.0, 1.0])?;
/// let x = Tensor::from_fn(3, 16, |token, _feature| 0.25 * token as f64 + 0.25);
/// let y = &gelu.plain(&[&x])?[0];
/// assert!((y.at(0, 5) - 0.25).abs() < 1e-12 && (y.at(1, 5) - 0.375).abs() < 1e-12);
/// // The same on ciphertexts.
/// check(&gelu, &ctx, Level(1), &[&x], 1e-5)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Gelu {
    layout: Layout,
    coefficients: Vec<f64>,
    first: Vec<f64>,
}

impl Gelu {
    /// Chebyshev coefficients on `[-1, 1]` for tokens after the first, and for the first.
    pub fn new(layout: &Layout, coefficients: Vec<f64>, first: Vec<f64>) -> Result<Self> {
        if coefficients.len() < 2 || first.len() > coefficients.len() {
            return Err(Error::Shape {
                what: "coefficients of the activation".into(),
                want: "at least two, and not more for token 0 than for the others".into(),
                have: format!("{}, and {} for token 0", coefficients.len(), first.len()),
            });
        }
        Ok(Self { layout: layout.clone(), coefficients, first })
    }

    /// The polynomial of every slot when the first `rows` rows are real.
    fn polynomial(&self, rows: usize) -> Result<Polynomial> {
        let class = self.layout.vector(|t, _| match t {
            0 => TOKEN_0,
            t if t < rows => OTHERS,
            _ => PADDING,
        } as f64);
        let polynomials = [vec![], self.coefficients.clone(), self.first.clone()];
        let classes = class.into_iter().map(|class| class as usize).collect();
        Ok(Polynomial::by_class(&polynomials, classes, (-1.0, 1.0))?)
    }
}

/// Classes of slots, as indices of their polynomials.
const PADDING: usize = 0;
const OTHERS: usize = 1;
const TOKEN_0: usize = 2;

impl Layer for Gelu {
    fn name(&self) -> &str {
        "gelu"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        // The depth of a polynomial of this degree; leading coefficients may be zero for some tokens.
        let depth = chebyshev::depth(self.coefficients.len() - 1);
        vec![Port::new(Content::Intermediate, depth)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(Content::Intermediate, 0)]
    }

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        KeyRequest::new(params.n()).relinearize(level.up(self.depth()))
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let value = |t: usize, u: f64| {
            let c = if t == 0 { &self.first } else { &self.coefficients };
            chebyshev::evaluate(c, (-1.0, 1.0), u)
        };
        Ok(vec![inputs[0].map(value)])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        let x = inputs[0];
        x.expect(Content::Intermediate, "intermediate features")?;
        let blocks = self.polynomial(x.rows())?.evaluate_all(ev, x.blocks())?;
        Ok(vec![x.with(Content::Intermediate, blocks)?])
    }

    fn ranges(&self) -> Vec<ValidRange> {
        vec![ValidRange { input: 0, low: -1.0, high: 1.0 }]
    }
}
