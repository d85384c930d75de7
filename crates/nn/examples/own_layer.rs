//! A layer of one's own, and its whole test: `cargo run -p aegis-nn --example own_layer`.

use std::error::Error;
use std::sync::Arc;

use aegis_circuits::Polynomial;
use aegis_ckks::{Context, Level, Params, insecure_levelled_spec};
use aegis_nn::{Emitter, Layer, Layout, MODEL, Port, Result, Tensor, TensorRef, ValidRange, check};

/// Values that the polynomial is made for.
const RANGE: (f64, f64) = (-2.0, 2.0);

/// `tanh` of every value, as a polynomial: only sums and products exist under encryption.
///
/// Rows of padding must stay zeros (a rule of all layers). They do by themselves, because an interpolation of an odd
/// function in Chebyshev nodes is odd.
struct Tanh {
    layout: Layout,
    polynomial: Polynomial,
}

impl Tanh {
    fn new(layout: &Layout) -> Result<Self> {
        Ok(Self { layout: *layout, polynomial: Polynomial::interpolate(f64::tanh, 15, RANGE)? })
    }
}

impl Layer for Tanh {
    fn name(&self) -> &str {
        "tanh"
    }

    /// Where tokens and features sit in the slots.
    fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Fact 1, levels: the input lies as many levels above the output as the polynomial takes.
    fn inputs(&self) -> Vec<Port> {
        vec![Port::new(MODEL, self.polynomial.depth())]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new(MODEL, 0)]
    }

    /// Fact 2, meaning: the same in `f64`, with the same approximation.
    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].map(|_token, value| self.polynomial.plain(value, 0))])
    }

    /// Fact 3, evaluation: a task for each block of the input. Level and scale are the evaluator's; the keys that it uses are
    /// found by running it on a device of shapes.
    fn emit(self: Arc<Self>, program: &mut Emitter<'_>, inputs: &[TensorRef]) -> Result<Vec<TensorRef>> {
        inputs[0].expect(MODEL, "values")?;
        let tanh = program.map("", &inputs[0], Port::new(MODEL, 0), move |ev, _, block| {
            Ok(self.polynomial.evaluate(ev, block)?)
        })?;
        Ok(vec![tanh])
    }

    /// The range of the approximation: a run in plain reports values outside it.
    fn ranges(&self) -> Vec<ValidRange> {
        vec![ValidRange { input: 0, low: RANGE.0, high: RANGE.1 }]
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    // A small ring without any security: tests need none.
    let params = Params::insecure(insecure_levelled_spec(9, 6))?;
    let device = Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 1)?);
    let ctx = Context::new(params, device)?;

    // 8 tokens of 8 features in 2 heads, 16 features inside the feed-forward network.
    let layout = Layout::new(ctx.params().slots(), 8, 8, 2, 16)?;
    let layer = Tanh::new(&layout)?;
    println!("{} takes {} levels", layer.name(), layer.depth());

    // Five real tokens, three of padding.
    let x = Tensor::from_fn(5, 8, |token, feature| 0.4 * token as f64 - 0.2 * feature as f64);

    // `check` encrypts, makes the declared keys and no others, runs the layer, and compares results and levels.
    let report = check(&Arc::new(layer), &ctx, Level(1), &[&x], 1e-5)?;
    println!("largest error {:.1e}, in padded rows {:.1e}", report.max_error, report.max_padding);
    println!("{report}");
    assert!(report.max_padding < 1e-5, "rows of padding stay zeros");
    Ok(())
}

#[test]
fn runs() -> std::result::Result<(), Box<dyn Error>> {
    main()
}
