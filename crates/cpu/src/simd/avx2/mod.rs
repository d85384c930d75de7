//! AVX2: transforms on doubles with FMA; everything else is the scalar code compiled for AVX2 and BMI2.

/// Functions of this instruction set with the body of the scalar ones, which are inlined into them.
macro_rules! compile {
    ($(
        $(#[$doc:meta])*
        fn $name:ident($($arg:ident: $type:ty),*) in [$($in:expr),*] out [$($out:expr),*];
    )*) => {
        $($(#[$doc])*
        #[target_feature(enable = "avx2,bmi2")]
        pub(crate) fn $name($($arg: $type),*) {
            crate::simd::portable::$name($($arg),*);
        })*
    };
}

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
