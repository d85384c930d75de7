//! Butterflies, and tiles of 64 words that pass through six stages of a transform in registers.

use aegis_ring::{Factor, NttTable};

use super::ntt::Table;
use super::vector::{Q, V, W, add, are_below, clean, double, lo, load, splat, store, sub, transpose};
use crate::simd::passes::{Butterflies, Growth, Tile};
use crate::simd::{Ahead, Prime};

/// Tiles in step. The chain of one tile is as long as its work, and its 400 instructions nearly fill the reorder
/// buffer: two tiles in step keep both multipliers busy (forward transform of 2^16 words, 40-bit prime: 96 us with one
/// tile, 80 with two; the multipliers alone would take 63).
const TILES: usize = 2;

/// The factors of the eight columns of a tile: those of the stages at distance 4, 2 and 1 with their quotients. Of the
/// seven factors of a column only three are kept; the others are these times primitive roots of order 4, 8 and 8,
/// which are the factors 1, 2 and 3 of the table.
#[derive(Debug)]
pub(crate) struct Columns([[u64; 8]; 6]);

impl Columns {
    pub(super) fn new(t: &NttTable, tile: usize) -> Self {
        let n = t.n();
        let factors = |start: usize, step: usize| {
            std::array::from_fn(|lane| t.twiddle(start + step * (tile * 8 + lane)))
        };
        let [four, two, one]: [[Factor; 8]; 3] = [factors(n / 8, 1), factors(n / 4, 2), factors(n / 2, 4)];
        let [values, quotients] = [|f: Factor| f.value, |f: Factor| f.quotient];
        Self([
            four.map(values),
            four.map(quotients),
            two.map(values),
            two.map(quotients),
            one.map(values),
            one.map(quotients),
        ])
    }

    /// The factors of one of the three stages.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn stage(&self, s: usize) -> W {
        W::load(&self.0[2 * s], &self.0[2 * s + 1])
    }
}

/// What the passes of a transform need of a prime: of at most `LAZY_BITS` bits, or wide.
#[derive(Clone, Copy)]
pub(super) struct Ifma<const WIDE: bool> {
    q: Q,
    bits: u32,
}

impl<const WIDE: bool> Ifma<WIDE> {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(p: &Prime) -> Self {
        Self { q: Q::new(p), bits: 64 - p.q.leading_zeros() }
    }
}

impl<const WIDE: bool> Butterflies<8> for Ifma<WIDE> {
    type Vector = V;
    type Factor = Factor;
    type Columns = Columns;
    const FORWARD_REDUCES: bool = false;

    /// A reduced value is below 2q, a value always below 2^52. In a tile, values from `[0, q)` double six times.
    #[inline(always)]
    fn growth(self) -> Growth {
        if WIDE { Growth { log2: 0, room: None } } else { Growth { log2: 5, room: Some(51 - self.bits) } }
    }

    #[inline(always)]
    fn load_residues(self, words: &[u64; 8]) -> V {
        self.load(words)
    }

    #[inline(always)]
    fn load(self, words: &[u64; 8]) -> V {
        // SAFETY: an `Ifma` is made where the instructions are enabled.
        unsafe { load(words) }
    }

    #[inline(always)]
    fn reduce(self, x: V) -> V {
        // SAFETY: as above.
        unsafe { self.q.reduce(x) }
    }

    #[inline(always)]
    fn store(self, words: &mut [u64; 8], x: V) {
        // SAFETY: as above.
        unsafe { store(words, x) }
    }

    #[inline(always)]
    fn store_scaled(self, words: &mut [u64; 8], x: V, scale: Factor) {
        // SAFETY: as above.
        unsafe { store(words, self.q.finish(self.q.mul(x, W::splat(scale)))) }
    }

    #[inline(always)]
    fn butterfly(self, u: V, x: V, w: Factor) -> (V, V) {
        // SAFETY: as above.
        unsafe { butterfly::<WIDE>(&self.q, u, x, W::splat(w)) }
    }

