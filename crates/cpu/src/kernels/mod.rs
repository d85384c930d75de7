//! The kernels, as methods of [`Engine`](crate::engine::Engine). `operand` explains the names in their SAFETY comments.

mod base_conv;
mod inner_product;
mod transform;
mod word_by_word;

pub(crate) use inner_product::Product;
