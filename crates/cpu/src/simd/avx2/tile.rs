//! Butterflies, and tiles of 16 words that pass through four stages of a transform in registers.
//!
//! Every pass of a forward transform but the first reduces what it loads. Bounds in units of q, for `|x| <= B q` and
//! `|w| <= q/2`:
//! * reduction: 1/2;
//! * product: `1/2 + B/8`, for `B <= 4` ([`Q::mul`]);
//! * forward, from 1 by three stages: 1.63, 2.33, 3.12; from 1/2 by four: 1.07, 1.70, 2.41, 3.21;
//! * inverse, from 1/2 by three stages: 1, 2, 4; the factors, differences of two values, are at most 4; in a tile from
//!   1 by two stages: 2, 4.

use std::arch::x86_64::{_mm256_add_pd, _mm256_sub_pd};

use aegis_ring::NttTable;

use super::ntt::Table;
use super::vector::{Q, V, centred, load, load_bits, load_words, reverse, splat, store_bits, transpose};
use crate::simd::passes::{Butterflies, Growth, Tile};
use crate::simd::{Ahead, Prime};

/// The factors of the four rows of a tile: at distance 2, and at distance 1 those of the first and second pair.
#[derive(Debug)]
pub(crate) struct Columns([[f64; 4]; 3]);

impl Columns {
    pub(super) fn new(t: &NttTable, tile: usize) -> Self {
        let n = t.n();
        let factors = |start: usize, step: usize| {
            std::array::from_fn(|row| centred(t.values()[start + step * (tile * 4 + row)], t.modulus()))
        };
        Self([factors(n / 4, 1), factors(n / 2, 2), factors(n / 2 + 1, 2)])
    }
}

/// What the passes of a transform need of a prime.
#[derive(Clone, Copy)]
pub(super) struct Avx2(Q);

impl Avx2 {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn new(p: &Prime) -> Self {
        Self(Q::new(p))
    }
}

impl Butterflies<4> for Avx2 {
    type Vector = V;
    type Factor = f64;
    type Columns = Columns;
    const FORWARD_REDUCES: bool = true;

    /// A reduced value is at most q/2, a value at most 4q. In a tile, reduced values double twice.
    #[inline(always)]
    fn growth(self) -> Growth {
        Growth { log2: 2, room: Some(3) }
    }

    #[inline(always)]
    fn load_residues(self, words: &[u64; 4]) -> V {
        // SAFETY: an `Avx2` is made where the instructions are enabled.
        unsafe { load_words(words) }
    }

    #[inline(always)]
    fn load(self, words: &[u64; 4]) -> V {
        // SAFETY: as above.
        unsafe { load_bits(words) }
    }

    #[inline(always)]
    fn reduce(self, x: V) -> V {
        // SAFETY: as above.
        unsafe { self.0.reduce(x) }
    }

    #[inline(always)]
    fn store(self, words: &mut [u64; 4], x: V) {
        // SAFETY: as above.
        unsafe { store_bits(words, x) }
    }

    #[inline(always)]
    fn store_scaled(self, words: &mut [u64; 4], x: V, scale: f64) {
        // SAFETY: as above.
        unsafe { self.0.store_words(words, self.0.mul(x, splat(scale))) }
    }

    #[inline(always)]
    fn butterfly(self, u: V, x: V, w: f64) -> (V, V) {
        // SAFETY: as above.
        unsafe { butterfly(&self.0, u, x, splat(w)) }
    }

    #[inline(always)]
    fn inverse_butterfly(self, u: V, x: V, w: f64, _: u32) -> (V, V) {
        // SAFETY: as above.
        unsafe { inverse_butterfly(&self.0, u, x, splat(w)) }
    }

    #[inline(always)]
    fn forward_tiles(self, t: &Table, tiles: &mut [Tile<4>], first: usize, ahead: Ahead) {
        // SAFETY: as above.
        unsafe { forward_tiles(&self.0, t, tiles, first, ahead) }
    }

    #[inline(always)]
    fn inverse_tiles(self, t: &Table, tiles: &mut [Tile<4>], first: usize) {
        // SAFETY: as above.
        unsafe { inverse_tiles(&self.0, t, tiles, first) }
    }
}

