//! `aegis plan`: what an inference takes, known without keys.

use std::path::Path;
use std::time::Instant;

use aegis_ckks::{Params, Totals};
use aegis_models::{Config, stand_in};
use aegis_nn::{Bill, Catalog, Layout, Network, Plan, Section, Working};
use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{args, memory, output, presets, session};

/// The model that is planned by its shape alone.
const BERT_BASE: &str = "bert-base";

/// What is said of constants that stand in for calibrated ones.
const STAND_IN: &str = "stand-in weights and constants in the shape of BERT-Base: 768 features, 12 heads, 12 layers, 3072 \
                        intermediate features; degrees and steps as typical of all-MiniLM-L6-v2, none calibrated";

/// What estimates of time are worth.
const REFERENCE: &str =
    "estimated by proportions on a reference machine of two cores, no prediction for this one";

/// Of the table. The last two are at the peak of the stage.
const COLUMNS: [&str; 10] = [
    "stage",
    "tasks",
    "launches",
    "GB touched",
    "gathers",
    "rows gathered",
    "uploads",
    "seconds",
    "GB in blocks",
    "GB in the task",
];

/// One line of the table.
#[derive(Serialize)]
struct Line {
    name: String,
    tasks: u64,
    launches: u64,
    bytes_touched: u64,
    gathers: u64,
    gathered_rows: u64,
    uploads: u64,
    upload_bytes: u64,
    reference_seconds: f64,
    /// At the stage's peak: what blocks take, of this stage and of others, and what the task at hand holds besides.
    block_bytes: u64,
    task_bytes: u64,
}

impl Line {
    fn new(name: &str, Bill { tasks, totals, ns }: &Bill, working: Working) -> Self {
        let Totals { launches, bytes_touched, gathers, gathered_rows, uploads, upload_bytes, .. } = *totals;
        Self {
            name: name.to_owned(),
            tasks: *tasks,
            launches,
            bytes_touched,
            gathers,
            gathered_rows,
            uploads,
            upload_bytes,
            reference_seconds: *ns as f64 / 1e9,
            block_bytes: working.blocks,
            task_bytes: working.task,
        }
    }

    fn cells(&self) -> [String; COLUMNS.len()] {
        let gigabytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1e9);
        [
            self.name.clone(),
            self.tasks.to_string(),
            self.launches.to_string(),
            gigabytes(self.bytes_touched),
            self.gathers.to_string(),
            self.gathered_rows.to_string(),
            format!("{} ({} GB)", self.uploads, gigabytes(self.upload_bytes)),
            format!("{:.1}", self.reference_seconds),
            gigabytes(self.block_bytes),
            gigabytes(self.task_bytes),
        ]
    }
}

/// Everything that `plan --json` prints. Bytes are those of one device.
#[derive(Serialize)]
struct Report {
    model: String,
    /// What stands in for weights and constants, where something does.
    #[serde(skip_serializing_if = "Option::is_none")]
    stand_in: Option<&'static str>,
    preset: String,
    tokens: usize,
    padded_tokens: usize,
    token_blocks: usize,
    block_tokens: usize,
    token_blocks_a_group: usize,
    bootstraps: u64,
    /// Ciphertexts of attention scores among what is bootstrapped.
    bootstrapped_scores: u64,
    reference_seconds: f64,
    reference: &'static str,
    key_bytes: u64,
    matrix_bytes: u64,
    working_bytes: u64,
    predicted_peak_device_bytes: u64,
    peak_stage: String,
    stages: Vec<Line>,
    sections: Vec<Line>,
    all: Line,
    /// Of the planning itself.
    plan_seconds: f64,
    peak_rss_bytes: Option<u64>,
}

/// What is to be planned.
struct Target {
    name: String,
    stand_in: Option<&'static str>,
    layout: Layout,
    network: std::sync::Arc<Network>,
}

impl Target {
    fn new(model: &Path, params: &Params, tokens: usize) -> Result<Self> {
        let name = model.display().to_string();
        if model.as_os_str() != BERT_BASE {
            let model = session::exact_model(params, &session::load_model(model)?, tokens)?;
            return Ok(Self {
                name,
                stand_in: None,
                layout: *model.layout(),
                network: model.network().clone(),
            });
        }
        let layout = Config::BERT_BASE.layout(params.slots(), tokens).with_context(|| {
            format!("texts of {tokens} tokens do not fit {BERT_BASE} or preset {}", params.name())
        })?;
        let network = stand_in(&Config::BERT_BASE, &layout)?.into();
        Ok(Self { name, stand_in: Some(STAND_IN), layout, network })
    }
}

/// `aegis plan`.
pub(crate) fn plan(args: &args::Plan) -> Result<()> {
    let start = Instant::now();
    let params = presets::find(&args.preset)?;
    let target = Target::new(&args.model, &params, args.tokens)?;
    let plan = Plan::new(&target.network, &mut Catalog::new(&params)?)
        .with_context(|| format!("preset {} does not carry this model", params.name()))?;
    let report = Report::new(args.tokens, &params, &target, &plan, start);
    if args.json {
        output::line(&serde_json::to_string(&report)?)?;
    } else {
        output::line(&report.text())?;
    }
    match args.memory {
        Some(limit) => memory::check_device(report.predicted_peak_device_bytes, limit, report.padded_tokens),
        None => Ok(()),
    }
}

