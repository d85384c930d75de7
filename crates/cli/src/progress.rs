//! Progress of an encrypted run: a bar on a terminal, plain lines elsewhere, and the times of every stage.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use aegis_ckks::OpCounts;
use aegis_nn::{Observer, StageInfo};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::output;

/// What one stage took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StageRow {
    pub(crate) group: String,
    pub(crate) stage: String,
    pub(crate) level_in: u32,
    pub(crate) level_out: u32,
    pub(crate) ciphertexts: usize,
    pub(crate) rotations: u64,
    pub(crate) products: u64,
    pub(crate) plain_products: u64,
    pub(crate) bootstraps: u64,
    pub(crate) seconds: f64,
}

/// Where progress goes.
enum Display {
    Bar(ProgressBar),
    Lines,
}

/// Follows a run, on standard error.
pub(crate) struct Progress {
    display: Display,
    /// What all stages cost by the schedule, with the group of each.
    costs: Vec<(String, u64)>,
    start: Instant,
    stage_start: Instant,
    rows: Vec<StageRow>,
}

impl Progress {
    /// Progress of a run of these stages.
    pub(crate) fn new(stages: &[StageInfo]) -> Self {
        let display = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(stages.iter().map(|s| s.cost_ns).sum());
            let style =
                ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {percent:>3} % {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_secs(1));
            Display::Bar(bar)
        } else {
            Display::Lines
        };
        let costs = stages.iter().map(|s| (s.group.clone(), s.cost_ns)).collect();
        Self { display, costs, start: Instant::now(), stage_start: Instant::now(), rows: Vec::new() }
    }

    /// The stages that have ended.
    pub(crate) fn into_rows(self) -> Vec<StageRow> {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
        self.rows
    }

    /// Estimated seconds that the rest of `group`, and of everything, takes after stage `index`.
    fn left(&self, index: usize, group: &str) -> (f64, f64) {
        let (done, todo) = self.costs.split_at((index + 1).min(self.costs.len()));
        let sum = |stages: &[(String, u64)]| stages.iter().map(|s| s.1 as f64).sum::<f64>();
        let pace = self.start.elapsed().as_secs_f64() / sum(done).max(1.0);
        let here: f64 = todo.iter().filter(|s| s.0 == group).map(|s| s.1 as f64).sum();
        (pace * here, pace * sum(todo))
    }
}

impl Observer for Progress {
    fn begin(&mut self, stage: &StageInfo) {
        self.stage_start = Instant::now();
        let Display::Bar(bar) = &self.display else { return };
        let left = match stage.index.checked_sub(1) {
            None => String::new(),
            Some(before) => {
                let (group, all) = self.left(before, &stage.group);
                format!(" · {} left in {}, {} in all", clock(group), stage.group, clock(all))
            }
        };
        bar.set_message(format!("{}, {}{left}", stage.group, stage.name));
    }

    fn end(&mut self, stage: &StageInfo, counts: &OpCounts) {
        let seconds = self.stage_start.elapsed().as_secs_f64();
        self.rows.push(StageRow {
            group: stage.group.clone(),
            stage: stage.name.clone(),
            level_in: stage.level_in.0,
            level_out: stage.level_out.0,
            ciphertexts: stage.ciphertexts,
            rotations: counts.rotations,
            products: counts.products,
            plain_products: counts.plain_products,
            bootstraps: stage.bootstraps,
            seconds,
        });
        match &self.display {
            Display::Bar(bar) => bar.inc(stage.cost_ns),
            Display::Lines => {
                let (group, all) = self.left(stage.index, &stage.group);
                output::note(&format!(
                    "[{}/{}] {}, {}: level {} -> {}, {seconds:.1} s; left: {} in {}, {} in all",
                    stage.index + 1,
                    stage.count,
                    stage.group,
                    stage.name,
                    stage.level_in.0,
                    stage.level_out.0,
                    clock(group),
                    stage.group,
                    clock(all)
                ));
            }
        }
    }
}

/// Minutes and seconds.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// The stages as a table with a line of sums.
pub(crate) fn table(rows: &[StageRow]) -> String {
    let head = [
        "stage",
        "level in",
        "level out",
        "ciphertexts",
        "rotations",
        "products",
        "plain",
        "bootstraps",
        "seconds",
    ];
    let mut lines: Vec<[String; 9]> = vec![head.map(str::to_owned)];
    for row in rows {
        lines.push([
            format!("{}, {}", row.group, row.stage),
            row.level_in.to_string(),
            row.level_out.to_string(),
            row.ciphertexts.to_string(),
            row.rotations.to_string(),
            row.products.to_string(),
            row.plain_products.to_string(),
            row.bootstraps.to_string(),
            format!("{:.1}", row.seconds),
        ]);
    }
    let sum = |value: fn(&StageRow) -> u64| rows.iter().map(value).sum::<u64>().to_string();
    lines.push([
        "all".to_owned(),
        String::new(),
        String::new(),
        String::new(),
        sum(|r| r.rotations),
        sum(|r| r.products),
        sum(|r| r.plain_products),
        sum(|r| r.bootstraps),
        format!("{:.1}", rows.iter().map(|r| r.seconds).sum::<f64>()),
    ]);
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..9).map(width).collect();
    let show = |line: &[String; 9]| {
        let first = format!("{:w$}", line[0], w = widths[0]);
        let rest = (1..9).map(|i| format!("{:>w$}", line[i], w = widths[i]));
        std::iter::once(first).chain(rest).collect::<Vec<_>>().join("  ")
    };
    lines.iter().map(show).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_ckks::Level;

    fn stage(index: usize, group: &str) -> StageInfo {
        let (group, name) = (group.to_owned(), "linear".to_owned());
        let (level_in, level_out) = (Level(9), Level(8));
        StageInfo {
            index,
            count: 2,
            group,
            name,
            level_in,
            level_out,
            ciphertexts: 1,
            bootstraps: 2,
            cost_ns: 10,
        }
    }

    #[test]
    fn rows_follow_the_stages() {
        let stages = [stage(0, "layer 0"), stage(1, "layer 1")];
        let mut progress = Progress::new(&stages);
        for info in &stages {
            progress.begin(info);
            progress.end(info, &OpCounts { rotations: 3, ..OpCounts::default() });
        }
        assert_eq!(progress.left(1, "layer 1"), (0.0, 0.0));
        let table = table(&progress.into_rows());
        assert_eq!(table.lines().count(), 4, "{table}");
        assert!(table.lines().last().is_some_and(|l| l.contains(" 6 ") && l.contains(" 4 ")), "{table}");
    }

    #[test]
    fn clock_shows_minutes() {
        assert_eq!(clock(125.4), "2:05");
    }
}
