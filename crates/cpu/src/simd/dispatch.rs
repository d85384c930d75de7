//! From a call to the instruction set of the device.

use aegis_hal::{Error, Result};
use aegis_ring::{BaseConv, Factor, NttTable};

use super::{Ahead, Block, Isa, Prime, portable};
#[cfg(target_arch = "x86_64")]
use super::{avx2, ifma};

/// Twiddle factors of one prime and size, in the layout of some path.
pub(crate) enum Table {
    Portable(portable::Table),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Table),
    #[cfg(target_arch = "x86_64")]
    Ifma(ifma::Table),
}

/// The functions of one path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Simd(Isa);

impl Simd {
    /// Fails when the machine lacks the instructions: the proof that the calls below rest on.
    pub(crate) fn new(isa: Isa) -> Result<Self> {
        if isa.is_available() {
            Ok(Self(isa))
        } else {
            Err(Error::Device(format!("this machine has no {isa:?}")))
        }
    }

    pub(crate) fn table(self, t: NttTable) -> Table {
        match self.0 {
            // The passes take two tiles or more, of 64 and 16 words.
            #[cfg(target_arch = "x86_64")]
            Isa::Ifma if t.n() >= 128 => Table::Ifma(ifma::table(&t)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if t.n() >= 32 => Table::Avx2(avx2::table(&t)),
            _ => Table::Portable(t),
        }
    }

    /// Forward transform. In and out: `[0, q)`. Loads the row `ahead` into the cache on the way: only the first pass
    /// over a row waits for memory, which would be idle during the others.
    pub(crate) fn ntt(self, p: &Prime, t: &Table, x: &mut [u64], ahead: Ahead) {
        debug_assert!(p.has(x), "a transform of words that are no residues modulo {}", p.q);
        match t {
            Table::Portable(t) => portable::ntt(t, x),
            // SAFETY: `Simd::new` found the instructions, or `Simd::table` would not have made such a table.
            #[cfg(target_arch = "x86_64")]
            Table::Avx2(t) => unsafe { avx2::ntt(p, t, x, ahead) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Table::Ifma(t) => unsafe { ifma::ntt(p, t, x, ahead) },
        }
        debug_assert!(p.has(x), "a transform to words that are no residues modulo {}", p.q);
    }

    /// Inverse transform times `n * scale`. In and out: `[0, q)`.
    pub(crate) fn intt(self, p: &Prime, t: &Table, x: &mut [u64], scale: Factor) {
        debug_assert!(p.has(x), "an inverse transform of words that are no residues modulo {}", p.q);
        match t {
            Table::Portable(t) => portable::intt(t, x, scale),
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Table::Avx2(t) => unsafe { avx2::intt(p, t, x, scale) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Table::Ifma(t) => unsafe { ifma::intt(p, t, x, scale) },
        }
        debug_assert!(p.has(x), "an inverse transform to words that are no residues modulo {}", p.q);
    }
}

/// The functions on rows that every path has, for a macro that makes something of each, with what holds before and
/// after.
macro_rules! row_functions {
    ($make:ident) => {
        $make! {
            /// `out += b`. In and out: `[0, q)`.
            fn add_assign(p: &Prime, out: &mut [u64], b: &[u64])
                in [p.has(out), p.has(b)] out [p.has(out)];
            /// `out -= b`. In and out: `[0, q)`.
            fn sub_assign(p: &Prime, out: &mut [u64], b: &[u64])
                in [p.has(out), p.has(b)] out [p.has(out)];
            /// `out *= b`. In and out: `[0, q)`.
            fn mul_assign(p: &Prime, out: &mut [u64], b: &[u64])
                in [p.has(out), p.has(b)] out [p.has(out)];
            /// `out += a * b`. In and out: `[0, q)`.
            fn mul_add(p: &Prime, out: &mut [u64], a: &[u64], b: &[u64])
                in [p.has(out), p.has(a), p.has(b)] out [p.has(out)];
            /// `out *= c`. In and out: `[0, q)`.
            fn scalar_mul(p: &Prime, out: &mut [u64], c: Factor)
                in [p.has(out), c.value < p.q] out [p.has(out)];
            /// `out += c * a`. In and out: `[0, q)`.
            fn scalar_mul_add(p: &Prime, out: &mut [u64], c: Factor, a: &[u64])
                in [p.has(out), c.value < p.q, p.has(a)] out [p.has(out)];
            /// `out += c`. In and out: `[0, q)`.
            fn scalar_add(p: &Prime, out: &mut [u64], c: u64)
                in [p.has(out), c < p.q] out [p.has(out)];
            /// `out = (a - out) * c`. In and out: `[0, q)`.
            fn sub_scale(p: &Prime, out: &mut [u64], a: &[u64], c: Factor)
                in [p.has(out), p.has(a), c.value < p.q] out [p.has(out)];
            /// `out[j] = x[permutation[j]]`.
            fn permute(out: &mut [u64], x: &[u64], permutation: &[u32])
                in [x.len() == out.len(), permutation.len() == out.len()] out [];
            /// Residues of signed words. Out: `[0, q)`.
            fn reduce_signed(p: &Prime, out: &mut [u64], x: &[i64])
                in [x.len() == out.len()] out [p.has(out)];
        }
    };
}
pub(super) use row_functions;

/// The sums of products, in the same way.
macro_rules! sum_functions {
    ($make:ident) => {
        $make! {
            /// `out = sum over i of w[i] * x[i]`, plus `out` when accumulating, word by word. In and out: `[0, q)`.
            fn inner_product(p: &Prime, out: &mut [u64], accumulate: bool, w: &[&[u64]], x: &[&[u64]])
                in [!accumulate || p.has(out), w.iter().chain(x).all(|row| p.has(row))] out [p.has(out)];
            /// `out[r, c] = sum over i of w[r, i] * x[i, c]` on eight words each, where `w` is one scalar for all
            /// eight; plus `out` when accumulating. Layouts: `w[four rows][term][row]` and then `[row][term]` for the
            /// rows left over, `x[term][column][8]`, `out[row * columns + column][stride]`, of which the eight words
            /// from `at`. In and out: `[0, q)`.
            fn scalar_products(p: &Prime, out: &mut [u64], accumulate: bool, w: &[u64], x: &[u64], s: Block)
                in [!accumulate || s.words(out).all(|row| p.has(row)), p.has(w), p.has(x)]
                out [s.words(out).all(|row| p.has(row))];
            /// The multiples of Q to take off for every word of the rows `y`, each in `[0, q_i)`. Out: at most the
            /// number of rows.
            fn overflow(c: &BaseConv, u: &mut [u64], y: &[&[u64]])
                in [y.iter().zip(c.from()).all(|(y, q)| y.iter().all(|&y| y < q.value()))]
                out [u.iter().all(|&u| u <= y.len() as u64)];
            /// `out = sum over i of y[i] * images[i] + u * correction`. In: `y` below 2^50 (asserted by `overflow`,
            /// once for all p), `images`, `correction` in `[0, p)`, `u` at most the number of rows. Out: `[0, p)`.
            fn convert(p: &Prime, out: &mut [u64], y: &[&[u64]], images: &[u64], u: &[u64], correction: u64)
                in [
                    p.has(images),
                    u.iter().all(|&u| u <= y.len() as u64),
                    correction < p.q
                ]
                out [p.has(out)];
        }
    };
}
pub(super) use sum_functions;

/// Methods that call the function of the same name of the path.
macro_rules! forward {
    ($(
        $(#[$doc:meta])*
        fn $name:ident($($arg:ident: $type:ty),*) in [$($in:expr),*] out [$($out:expr),*];
    )*) => {
        impl Simd {
            $($(#[$doc])* pub(crate) fn $name(self, $($arg: $type),*) {
                $(debug_assert!($in);)*
                match self.0 {
                    // SAFETY: `Simd::new` found the instructions.
                    #[cfg(target_arch = "x86_64")]
                    Isa::Ifma => unsafe { ifma::$name($($arg),*) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => unsafe { avx2::$name($($arg),*) },
                    _ => portable::$name($($arg),*),
                }
                $(debug_assert!($out);)*
            })*
        }
    };
}

row_functions!(forward);
sum_functions!(forward);

#[cfg(test)]
mod tests {
    use aegis_ring::{Modulus, primes};

    use super::*;

    /// The vector code adds so many halves of products before it reduces, and no more: beyond, base conversion must
    /// take another way.
    #[test]
    fn base_conversions_from_thousands_of_limbs_have_exact_sums() {
        const N: usize = 11; // a vector, and words left over
        let prime = primes::nearest_ntt_prime(2f64.powi(50), 1 << 49..1 << 50, 4, &[]).unwrap();
        let p = Prime::new(&Modulus::new(prime).unwrap());
        // The largest high halves, and low halves of 52 ones, of which 4097 overflow a word.
        for (y, image) in [(p.q - 1, p.q - 1), ((1 << 26) - 1, (1 << 26) + 1)] {
            for terms in [1, 14, 15, 17, 3999, 4000, 4096, 4097, 9000] {
                let (y_row, u, correction) = ([y; N], [terms as u64; N], p.q - 1);
                let sum = terms as u128 * (u128::from(y) * u128::from(image) + u128::from(correction));
                let want = [p.modulus.reduce_u128(sum); N];
                for isa in Isa::available() {
                    let mut out = [0; N];
                    let (y, images) = (vec![&y_row[..]; terms], vec![image; terms]);
                    Simd::new(isa).unwrap().convert(&p, &mut out, &y, &images, &u, correction);
                    assert_eq!(out, want, "{isa:?}, {terms} terms of {} * {image}", y_row[0]);
                }
            }
        }
    }
}