impl Report {
    fn new(tokens: usize, params: &Params, target: &Target, plan: &Plan, start: Instant) -> Self {
        let (layout, memory) = (target.layout, plan.memory());
        let rows = || plan.stages().iter().zip(plan.bills()).zip(plan.working());
        let stages = lines(rows().map(|((stage, bill), working)| (stage.layer.as_str(), bill, working)));
        let sections = lines(rows().map(|((stage, bill), working)| (section(stage.section), bill, working)));
        let all = lines(rows().map(|((_, bill), working)| ("all", bill, working))).pop();
        let all = all.unwrap_or_else(|| Line::new("all", &Bill::default(), Working::default()));
        Self {
            model: target.name.clone(),
            stand_in: target.stand_in,
            preset: params.name().to_owned(),
            tokens,
            padded_tokens: layout.tokens(),
            token_blocks: layout.token_blocks(),
            block_tokens: layout.block_tokens(),
            token_blocks_a_group: layout.group(),
            bootstraps: plan.levels().bootstraps,
            bootstrapped_scores: target.network.bootstrapped_scores(plan.levels()),
            reference_seconds: all.reference_seconds,
            reference: REFERENCE,
            key_bytes: memory.keys,
            matrix_bytes: memory.matrices,
            working_bytes: memory.working,
            predicted_peak_device_bytes: memory.peak(),
            peak_stage: plan.stages().get(memory.stage).map(|s| s.name()).unwrap_or_default(),
            stages,
            sections,
            all,
            plan_seconds: start.elapsed().as_secs_f64(),
            peak_rss_bytes: memory::peak_rss_bytes(),
        }
    }

    /// For people: what it takes, then what it is made of.
    fn text(&self) -> String {
        let gib = |bytes: u64| format!("{:.2} GiB", bytes as f64 / (1u64 << 30) as f64);
        let mut lines = vec![format!("{} at preset {}, one device", self.model, self.preset)];
        lines.extend(self.stand_in.map(str::to_owned));
        let blocks =
            format!("{} of {}, {} a group", self.token_blocks, self.block_tokens, self.token_blocks_a_group);
        let facts = [
            ("tokens, padded", format!("{}, {}", self.tokens, self.padded_tokens)),
            ("token blocks", blocks),
            ("bootstraps", self.bootstraps.to_string()),
            ("ciphertexts of scores among them", self.bootstrapped_scores.to_string()),
            ("seconds", format!("{:.0}, {REFERENCE}", self.reference_seconds)),
            ("evaluation keys", gib(self.key_bytes)),
            ("matrices of bootstrapping", gib(self.matrix_bytes)),
            ("working memory", gib(self.working_bytes)),
            (
                "peak on the device",
                format!("{}, at {}", gib(self.predicted_peak_device_bytes), self.peak_stage),
            ),
        ];
        lines.extend(facts.map(|(name, value)| format!("{name:32} {value}")));
        let rows: Vec<_> = self.stages.iter().chain(&self.sections).chain([&self.all]).collect();
        lines.push(String::new());
        lines.push(table(&rows));
        lines.join("\n")
    }
}

/// Sums by name, in the order in which names first come.
fn lines<'a>(rows: impl Iterator<Item = (&'a str, &'a Bill, &'a Working)>) -> Vec<Line> {
    let mut sums: Vec<(&str, Bill, Working)> = vec![];
    for (name, bill, working) in rows {
        match sums.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, sum, most)) => {
                *sum += *bill;
                *most = if working.bytes() > most.bytes() { *working } else { *most };
            }
            None => sums.push((name, *bill, *working)),
        }
    }
    sums.iter().map(|(name, sum, most)| Line::new(name, sum, *most)).collect()
}

fn section(section: Section) -> &'static str {
    match section {
        Section::Attention => "in all: attention",
        Section::FeedForward => "in all: feed-forward",
        Section::Bootstrap => "in all: bootstraps",
        Section::Other => "in all: other",
    }
}

fn table(rows: &[&Line]) -> String {
    let mut cells = vec![COLUMNS.map(str::to_owned)];
    cells.extend(rows.iter().map(|row| row.cells()));
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| cells.iter().map(|c| c[column].chars().count()).max().unwrap_or(0))
        .collect();
    let show = |line: &[String; COLUMNS.len()]| {
        let first = format!("{:w$}", line[0], w = widths[0]);
        let rest = (1..line.len()).map(|i| format!("{:>w$}", line[i], w = widths[i]));
        std::iter::once(first).chain(rest).collect::<Vec<_>>().join("  ")
    };
    cells.iter().map(show).collect::<Vec<_>>().join("\n")
}
