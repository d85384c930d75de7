//! Transforms on AVX-512 IFMA.
//!
//! Cache plan for N = 2^16: passes of radix 4 and 8 over the row in L2, then each block of 2048 words (16 KiB, L1) gets
//! passes of radix 4 and 8 and one over tiles of 64 words, which does its six stages in registers: three on rows, a
//! transposition, three on columns, the transposition back. The inverse runs the same passes backwards.

use std::ops::Range;

use aegis_ring::{Factor, NttTable};

use super::tile::{butterfly, forward_tiles, inverse_butterfly, inverse_tiles};
use super::vector::{Q, V, W, load, prefetch, splat, store};
use crate::simd::{Ahead, Prime};

/// Words of a tile.
const TILE: usize = 64;
/// Words of a block that stays in L1.
const BLOCK_LOG2: u32 = 11;
/// Primes up to here need no reduction between the stages of a forward transform: 17 stages add at most 2q each.
const LAZY_BITS: u32 = 46;

/// Twiddle factors in the order of their use.
#[derive(Debug)]
pub(crate) struct Table {
    log_n: u32,
    /// `psi^brv(i)` for `i < n/8`: the stages at distances of eight words and more.
    values: Vec<u64>,
    quotients: Vec<u64>,
    /// For each tile, its eight columns: the factors of the stages at distance 4, 2 and 1 with their quotients. Of
    /// the seven factors of a column only three are kept; the others are these times [`Table::roots`].
    pub(super) columns: Vec<[[u64; 8]; 6]>,
    /// `psi^(n/2), psi^(n/4), psi^(3n/4)`: primitive roots of order 4, 8, 8.
    pub(super) roots: [Factor; 3],
}

impl Table {
    /// Of a table of at least 64 words.
    pub(crate) fn new(t: &NttTable) -> Self {
        let n = t.n();
        assert!(n >= TILE, "tables of {n} words are too small");
        let columns = (0..n / TILE).map(|tile| {
            let column = |lane| tile * 8 + lane;
            let [four, two, one] = [
                |c: usize, n: usize| n / 8 + c,
                |c: usize, n: usize| n / 4 + 2 * c,
                |c: usize, n: usize| n / 2 + 4 * c,
            ];
            let values = |f: fn(usize, usize) -> usize| std::array::from_fn(|l| t.values()[f(column(l), n)]);
            let quotients =
                |f: fn(usize, usize) -> usize| std::array::from_fn(|l| t.quotients()[f(column(l), n)]);
            [values(four), quotients(four), values(two), quotients(two), values(one), quotients(one)]
        });
        Self {
            log_n: n.ilog2(),
            values: t.values()[..n / 8].to_vec(),
            quotients: t.quotients()[..n / 8].to_vec(),
            columns: columns.collect(),
            roots: [t.twiddle(1), t.twiddle(2), t.twiddle(3)],
        }
    }

    #[inline]
    pub(super) fn twiddle(&self, i: usize) -> Factor {
        Factor { value: self.values[i], quotient: self.quotients[i] }
    }
}

/// Passes of a transform, outermost first: log2 of their radices over the whole row, then within a block.
///
/// Measured on hot rows of 2^16 words, when the tiles still went one by one: 98 us with 4 8 | 4 8 | tile, 101 with
/// 16 | 8 8 | tile, 106 with 8 8 | 16 | tile and 111 with 16 4 | 16 | tile (3.4 GHz, beside other load). Lines of a pass
/// over the row lie at multiples of 4 KiB, in one set of the L1 cache, so that large radices there gain nothing.
fn plan(log_n: u32) -> (&'static [u32], &'static [u32]) {
    let outer: &[u32] = match log_n.saturating_sub(BLOCK_LOG2) {
        0 => &[],
        1 => &[1],
        2 => &[2],
        3 => &[3],
        4 => &[2, 2],
        5 => &[2, 3],
        _ => &[3, 3],
    };
    let inner: &[u32] = match log_n.min(BLOCK_LOG2) - TILE.ilog2() {
        0 => &[],
        1 => &[1],
        2 => &[2],
        3 => &[3],
        4 => &[2, 2],
        _ => &[2, 3],
    };
    (outer, inner)
}

fn is_wide(p: &Prime) -> bool {
    p.q >> LAZY_BITS != 0
}

/// Forward transform. In and out: `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn ntt(p: &Prime, t: &Table, x: &mut [u64], ahead: Ahead) {
    assert_eq!(x.len(), 1 << t.log_n, "a row of the table's size");
    let (rows, _) = x.as_chunks_mut::<8>();
    if is_wide(p) { forward::<true>(p, t, rows, ahead) } else { forward::<false>(p, t, rows, ahead) }
}

