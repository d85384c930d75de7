//! One layer a file: what it means in plain, which keys and levels it takes, and how it runs on ciphertexts.

pub mod activation;
pub mod attention;
pub mod layer_norm;
pub mod linear;
pub mod pooling;
pub mod residual;
pub mod softmax;
