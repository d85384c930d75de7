//! Affine maps of the features of every token.

use std::ops::Range;
use std::sync::Arc;

use aegis_circuits::{Diagonals, LinearTransform};
use aegis_ckks::{Ciphertext, Evaluator};
use num_complex::Complex64;

use crate::ops::add_vector;
use crate::program::Emitter;
use crate::{Content, Error, Layer, Layout, Port, Result, Rows, Tensor, TensorRef};

/// `y = x W + b` for each token, with a bias of its own for token 0. One level.
///
/// In packing P3 a block matrix has `2 Fb - 1` diagonals that do not wrap (decision 0003): what a rotation
/// brings in from the neighbouring token meets a zero. Each diagonal repeats for every token, so that it is
/// encoded as a polynomial of `2 Fb` words a limb, on the fly and once for a group of token blocks; no encoded weights are
/// kept. The bias has zeros in padded rows.
///
/// ```
/// # use std::sync::Arc;
/// # use aegis_ckks::{Context, Level, Params, insecure_levelled_spec};
/// # let params = Params::insecure(insecure_levelled_spec(9, 8))?;
/// # let ctx = Context::new(params.clone(), Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 1)?))?;
/// use aegis_nn::layers::linear::Linear;
/// use aegis_nn::{Content, Layer, Layout, MODEL, Tensor, check};
///
/// // Room for 8 tokens of 8 features in 2 heads, 16 features between the maps of the feed-forward network.
/// let layout = Layout::new(ctx.params().slots(), 8, 8, 2, 16)?;
/// // Every intermediate feature is twice a feature of the model, and one.
/// let weight = Tensor::from_fn(8, 16, |from, to| if to % 8 == from { 2.0 } else { 0.0 });
/// let bias = vec![1.0; 16];
/// let up = Linear::new("up", &layout, (MODEL, Content::Intermediate), weight, bias.clone(), bias)?;
/// let x = Tensor::from_fn(3, 8, |token, feature| 0.1 * (token + feature) as f64);
/// assert!((up.plain(&[&x])?[0].at(2, 11) - 2.0).abs() < 1e-12);
/// // The same on ciphertexts.
/// check(&Arc::new(up), &ctx, Level(1), &[&x], 1e-5)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Linear {
    name: String,
    layout: Layout,
    input: Content,
    output: Content,
    weight: Tensor,
    bias: Vec<f64>,
    first_bias: Vec<f64>,
    /// For each input and each output of a token block, the column of `x` or `y` at every local feature.
    columns: [Vec<Columns>; 2],
    transform: LinearTransform,
}

/// The column at every local feature of a block; `None` where it is padding.
type Columns = Vec<Option<usize>>;

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
        let reach = layout.token_slots() as i64;
        let columns = [columns(layout, input), columns(layout, output)];
        let (n_in, n_out) = (columns[0].len(), columns[1].len());
        // The same split for every map, that of one input and one output, so that all share their keys.
        let n1 = LinearTransform::new(1, 1, -reach..reach, 1)?.n1().next_power_of_two();
        let transform = LinearTransform::new(n_in, n_out, -reach..reach, 1)?.with_baby_steps(n1);
        Ok(Self {
            name: name.into(),
            layout: *layout,
            input,
            output,
            weight,
            bias,
            first_bias,
            columns,
            transform,
        })
    }

    /// Token blocks that share the encoded weights: all inputs of each to all its outputs.
    fn apply(
        &self,
        ev: &Evaluator,
        blocks: &Range<usize>,
        rows: &Rows,
        x: &[Ciphertext],
    ) -> Result<Vec<Ciphertext>> {
        let columns: Vec<_> = x.chunks_exact(self.columns[0].len()).collect();
        let mut all = vec![];
        for (a, products) in blocks.clone().zip(self.transform.apply_columns(ev, &columns, self)?) {
            for (j, product) in products.iter().enumerate() {
                all.push(add_vector(ev, product, &self.bias(a, j, rows))?);
            }
        }
        Ok(all)
    }

    /// The bias of output `j` of token block `a`.
    fn bias(&self, a: usize, j: usize, rows: &Rows) -> Vec<f64> {
        let first = a * self.layout.block_tokens();
        self.layout.vector(|t, f| match (self.columns[1][j][f], rows.row(first + t)) {
            (Some(c), Some(row)) if row.token == 0 => self.first_bias[c],
            (Some(c), Some(_)) => self.bias[c],
            _ => 0.0,
        })
    }
}

/// The columns of every block of a token block whose columns are features. Matrices look up millions of them.
fn columns(layout: &Layout, content: Content) -> Vec<Columns> {
    let block = |j| (0..layout.token_slots()).map(|f| column(layout, content, j, f)).collect();
    (0..layout.blocks(content) / layout.token_blocks()).map(block).collect()
}

/// The column at local feature `f` of block `j`.
fn column(layout: &Layout, content: Content, j: usize, f: usize) -> Option<usize> {
    match content {
        Content::Intermediate => layout.intermediate_feature(j, f),
        Content::Model { .. } => {
            let n = layout.model_blocks();
            Some(j / n * layout.width() + layout.model_feature(j % n, f)?)
        }
        _ => None,
    }
}

impl Diagonals for Linear {
    fn period(&self) -> usize {
        self.layout.token_slots()
    }

    fn diagonal(&self, output: usize, input: usize, index: i64) -> Option<Vec<Complex64>> {
        let (from, to) = (&self.columns[0][input], &self.columns[1][output]);
        // The features whose source lies in the block.
        let first = usize::try_from(-index).unwrap_or(0);
        let sources = from.get(usize::try_from(index).unwrap_or(0)..)?;
        let mut values = vec![Complex64::default(); to.len()];
        let mut any = false;
        for ((value, to), from) in values.iter_mut().zip(to).skip(first).zip(sources) {
            if let (Some(to), Some(from)) = (to, from) {
                value.re = self.weight.at(*from, *to);
                any |= value.re != 0.0;
            }
        }
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

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let mut y = inputs[0].affine(&self.weight, &self.bias);
        for (c, (first, bias)) in self.first_bias.iter().zip(&self.bias).enumerate() {
            *y.at_mut(0, c) += first - bias;
        }
        Ok(vec![y])
    }

    fn kind(&self) -> String {
        format!("linear, {:?} to {:?}", self.input, self.output)
    }

    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        let x = &inputs[0];
        x.expect(self.input, &self.name)?;
        let (mut made, outputs) = (vec![], self.columns[1].len());
        for blocks in self.layout.groups() {
            let reads: Vec<_> = blocks.clone().flat_map(|a| x.token_block(a).iter().copied()).collect();
            let places: Vec<_> = (blocks.start * outputs..blocks.end * outputs).collect();
            let (this, rows) = (Arc::clone(&self), x.rows().clone());
            let port = (Port::new(self.output, 0), places.as_slice());
            made.extend(
                program.task("", &reads, port, move |place, x| this.apply(&place.ev, &blocks, &rows, x)),
            );
        }
        Ok(vec![x.with(self.output, made)?])
    }
}
