//! Ridge regression.

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

/// Solution of a symmetric positive definite system given with its right side as the last column.
fn solve(mut m: Vec<Vec<f64>>) -> Vec<f64> {
    let n = m.len();
    for i in 0..n {
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
}
