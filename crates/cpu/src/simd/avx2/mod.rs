//! AVX2: transforms on doubles with FMA; everything else is the scalar code compiled for AVX2 and BMI2, whose additions
//! and comparisons become vectors of four. Sums of products stay scalar: by count, a 64-bit multiplication and two
//! additions a word come to the seven operations on four doubles that a product would take (not measured).

mod ntt;

use aegis_ring::{BaseConv, Factor};

use super::{Prime, Tile, portable, signatures};

pub(crate) use ntt::{Table, intt, ntt};

/// Functions of this instruction set with the body of the scalar ones, which are inlined into them.
macro_rules! compile {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*);)*) => {
        $($(#[$doc])*
        #[target_feature(enable = "avx2,bmi2")]
        pub(crate) fn $name($($arg: $type),*) {
            portable::$name($($arg),*);
        })*
    };
}

signatures!(compile);