/// Inverse transform times `n * scale`. In and out: `[0, q)`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn intt(p: &Prime, t: &Table, x: &mut [u64], scale: Factor) {
    assert_eq!(x.len(), 1 << t.log_n, "a row of the table's size");
    let (rows, _) = x.as_chunks_mut::<8>();
    if is_wide(p) { inverse::<true>(p, t, rows, scale) } else { inverse::<false>(p, t, rows, scale) }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn forward<const WIDE: bool>(p: &Prime, t: &Table, x: &mut [[u64; 8]], ahead: Ahead) {
    let q = Q::new(p);
    let (outer, inner) = plan(t.log_n);
    let mut m = 1;
    for &log_r in outer {
        forward_pass::<WIDE>(&q, t, x, m, 0..m, log_r);
        m <<= log_r;
    }
    let block = x.len() / m;
    for (b, x) in x.chunks_exact_mut(block).enumerate() {
        let mut parts = 1;
        for &log_r in inner {
            forward_pass::<WIDE>(&q, t, x, m * parts, b * parts..(b + 1) * parts, log_r);
            parts <<= log_r;
        }
        let first = b * block / 8;
        let (pairs, single) = x.as_chunks_mut::<8>().0.as_chunks_mut::<2>();
        for (i, pair) in pairs.iter_mut().enumerate() {
            if let Ahead(Some(row)) = ahead {
                for line in 0..16 {
                    prefetch(row.wrapping_add(((first + 2 * i) * 8 + line) * 8));
                }
            }
            forward_tiles::<2, WIDE>(&q, t, pair, first + 2 * i);
        }
        if let Some(tile) = single.first_mut() {
            forward_tiles::<1, WIDE>(&q, t, std::array::from_mut(tile), first);
        }
    }
}

/// The stages `m, 2m, .., m * radix / 2` on the blocks `blocks` of `m`, which make up `x`.
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_pass<const WIDE: bool>(
    q: &Q,
    t: &Table,
    x: &mut [[u64; 8]],
    m: usize,
    blocks: Range<usize>,
    log_r: u32,
) {
    let len = x.len() / blocks.len();
    for (x, i) in x.chunks_exact_mut(len).zip(blocks) {
        match log_r {
            1 => forward_radix::<1, 2, WIDE>(q, t, x, m, i),
            2 => forward_radix::<2, 4, WIDE>(q, t, x, m, i),
            _ => forward_radix::<3, 8, WIDE>(q, t, x, m, i),
        }
    }
}