    #[inline(always)]
    fn inverse_butterfly(self, u: V, x: V, w: Factor, log2: u32) -> (V, V) {
        // A wide prime's values are reduced below 2q in every stage.
        let log2 = if WIDE { 0 } else { log2 };
        // SAFETY: as above.
        unsafe { inverse_butterfly::<WIDE>(&self.q, u, x, W::splat(w), double(self.q.q2, log2)) }
    }

    #[inline(always)]
    fn forward_tiles(self, t: &Table, tiles: &mut [Tile<8>], first: usize, ahead: Ahead) {
        // SAFETY: as above.
        unsafe { forward_tiles::<WIDE>(&self.q, t, tiles, first, ahead) }
    }

    #[inline(always)]
    fn inverse_tiles(self, t: &Table, tiles: &mut [Tile<8>], first: usize) {
        // SAFETY: as above.
        unsafe { inverse_tiles::<WIDE>(&self.q, t, tiles, first) }
    }
}

/// `(u + x w, u - x w + 2q)`. Range: for primes of at most `LAZY_BITS` bits the results exceed u by at most 2q;
/// for wide ones u is reduced below 2q first, so that results are below 4q.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn butterfly<const WIDE: bool>(q: &Q, u: V, x: V, w: W) -> (V, V) {
    let u = if WIDE { q.reduce(u) } else { u };
    let sum = q.mul_acc(u, x, w);
    // 2u + 2q - (u + x w), in two operations.
    (sum, sub(lo(q.q2, u, q.two), sum))
}

/// `(u + x, (x - u + offset) w)`: w is the negated inverse of the forward factor. In: below `offset`. Out: the sum,
/// which for a wide prime is reduced below 2q; the product below 2q.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_butterfly<const WIDE: bool>(q: &Q, u: V, x: V, w: W, offset: V) -> (V, V) {
    debug_assert!(are_below(clean(u), offset) && are_below(clean(x), offset), "values beyond the offset");
    let sum = add(u, x);
    let sum = if WIDE { q.reduce(sum) } else { sum };
    (sum, q.mul(sub(add(x, offset), u), w))
}

