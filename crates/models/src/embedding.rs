//! Sentence embeddings after the encoder: pooling, unit length, similarity, ranking.

use aegis_nn::Tensor;

use crate::error::{Error, NoEmbedding, Result};

/// Mean of the rows, then unit length.
pub(crate) fn pool(hidden: &Tensor) -> Result<Vec<f64>> {
    let mut sum = vec![0.0; hidden.cols()];
    for r in 0..hidden.rows() {
        sum.iter_mut().zip(hidden.row(r)).for_each(|(s, v)| *s += v);
    }
    normalize(sum)
}

/// The vector of length 1 in the direction of `v`.
///
/// # Errors
/// [`Error::Embedding`] if the length is 0 or not finite, which a run that left its ranges gives.
pub fn normalize(mut v: Vec<f64>) -> Result<Vec<f64>> {
    let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    if !(length.is_finite() && length > 0.0) {
        return Err(Error::Embedding(NoEmbedding::Length(length)));
    }
    v.iter_mut().for_each(|x| *x /= length);
    Ok(v)
}

/// Finest grid of [`round`], in bits. Two recorded runs of the same four texts, whose ciphertexts differ, give components
/// that differ by up to 3.7e-5 = 2^-14.7 (benches/records, 2026-11-20-four-texts and 2026-11-21-eight-texts): half a
/// step must stay far above that noise, here 13 times. Nothing is lost: the approximations of the encrypted model are up
/// to 1.1e-3 = 2^-9.9 off the plain one (2026-11-21-eight-texts).
pub const MAX_ROUND_BITS: u32 = 10;

/// Every component at the nearest multiple of `2^-bits`: what may be shown to others of a decrypted embedding, whose
/// error depends on the secret key (Li, Micciancio 2021). A mitigation, not a proof: a component near the middle
/// of two multiples still tells something.
///
/// # Errors
/// [`Error::RoundingBits`] for `bits` outside 1..=[`MAX_ROUND_BITS`], [`Error::RoundedAway`] if only zeros are left.
///
/// ```
/// assert_eq!(aegis_models::round(&[0.6, -0.79, -0.01], 2)?, [0.5, -0.75, 0.0]);
/// # Ok::<(), aegis_models::Error>(())
/// ```
pub fn round(embedding: &[f64], bits: u32) -> Result<Vec<f64>> {
    if !(1..=MAX_ROUND_BITS).contains(&bits) {
        return Err(Error::RoundingBits { bits });
    }
    let grid = f64::from(bits).exp2();
    // Adding zero takes the error's sign off a zero.
    let rounded: Vec<f64> = embedding.iter().map(|v| (v * grid).round() / grid + 0.0).collect();
    if rounded.iter().all(|v| *v == 0.0) {
        return Err(Error::RoundedAway { bits });
    }
    Ok(rounded)
}

/// Cosine of the angle between two embeddings, in -1..=1.
///
/// # Errors
/// [`Error::Embedding`] if their sizes differ or one has no direction.
///
/// ```
/// assert_eq!(aegis_models::cosine(&[1.0, 0.0], &[0.0, 2.0])?, 0.0);
/// # Ok::<(), aegis_models::Error>(())
/// ```
pub fn cosine(a: &[f64], b: &[f64]) -> Result<f64> {
    if a.len() != b.len() {
        return Err(Error::Embedding(NoEmbedding::Sizes { left: a.len(), right: b.len() }));
    }
    let (a, b) = (normalize(a.to_vec())?, normalize(b.to_vec())?);
    Ok(a.iter().zip(&b).map(|(x, y)| x * y).sum::<f64>().clamp(-1.0, 1.0))
}

/// Indices of `documents` from the most to the least similar to `query`, with the cosines; equal ones in
/// their given order.
///
/// # Errors
/// Those of [`cosine`].
pub fn rank(query: &[f64], documents: &[Vec<f64>]) -> Result<Vec<(usize, f64)>> {
    let mut ranking =
        documents.iter().enumerate().map(|(i, d)| Ok((i, cosine(query, d)?))).collect::<Result<Vec<_>>>()?;
    ranking.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(ranking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranking_orders_by_angle() {
        let documents = vec![vec![0.0, 1.0], vec![3.0, 0.3], vec![-1.0, 0.0]];
        let order: Vec<usize> = rank(&[1.0, 0.0], &documents).unwrap().into_iter().map(|(i, _)| i).collect();
        assert_eq!(order, [1, 0, 2]);
    }

    #[test]
    fn a_rounded_embedding_shows_the_grid_and_no_sign_of_zero() {
        let exact = [0.7, -0.7001, 1e-4, -1e-4];
        let rounded = round(&exact, MAX_ROUND_BITS).unwrap();
        for (r, e) in rounded.iter().zip(exact) {
            assert!((r * 1024.0).fract() == 0.0 && (r - e).abs() <= 0.5 / 1024.0, "{e} -> {r}");
        }
        assert!(rounded[2..].iter().all(|v| v.to_bits() == 0), "a zero keeps the sign of the error");
    }

    #[test]
    fn rounding_that_would_do_nothing_or_everything_is_refused() {
        for bits in [0, MAX_ROUND_BITS + 1, u32::MAX] {
            assert!(matches!(round(&[1.0], bits), Err(Error::RoundingBits { bits: b }) if b == bits));
        }
        assert!(matches!(round(&[0.2, -0.2], 1), Err(Error::RoundedAway { bits: 1 })));
    }

    #[test]
    fn directions_that_do_not_exist_are_refused() {
        for bad in [vec![0.0, 0.0], vec![f64::NAN, 1.0], vec![f64::INFINITY, 1.0], vec![1.0]] {
            assert!(matches!(cosine(&[1.0, 0.0], &bad), Err(Error::Embedding(_))), "{bad:?}");
        }
    }
}
