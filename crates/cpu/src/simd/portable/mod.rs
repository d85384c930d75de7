//! Scalar code: every machine has it, and it is the clearest statement of what the others compute.

mod ntt;
mod rows;
mod sums;

pub(crate) use ntt::{Table, intt, ntt};
pub(crate) use rows::{
    add_assign, mul_add, mul_assign, permute, reduce_signed, scalar_add, scalar_mul, scalar_mul_add,
    sub_assign, sub_scale,
};
pub(crate) use sums::{convert, inner_product, overflow, scalar_products};
