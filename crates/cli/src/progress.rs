//! Progress of an encrypted run: a bar on a terminal, plain lines elsewhere, and the times of every stage.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis::Evaluation;
use aegis_ckks::OpCounts;
use aegis_comm::{Communicator, Traffic};
use aegis_nn::{Observer, Section, StageInfo, Step, TaskInfo};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::devices::Devices;
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
    /// The most that a device received from others.
    pub(crate) received_bytes: u64,
    pub(crate) seconds: f64,
}

/// Where progress goes.
enum Display {
    Bar(ProgressBar),
    Lines,
    /// Another process shows it.
    Nothing,
}

/// Follows a run, on standard error.
pub(crate) struct Progress {
    display: Display,
    start: Instant,
    task_start: Instant,
    stages: Vec<Done>,
    /// What earlier processes did, by the plan.
    skipped: f64,
    /// Where several devices exchange words.
    comm: Option<Arc<dyn Communicator>>,
    /// What they had exchanged when the task at hand began.
    traffic: Traffic,
}

/// How far a stage is.
struct Done {
    info: StageInfo,
    tasks: usize,
    row: StageRow,
    /// Bytes that each device received.
    received: BTreeMap<usize, u64>,
}

impl Done {
    /// What is left of it by the plan.
    fn cost_left(&self) -> f64 {
        self.info.cost_ns as f64 * (1.0 - self.tasks as f64 / self.info.tasks.max(1) as f64)
    }
}

impl Progress {
    /// Progress of a run of these stages on these devices, or on one; shown by one process for all.
    pub(crate) fn new(stages: &[StageInfo], devices: Option<&Devices>) -> Self {
        let display = if devices.is_some_and(|devices| !devices.is_first()) {
            Display::Nothing
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(stages.iter().map(|s| s.cost_ns).sum());
            let style =
                ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {percent:>3} % {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_secs(1));
            Display::Bar(bar)
        } else {
            Display::Lines
        };
        let of_stage = |info: &StageInfo| Done {
            info: info.clone(),
            tasks: 0,
            received: BTreeMap::new(),
            row: StageRow {
                group: info.group.clone(),
                stage: info.layer.clone(),
                level_in: info.level_in.0,
                level_out: info.level_out.0,
                ciphertexts: info.ciphertexts,
                rotations: 0,
                products: 0,
                plain_products: 0,
                bootstraps: info.bootstraps,
                received_bytes: 0,
                seconds: 0.0,
            },
        };
        let stages = stages.iter().map(of_stage).collect();
        let comm = devices.and_then(Devices::comm).cloned();
        let (now, traffic) = (Instant::now(), Traffic::default());
        Self { display, start: now, task_start: now, stages, skipped: 0.0, comm, traffic }
    }

    /// What devices have exchanged since they are there.
    fn traffic(&self) -> Traffic {
        self.comm.as_ref().map_or_else(Traffic::default, |comm| comm.ledger().snapshot())
    }

    /// Of each section, the most that a device received.
    pub(crate) fn received(&self) -> BTreeMap<Section, u64> {
        let mut ranks: BTreeMap<(Section, usize), u64> = BTreeMap::new();
        for stage in &self.stages {
            for (rank, bytes) in &stage.received {
                *ranks.entry((stage.info.section, *rank)).or_default() += bytes;
            }
        }
        let mut most: BTreeMap<Section, u64> = BTreeMap::new();
        for ((section, _), bytes) in ranks {
            let section = most.entry(section).or_default();
            *section = bytes.max(*section);
        }
        most
    }

    /// Tasks that are done before this process begins: the first `steps` of a run.
    pub(crate) fn skip(&mut self, run: &Evaluation<'_>, steps: usize) {
        for step in run.schedule().steps().iter().take(steps) {
            let Step::Run(id) = step else { continue };
            let stage = &mut self.stages[run.program().task(*id).stage];
            stage.tasks += 1;
        }
        let done = self.cost_here();
        self.skipped += done;
        if let Display::Bar(bar) = &self.display {
            bar.inc(done as u64);
        }
    }

    /// Tasks that are done.
    pub(crate) fn tasks_done(&self) -> usize {
        self.stages.iter().map(|stage| stage.tasks).sum()
    }

    fn cost(&self) -> f64 {
        self.stages.iter().map(|s| s.info.cost_ns as f64).sum()
    }

