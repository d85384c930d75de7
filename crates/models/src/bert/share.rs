//! Short texts side by side in one query: as many embeddings of one run of the server.

use std::cmp::Reverse;

use super::query::{MAX_TEXTS, Query, QueryShape};

/// Rows that texts of a shared query are padded to: the smallest that holds the longest of them. 16 hold a short sentence,
/// four of them in 64 padded tokens and eight in 128.
const STRIDES: [usize; 2] = [16, 32];

/// A query and the texts it holds.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Indices of the texts among all that were given, rising: the embeddings of a result stand in this order.
    pub texts: Vec<usize>,
    /// The query of these texts.
    pub query: Query,
}

impl Query {
    /// The texts of these queries in as few as possible. Texts of up to 16 tokens share ciphertexts, and so do those of up
    /// to 32, where at least two fit the padded tokens; all others, and those of a layout with several token blocks, stay
    /// alone. Queries come in the order of their first texts.
    ///
    /// Texts that share ciphertexts share key, run and result: a result is decrypted for all of them or for none.
    #[must_use]
    pub fn share(queries: &[Self]) -> Vec<Shared> {
        let mut order: Vec<usize> = (0..queries.len()).collect();
        // Longest first: short texts fit the places that longer ones leave. Every group is then filled before the next.
        order.sort_by_key(|&i| Reverse(queries[i].shape.place()));
        let mut groups: Vec<Vec<usize>> = vec![];
        for i in order {
            let has_room =
                |group: &Vec<usize>| queries[group[0]].shape.has_room(group.len(), &queries[i].shape);
            match groups.iter_mut().find(|group| has_room(group)) {
                Some(group) => group.push(i),
                None => groups.push(vec![i]),
            }
        }
        groups.iter_mut().for_each(|group| group.sort_unstable());
        groups.sort_unstable();
        groups.into_iter().map(|texts| Shared { query: Self::of(queries, &texts), texts }).collect()
    }

    /// These of the queries as one.
    fn of(queries: &[Self], texts: &[usize]) -> Self {
        let first = queries[texts[0]].clone();
        let rest = texts[1..].iter().map(|&i| &queries[i]);
        rest.fold(first, |all, next| {
            let stride = all.shape.place().max(next.shape.place());
            let shape = all.shape.beside(next.shape.lengths(), stride);
            Self { shape, hidden: all.hidden.above(&next.hidden) }
        })
    }
}

impl QueryShape {
    /// Rows that its longest text needs beside others; all rows where no second text has room.
    fn place(&self) -> usize {
        let (padded, longest) = (self.padded_tokens(), self.lengths().iter().max());
        let place = STRIDES.into_iter().find(|s| longest.is_some_and(|n| n <= s) && 2 * s <= padded);
        let together = self.layout().is_ok_and(|layout| layout.token_blocks() == 1);
        place.filter(|_| together).unwrap_or(padded)
    }

    /// Whether a group of `texts` that begins with this one, its longest, has room for one more.
    fn has_room(&self, texts: usize, next: &Self) -> bool {
        let (stride, alone) = (self.place(), self.lengths().len() == 1 && next.lengths().len() == 1);
        let places = self.padded_tokens().checked_div(stride).unwrap_or(1).min(MAX_TEXTS);
        alone && self.sizes() == next.sizes() && next.place() <= stride && texts < places
    }
}

#[cfg(test)]
mod tests {
    use aegis_nn::{Layout, Tensor};

    use super::*;

    /// Queries of made-up texts of these lengths: every value of a text is its index.
    fn queries(padded: usize, lengths: &[usize]) -> Vec<Query> {
        let layout = Layout::new(1024, padded, 8, 2, 16).expect("a layout");
        let query = |(i, &tokens): (usize, &usize)| Query {
            shape: QueryShape::new(&layout, tokens),
            hidden: Tensor::from_fn(tokens, 8, |_, _| i as f64),
        };
        lengths.iter().enumerate().map(query).collect()
    }

    fn groups(padded: usize, lengths: &[usize]) -> Vec<Vec<usize>> {
        Query::share(&queries(padded, lengths)).into_iter().map(|shared| shared.texts).collect()
    }

    #[test]
    fn texts_fill_queries_in_their_order() {
        assert_eq!(groups(64, &[3, 16, 9, 12, 5]), [vec![0, 1, 2, 3], vec![4]]);
        assert_eq!(groups(128, &[3; 9]), [vec![0, 1, 2, 3, 4, 5, 6, 7], vec![8]]);
        assert_eq!(groups(64, &[20, 32, 17]), [vec![0, 1], vec![2]]);
        assert_eq!(groups(64, &[33, 34]), [[0], [1]]);
        assert_eq!(groups(16, &[3, 4]), [[0], [1]]);
        assert_eq!(groups(32, &[17, 3, 4]), [vec![0], vec![1, 2]]);
        assert!(groups(64, &[]).is_empty());
    }

    /// A short text takes the place that a longer one leaves, wherever it stands.
    #[test]
    fn short_texts_share_with_longer_ones() {
        assert_eq!(groups(64, &[3, 20, 4, 5, 6, 7]), [vec![0, 1], vec![2, 3, 4, 5]]);
        assert_eq!(groups(64, &[3, 50, 4]), [vec![0, 2], vec![1]]);
    }

    /// Two layouts never share, and a shared query is full.
    #[test]
    fn only_single_texts_of_one_layout_share() {
        let all = [queries(64, &[3, 4]), queries(128, &[5])].concat();
        let shared = Query::share(&all);
        assert_eq!(shared.iter().map(|s| s.texts.clone()).collect::<Vec<_>>(), [vec![0, 1], vec![2]]);
        let again: Vec<Query> = shared.into_iter().map(|s| s.query).chain(queries(64, &[2])).collect();
        assert_eq!(Query::share(&again).len(), 3);
    }

    /// Texts of a layout with several token blocks do not share: `nn` computes on one block of them.
    #[test]
    fn texts_of_several_token_blocks_stay_alone() {
        let layout = Layout::new(1024, 256, 8, 2, 16).expect("a layout");
        assert_eq!(layout.token_blocks(), 2);
        assert_eq!(groups(256, &[3, 4]), [[0], [1]]);
    }

    #[test]
    fn a_shared_query_holds_its_texts_one_after_another() {
        let queries = queries(64, &[3, 20, 4]);
        let shared = Query::share(&queries);
        assert_eq!(shared.iter().map(|s| s.texts.clone()).collect::<Vec<_>>(), [vec![0, 1], vec![2]]);
        let query = &shared[0].query;
        assert_eq!((query.shape.lengths(), query.shape.tokens()), (&[3, 20][..], 23));
        assert_eq!((query.shape.rows().stride(), query.shape.padded_tokens()), (32, 64));
        for (text, i) in query.texts().expect("two texts").iter().zip([0, 1]) {
            assert_eq!(*text, queries[i].hidden);
        }
        let slots = query.shape.input().expect("a shape").pack(&query.hidden).expect("packs");
        let layout = query.shape.layout().expect("a layout");
        for row in 0..64 {
            let want = if (32..52).contains(&row) { 1.0 } else { 0.0 };
            assert_eq!(slots[0][layout.slot(row, 0)], want, "row {row}");
        }
        assert_eq!(shared[1].query.shape, queries[2].shape);
    }
}
