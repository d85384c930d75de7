//! The passes of a transform, once for all vector instruction sets.
//!
//! Passes of radix 2, 4 and 8 go over the row in L2, then each block of 2048 words (16 KiB, L1) gets such passes and
//! one over tiles of N vectors of N words, which does its last `2 log2 N` stages in registers: half of them on rows, a
//! transposition, the others on columns, the transposition back. The inverse runs the same passes backwards.
//!
//! An instruction set brings [`Butterflies`]. All functions here are inlined into entry points that enable its
//! instructions. No vector passes through a closure: it would be compiled without them. (docs/decisions/0011)

use std::ops::Range;

use super::Ahead;

/// Words of a block that stays in L1.
const BLOCK_LOG2: u32 = 11;
/// Most stages of a pass: on AVX2, eight values and their factors fill the sixteen registers.
const MAX_STAGES: u32 = 3;

/// Arithmetic modulo one prime on vectors of `N` values, as far as transforms need it. Who has a value of such a type
/// may use the instructions.
pub(super) trait Butterflies<const N: usize>: Copy {
    /// `N` values: residues, or lazy ones in the implementation's range.
    type Vector: Copy;
    /// A factor for all lanes.
    type Factor: Copy;
    /// The factors of the stages within the vectors of one tile.
    type Columns;
    /// True when each pass of a forward transform must reduce what the one before has left.
    const FORWARD_REDUCES: bool;

    /// How large the values of an inverse transform may grow.
    fn growth(self) -> Growth;

    /// In: `[0, q)`.
    fn load_residues(self, words: &[u64; N]) -> Self::Vector;
    /// What [`Butterflies::store`] has left.
    fn load(self, words: &[u64; N]) -> Self::Vector;
    /// The smallest lazy range.
    fn reduce(self, x: Self::Vector) -> Self::Vector;
    fn store(self, words: &mut [u64; N], x: Self::Vector);
    /// Stores `x * scale`. Out: `[0, q)`.
    fn store_scaled(self, words: &mut [u64; N], x: Self::Vector, scale: Self::Factor);

    /// `(u + x w, u - x w)`.
    fn butterfly(self, u: Self::Vector, x: Self::Vector, w: Self::Factor) -> (Self::Vector, Self::Vector);
    /// `(u + x, (x - u) w)`: w is the negated inverse of the forward factor. In: grown by at most `log2` doublings.
    fn inverse_butterfly(
        self,
        u: Self::Vector,
        x: Self::Vector,
        w: Self::Factor,
        log2: u32,
    ) -> (Self::Vector, Self::Vector);

    /// The last stages, on the tiles of a block, of which `first` is the first in the row. Out: `[0, q)`. Loads their
    /// words of the row `ahead` into the cache.
    fn forward_tiles(self, t: &TableOf<Self, N>, tiles: &mut [Tile<N>], first: usize, ahead: Ahead);
    /// The first stages of an inverse transform. In: `[0, q)`.
    fn inverse_tiles(self, t: &TableOf<Self, N>, tiles: &mut [Tile<N>], first: usize);
}

/// `N` vectors of `N` words.
pub(super) type Tile<const N: usize> = [[u64; N]; N];

/// The table that the passes of `B` read.
pub(super) type TableOf<B, const N: usize> =
    Table<<B as Butterflies<N>>::Factor, <B as Butterflies<N>>::Columns>;

/// How far values of an inverse transform may exceed those that a reduction gives: each stage doubles the bound.
#[derive(Clone, Copy)]
pub(super) struct Growth {
    /// Doublings so far. To begin with: those within the tiles.
    pub(super) log2: u32,
    /// Most doublings, or `None` where the stages themselves reduce.
    pub(super) room: Option<u32>,
}

impl Growth {
    /// Before `stages` stages: true when the values must be reduced first.
    #[inline(always)]
    fn must_reduce(&mut self, stages: u32) -> bool {
        let reduce = self.room.is_some_and(|room| self.log2 + stages > room);
        if reduce {
            self.log2 = 0;
        }
        debug_assert!(
            self.room.is_none_or(|room| self.log2 + stages <= room),
            "{stages} stages in {:?}",
            self.room
        );
        reduce
    }
}

/// Twiddle factors in the order of their use.
#[derive(Debug)]
pub(crate) struct Table<W, C> {
    log_n: u32,
    /// `psi^brv(i)` for `i < n/N`: the stages at distances of a vector and more.
    pub(super) values: Vec<W>,
    /// For each tile, the factors of the stages within its vectors.
    pub(super) columns: Vec<C>,
}

