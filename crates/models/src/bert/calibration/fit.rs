//! Ridge regression and polynomials of least error.

use std::f64::consts::PI;

use aegis_nn::{chebyshev, largest};

/// Chebyshev coefficients on `range` of the polynomial of `degree` with the least maximum of `weight(x) |p(x) - f(x)|`.
///
/// Remez' algorithm on a grid of 24 points a coefficient: in `degree + 2` points the weighted error is made to alternate
/// evenly, and each point moves to the largest error of its sign beside it. Ends where the largest error of all is that
/// of the points, or after 40 rounds with the best found: then what is left is rounding.
pub(super) fn minimax(
    f: impl Fn(f64) -> f64,
    weight: impl Fn(f64) -> f64,
    degree: usize,
    range: (f64, f64),
) -> Vec<f64> {
    let last = 24 * (degree + 1);
    let grid: Vec<f64> = (0..=last)
        .map(|i| (range.0 + range.1) / 2.0 - (range.1 - range.0) / 2.0 * (PI * i as f64 / last as f64).cos())
        .collect();
    let mut points: Vec<usize> = (0..degree + 2).map(|i| i * last / (degree + 1)).collect();
    let mut best = (f64::INFINITY, chebyshev::interpolate(&f, degree, range));
    for _ in 0..40 {
        let (coefficients, level) = alternating(&points, &grid, &f, &weight, range);
        let error = |x: f64| weight(x) * (chebyshev::evaluate(&coefficients, range, x) - f(x));
        let errors: Vec<f64> = grid.iter().map(|&x| error(x)).collect();
        let worst = largest(errors.iter().copied());
        if worst < best.0 {
            best = (worst, coefficients);
        }
        points = extremes(&errors, degree + 2);
        if worst <= level * (1.0 + 1e-6) || points.len() < degree + 2 {
            break;
        }
    }
    best.1
}

/// The polynomial whose weighted error alternates between these points of the grid, and the magnitude of that error.
fn alternating(
    points: &[usize],
    grid: &[f64],
    f: &impl Fn(f64) -> f64,
    weight: &impl Fn(f64) -> f64,
    (a, b): (f64, f64),
) -> (Vec<f64>, f64) {
    let n = points.len();
    let equation = |(i, &point): (usize, &usize)| {
        let x = grid[point];
        let angle = ((2.0 * x - a - b) / (b - a)).clamp(-1.0, 1.0).acos();
        let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
        let terms = (0..n - 1).map(|k| (k as f64 * angle).cos());
        terms.chain([sign / weight(x), f(x)]).collect()
    };
    let mut solution = solve(points.iter().enumerate().map(equation).collect());
    let level = solution.pop().unwrap_or(0.0);
    (solution, level.abs())
}

/// The indices of `count` extremes of alternating sign, the largest among them; fewer if there are not so many.
fn extremes(errors: &[f64], count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = vec![];
    for i in 0..errors.len() {
        match all.last_mut() {
            Some(last) if errors[*last] * errors[i] > 0.0 => {
                if errors[i].abs() > errors[*last].abs() {
                    *last = i;
                }
            }
            _ => all.push(i),
        }
    }
    while all.len() > count {
        // Signs still alternate without an end.
        let smaller_first = errors[all[0]].abs() < errors[all[all.len() - 1]].abs();
        all.remove(if smaller_first { 0 } else { all.len() - 1 });
    }
    all
}

