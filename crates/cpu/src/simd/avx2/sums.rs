//! Sums of products stay scalar on AVX2: by count, a 64-bit multiplication and two additions a word come to the seven
//! operations on four doubles that a product would take (not measured).

use aegis_ring::BaseConv;

use crate::simd::{Block, Prime, sum_functions};

sum_functions!(compile);
