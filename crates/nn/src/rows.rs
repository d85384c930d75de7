//! Which rows of a tensor are tokens of a text, and which are padding.

/// The texts of a tensor: one that starts at row 0, or several short ones side by side. Public, as the lengths of
/// ciphertexts are.
///
/// Text `s` has its tokens in the rows from `s * stride` on; all other rows are padding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rows {
    stride: usize,
    lengths: Vec<usize>,
}

/// A row that is a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Index of its text.
    pub text: usize,
    /// Position in the text; token 0 is CLS.
    pub token: usize,
    /// Length of the text.
    pub tokens: usize,
}

impl Rows {
    /// One text of this many tokens.
    pub fn one(tokens: usize) -> Self {
        Self { stride: tokens.max(1), lengths: vec![tokens] }
    }

    /// Texts of these lengths, each padded to `stride` rows. A length beyond the stride, or none at all, is refused where
    /// a tensor is made of them.
    pub fn several(stride: usize, lengths: Vec<usize>) -> Self {
        Self { stride, lengths }
    }

    /// Rows from the start of a text to that of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The number of tokens of each text.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// What row `t` is, or `None` for padding.
    pub fn row(&self, t: usize) -> Option<Row> {
        let (text, token) = (t / self.stride, t % self.stride);
        let tokens = *self.lengths.get(text)?;
        (token < tokens).then_some(Row { text, token, tokens })
    }

    /// The rows that are tokens, text by text.
    pub fn tokens(&self) -> impl Iterator<Item = usize> + '_ {
        let text = move |(text, n): (usize, &usize)| {
            let first = text * self.stride;
            first..first + n
        };
        self.lengths.iter().enumerate().flat_map(text)
    }

    /// Number of rows that are tokens.
    pub fn count(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// True when every text has a token and all fit `tokens` rows without touching.
    pub fn fit(&self, tokens: usize) -> bool {
        let apart = self.lengths.iter().all(|n| (1..=self.stride).contains(n));
        let end = self.lengths.len().checked_sub(1).and_then(|last| last.checked_mul(self.stride));
        let end = end.and_then(|start| start.checked_add(*self.lengths.last()?));
        apart && end.is_some_and(|end| end <= tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_belongs_to_one_text_or_to_none() {
        let rows = Rows::several(4, vec![2, 4, 1]);
        let texts: Vec<_> = (0..13).map(|t| rows.row(t).map(|row| (row.text, row.token))).collect();
        let padding = None;
        let first = [Some((0, 0)), Some((0, 1)), padding, padding];
        let second = [Some((1, 0)), Some((1, 1)), Some((1, 2)), Some((1, 3))];
        let third = [Some((2, 0)), padding, padding, padding, padding];
        assert_eq!(texts, [&first[..], &second[..], &third[..]].concat());
        assert_eq!(rows.tokens().collect::<Vec<_>>(), [0, 1, 4, 5, 6, 7, 8]);
        assert_eq!(rows.count(), 7);
        assert!(rows.fit(9) && !rows.fit(8));
    }

    #[test]
    fn texts_without_tokens_or_room_do_not_fit() {
        for rows in
            [Rows::one(0), Rows::several(4, vec![]), Rows::several(4, vec![5]), Rows::several(0, vec![1])]
        {
            assert!(!rows.fit(64), "{rows:?}");
        }
        assert!(Rows::one(64).fit(64) && !Rows::one(65).fit(64));
        assert!(!Rows::several(usize::MAX, vec![1, 1, 1]).fit(64));
    }
}