impl<W, C> Table<W, C> {
    /// Of `n` words in vectors of `lanes`, of at least two tiles; `value` makes the i-th factor, `columns` those of a
    /// tile.
    pub(super) fn new(
        n: usize,
        lanes: usize,
        value: impl Fn(usize) -> W,
        columns: impl Fn(usize) -> C,
    ) -> Self {
        assert!(n >= 2 * lanes * lanes, "rows of {n} words are too short for vectors of {lanes}");
        Self {
            log_n: n.ilog2(),
            values: (0..n / lanes).map(value).collect(),
            columns: (0..n / (lanes * lanes)).map(columns).collect(),
        }
    }
}

/// Stages of each pass, for so many in all: as few passes as can be, of nearly equal size.
///
/// Measured on hot rows of 2^16 words with AVX-512, when the tiles still went one by one: 98 us with 4 8 | 4 8 | tile,
/// 101 with 16 | 8 8 | tile, 106 with 8 8 | 16 | tile and 111 with 16 4 | 16 | tile (3.4 GHz, beside other load). Lines
/// of a pass over the row lie at multiples of 4 KiB, in one set of the L1 cache, so that large radices there gain
/// nothing.
#[inline(always)]
fn passes(stages: u32) -> impl DoubleEndedIterator<Item = u32> {
    let count = stages.div_ceil(MAX_STAGES);
    (0..count).map(move |pass| (stages + pass) / count)
}

/// Stages over the row, and over a block.
#[inline(always)]
fn plan<const N: usize>(log_n: u32) -> (u32, u32) {
    (log_n.saturating_sub(BLOCK_LOG2), log_n.min(BLOCK_LOG2) - 2 * N.ilog2())
}

/// Forward transform. In and out: `[0, q)`. Loads the row `ahead` into the cache.
#[inline(always)]
pub(super) fn forward<B: Butterflies<N>, const N: usize>(
    f: B,
    t: &TableOf<B, N>,
    x: &mut [u64],
    ahead: Ahead,
) {
    assert_eq!(x.len(), 1 << t.log_n, "a row of the table's size");
    let (x, _) = x.as_chunks_mut::<N>();
    let (outer, inner) = plan::<N>(t.log_n);
    let mut m = 1;
    for stages in passes(outer) {
        forward_pass(f, t, x, (m, 0..m), stages);
        m <<= stages;
    }
    let block = x.len() / m;
    for (b, x) in x.chunks_exact_mut(block).enumerate() {
        let mut parts = 1;
        for stages in passes(inner) {
            forward_pass(f, t, x, (m * parts, b * parts..(b + 1) * parts), stages);
            parts <<= stages;
        }
        f.forward_tiles(t, x.as_chunks_mut::<N>().0, b * block / N, ahead);
    }
}

/// The stages `m, 2m, ..` on the blocks `blocks` of `m`, which make up `x`.
#[inline(always)]
fn forward_pass<B: Butterflies<N>, const N: usize>(
    f: B,
    t: &TableOf<B, N>,
    x: &mut [[u64; N]],
    (m, blocks): (usize, Range<usize>),
    stages: u32,
) {
    let len = x.len() / blocks.len();
    for (x, i) in x.chunks_exact_mut(len).zip(blocks) {
        match stages {
            1 => forward_radix::<B, N, 1, 2>(f, t, x, m, i),
            2 => forward_radix::<B, N, 2, 4>(f, t, x, m, i),
            _ => forward_radix::<B, N, 3, 8>(f, t, x, m, i),
        }
    }
}

/// The R parts of a block, which a pass goes through in step.
#[inline(always)]
fn lanes<const N: usize, const R: usize>(x: &mut [[u64; N]]) -> [&mut [[u64; N]]; R] {
    let mut parts = x.chunks_exact_mut(x.len() / R);
    std::array::from_fn(|_| parts.next().expect("R parts"))
}

#[inline(always)]
fn forward_radix<B: Butterflies<N>, const N: usize, const LOG_R: usize, const R: usize>(
    f: B,
    t: &TableOf<B, N>,
    x: &mut [[u64; N]],
    m: usize,
    i: usize,
) {
    // In the order 1, 2..4, 4..8.
    let mut w = [t.values[0]; R];
    for s in 0..LOG_R {
        w[1 << s..2 << s].copy_from_slice(&t.values[(m + i) << s..][..1 << s]);
    }
    let lanes = lanes::<N, R>(x);
    for j in 0..lanes[0].len() {
        let mut v = [f.load(&lanes[0][j]); R];
        if m == 1 {
            for k in 0..R {
                v[k] = f.load_residues(&lanes[k][j]);
            }
        } else {
            for k in 0..R {
                v[k] = f.load(&lanes[k][j]);
                if B::FORWARD_REDUCES {
                    v[k] = f.reduce(v[k]);
                }
            }
        }
        for s in 0..LOG_R {
            let half = R >> (s + 1);
            for b in 0..1 << s {
                for k in 2 * half * b..2 * half * b + half {
                    (v[k], v[k + half]) = f.butterfly(v[k], v[k + half], w[(1 << s) + b]);
                }
            }
        }
        for k in 0..R {
            f.store(&mut lanes[k][j], v[k]);
        }
    }
}