    /// What this process did.
    fn cost_here(&self) -> f64 {
        self.cost() - self.skipped - self.cost_left()
    }

    fn cost_left(&self) -> f64 {
        self.stages.iter().map(Done::cost_left).sum()
    }

    /// The stages of the run.
    pub(crate) fn into_rows(self) -> Vec<StageRow> {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
        self.stages.into_iter().map(|stage| stage.row).collect()
    }

    /// Estimated seconds that the rest of `group`, and of everything, takes.
    fn left(&self, group: &str) -> (f64, f64) {
        let left = self.cost_left();
        let pace = self.start.elapsed().as_secs_f64() / self.cost_here().max(1.0);
        let here = self.stages.iter().filter(|s| s.info.group == group);
        (pace * here.map(Done::cost_left).sum::<f64>(), pace * left)
    }
}

impl Observer for Progress {
    fn begin(&mut self, task: &TaskInfo<'_>) {
        self.task_start = Instant::now();
        self.traffic = self.traffic();
        let Display::Bar(bar) = &self.display else { return };
        let StageInfo { group, layer, .. } = task.stage;
        let left = if self.cost_here() <= 0.0 {
            String::new()
        } else {
            let (here, all) = self.left(group);
            format!(" · {} left in {group}, {} in all", clock(here), clock(all))
        };
        bar.set_message(format!("{group}, {layer}{left}"));
    }

    fn end(&mut self, task: &TaskInfo<'_>, counts: &OpCounts) {
        let seconds = self.task_start.elapsed().as_secs_f64();
        let received = self.traffic().since(&self.traffic);
        let stage = &mut self.stages[task.stage.index];
        for (rank, _, count) in received.iter() {
            *stage.received.entry(rank).or_default() += count.bytes;
        }
        stage.row.received_bytes = stage.received.values().copied().max().unwrap_or(0);
        let before = stage.cost_left();
        stage.tasks += 1;
        stage.row.rotations += counts.rotations;
        stage.row.products += counts.products;
        stage.row.plain_products += counts.plain_products;
        stage.row.seconds += seconds;
        let (cost, ended) = (before - stage.cost_left(), stage.tasks == stage.info.tasks);
        let StageInfo { group, layer, level_in, level_out, .. } = task.stage;
        match &self.display {
            Display::Bar(bar) => bar.inc(cost as u64),
            Display::Lines if ended => {
                let seconds = stage.row.seconds;
                let (here, all) = self.left(group);
                output::note(&format!(
                    "[{}/{}] {group}, {layer}: level {} -> {}, {seconds:.1} s; left: {} in {group}, {} in all",
                    task.index + 1,
                    task.count,
                    level_in.0,
                    level_out.0,
                    clock(here),
                    clock(all)
                ));
            }
            Display::Lines | Display::Nothing => {}
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
    use aegis_nn::{Kind, Section};

    fn stage(index: usize, group: &str) -> StageInfo {
        StageInfo {
            index,
            group: group.to_owned(),
            layer: "linear".to_owned(),
            section: Section::Other,
            level_in: Level(9),
            level_out: Level(8),
            ciphertexts: 1,
            bootstraps: 2,
            tasks: 2,
            cost_ns: 10,
        }
    }

    /// Tasks of two stages take turns; a stage is a row.
    #[test]
    fn rows_follow_the_stages() {
        let stages = [stage(0, "layer 0"), stage(1, "layer 1")];
        let mut progress = Progress::new(&stages, None);
        let (level, from) = (Level(8), Level(9));
        let kind = Kind { layer: "linear".into(), part: "", level, from, reads: 1, writes: 1 };
        for (index, at) in [0, 1, 0, 1].into_iter().enumerate() {
            let task = TaskInfo { index, count: 4, stage: &stages[at], kind: &kind };
            progress.begin(&task);
            progress.end(&task, &OpCounts { rotations: 3, ..OpCounts::default() });
        }
        assert_eq!(progress.left("layer 1"), (0.0, 0.0));
        let table = table(&progress.into_rows());
        assert_eq!(table.lines().count(), 4, "{table}");
        assert!(table.lines().last().is_some_and(|l| l.contains(" 12 ") && l.contains(" 4 ")), "{table}");
    }

    #[test]
    fn clock_shows_minutes() {
        assert_eq!(clock(125.4), "2:05");
    }
}
