//! Transforms on AVX2 and FMA: residues as integers in doubles, four at a time.
//!
//! AVX2 multiplies integers of 32 bits at most. A product of doubles is exact in two parts, `x * w = h + l` with a fused
//! multiply-add, and `h + l - round(h / q) * q` is a small representative of it (van der Hoeven, Lecerf, Quintin 2016,
//! "Modular SIMD arithmetic in Mathemagix"). Values are signed, and integers below 2^53 are exact, which is 8q.
//!
//! The passes are those of the AVX-512 code: over the row in L2, then over blocks in L1, then over tiles in registers.
//! Every pass but the first reduces what it loads. Bounds in units of q, for `|x| <= B q` and `|w| <= q/2`:
//! * reduction: 1/2;
//! * product: `1/2 + B/8`, for `B <= 4` ([`Q::mul`]);
//! * forward, from 1 by three stages: 1.63, 2.33, 3.12; from 1/2 by four: 1.07, 1.70, 2.41, 3.21;
//! * inverse, from 1/2 by three stages: 1, 2, 4; the factors, differences of two values, are below 4; in a tile from 1
//!   by two stages: 2, 4.

use std::arch::x86_64::{
    __m256d, _CMP_LT_OQ, _mm256_add_pd, _mm256_and_pd, _mm256_castpd_si256, _mm256_castsi256_pd,
    _mm256_cmp_pd, _mm256_fmadd_pd, _mm256_fmsub_pd, _mm256_fnmadd_pd, _mm256_loadu_pd, _mm256_loadu_si256,
    _mm256_mul_pd, _mm256_or_si256, _mm256_permute2f128_pd, _mm256_permute4x64_pd, _mm256_set1_epi64x,
    _mm256_set1_pd, _mm256_setzero_pd, _mm256_storeu_pd, _mm256_storeu_si256, _mm256_sub_pd,
    _mm256_unpackhi_pd, _mm256_unpacklo_pd, _mm256_xor_si256,
};
use std::ops::Range;

use aegis_ring::{Factor, Modulus, NttTable};

use crate::simd::Prime;

/// Four doubles.
type V = __m256d;

/// Words of a tile: four stages in registers.
const TILE: usize = 16;
/// Words of a block that stays in L1: 16 KiB.
const BLOCK_LOG2: u32 = 11;
/// Stages of a pass: eight values and their factors fill the sixteen registers.
const PASS: u32 = 3;
/// 2^52: the double with bits `ONE_ULP | x` is `2^52 + x` for every `x < 2^52`.
const TWO_52: f64 = 4_503_599_627_370_496.0;
/// `1.5 * 2^52`: adding and subtracting it rounds to an integer, below 2^51.
const ROUND: f64 = 1.5 * TWO_52;

/// Twiddle factors in the order of their use, centred: `|w| <= q/2`.
#[derive(Debug)]
pub(crate) struct Table {
    log_n: u32,
    /// `psi^brv(i)` for `i < n/4`: the stages at distances of four words and more.
    values: Vec<f64>,
    /// For each tile, its four rows: the factors at distance 2, and at distance 1 those of the first and second pair.
    rows: Vec<[[f64; 4]; 3]>,
}

impl Table {
    /// Of a table of at least one tile.
    pub(crate) fn new(t: &NttTable) -> Self {
        let (n, q) = (t.n(), t.modulus());
        assert!(n >= TILE, "tables of {n} words are too small");
        let value = |i: usize| centred(t.values()[i], q);
        let row = |tile: usize| {
            let of = |f: &dyn Fn(usize) -> usize| std::array::from_fn(|r| value(f(4 * tile + r)));
            [of(&|r| n / 4 + r), of(&|r| n / 2 + 2 * r), of(&|r| n / 2 + 2 * r + 1)]
        };
        Self {
            log_n: n.ilog2(),
            values: (0..n / 4).map(value).collect(),
            rows: (0..n / TILE).map(row).collect(),
        }
    }
}

