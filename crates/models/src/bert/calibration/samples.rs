//! What is kept of one layer's values on the texts of a calibration.

use aegis_nn::Tensor;

use crate::bert::encoder::{Probe, moments};

/// Bounds of values that may be bootstrapped are widened by this factor.
pub(super) const MARGIN: f64 = 1.25;
/// Halvings of the scores tried at most.
pub(super) const MAX_ROUNDS: u32 = 3;

/// Smallest and largest value.
#[derive(Clone, Copy)]
pub(super) struct Range(pub(super) f64, pub(super) f64);

impl Default for Range {
    fn default() -> Self {
        Range(f64::INFINITY, f64::NEG_INFINITY)
    }
}

impl Range {
    pub(super) fn add(&mut self, values: &[f64]) {
        values.iter().for_each(|&v| *self = Range(self.0.min(v), self.1.max(v)));
    }

    pub(super) fn merge(&mut self, other: Self) {
        *self = Range(self.0.min(other.0), self.1.max(other.1));
    }

    /// The magnitude with its margin; at least 1/16, so that a layer of zeros has a bound.
    pub(super) fn bound(&self) -> f64 {
        (MARGIN * self.0.abs().max(self.1.abs())).clamp(0.0625, f64::MAX)
    }

    /// Lower and upper end moved away from each other. No range is narrower than 1/4: the polynomial needs
    /// one.
    pub(super) fn widened(&self, factor_low: f64, factor_high: f64) -> (f64, f64) {
        let stretch = |v: f64, factor: f64| if v > 0.0 { v * factor } else { v / factor };
        let (a, b) = (stretch(self.0, 1.0 / factor_low), stretch(self.1, factor_high));
        if b - a < 0.25 { ((a + b) / 2.0 - 0.125, (a + b) / 2.0 + 0.125) } else { (a, b) }
    }
}

/// How often values come, to the eighth; those beyond 64 count as 64.
#[derive(Clone)]
pub(super) struct Histogram(Vec<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Histogram(vec![0; Self::BINS])
    }
}

impl Histogram {
    const BINS: usize = 1024;
    const WIDTH: f64 = 0.125;

    fn add(&mut self, values: &[f64]) {
        for v in values {
            let bin = v / Self::WIDTH + Self::BINS as f64 / 2.0;
            self.0[(bin as usize).min(Self::BINS - 1)] += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(count, more)| *count += more);
    }

    /// The range of the values without this part of them on either side.
    pub(super) fn without(&self, part: f64) -> (f64, f64) {
        let tail = part * self.0.iter().sum::<u64>() as f64;
        let cut = |bins: &mut dyn Iterator<Item = &u64>| {
            let mut seen = 0;
            bins.take_while(|count| {
                seen += **count;
                (seen as f64) <= tail
            })
            .count()
        };
        let (below, above) = (cut(&mut self.0.iter()), cut(&mut self.0.iter().rev()));
        let edge = |bin: usize| (bin as f64 - Self::BINS as f64 / 2.0) * Self::WIDTH;
        (edge(below), edge(Self::BINS - above))
    }
}

/// Ranges of the values that may be bootstrapped.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) input: Range,
    pub(super) query_key: Range,
    pub(super) context: Range,
    pub(super) residual1: Range,
}

impl Seen {
    fn merge(&mut self, other: &Self) {
        self.input.merge(other.input);
        self.query_key.merge(other.query_key);
        self.context.merge(other.context);
        self.residual1.merge(other.residual1);
    }
}

/// What is kept of one layer's values on all texts.
#[derive(Default)]
pub(super) struct Samples {
    pub(super) bounds: Seen,
    /// Queries of all tokens, whole rows.
    pub(super) queries: Vec<f64>,
    /// For every head, of every token: the row of scores reduced to its smallest, and log mean exp of it over
    /// 2^k for each k.
    pub(super) rows: Vec<Vec<Row>>,
    pub(super) variance1: Range,
    /// Variances ahead of the second LayerNorm, token 0 and the others.
    pub(super) variance2: [Vec<f64>; 2],
    /// Largest magnitudes ahead of the second LayerNorm, token 0 and the others.
    pub(super) residual2: [f64; 2],
    pub(super) gelu_output: [f64; 2],
    pub(super) feed_forward: [f64; 2],
    pub(super) gelu_input: [Range; 2],
    /// Of the tokens after the first.
    pub(super) gelu_values: Histogram,
    /// Largest magnitudes after the first LayerNorm, token 0 and the others.
    pub(super) norm1: [f64; 2],
}

