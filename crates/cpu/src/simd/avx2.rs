//! The scalar code compiled for AVX2 and BMI2: additions and comparisons become vectors of four, products take the
//! flagless 64-bit multiplication. AVX2 has no multiplication of more than 32 bits.

use aegis_ring::{BaseConv, Factor, NttTable};

use super::{Prime, Tile, portable};

/// Functions of this instruction set with the body of the scalar ones, which are inlined into them.
macro_rules! compile {
    ($(fn $name:ident($($arg:ident: $type:ty),*);)*) => {
        $(#[target_feature(enable = "avx2,bmi2")]
        pub(crate) fn $name($($arg: $type),*) {
            portable::$name($($arg),*);
        })*
    };
}

compile! {
    fn ntt(t: &NttTable, x: &mut [u64]);
    fn intt(t: &NttTable, x: &mut [u64], scale: Factor);
    fn add_assign(p: &Prime, out: &mut [u64], b: &[u64]);
    fn sub_assign(p: &Prime, out: &mut [u64], b: &[u64]);
    fn mul_assign(p: &Prime, out: &mut [u64], b: &[u64]);
    fn mul_add(p: &Prime, out: &mut [u64], a: &[u64], b: &[u64]);
    fn scalar_mul(p: &Prime, out: &mut [u64], c: Factor);
    fn scalar_mul_add(p: &Prime, out: &mut [u64], c: Factor, a: &[u64]);
    fn scalar_add(p: &Prime, out: &mut [u64], c: u64);
    fn sub_scale(p: &Prime, out: &mut [u64], a: &[u64], c: Factor);
    fn permute(out: &mut [u64], x: &[u64], permutation: &[u32]);
    fn reduce_signed(p: &Prime, out: &mut [u64], x: &[i64]);
    fn inner_product(p: &Prime, out: &mut [u64], accumulate: bool, w: &[&[u64]], x: &[&[u64]]);
    fn scalar_products(p: &Prime, out: &mut [u64], accumulate: bool, w: &[u64], x: &[u64], s: Tile);
    fn overflow(c: &BaseConv, u: &mut [u64], y: &[&[u64]]);
    fn convert(p: &Prime, out: &mut [u64], y: &[&[u64]], images: &[u64], u: &[u64], correction: u64);
}