/// Factors of the stages of one block, in the order `1, 2..4, 4..8, ..`.
#[inline]
fn block_twiddles<const LOG_R: usize, const R: usize>(t: &Table, m: usize, i: usize) -> [Factor; R] {
    let mut w = [Factor::default(); R];
    for s in 0..LOG_R {
        for b in 0..1 << s {
            w[(1 << s) + b] = t.twiddle((m << s) + (i << s) + b);
        }
    }
    w
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_radix<const LOG_R: usize, const R: usize, const WIDE: bool>(
    q: &Q,
    t: &Table,
    x: &mut [[u64; 8]],
    m: usize,
    i: usize,
) {
    let w = block_twiddles::<LOG_R, R>(t, m, i);
    let stride = x.len() / R;
    let mut lanes = x.chunks_exact_mut(stride);
    let lanes: [&mut [[u64; 8]]; R] = std::array::from_fn(|_| lanes.next().expect("R strides"));
    #[expect(clippy::needless_range_loop, reason = "j runs over all lanes at once")]
    for j in 0..stride {
        let mut v: [V; R] = std::array::from_fn(|k| load(&lanes[k][j]));
        forward_stages::<LOG_R, R, WIDE>(q, &w, &mut v);
        for k in 0..R {
            store(&mut lanes[k][j], v[k]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_stages<const LOG_R: usize, const R: usize, const WIDE: bool>(
    q: &Q,
    w: &[Factor; R],
    v: &mut [V; R],
) {
    for s in 0..LOG_R {
        let half = R >> (s + 1);
        for b in 0..1 << s {
            let w = W::splat(w[(1 << s) + b]);
            for k in 2 * half * b..2 * half * b + half {
                (v[k], v[k + half]) = butterfly::<WIDE>(q, v[k], v[k + half], w);
            }
        }
    }
}

/// Keeps track of how far values of an inverse transform may exceed q.
struct Growth {
    q: u64,
    /// All values are below `q << log2`.
    log2: u32,
}

impl Growth {
    /// Before `stages` stages, each of which doubles the bound: true when the values must be reduced first.
    fn begin(&mut self, stages: u32) -> bool {
        let bits = 64 - self.q.leading_zeros();
        let reduce = bits + self.log2 + stages > 52;
        if reduce {
            self.log2 = 1;
        }
        reduce
    }

    /// What makes differences positive in each of `stages` stages: the bound of the values. A wide prime's values
    /// are reduced below 2q in every stage.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn offsets<const S: usize, const WIDE: bool>(&mut self) -> [V; S] {
        let offsets = std::array::from_fn(|s| splat(self.q << if WIDE { 1 } else { self.log2 + s as u32 }));
        self.log2 = if WIDE { 1 } else { self.log2 + S as u32 };
        offsets
    }
}

/// What a pass does besides its stages.
#[derive(Clone, Copy)]
struct Ends {
    /// First reduce all values below 2q.
    reduce: bool,
    /// Last multiply all values and reduce them below q.
    scale: Option<Factor>,
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse<const WIDE: bool>(p: &Prime, t: &Table, x: &mut [[u64; 8]], scale: Factor) {
    let q = Q::new(p);
    let (outer, inner) = plan(t.log_n);
    let mut m = 1 << outer.iter().sum::<u32>();
    let block = x.len() / m;
    let mut after_blocks = Growth { q: p.q, log2: 0 };
    for (b, x) in x.chunks_exact_mut(block).enumerate() {
        let mut growth = Growth { q: p.q, log2: 0 };
        let tiles = growth.offsets::<6, WIDE>();
        let first = b * block / 8;
        let (pairs, single) = x.as_chunks_mut::<8>().0.as_chunks_mut::<2>();
        for (i, pair) in pairs.iter_mut().enumerate() {
            inverse_tiles::<2, WIDE>(&q, t, pair, first + 2 * i, &tiles);
        }
        if let Some(tile) = single.first_mut() {
            inverse_tiles::<1, WIDE>(&q, t, std::array::from_mut(tile), first, &tiles);
        }
        let mut parts = block / 8;
        for &log_r in inner.iter().rev() {
            parts >>= log_r;
            inverse_pass::<WIDE>(&q, t, x, (m * parts, b * parts..(b + 1) * parts), log_r, &mut growth, None);
        }
        after_blocks = growth;
    }
    for &log_r in outer.iter().rev() {
        m >>= log_r;
        let last = (m == 1).then_some(scale);
        inverse_pass::<WIDE>(&q, t, x, (m, 0..m), log_r, &mut after_blocks, last);
    }
    if outer.is_empty() {
        let scale = W::splat(scale);
        for row in x {
            store(row, q.finish(q.mul(load(row), scale)));
        }
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_pass<const WIDE: bool>(
    q: &Q,
    t: &Table,
    x: &mut [[u64; 8]],
    (m, blocks): (usize, Range<usize>),
    log_r: u32,
    growth: &mut Growth,
    scale: Option<Factor>,
) {
    let len = x.len() / blocks.len();
    let reduce = !WIDE && growth.begin(log_r);
    let ends = Ends { reduce, scale };
    let offsets = growth.offsets::<3, WIDE>();
    if !WIDE {
        growth.log2 -= 3 - log_r;
    }
    for (x, i) in x.chunks_exact_mut(len).zip(blocks) {
        match log_r {
            1 => inverse_radix::<1, 2, WIDE>(q, t, x, (m, i), &offsets, ends),
            2 => inverse_radix::<2, 4, WIDE>(q, t, x, (m, i), &offsets, ends),
            _ => inverse_radix::<3, 8, WIDE>(q, t, x, (m, i), &offsets, ends),
        }
    }
}

/// Factors of the inverse stages of one block: `-1 / psi^brv(m + i) = psi^brv(2m - 1 - i)`.
#[inline]
fn inverse_twiddles<const LOG_R: usize, const R: usize>(t: &Table, m: usize, i: usize) -> [Factor; R] {
    let mut w = [Factor::default(); R];
    for s in 0..LOG_R {
        for b in 0..1 << s {
            w[(1 << s) + b] = t.twiddle(((2 * m) << s) - 1 - (i << s) - b);
        }
    }
    w
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_radix<const LOG_R: usize, const R: usize, const WIDE: bool>(
    q: &Q,
    t: &Table,
    x: &mut [[u64; 8]],
    (m, i): (usize, usize),
    offsets: &[V],
    ends: Ends,
) {
    let w = inverse_twiddles::<LOG_R, R>(t, m, i);
    let stride = x.len() / R;
    let mut lanes = x.chunks_exact_mut(stride);
    let lanes: [&mut [[u64; 8]]; R] = std::array::from_fn(|_| lanes.next().expect("R strides"));
    #[expect(clippy::needless_range_loop, reason = "j runs over all lanes at once")]
    for j in 0..stride {
        let mut v: [V; R] = std::array::from_fn(|k| load(&lanes[k][j]));
        if ends.reduce {
            v = std::array::from_fn(|k| q.reduce(v[k]));
        }
        inverse_stages::<LOG_R, R, WIDE>(q, &w, offsets, &mut v);
        if let Some(scale) = ends.scale {
            let scale = W::splat(scale);
            v = std::array::from_fn(|k| q.finish(q.mul(v[k], scale)));
        }
        for k in 0..R {
            store(&mut lanes[k][j], v[k]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_stages<const LOG_R: usize, const R: usize, const WIDE: bool>(
    q: &Q,
    w: &[Factor; R],
    offsets: &[V],
    v: &mut [V; R],
) {
    for s in (0..LOG_R).rev() {
        let half = R >> (s + 1);
        for b in 0..1 << s {
            let w = W::splat(w[(1 << s) + b]);
            for k in 2 * half * b..2 * half * b + half {
                (v[k], v[k + half]) =
                    inverse_butterfly::<WIDE>(q, v[k], v[k + half], w, offsets[LOG_R - 1 - s]);
            }
        }
    }
}
