//! Chebyshev series in `f64`: fitted, and evaluated.

use std::f64::consts::PI;

/// Coefficients of the polynomial of `degree` that equals `f` in the Chebyshev nodes of `[a, b]`.
///
/// For the uniform error within a factor `2 + 2/pi log(degree)` of the best polynomial: less than 5 up to degree 100.
pub fn interpolate(f: impl Fn(f64) -> f64, degree: usize, (a, b): (f64, f64)) -> Vec<f64> {
    let count = degree + 1;
    let node = |j: usize| PI * (j as f64 + 0.5) / count as f64;
    let (middle, half) = ((a + b) / 2.0, (b - a) / 2.0);
    let values: Vec<f64> = (0..count).map(|j| f(middle + half * node(j).cos())).collect();
    let coefficient = |k: usize| {
        let sum: f64 = values.iter().enumerate().map(|(j, v)| v * (k as f64 * node(j)).cos()).sum();
        sum * if k == 0 { 1.0 } else { 2.0 } / count as f64
    };
    (0..count).map(coefficient).collect()
}

/// Levels that evaluating a series of this degree takes: `ceil(log2(degree + 1))`.
pub fn depth(degree: usize) -> u32 {
    usize::BITS - degree.leading_zeros()
}

/// Value at `x` of a series on `[a, b]`, by Clenshaw's recurrence.
pub fn evaluate(coefficients: &[f64], (a, b): (f64, f64), x: f64) -> f64 {
    let u = (2.0 * x - a - b) / (b - a);
    let Some((c0, rest)) = coefficients.split_first() else { return 0.0 };
    let (b1, b2) = rest.iter().rev().fold((0.0, 0.0), |(b1, b2), c| (2.0 * u * b1 - b2 + c, b1));
    u * b1 - b2 + c0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_one_of_cosines() {
        for degree in 0..8 {
            let mut c = vec![0.0; degree + 1];
            c[degree] = 1.0;
            for i in 0..=10 {
                let theta = f64::from(i) * 0.3;
                let got = evaluate(&c, (-1.0, 3.0), 1.0 + 2.0 * theta.cos());
                assert!((got - (degree as f64 * theta).cos()).abs() < 1e-12, "T_{degree} at {theta}");
            }
        }
    }

    #[test]
    fn interpolation_meets_a_polynomial_exactly() {
        let f = |x: f64| 3.0 * x * x - x + 0.5;
        let c = interpolate(f, 4, (-2.0, 5.0));
        for x in [-2.0, 0.3, 5.0] {
            assert!((evaluate(&c, (-2.0, 5.0), x) - f(x)).abs() < 1e-12);
        }
    }
}
