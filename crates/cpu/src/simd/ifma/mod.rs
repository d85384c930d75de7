//! AVX-512 IFMA: 52-bit multiplications, eight at a time.

mod ntt;
mod rows;
mod sums;
mod tile;
mod vector;

pub(crate) use ntt::{Table, intt, ntt, table};
pub(crate) use rows::{
    add_assign, mul_add, mul_assign, permute, reduce_signed, scalar_add, scalar_mul, scalar_mul_add,
    sub_assign, sub_scale,
};
pub(crate) use sums::{convert, inner_product, overflow, scalar_products};