/// The representative of `value` nearest to zero.
fn centred(value: u64, q: &Modulus) -> f64 {
    if value > q.value() / 2 { value as f64 - q.value() as f64 } else { value as f64 }
}

/// Constants of one prime.
#[derive(Clone, Copy)]
struct Q {
    q: V,
    inverse: V,
    round: V,
}

impl Q {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(p: &Prime) -> Self {
        let q = p.q as f64;
        Self { q: splat(q), inverse: splat(1.0 / q), round: splat(ROUND) }
    }

    /// `round(x / q)`, wrong by at most `1/2 + |x| / (2^52 q)`. In: `|x| <= 2^51 q`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn quotient(&self, x: V) -> V {
        _mm256_sub_pd(_mm256_fmadd_pd(x, self.inverse, self.round), self.round)
    }

    /// `x * w` modulo q. In: `|x| <= B q <= 4q`, `|w| <= q/2`. Out: `|r| <= (1/2 + B/8) q`.
    ///
    /// `|x w| / q <= 2^51`, and the two roundings before the last one move the quotient by at most `B q / 2^53 <= B/8`.
    /// The subtrahend differs from h by less than 2^53, so that the fused difference is exact.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn mul(&self, x: V, w: V) -> V {
        let high = _mm256_mul_pd(x, w);
        let low = _mm256_fmsub_pd(x, w, high);
        _mm256_add_pd(_mm256_fnmadd_pd(self.quotient(high), self.q, high), low)
    }

    /// The representative nearest to zero.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn reduce(&self, x: V) -> V {
        _mm256_fnmadd_pd(self.quotient(x), self.q, x)
    }

    /// `x` as words in `[0, q)`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn store_words(&self, out: &mut [u64; 4], x: V) {
        let x = self.reduce(x);
        let negative = _mm256_cmp_pd::<_CMP_LT_OQ>(x, _mm256_setzero_pd());
        let x = _mm256_add_pd(x, _mm256_and_pd(negative, self.q));
        let magic = splat(TWO_52);
        let words =
            _mm256_xor_si256(_mm256_castpd_si256(_mm256_add_pd(x, magic)), _mm256_castpd_si256(magic));
        // SAFETY: four words are writable behind the reference; the store needs no alignment.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), words) }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn splat(x: f64) -> V {
    _mm256_set1_pd(x)
}

/// Words below 2^52 as doubles.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_words(x: &[u64; 4]) -> V {
    // SAFETY: four words are readable behind the reference; the load needs no alignment.
    let words = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
    let magic = _mm256_set1_epi64x(TWO_52.to_bits().cast_signed());
    _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(words, magic)), splat(TWO_52))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(x: &[f64; 4]) -> V {
    // SAFETY: four doubles are readable behind the reference; the load needs no alignment.
    unsafe { _mm256_loadu_pd(x.as_ptr()) }
}

/// The doubles whose bits [`store_bits`] left.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_bits(x: &[u64; 4]) -> V {
    load(bytemuck::cast_ref(x))
}