/// Coefficients `w` of `y ~ rows . w + constant`, chosen for a small spread of the residuals.
///
/// Weighted least squares with a weight that grows with the squared residual (towards the fourth power norm),
/// because the widest residuals decide the range of the inverse. Ridge 1e-4; twelve rounds, as more changed
/// the width by less than 1 %.
pub(super) fn ridge(rows: &[&[f64]], y: &[f64]) -> Vec<f64> {
    let n = rows.first().map_or(0, |r| r.len()) + 1;
    let mut weights = vec![1.0; y.len()];
    let mut w = vec![0.0; n];
    for _ in 0..12 {
        let mut normal = vec![vec![0.0; n + 1]; n];
        for ((row, y), weight) in rows.iter().zip(y).zip(&weights) {
            let entry = |i: usize| if i + 1 == n { 1.0 } else { row[i] };
            for (i, line) in normal.iter_mut().enumerate() {
                let scaled = weight * entry(i);
                (0..n).for_each(|j| line[j] += scaled * entry(j));
                line[n] += scaled * y;
            }
        }
        let total: f64 = weights.iter().sum();
        (0..n - 1).for_each(|i| normal[i][i] += 1e-4 * total);
        w = solve(normal);
        let squares: Vec<f64> = rows.iter().zip(y).map(|(row, y)| (y - predict(&w, row)).powi(2)).collect();
        let mean = squares.iter().sum::<f64>() / squares.len().max(1) as f64 + f64::MIN_POSITIVE;
        weights
            .iter_mut()
            .zip(&squares)
            .for_each(|(weight, r)| *weight = 0.5 * *weight + 0.5 * (r / mean + 0.02));
    }
    w.truncate(n - 1);
    w
}

fn predict(w: &[f64], row: &[f64]) -> f64 {
    row.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() + w[row.len()]
}

/// Solution of a linear system given with its right side as the last column.
fn solve(mut m: Vec<Vec<f64>>) -> Vec<f64> {
    let n = m.len();
    for i in 0..n {
        let largest = (i..n).max_by(|&j, &k| m[j][i].abs().total_cmp(&m[k][i].abs())).unwrap_or(i);
        m.swap(i, largest);
        let pivot = m[i].clone();
        for line in &mut m[i + 1..] {
            let factor = line[i] / pivot[i];
            line.iter_mut().zip(&pivot).skip(i).for_each(|(x, p)| *x -= factor * p);
        }
    }
    let mut x = vec![0.0; n];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| m[i][j] * x[j]).sum();
        x[i] = (m[i][n] - known) / m[i][i];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_finds_a_linear_law() {
        let rows: Vec<Vec<f64>> = (0..50).map(|i| vec![f64::from(i % 7), f64::from(i % 5) - 2.0]).collect();
        let y: Vec<f64> = rows.iter().map(|r| 2.0 * r[0] - 3.0 * r[1] + 7.0).collect();
        let w = ridge(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), &y);
        assert!((w[0] - 2.0).abs() < 0.01 && (w[1] + 3.0).abs() < 0.01, "{w:?}");
    }

    /// The best polynomial of degree n - 1 to x^n on [-1, 1] is x^n - 2^(1 - n) T_n (Chebyshev).
    #[test]
    fn the_best_polynomial_to_a_power_is_chebyshevs() {
        for n in [4, 9] {
            let c = minimax(|x| x.powi(n), |_| 1.0, n as usize - 1, (-1.0, 1.0));
            let error = |x: f64| (chebyshev::evaluate(&c, (-1.0, 1.0), x) - x.powi(n)).abs();
            let worst = (0..=1000).map(|i| error(f64::from(i) / 500.0 - 1.0)).fold(0.0, f64::max);
            let best = 2f64.powi(1 - n);
            assert!((worst / best - 1.0).abs() < 1e-3, "{n}: {worst} for {best}");
        }
    }

    /// No polynomial is better in the weighted error than one whose error alternates evenly (de la Vallee Poussin); and
    /// the interpolating one is worse.
    #[test]
    fn weights_say_where_a_polynomial_is_good() {
        let (range, weight) = ((-8.0, 0.125), |x: f64| 1.0 / x.exp().max((-3.0f64).exp()));
        let worst = |c: &[f64]| {
            let error = |x: f64| (weight(x) * (chebyshev::evaluate(c, range, x) - x.exp())).abs();
            (0..=2000)
                .map(|i| error(range.0 + f64::from(i) * (range.1 - range.0) / 2000.0))
                .fold(0.0, f64::max)
        };
        let (best, other) = (minimax(f64::exp, weight, 7, range), chebyshev::interpolate(f64::exp, 7, range));
        assert!(worst(&best) < 0.5 * worst(&other), "{} and {}", worst(&best), worst(&other));
    }

    #[test]
    fn what_is_below_rounding_is_left_alone() {
        let c = minimax(f64::exp, |_| 1.0, 31, (-0.1, 0.1));
        assert!((chebyshev::evaluate(&c, (-0.1, 0.1), 0.05) - 0.05f64.exp()).abs() < 1e-14);
    }
}