/// Inverse transform times `n * scale`. In and out: `[0, q)`.
#[inline(always)]
pub(super) fn inverse<B: Butterflies<N>, const N: usize>(
    f: B,
    t: &TableOf<B, N>,
    x: &mut [u64],
    scale: B::Factor,
) {
    assert_eq!(x.len(), 1 << t.log_n, "a row of the table's size");
    let (x, _) = x.as_chunks_mut::<N>();
    let (outer, inner) = plan::<N>(t.log_n);
    let mut m = 1 << outer;
    let block = x.len() / m;
    let mut after_blocks = f.growth();
    for (b, x) in x.chunks_exact_mut(block).enumerate() {
        f.inverse_tiles(t, x.as_chunks_mut::<N>().0, b * block / N);
        let (mut parts, mut growth) = (block / N, f.growth());
        for stages in passes(inner).rev() {
            parts >>= stages;
            inverse_pass(f, t, x, (m * parts, b * parts..(b + 1) * parts), stages, &mut growth, scale);
        }
        after_blocks = growth;
    }
    for stages in passes(outer).rev() {
        m >>= stages;
        inverse_pass(f, t, x, (m, 0..m), stages, &mut after_blocks, scale);
    }
}

/// The stages of [`forward_pass`] backwards. The last pass scales.
#[inline(always)]
fn inverse_pass<B: Butterflies<N>, const N: usize>(
    f: B,
    t: &TableOf<B, N>,
    x: &mut [[u64; N]],
    (m, blocks): (usize, Range<usize>),
    stages: u32,
    growth: &mut Growth,
    scale: B::Factor,
) {
    let len = x.len() / blocks.len();
    let reduce = growth.must_reduce(stages);
    let ends = Ends { reduce, log2: growth.log2, scale: (m == 1).then_some(scale) };
    growth.log2 += stages;
    for (x, i) in x.chunks_exact_mut(len).zip(blocks) {
        match stages {
            1 => inverse_radix::<B, N, 1, 2>(f, t, x, (m, i), ends),
            2 => inverse_radix::<B, N, 2, 4>(f, t, x, (m, i), ends),
            _ => inverse_radix::<B, N, 3, 8>(f, t, x, (m, i), ends),
        }
    }
}

/// What an inverse pass does besides its stages.
#[derive(Clone, Copy)]
struct Ends<W> {
    /// First reduce all values.
    reduce: bool,
    /// Doublings of the values before the first stage.
    log2: u32,
    /// Last multiply all values and make them residues.
    scale: Option<W>,
}

/// The stages of one block backwards: `-1 / psi^brv(m + i) = psi^brv(2m - 1 - i)`.
#[inline(always)]
fn inverse_radix<B: Butterflies<N>, const N: usize, const LOG_R: usize, const R: usize>(
    f: B,
    t: &TableOf<B, N>,
    x: &mut [[u64; N]],
    (m, i): (usize, usize),
    ends: Ends<B::Factor>,
) {
    let mut w = [t.values[0]; R];
    for s in 0..LOG_R {
        for b in 0..1 << s {
            w[(1 << s) + b] = t.values[((2 * m - i) << s) - 1 - b];
        }
    }
    let lanes = lanes::<N, R>(x);
    for j in 0..lanes[0].len() {
        let mut v = [f.load(&lanes[0][j]); R];
        for k in 1..R {
            v[k] = f.load(&lanes[k][j]);
        }
        if ends.reduce {
            for v in &mut v {
                *v = f.reduce(*v);
            }
        }
        for s in (0..LOG_R).rev() {
            let half = R >> (s + 1);
            let log2 = ends.log2 + (LOG_R - 1 - s) as u32;
            for b in 0..1 << s {
                for k in 2 * half * b..2 * half * b + half {
                    (v[k], v[k + half]) = f.inverse_butterfly(v[k], v[k + half], w[(1 << s) + b], log2);
                }
            }
        }
        for k in 0..R {
            match ends.scale {
                Some(scale) => f.store_scaled(&mut lanes[k][j], v[k], scale),
                None => f.store(&mut lanes[k][j], v[k]),
            }
        }
    }
}
