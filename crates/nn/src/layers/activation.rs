//! The activation of the feed-forward network.

use std::sync::Arc;

use aegis_circuits::{Polynomial, chebyshev};

use crate::ops::pattern;
use crate::program::Emitter;
use crate::{Content, Error, Layer, Layout, Port, Result, Rows, Tensor, TensorRef, ValidRange};

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
/// check(&Arc::new(gelu), &ctx, Level(1), &[&x], 1e-5)?;
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
        Ok(Self { layout: *layout, coefficients, first })
    }

    /// The polynomial of every slot of token block `a`.
    fn polynomial(&self, a: usize, rows: &Rows) -> Result<Polynomial> {
        let start = a * self.layout.block_tokens();
        let classes = self.layout.vector(|t, _| match rows.row(start + t) {
            Some(row) if row.token == 0 => TOKEN_0,
            Some(_) => OTHERS,
            None => PADDING,
        });
        let polynomials = [vec![], self.coefficients.clone(), self.first.clone()];
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

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let value = |t: usize, u: f64| {
            let c = if t == 0 { &self.first } else { &self.coefficients };
            chebyshev::evaluate(c, (-1.0, 1.0), u)
        };
        Ok(vec![inputs[0].map(value)])
    }

    fn kind(&self) -> String {
        format!("gelu, {} and {}", pattern(&self.coefficients), pattern(&self.first))
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        let x = &inputs[0];
        x.expect(Content::Intermediate, "intermediate features")?;
        let mut made = vec![];
        for a in 0..self.layout.token_blocks() {
            let blocks = x.token_block(a);
            let places: Vec<_> = (a * blocks.len()..(a + 1) * blocks.len()).collect();
            let (this, rows) = (Arc::clone(&self), x.rows().clone());
            let port = (Port::new(Content::Intermediate, 0), places.as_slice());
            made.extend(program.task("", blocks, port, move |place, x| {
                Ok(this.polynomial(a, &rows)?.evaluate_all(&place.ev, x)?)
            }));
        }
        Ok(vec![x.with(Content::Intermediate, made)?])
    }

    fn ranges(&self) -> Vec<ValidRange> {
        vec![ValidRange { input: 0, low: -1.0, high: 1.0 }]
    }
}