/// One query's scores.
pub(super) struct Row {
    pub(super) smallest: f64,
    pub(super) tokens: f64,
    /// `log(mean(exp(s / 2^k)))` for k = 1, 2, ...
    pub(super) log_mean_exp: [f64; MAX_ROUNDS as usize],
}

impl Samples {
    /// Adds what was seen on a later text.
    pub(super) fn merge(&mut self, later: Self) {
        let larger = |[a, b]: [f64; 2], [c, d]: [f64; 2]| [a.max(c), b.max(d)];
        self.bounds.merge(&later.bounds);
        self.queries.extend(later.queries);
        self.rows.resize_with(self.rows.len().max(later.rows.len()), Vec::new);
        self.rows.iter_mut().zip(later.rows).for_each(|(rows, more)| rows.extend(more));
        self.variance1.merge(later.variance1);
        self.variance2.iter_mut().zip(later.variance2).for_each(|(seen, more)| seen.extend(more));
        self.residual2 = larger(self.residual2, later.residual2);
        self.gelu_output = larger(self.gelu_output, later.gelu_output);
        self.feed_forward = larger(self.feed_forward, later.feed_forward);
        self.gelu_input.iter_mut().zip(later.gelu_input).for_each(|(seen, more)| seen.merge(more));
        self.gelu_values.merge(&later.gelu_values);
        self.norm1 = larger(self.norm1, later.norm1);
    }

    pub(super) fn see(&mut self, probe: Probe, x: &Tensor) {
        let (first, others) = x.data().split_at(x.cols());
        let magnitude = |part: &[f64], m: f64| part.iter().fold(m, |m, v| m.max(v.abs()));
        let grow = |[a, b]: [f64; 2]| [magnitude(first, a), magnitude(others, b)];
        match probe {
            Probe::Query => {
                self.queries.extend_from_slice(x.data());
                self.bounds.query_key.add(x.data());
            }
            Probe::Key => self.bounds.query_key.add(x.data()),
            Probe::Value | Probe::Context => self.bounds.context.add(x.data()),
            Probe::Scores(head) => self.see_scores(head, x),
            Probe::Residual1 => {
                self.bounds.residual1.add(x.data());
                (0..x.rows()).for_each(|r| self.variance1.add(&[moments(x.row(r)).1]));
            }
            Probe::Norm1 => self.norm1 = grow(self.norm1),
            Probe::GeluInput => {
                self.gelu_input[0].add(first);
                self.gelu_input[1].add(others);
                self.gelu_values.add(others);
            }
            Probe::GeluOutput => self.gelu_output = grow(self.gelu_output),
            Probe::FeedForward => self.feed_forward = grow(self.feed_forward),
            Probe::Residual2 => {
                self.residual2 = grow(self.residual2);
                (0..x.rows()).for_each(|r| self.variance2[r.min(1)].push(moments(x.row(r)).1));
            }
        }
    }

    fn see_scores(&mut self, head: usize, scores: &Tensor) {
        if self.rows.len() <= head {
            self.rows.resize_with(head + 1, Vec::new);
        }
        let tokens = scores.cols() as f64;
        for row in (0..scores.rows()).map(|r| scores.row(r)) {
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_mean_exp = std::array::from_fn(|k| {
                let f = 0.5f64.powi(k as i32 + 1);
                let sum: f64 = row.iter().map(|s| (f * (s - max)).exp()).sum();
                f * max + (sum / tokens).ln()
            });
            let smallest = row.iter().copied().fold(f64::INFINITY, f64::min);
            self.rows[head].push(Row { smallest, tokens, log_mean_exp });
        }
    }
}
