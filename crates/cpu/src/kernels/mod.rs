//! The kernels, as methods of [`Engine`](crate::engine::Engine).

mod base_conv;
mod elementwise;
mod inner_product;
mod transform;

pub(crate) use inner_product::Product;