/// `(u + x w, u - x w)`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn butterfly(q: &Q, u: V, x: V, w: V) -> (V, V) {
    let product = q.mul(x, w);
    (_mm256_add_pd(u, product), _mm256_sub_pd(u, product))
}

/// `(u + x, (x - u) w)`: w is the negated inverse of the forward factor.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_butterfly(q: &Q, u: V, x: V, w: V) -> (V, V) {
    (_mm256_add_pd(u, x), q.mul(_mm256_sub_pd(x, u), w))
}

#[target_feature(enable = "avx2,fma")]
fn forward_tiles(q: &Q, t: &Table, tiles: &mut [Tile<4>], first: usize, ahead: Ahead) {
    for (i, tile) in tiles.iter_mut().enumerate() {
        ahead.prefetch((first + i) * 16, 16);
        forward_tile(q, t, tile, first + i);
    }
}

#[target_feature(enable = "avx2,fma")]
fn inverse_tiles(q: &Q, t: &Table, tiles: &mut [Tile<4>], first: usize) {
    for (i, tile) in tiles.iter_mut().enumerate() {
        inverse_tile(q, t, tile, first + i);
    }
}

/// The last four stages, and the words of the result.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_tile(q: &Q, t: &Table, x: &mut Tile<4>, tile: usize) {
    let mut e: [V; 4] = std::array::from_fn(|r| q.reduce(load_bits(&x[r])));
    let (n, rows) = (t.columns.len(), &t.columns[tile].0);
    let w = splat(t.values[n + tile]);
    (e[0], e[2]) = butterfly(q, e[0], e[2], w);
    (e[1], e[3]) = butterfly(q, e[1], e[3], w);
    (e[0], e[1]) = butterfly(q, e[0], e[1], splat(t.values[2 * (n + tile)]));
    (e[2], e[3]) = butterfly(q, e[2], e[3], splat(t.values[2 * (n + tile) + 1]));
    e = transpose(e);
    let w = load(&rows[0]);
    (e[0], e[2]) = butterfly(q, e[0], e[2], w);
    (e[1], e[3]) = butterfly(q, e[1], e[3], w);
    (e[0], e[1]) = butterfly(q, e[0], e[1], load(&rows[1]));
    (e[2], e[3]) = butterfly(q, e[2], e[3], load(&rows[2]));
    e = transpose(e);
    for (out, e) in x.iter_mut().zip(e) {
        q.store_words(out, e);
    }
}

/// The first four stages of an inverse transform, from words.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_tile(q: &Q, t: &Table, x: &mut Tile<4>, tile: usize) {
    let mut e: [V; 4] = std::array::from_fn(|r| load_words(&x[r]));
    let n = t.columns.len();
    // The mirrored tile, its rows backwards; the two factors of a row change places.
    let rows = &t.columns[n - 1 - tile].0;
    let mirrored = |k: usize| reverse(load(&rows[k]));
    e = transpose(e);
    (e[0], e[1]) = inverse_butterfly(q, e[0], e[1], mirrored(2));
    (e[2], e[3]) = inverse_butterfly(q, e[2], e[3], mirrored(1));
    let w = mirrored(0);
    (e[0], e[2]) = inverse_butterfly(q, e[0], e[2], w);
    (e[1], e[3]) = inverse_butterfly(q, e[1], e[3], w);
    e = transpose(e);
    e = std::array::from_fn(|r| q.reduce(e[r]));
    (e[0], e[1]) = inverse_butterfly(q, e[0], e[1], splat(t.values[2 * (2 * n - tile) - 1]));
    (e[2], e[3]) = inverse_butterfly(q, e[2], e[3], splat(t.values[2 * (2 * n - tile) - 2]));
    let w = splat(t.values[2 * n - 1 - tile]);
    (e[0], e[2]) = inverse_butterfly(q, e[0], e[2], w);
    (e[1], e[3]) = inverse_butterfly(q, e[1], e[3], w);
    for (out, e) in x.iter_mut().zip(e) {
        store_bits(out, e);
    }
}
