//! Butterflies, and tiles of 64 words that pass through six stages of a transform in registers.

use super::ntt::Table;
use super::vector::{Q, V, W, add, lo, load, splat, store, sub, transpose};

/// `(u + x w, u - x w + 2q)`. Range: for primes of at most `LAZY_BITS` bits the results exceed u by less than 2q;
/// for wide ones u is reduced below 2q first, so that results are below 4q.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn butterfly<const WIDE: bool>(q: &Q, u: V, x: V, w: W) -> (V, V) {
    let u = if WIDE { q.reduce(u) } else { u };
    let sum = q.mul_acc(u, x, w);
    // 2u + 2q - (u + x w), in two operations.
    (sum, sub(lo(q.q2, u, q.two), sum))
}

/// `(u + x, (x - u + offset) w)`: w is the negated inverse of the forward factor. In: below `offset`. Out: the sum,
/// which for a wide prime is reduced below 2q; the product below 2q.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn inverse_butterfly<const WIDE: bool>(q: &Q, u: V, x: V, w: W, offset: V) -> (V, V) {
    let sum = add(u, x);
    let sum = if WIDE { q.reduce(sum) } else { sum };
    (sum, q.mul(sub(add(x, offset), u), w))
}

/// The last six stages of T tiles, and the reduction to `[0, q)`. The chain of one tile is as long as its work, and
/// its 400 instructions nearly fill the reorder buffer: two tiles in step keep both multipliers busy (forward transform
/// of 2^16 words, 40-bit prime: 96 us with T = 1, 80 with T = 2; the multipliers alone would take 63).
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn forward_tiles<const T: usize, const WIDE: bool>(
    q: &Q,
    t: &Table,
    tiles: &mut [[[u64; 8]; 8]; T],
    index: usize,
) {
    let mut e = [[splat(0); 8]; T];
    for h in 0..T {
        for k in 0..8 {
            e[h][k] = load(&tiles[h][k]);
        }
    }
    for s in 0..3 {
        let half = 4 >> s;
        for b in 0..1 << s {
            for k in 2 * half * b..2 * half * b + half {
                for (h, e) in e.iter_mut().enumerate() {
                    let w = W::splat(t.twiddle((t.columns.len() << s) + ((index + h) << s) + b));
                    (e[k], e[k + half]) = butterfly::<WIDE>(q, e[k], e[k + half], w);
                }
            }
        }
    }
    for e in &mut e {
        *e = transpose(*e);
    }
    let c: &[[[u64; 8]; 6]] = &t.columns[index..index + T];
    let roots: [W; 3] = [W::splat(t.roots[0]), W::splat(t.roots[1]), W::splat(t.roots[2])];
    for k in 0..4 {
        for h in 0..T {
            (e[h][k], e[h][k + 4]) = butterfly::<WIDE>(q, e[h][k], e[h][k + 4], W::load(&c[h][0], &c[h][1]));
        }
    }
    for k in [0, 1, 4, 5] {
        for h in 0..T {
            let x = if k < 4 { e[h][k + 2] } else { q.mul(e[h][k + 2], roots[0]) };
            (e[h][k], e[h][k + 2]) = butterfly::<WIDE>(q, e[h][k], x, W::load(&c[h][2], &c[h][3]));
        }
    }
    for k in 0..4 {
        for h in 0..T {
            let x = if k == 0 { e[h][1] } else { q.mul(e[h][2 * k + 1], roots[k - 1]) };
            (e[h][2 * k], e[h][2 * k + 1]) =
                butterfly::<WIDE>(q, e[h][2 * k], x, W::load(&c[h][4], &c[h][5]));
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

/// The first six stages of T tiles in step.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn inverse_tiles<const T: usize, const WIDE: bool>(
    q: &Q,
    t: &Table,
    tiles: &mut [[[u64; 8]; 8]; T],
    index: usize,
    offsets: &[V; 6],
) {
    // Factors are read backwards: the tile from the other end, and with rows reversed its columns too.
    let mut e = [[splat(0); 8]; T];
    for (e, tile) in e.iter_mut().zip(tiles.iter()) {
        for k in 0..8 {
            e[k] = load(&tile[7 - k]);
        }
        *e = transpose(*e);
    }
    let len = t.columns.len();
    let c: &[[[u64; 8]; 6]] = &t.columns[len - T - index..len - index];
    let roots: [W; 3] = [W::splat(t.roots[0]), W::splat(t.roots[1]), W::splat(t.roots[2])];
    for k in 0..4 {
        for h in 0..T {
            let w = W::load(&c[T - 1 - h][4], &c[T - 1 - h][5]);
            let (s, d) = inverse_butterfly::<WIDE>(q, e[h][2 * k], e[h][2 * k + 1], w, offsets[0]);
            (e[h][2 * k], e[h][2 * k + 1]) = (s, if k == 3 { d } else { q.mul(d, roots[2 - k]) });
        }
    }
    for k in [0, 1, 4, 5] {
        for h in 0..T {
            let w = W::load(&c[T - 1 - h][2], &c[T - 1 - h][3]);
            let (s, d) = inverse_butterfly::<WIDE>(q, e[h][k], e[h][k + 2], w, offsets[1]);
            (e[h][k], e[h][k + 2]) = (s, if k < 4 { q.mul(d, roots[0]) } else { d });
        }
    }
    for k in 0..4 {
        for h in 0..T {
            let w = W::load(&c[T - 1 - h][0], &c[T - 1 - h][1]);
            (e[h][k], e[h][k + 4]) = inverse_butterfly::<WIDE>(q, e[h][k], e[h][k + 4], w, offsets[2]);
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
                    let w = W::splat(t.twiddle(((2 * len) << s) - 1 - ((index + h) << s) - b));
                    (e[k], e[k + half]) = inverse_butterfly::<WIDE>(q, e[k], e[k + half], w, offsets[5 - s]);
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
