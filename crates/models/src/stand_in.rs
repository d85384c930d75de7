//! Models of which only the shape is known: what they cost is right, what they compute means nothing.

use aegis_nn::layers::pooling::MeanPool;
use aegis_nn::{
    Affine, Bounds, Calibration, EncoderWeights, ExpPolynomial, GeluCalibration, InverseCalibration,
    LayerCalibration, LayerWeights, Layout, Network, Norm, NormCalibration, Pooling, Section,
    SoftmaxCalibration, Tensor, TokenZero, chebyshev, encoder, goldschmidt,
};

use crate::bert::Config;
use crate::bert::encoder::gelu;
use crate::error::Result;

/// Inverses of row sums end this near to 1: with it schedules are as long as those of all-MiniLM-L6-v2.
const INVERSE_TOLERANCE: f64 = 1e-3;

/// Smallest first sum: the least of the layers of all-MiniLM-L6-v2, whose inverse takes eight steps.
const SMALLEST_SUM: f64 = 5e-4;

/// A network in the shape of a model, all weights alike and the constants of every layer in the degrees and steps that are
/// typical of all-MiniLM-L6-v2: exponentials of degree 7 with two squarings and one round of normalization, first inverses
/// of eight steps, inverse roots of degrees 15 and 63, activations of degree 47. It is to be planned, not run. The layers
/// are one, and take its memory once.
///
/// # Errors
/// [`Error::Nn`](crate::Error::Nn) for a layout of another shape.
pub fn stand_in(config: &Config, layout: &Layout) -> Result<Network> {
    let weights = EncoderWeights { layers: vec![weights(config)] };
    let constants = constants(config, layout.tokens());
    let bound = constants.bounds.input;
    let calibration =
        Calibration { name: "stand-in".into(), model: "stand-in".into(), layers: vec![constants] };
    let layer = encoder(layout, &weights, &calibration, Pooling::None)?;
    let mut network = Network::new(layout, "input", bound);
    let mut x = network.input();
    for i in 0..config.layers {
        x = network.append(&format!("layer {i}"), &layer, x)?;
    }
    let pooled = network.add(("pooling", Section::Other), MeanPool::new(layout), &[x], &[f64::INFINITY])?[0];
    Ok(network.finish(pooled))
}

fn weights(config: &Config) -> LayerWeights {
    let (d, f) = (config.width, config.intermediate);
    // Diagonals of zeros would be skipped.
    let map = |inputs: usize, outputs: usize| Affine {
        weight: Tensor::from_fn(inputs, outputs, |_, _| 1.0 / inputs as f64),
        bias: vec![0.0; outputs],
    };
    let norm = || Norm { gamma: vec![1.0; d], beta: vec![0.0; d] };
    LayerWeights {
        query: map(d, d),
        key: map(d, d),
        value: map(d, d),
        output: map(d, d),
        norm1: norm(),
        up: map(d, f),
        down: map(f, d),
        norm2: norm(),
    }
}

fn constants(config: &Config, tokens: usize) -> LayerCalibration {
    let inverse_root = |degree: usize| {
        let var_range = (0.1, 2.0);
        let cheb = chebyshev::interpolate(|v| v.sqrt().recip(), degree, var_range);
        NormCalibration { var_range, cheb, token0_scale: 1.0 }
    };
    let range = (-14.0, 12.0);
    let activation = chebyshev::interpolate(gelu, 47, range);
    let (a, b) = (-8.0, 0.125);
    let softmax = SoftmaxCalibration {
        normalize_and_square_rounds: 1,
        score_scale: 0.5,
        key_bias_offset_delta: vec![vec![0.0; config.head_size()]; config.heads],
        row_constant: vec![0.0; config.heads],
        exp_poly: ExpPolynomial { cheb: chebyshev::interpolate(f64::exp, 7, (a, b)), a, b, squarings: 2 },
        inv0: InverseCalibration {
            eps: SMALLEST_SUM,
            schedule: goldschmidt::schedule(SMALLEST_SUM, INVERSE_TOLERANCE),
        },
        inv_next: [(tokens as u32, goldschmidt::schedule((tokens as f64).recip(), INVERSE_TOLERANCE))].into(),
    };
    LayerCalibration {
        layer: 0,
        softmax,
        ln1: inverse_root(15),
        ln2: inverse_root(63),
        gelu: GeluCalibration {
            range,
            cheb: activation.clone(),
            token0: TokenZero { range, cheb: activation },
        },
        residual_bound: 20.0,
        bounds: Bounds {
            input: 12.0,
            query_key: 12.0,
            context: 6.0,
            residual1: 12.0,
            norm1: 30.0,
            gelu: 10.0,
            feed_forward: 40.0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths of the schedules of the shipped calibration.
    #[test]
    fn stand_ins_have_the_steps_of_a_calibration() {
        let config = Config { width: 32, layers: 1, heads: 2, intermediate: 64, ..Config::BERT_BASE };
        let steps = |tokens| constants(&config, tokens).softmax.inv_next[&(tokens as u32)].len();
        assert_eq!([8, 16, 32, 64, 128, 256, 512].map(steps), [4, 5, 5, 6, 6, 7, 7]);
        assert_eq!(constants(&config, 64).softmax.inv0.schedule.len(), 8);
    }

    #[test]
    fn layers_of_a_stand_in_are_as_many_as_those_of_its_shape() {
        let config = Config { width: 32, layers: 3, heads: 2, intermediate: 64, ..Config::BERT_BASE };
        let layout = config.layout(1024, 64).expect("a layout");
        let network = stand_in(&config, &layout).expect("a network");
        let groups: Vec<_> = network.layers().map(|(group, _)| group.to_owned()).collect();
        assert!(groups.iter().any(|group| group == "layer 2") && !groups.iter().any(|g| g == "layer 3"));
        assert_eq!(network.layers().filter(|(_, layer)| layer.name() == "attend").count(), 3);
    }
}
