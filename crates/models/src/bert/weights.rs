//! The weights of the encoder layers, read from `model.safetensors` into the matrices of `aegis-nn`.

use aegis_nn::{Affine, LayerWeights, Norm, Tensor};

use super::config::Config;
use crate::error::{Error, Result};
use crate::hf::safetensors::Tensors;

/// All layers in order.
///
/// # Errors
/// A missing, wrongly shaped or non-finite tensor; [`Error::MoreLayers`] if the file goes on after
/// `config.layers`: running a part of a model would give a wrong embedding without a word.
pub(crate) fn read_layers(tensors: &Tensors<'_>, config: &Config) -> Result<Vec<LayerWeights>> {
    let extra = format!("encoder.layer.{}.attention.self.query.weight", config.layers);
    if tensors.contains(&extra) {
        return Err(Error::MoreLayers { configured: config.layers, extra });
    }
    (0..config.layers).map(|layer| read_layer(tensors, config, layer)).collect()
}

fn read_layer(tensors: &Tensors<'_>, config: &Config, layer: usize) -> Result<LayerWeights> {
    let (d, f) = (config.width, config.intermediate);
    let name = |part: &str| format!("encoder.layer.{layer}.{part}");
    let affine = |part: &str, inputs: usize, outputs: usize| -> Result<Affine> {
        let weight = tensors.f32(&name(&format!("{part}.weight")), &[outputs, inputs])?;
        Ok(Affine {
            // The file has a row for each output.
            weight: Tensor::from_fn(inputs, outputs, |i, o| f64::from(weight[o * inputs + i])),
            bias: tensors.f64(&name(&format!("{part}.bias")), &[outputs])?,
        })
    };
    let norm = |part: &str| read_norm(tensors, &name(part), d);
    Ok(LayerWeights {
        query: affine("attention.self.query", d, d)?,
        key: affine("attention.self.key", d, d)?,
        value: affine("attention.self.value", d, d)?,
        output: affine("attention.output.dense", d, d)?,
        norm1: norm("attention.output")?,
        up: affine("intermediate.dense", d, f)?,
        down: affine("output.dense", f, d)?,
        norm2: norm("output")?,
    })
}

/// The LayerNorm of `owner`.
pub(crate) fn read_norm(tensors: &Tensors<'_>, owner: &str, features: usize) -> Result<Norm> {
    Ok(Norm {
        gamma: tensors.f64(&format!("{owner}.LayerNorm.weight"), &[features])?,
        beta: tensors.f64(&format!("{owner}.LayerNorm.bias"), &[features])?,
    })
}
