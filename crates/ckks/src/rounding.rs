//! Real coefficients to integers.

/// Coefficients beyond this magnitude do not fit a signed word with room to round.
const MAX: f64 = (1u64 << 62) as f64;
/// Up to this magnitude, [`SHIFT`] plus a coefficient lies where the doubles are the integers.
const SMALL: f64 = (1u64 << 51) as f64;
const SHIFT: f64 = (3u64 << 51) as f64;

/// How to round coefficients of some magnitude.
#[derive(Clone, Copy)]
pub(crate) struct Rounding {
    small: bool,
    /// The largest magnitude of an integer.
    pub(crate) largest: f64,
}

impl Rounding {
    /// For these coefficients. `None` where one is not finite or beyond `2^62`.
    pub(crate) fn of(coefficients: &[f64]) -> Option<Self> {
        // Lanes that a compiler may keep in vectors.
        let (mut largest, mut zeros) = ([0.0; 8], [0.0; 8]);
        for chunk in coefficients.chunks(8) {
            for ((largest, zero), c) in largest.iter_mut().zip(&mut zeros).zip(chunk) {
                *largest = if c.abs() > *largest { c.abs() } else { *largest };
                // NaN stays NaN; infinity becomes it.
                *zero += c * 0.0;
            }
        }
        let largest = largest.into_iter().fold(0.0, f64::max).round();
        let finite = zeros.iter().all(|&zero| zero == 0.0);
        (finite && largest < MAX).then_some(Self { small: largest < SMALL, largest })
    }

    /// The nearest integers, halves away from zero, as by [`f64::round`]: a call of the C library on processors that must
    /// do without SSE4.1.
    pub(crate) fn round(self, coefficients: impl Iterator<Item = f64>) -> impl Iterator<Item = i64> {
        coefficients.map(move |c| if self.small { nearest_small(c) } else { nearest(c) })
    }
}

fn nearest_small(c: f64) -> i64 {
    let shifted = c + SHIFT;
    let rest = c - (shifted - SHIFT);
    let even = shifted.to_bits().wrapping_sub(SHIFT.to_bits()).cast_signed();
    even + i64::from((rest == 0.5) & (c > 0.0)) - i64::from((rest == -0.5) & (c < 0.0))
}

fn nearest(c: f64) -> i64 {
    let whole = c as i64;
    // Exact: a fraction of fewer bits than `c`, and zero from 2^52 on.
    let rest = c - whole as f64;
    whole + i64::from(rest >= 0.5) - i64::from(rest <= -0.5)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_coefficient() -> impl Strategy<Value = f64> {
        let large = -4.6e18..4.6e18f64;
        let halves = (-1i64 << 52..1 << 52).prop_map(|halves| halves as f64 / 2.0);
        let few_halves = (-9i64..9).prop_map(|halves| halves as f64 / 2.0);
        let near_half = (0.0..1.0f64).prop_map(|c| c * f64::from_bits(0.5f64.to_bits() + 1));
        prop_oneof![large, halves, few_halves, near_half]
    }

    proptest! {
        #[test]
        fn integers_are_those_of_the_c_library(c in any_coefficient()) {
            prop_assert_eq!(nearest(c), c.round() as i64);
            if c.abs() < SMALL {
                prop_assert_eq!(nearest_small(c), c.round() as i64);
            }
        }

        #[test]
        fn rows_are_rounded_by_their_largest(row in prop::collection::vec(any_coefficient(), 0..20)) {
            let rounding = Rounding::of(&row).unwrap();
            let got: Vec<i64> = rounding.round(row.iter().copied()).collect();
            prop_assert_eq!(&got, &row.iter().map(|c| c.round() as i64).collect::<Vec<_>>());
            let largest = got.iter().map(|c| c.unsigned_abs()).max().unwrap_or(0);
            prop_assert_eq!(rounding.largest, largest as f64);
        }

        #[test]
        fn what_is_no_number_is_refused_wherever_it_stands(at in 0usize..20, bad in 0usize..4) {
            let mut row = [1.0; 20];
            row[at] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -MAX][bad];
            prop_assert!(Rounding::of(&row).is_none());
        }
    }
}
