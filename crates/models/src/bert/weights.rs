//! The weights of the encoder layers, read from `model.safetensors` into `f64` matrices.

use super::config::Config;
use super::tensors::Tensors;
use crate::error::{Error, Result};

/// A linear map `y = W x + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `outputs x inputs`, row-major, as in the file.
    pub weight: Vec<f64>,
    /// One value an output.
    pub bias: Vec<f64>,
}

/// Parameters of a LayerNorm.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Factor a feature.
    pub gamma: Vec<f64>,
    /// Summand a feature.
    pub beta: Vec<f64>,
}

/// One encoder layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// hidden to hidden; heads are consecutive groups of outputs.
    pub query: Linear,
    /// hidden to hidden.
    pub key: Linear,
    /// hidden to hidden.
    pub value: Linear,
    /// hidden to hidden, after attention.
    pub attention_output: Linear,
    /// After the first residual sum.
    pub attention_norm: Norm,
    /// hidden to intermediate.
    pub intermediate: Linear,
    /// intermediate to hidden.
    pub output: Linear,
    /// After the second residual sum.
    pub output_norm: Norm,
}

impl LayerWeights {
    fn read(tensors: &Tensors<'_>, config: &Config, layer: usize) -> Result<Self> {
        let (d, f) = (config.hidden, config.intermediate);
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let linear = |part: &str, inputs: usize, outputs: usize| -> Result<Linear> {
            Ok(Linear {
                weight: tensors.f64(&name(&format!("{part}.weight")), &[outputs, inputs])?,
                bias: tensors.f64(&name(&format!("{part}.bias")), &[outputs])?,
            })
        };
        let norm = |part: &str| -> Result<Norm> {
            Ok(Norm {
                gamma: tensors.f64(&name(&format!("{part}.LayerNorm.weight")), &[d])?,
                beta: tensors.f64(&name(&format!("{part}.LayerNorm.bias")), &[d])?,
            })
        };
        Ok(LayerWeights {
            query: linear("attention.self.query", d, d)?,
            key: linear("attention.self.key", d, d)?,
            value: linear("attention.self.value", d, d)?,
            attention_output: linear("attention.output.dense", d, d)?,
            attention_norm: norm("attention.output")?,
            intermediate: linear("intermediate.dense", d, f)?,
            output: linear("output.dense", f, d)?,
            output_norm: norm("output")?,
        })
    }
}

/// All layers in order.
///
/// # Errors
/// A missing, wrongly shaped or non-finite tensor; [`Error::MoreLayers`] if the file goes on after `config.layers`: running a part
/// of a model would give a wrong embedding without a word.
pub(crate) fn read_layers(tensors: &Tensors<'_>, config: &Config) -> Result<Vec<LayerWeights>> {
    let extra = format!("encoder.layer.{}.attention.self.query.weight", config.layers);
    if tensors.contains(&extra) {
        return Err(Error::MoreLayers { configured: config.layers, extra });
    }
    (0..config.layers).map(|layer| LayerWeights::read(tensors, config, layer)).collect()
}