/// Leaves the bits of the doubles in the row, until the last pass turns them into words.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn store_bits(out: &mut [u64; 4], x: V) {
    let out: &mut [f64; 4] = bytemuck::cast_mut(out);
    // SAFETY: four doubles are writable behind the reference; the store needs no alignment.
    unsafe { _mm256_storeu_pd(out.as_mut_ptr(), x) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn transpose(r: [V; 4]) -> [V; 4] {
    let (a, b) = (_mm256_unpacklo_pd(r[0], r[1]), _mm256_unpackhi_pd(r[0], r[1]));
    let (c, d) = (_mm256_unpacklo_pd(r[2], r[3]), _mm256_unpackhi_pd(r[2], r[3]));
    [
        _mm256_permute2f128_pd::<0x20>(a, c),
        _mm256_permute2f128_pd::<0x20>(b, d),
        _mm256_permute2f128_pd::<0x31>(a, c),
        _mm256_permute2f128_pd::<0x31>(b, d),
    ]
}

/// The R parts of a block, which a pass goes through in step.
fn lanes<const R: usize>(x: &mut [[u64; 4]]) -> [&mut [[u64; 4]]; R] {
    let mut parts = x.chunks_exact_mut(x.len() / R);
    std::array::from_fn(|_| parts.next().expect("R parts"))
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

/// Stages of the passes over the row, and of those over a block: as few passes as can be, of nearly equal size.
fn plan(log_n: u32) -> [Vec<u32>; 2] {
    let inner = log_n.min(BLOCK_LOG2) - TILE.ilog2();
    [log_n.saturating_sub(BLOCK_LOG2), inner].map(|stages| {
        let count = stages.div_ceil(PASS);
        (0..count).map(|pass| (stages + pass) / count).collect()
    })
}

/// Forward transform. In and out: `[0, q)`.
#[target_feature(enable = "avx2,fma")]
pub(crate) fn ntt(p: &Prime, t: &Table, x: &mut [u64]) {
    assert_eq!(x.len(), 1 << t.log_n, "a row of the table's size");
    let (x, _) = x.as_chunks_mut::<4>();
    let q = Q::new(p);
    let [outer, inner] = plan(t.log_n);
    let (mut m, mut words) = (1, true);
    for &stages in &outer {
        forward_pass(&q, t, x, (m, 0..m), stages, words);
        (m, words) = (m << stages, false);
    }
    let block = x.len() / m;
    for (b, x) in x.chunks_exact_mut(block).enumerate() {
        let (mut parts, mut words) = (1, words);
        for &stages in &inner {
            forward_pass(&q, t, x, (m * parts, b * parts..(b + 1) * parts), stages, words);
            (parts, words) = (parts << stages, false);
        }
        let first = b * block / 4;
        for (i, tile) in x.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            forward_tile(&q, t, tile, first + i, words);
        }
    }
}

/// The stages `m, 2m, ..` on the blocks `blocks` of `m`, which make up `x`: words, or doubles to reduce.
#[target_feature(enable = "avx2,fma")]
fn forward_pass(
    q: &Q,
    t: &Table,
    x: &mut [[u64; 4]],
    (m, blocks): (usize, Range<usize>),
    stages: u32,
    words: bool,
) {
    let len = x.len() / blocks.len();
    for (x, i) in x.chunks_exact_mut(len).zip(blocks) {
        match (stages, words) {
            (1, true) => forward_radix::<1, 2, true>(q, t, x, m, i),
            (2, true) => forward_radix::<2, 4, true>(q, t, x, m, i),
            (_, true) => forward_radix::<3, 8, true>(q, t, x, m, i),
            (1, false) => forward_radix::<1, 2, false>(q, t, x, m, i),
            (2, false) => forward_radix::<2, 4, false>(q, t, x, m, i),
            (_, false) => forward_radix::<3, 8, false>(q, t, x, m, i),
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn forward_radix<const LOG_R: usize, const R: usize, const WORDS: bool>(
    q: &Q,
    t: &Table,
    x: &mut [[u64; 4]],
    m: usize,
    i: usize,
) {
    let lanes = lanes::<R>(x);
    for j in 0..lanes[0].len() {
        let mut v: [V; R] = std::array::from_fn(|k| {
            if WORDS { load_words(&lanes[k][j]) } else { q.reduce(load_bits(&lanes[k][j])) }
        });
        for s in 0..LOG_R {
            let half = R >> (s + 1);
            for b in 0..1 << s {
                let w = splat(t.values[((m + i) << s) + b]);
                for k in 2 * half * b..2 * half * b + half {
                    (v[k], v[k + half]) = butterfly(q, v[k], v[k + half], w);
                }
            }
        }
        for k in 0..R {
            store_bits(&mut lanes[k][j], v[k]);
        }
    }
}

/// The last four stages, and the words of the result.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_tile(q: &Q, t: &Table, x: &mut [[u64; 4]; 4], tile: usize, words: bool) {
    let mut e: [V; 4] =
        std::array::from_fn(|r| if words { load_words(&x[r]) } else { q.reduce(load_bits(&x[r])) });
    let (n, rows) = (t.rows.len(), &t.rows[tile]);
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

/// Inverse transform times `n * scale`. In and out: `[0, q)`.
#[target_feature(enable = "avx2,fma")]
pub(crate) fn intt(p: &Prime, t: &Table, x: &mut [u64], scale: Factor) {
    assert_eq!(x.len(), 1 << t.log_n, "a row of the table's size");
    let (x, _) = x.as_chunks_mut::<4>();
    let q = Q::new(p);
    let [outer, inner] = plan(t.log_n);
    let mut m = 1 << outer.iter().sum::<u32>();
    let block = x.len() / m;
    for (b, x) in x.chunks_exact_mut(block).enumerate() {
        let first = b * block / 4;
        for (i, tile) in x.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            inverse_tile(&q, t, tile, first + i);
        }
        let mut parts = block / 4;
        for &stages in inner.iter().rev() {
            parts >>= stages;
            inverse_pass(&q, t, x, (m * parts, b * parts..(b + 1) * parts), stages);
        }
    }
    for &stages in outer.iter().rev() {
        m >>= stages;
        inverse_pass(&q, t, x, (m, 0..m), stages);
    }
    let scale = splat(centred(scale.value, &p.modulus));
    for row in x {
        let scaled = q.mul(load_bits(row), scale);
        q.store_words(row, scaled);
    }
}

#[target_feature(enable = "avx2,fma")]
fn inverse_pass(q: &Q, t: &Table, x: &mut [[u64; 4]], (m, blocks): (usize, Range<usize>), stages: u32) {
    let len = x.len() / blocks.len();
    for (x, i) in x.chunks_exact_mut(len).zip(blocks) {
        match stages {
            1 => inverse_radix::<1, 2>(q, t, x, m, i),
            2 => inverse_radix::<2, 4>(q, t, x, m, i),
            _ => inverse_radix::<3, 8>(q, t, x, m, i),
        }
    }
}

/// The stages of one block backwards: `-1 / psi^brv(m + i) = psi^brv(2m - 1 - i)`.
#[target_feature(enable = "avx2,fma")]
fn inverse_radix<const LOG_R: usize, const R: usize>(
    q: &Q,
    t: &Table,
    x: &mut [[u64; 4]],
    m: usize,
    i: usize,
) {
    let lanes = lanes::<R>(x);
    for j in 0..lanes[0].len() {
        let mut v: [V; R] = std::array::from_fn(|k| q.reduce(load_bits(&lanes[k][j])));
        for s in (0..LOG_R).rev() {
            let half = R >> (s + 1);
            for b in 0..1 << s {
                let w = splat(t.values[((2 * m - i) << s) - 1 - b]);
                for k in 2 * half * b..2 * half * b + half {
                    (v[k], v[k + half]) = inverse_butterfly(q, v[k], v[k + half], w);
                }
            }
        }
        for k in 0..R {
            store_bits(&mut lanes[k][j], v[k]);
        }
    }
}

/// The first four stages of an inverse transform, from words.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_tile(q: &Q, t: &Table, x: &mut [[u64; 4]; 4], tile: usize) {
    let mut e: [V; 4] = std::array::from_fn(|r| load_words(&x[r]));
    let n = t.rows.len();
    // The mirrored tile, its rows backwards; the two factors of a row change places.
    let rows = &t.rows[n - 1 - tile];
    let mirrored = |k: usize| _mm256_permute4x64_pd::<0x1b>(load(&rows[k]));
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