/// Primitive roots of order 4, 8 and 8.
#[inline]
#[target_feature(enable = "avx512f")]
fn roots(t: &Table) -> [W; 3] {
    [W::splat(t.values[1]), W::splat(t.values[2]), W::splat(t.values[3])]
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_tiles<const WIDE: bool>(q: &Q, t: &Table, tiles: &mut [Tile<8>], first: usize, ahead: Ahead) {
    for (i, tiles) in tiles.as_chunks_mut::<TILES>().0.iter_mut().enumerate() {
        let first = first + TILES * i;
        ahead.prefetch(first * 64, TILES * 64);
        forward_step::<WIDE>(q, t, tiles, first);
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_tiles<const WIDE: bool>(q: &Q, t: &Table, tiles: &mut [Tile<8>], first: usize) {
    for (i, tiles) in tiles.as_chunks_mut::<TILES>().0.iter_mut().enumerate() {
        inverse_step::<WIDE>(q, t, tiles, first + TILES * i);
    }
}

/// The last six stages of tiles in step, and the reduction to `[0, q)`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_step<const WIDE: bool>(q: &Q, t: &Table, tiles: &mut [Tile<8>; TILES], first: usize) {
    let mut e = [[splat(0); 8]; TILES];
    for h in 0..TILES {
        for k in 0..8 {
            e[h][k] = load(&tiles[h][k]);
        }
    }
    for s in 0..3 {
        let half = 4 >> s;
        for b in 0..1 << s {
            for k in 2 * half * b..2 * half * b + half {
                for (h, e) in e.iter_mut().enumerate() {
                    let w = W::splat(t.values[((t.columns.len() + first + h) << s) + b]);
                    (e[k], e[k + half]) = butterfly::<WIDE>(q, e[k], e[k + half], w);
                }
            }
        }
    }
    for e in &mut e {
        *e = transpose(*e);
    }
    let (c, roots) = (&t.columns[first..first + TILES], roots(t));
    for k in 0..4 {
        for h in 0..TILES {
            (e[h][k], e[h][k + 4]) = butterfly::<WIDE>(q, e[h][k], e[h][k + 4], c[h].stage(0));
        }
    }
    for k in [0, 1, 4, 5] {
        for h in 0..TILES {
            let x = if k < 4 { e[h][k + 2] } else { q.mul(e[h][k + 2], roots[0]) };
            (e[h][k], e[h][k + 2]) = butterfly::<WIDE>(q, e[h][k], x, c[h].stage(1));
        }
    }
    for k in 0..4 {
        for h in 0..TILES {
            let x = if k == 0 { e[h][1] } else { q.mul(e[h][2 * k + 1], roots[k - 1]) };
            (e[h][2 * k], e[h][2 * k + 1]) = butterfly::<WIDE>(q, e[h][2 * k], x, c[h].stage(2));
        }
    }
    for (e, tile) in e.iter().zip(tiles) {
        let mut r = *e;
        for r in &mut r {
            *r = q.finish(q.reduce(*r));
        }
        let v = transpose(r);
        for k in 0..8 {
            store(&mut tile[k], v[k]);
        }
    }
}

/// The first six stages of tiles in step. In: `[0, q)`. Out: below `q * 2^6`, or 2q for a wide prime.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_step<const WIDE: bool>(q: &Q, t: &Table, tiles: &mut [Tile<8>; TILES], first: usize) {
    // Factors are read backwards: the tile from the other end, and with rows reversed its columns too.
    let mut e = [[splat(0); 8]; TILES];
    for (e, tile) in e.iter_mut().zip(tiles.iter()) {
        for k in 0..8 {
            e[k] = load(&tile[7 - k]);
        }
        *e = transpose(*e);
    }
    let offset = |stage: u32| if WIDE { q.q2 } else { double(q.q, stage) };
    let len = t.columns.len();
    let (c, roots) = (&t.columns[len - TILES - first..len - first], roots(t));
    for k in 0..4 {
        for h in 0..TILES {
            let w = c[TILES - 1 - h].stage(2);
            let (s, d) = inverse_butterfly::<WIDE>(q, e[h][2 * k], e[h][2 * k + 1], w, offset(0));
            (e[h][2 * k], e[h][2 * k + 1]) = (s, if k == 3 { d } else { q.mul(d, roots[2 - k]) });
        }
    }
    for k in [0, 1, 4, 5] {
        for h in 0..TILES {
            let w = c[TILES - 1 - h].stage(1);
            let (s, d) = inverse_butterfly::<WIDE>(q, e[h][k], e[h][k + 2], w, offset(1));
            (e[h][k], e[h][k + 2]) = (s, if k < 4 { q.mul(d, roots[0]) } else { d });
        }
    }
    for k in 0..4 {
        for h in 0..TILES {
            let w = c[TILES - 1 - h].stage(0);
            (e[h][k], e[h][k + 4]) = inverse_butterfly::<WIDE>(q, e[h][k], e[h][k + 4], w, offset(2));
        }
    }
    for e in &mut e {
        *e = transpose(*e);
        e.reverse();
    }
    for s in (0..3).rev() {
        let half = 4 >> s;
        for b in 0..1 << s {
            for k in 2 * half * b..2 * half * b + half {
                for (h, e) in e.iter_mut().enumerate() {
                    let w = W::splat(t.values[((2 * len - first - h) << s) - 1 - b]);
                    let offset = offset(5 - s as u32);
                    (e[k], e[k + half]) = inverse_butterfly::<WIDE>(q, e[k], e[k + half], w, offset);
                }
            }
        }
    }
    for (e, tile) in e.iter().zip(tiles) {
        for k in 0..8 {
            store(&mut tile[k], e[k]);
        }
    }
}
