//! Word-by-word arithmetic on AVX2: the additions and comparisons of the scalar code become vectors of four.

use aegis_ring::Factor;

use crate::simd::{Prime, row_functions};

row_functions!(compile);
