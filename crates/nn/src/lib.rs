//! Encrypted Transformer layers: tensors of ciphertexts, packings, layers, bootstrap placement.
#![forbid(unsafe_code)]

mod attention;
mod calibration;
mod encoder;
mod error;
mod gelu;
mod layer;
mod layernorm;
mod layout;
mod linear;
mod network;
mod ops;
pub mod placement;
mod pooling;
mod residual;
mod softmax;
mod tensor;

pub use attention::{Attend, Scores};
pub use calibration::{
    Bounds, Calibration, ExpPolynomial, GeluCalibration, InverseCalibration, LayerCalibration,
    NormCalibration, SoftmaxCalibration, TokenZero, chebyshev, goldschmidt,
};
pub use encoder::{Affine, EncoderWeights, Head, LayerWeights, Norm, encoder};
pub use error::{Error, Result};
pub use gelu::Gelu;
pub use layer::{CheckReport, Layer, Port, ValidRange, check, decrypt, encrypt};
pub use layernorm::{InverseSqrt, Moments, Scale};
pub use layout::Layout;
pub use linear::Linear;
pub use network::{Excursion, Network, Observer, PlainRun, StageInfo};
pub use pooling::MeanPool;
pub use residual::Residual;
pub use softmax::{Exp, Inverse, Normalise, RowSum, Square};
pub use tensor::{Content, CtTensor, MODEL, Tensor};
