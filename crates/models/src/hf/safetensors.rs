//! Named tensors of a `model.safetensors`, found under every spelling in use, checked for shape and
//! finiteness.

use std::path::Path;

use aegis_nn::Excerpt;
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};

/// A parsed `model.safetensors` in memory.
pub(crate) struct Tensors<'a> {
    file: SafeTensors<'a>,
}

impl<'a> Tensors<'a> {
    /// Parses `bytes`; `path` is named in the error.
    pub(crate) fn parse(bytes: &'a [u8], path: &Path) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|e| Error::Weights { path: path.to_owned(), source: Excerpt(e) })?;
        Ok(Tensors { file })
    }

    /// The tensor `name` of exactly this shape, row-major. F32, F16 and BF16 convert to `f32` without
    /// rounding.
    pub(crate) fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (found, view) = self.find(name)?;
        if view.shape() != shape {
            return Err(Error::WrongShape {
                name: found,
                found: view.shape().to_vec(),
                expected: shape.to_vec(),
            });
        }
        let data = view.data();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Dtype::F16 => data.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => data.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
            other => return Err(Error::WrongFormat { name: found, found: format!("{other:?}") }),
        };
        match values.iter().position(|v| !v.is_finite()) {
            Some(index) => Err(Error::NonFiniteWeight { name: found, index, value: values[index] }),
            None => Ok(values),
        }
    }

    /// As [`f32`](Self::f32), widened.
    pub(crate) fn f64(&self, name: &str, shape: &[usize]) -> Result<Vec<f64>> {
        Ok(self.f32(name, shape)?.into_iter().map(f64::from).collect())
    }

    /// Whether the file has `name` under any spelling.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    fn find(&self, name: &str) -> Result<(String, TensorView<'_>)> {
        let spellings = spellings(name);
        for spelling in &spellings {
            if let Ok(view) = self.file.tensor(spelling) {
                return Ok((spelling.clone(), view));
            }
        }
        Err(Error::MissingTensor { name: name.to_owned(), tried: spellings[1..].join(", ") })
    }
}

/// The present name first; models with a head prefix it by `bert.`, and the oldest ones call the parameters
/// of a LayerNorm `gamma` and `beta` (bert-base-uncased does both).
fn spellings(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned(), format!("bert.{name}")];
    let old = match name.rsplit_once('.') {
        Some((owner, "weight")) if owner.ends_with("LayerNorm") => Some(format!("{owner}.gamma")),
        Some((owner, "bias")) if owner.ends_with("LayerNorm") => Some(format!("{owner}.beta")),
        _ => None,
    };
    if let Some(old) = old {
        names.push(format!("bert.{old}"));
        names.push(old);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_layer_norm_and_of_a_map() {
        let all = spellings("embeddings.LayerNorm.weight");
        assert_eq!(all[2..], ["bert.embeddings.LayerNorm.gamma", "embeddings.LayerNorm.gamma"]);
        assert_eq!(spellings("pooler.dense.bias").len(), 2);
    }
}
