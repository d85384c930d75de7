//! One layer a file: what it means in plain, which keys and levels it takes, and how it runs on ciphertexts.

mod activation;
mod attention;
mod layer_norm;
mod linear;
mod pooling;
mod residual;
mod softmax;

pub use activation::Gelu;
pub use attention::{Attend, Scores};
pub use layer_norm::{GammaBeta, InverseSqrt, Moments};
pub use linear::Linear;
pub use pooling::MeanPool;
pub use residual::Residual;
pub use softmax::{Exp, Inverse, Normalize, RowSum, Square};
