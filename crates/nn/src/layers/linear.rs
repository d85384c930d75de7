//! Affine maps of the features of every token.

use aegis_circuits::{Diagonals, LinearTransform};
use aegis_ckks::{Evaluator, KeyRequest, Level, Params};
use num_complex::Complex64;

use crate::ops::add_vector;
use crate::{Content, CtTensor, Error, Layer, Layout, Port, Result, Tensor};

/// `y = x W + b` for each token, with a bias of its own for token 0. One level.
///
/// In packing P3 a block matrix has `2 Fb - 1` diagonals that do not wrap (decision 0003): what a rotation
/// brings in from the neighbouring token meets a zero. Each diagonal repeats for every token, so that it is
/// encoded as a polynomial of `2 Fb` words a limb, on the fly; no encoded weights are kept. The bias has
/// zeros in padded rows.
pub struct Linear {
    name: String,
    layout: Layout,
    input: Content,
    output: Content,
    weight: Tensor,
    bias: Vec<f64>,
    first_bias: Vec<f64>,
    transform: LinearTransform,
}

impl Linear {
    /// A map with `weight` (input columns x output columns) and a bias for each output, token 0 having
    /// `first_bias`.
    pub fn new(
        name: &str,
        layout: &Layout,
        (input, output): (Content, Content),
        weight: Tensor,
        bias: Vec<f64>,
        first_bias: Vec<f64>,
    ) -> Result<Self> {
        let (rows, cols) = (layout.columns(input), layout.columns(output));
        if (weight.rows(), weight.cols(), bias.len(), first_bias.len()) != (rows, cols, cols, cols) {
            return Err(Error::Shape {
                what: format!("weight and bias of {name}"),
                want: format!("{rows} x {cols} and {cols}"),
                have: format!("{} x {} and {}", weight.rows(), weight.cols(), bias.len()),
            });
        }
        weight.check_finite(name)?;
        Tensor::new(1, cols, bias.clone())?.check_finite(name)?;
        Tensor::new(1, cols, first_bias.clone())?.check_finite(name)?;
        let reach = layout.block() as i64;
        let (n_in, n_out) = (layout.blocks(input), layout.blocks(output));
        // The same split for every map, that of one input and one output, so that all share their keys.
        let n1 = LinearTransform::new(1, 1, -reach..reach, 1)?.n1().next_power_of_two();
        let transform = LinearTransform::new(n_in, n_out, -reach..reach, 1)?.with_baby_steps(n1);
        let layout = layout.clone();
        Ok(Self { name: name.into(), layout, input, output, weight, bias, first_bias, transform })
    }
}

/// The feature at local feature `f` of block `j` of a tensor whose columns are features.
fn column(layout: &Layout, content: Content, j: usize, f: usize) -> Option<usize> {
    match content {
        Content::Intermediate => layout.intermediate_feature(j, f),
        Content::Model { .. } => {
            let n = layout.model_blocks();
            Some(j / n * layout.width() + layout.model_feature(j % n, f)?)
        }
        Content::Scores | Content::RowSums | Content::TokenStats => None,
    }
}

impl Diagonals for Linear {
    fn period(&self) -> usize {
        self.layout.block()
    }

    fn diagonal(&self, output: usize, input: usize, index: i64) -> Option<Vec<Complex64>> {
        let (layout, block) = (&self.layout, self.layout.block() as i64);
        let mut any = false;
        let entry = |f: i64| {
            let source = f + index;
            if !(0..block).contains(&source) {
                return None;
            }
            let to = column(layout, self.output, output, f as usize)?;
            let from = column(layout, self.input, input, source as usize)?;
            Some(self.weight.at(from, to))
        };
        let values = (0..block).map(|f| {
            let w = entry(f).unwrap_or(0.0);
            any |= w != 0.0;
            Complex64::new(w, 0.0)
        });
        let values = values.collect();
        any.then_some(values)
    }
}

impl Layer for Linear {
    fn name(&self) -> &str {
        &self.name
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(self.input, 1)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(self.output, 0)]
    }

    fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        self.transform.keys(params, level.up(1))
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let mut y = inputs[0].affine(&self.weight, &self.bias);
        for (c, (first, bias)) in self.first_bias.iter().zip(&self.bias).enumerate() {
            *y.at_mut(0, c) += first - bias;
        }
        Ok(vec![y])
    }

    fn forward(&self, ev: &Evaluator, inputs: &[&CtTensor]) -> Result<Vec<CtTensor>> {
        let x = inputs[0];
        x.expect(self.input, &self.name)?;
        let products = x.with(self.output, self.transform.apply(ev, x.blocks(), self)?)?;
        let sums = products.map(|j, block| {
            let bias = self.layout.vector(|t, f| match column(&self.layout, self.output, j, f) {
                Some(c) if t == 0 => self.first_bias[c],
                Some(c) if t < x.rows() => self.bias[c],
                _ => 0.0,
            });
            add_vector(ev, block, &bias)
        })?;
        Ok(vec![sums])
    }
}
