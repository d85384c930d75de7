//! Client and server in one process: `embed`, and the demonstration built on it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use aegis::message::{self, Header, Kind};
use aegis::{Client, Model, Server};
use aegis_ckks::{EvaluationKeys, Params, Seed};
use aegis_models::{Bert, Shared};
use aegis_nn::{Memory, largest};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::args::{self, Demo, Embed, Rounding};
use crate::devices::{Devices, Movement};
use crate::progress::{Progress, StageRow, table};
use crate::{files, memory, output, presets, session, text};

/// Five plain documents for the demonstration.
const DOCUMENTS: [&str; 5] = [
    "Encryption lets a patient ask a health service for advice without revealing the question.",
    "The bakery on the corner sells fresh bread every morning.",
    "A doctor must keep what patients say confidential.",
    "The football match ended in a draw after extra time.",
    "Cloud computers can be asked questions through a web page.",
];

/// What an encrypted embedding and the plain one agree to, at least: below, something is broken.
const MIN_COSINE: f64 = 0.9995;

/// Everything `embed --check --json` prints for one text.
#[derive(Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    cosine: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_abs_error: Option<f64>,
    /// What the embedding is rounded to; all that is derived from it is derived from the rounded one.
    #[serde(skip_serializing_if = "Option::is_none")]
    round_bits: Option<u32>,
    /// What `cosine` must reach.
    #[serde(skip)]
    min_cosine: f64,
    /// Texts that shared the run; what follows but the number of tokens and the embedding is theirs together.
    texts: usize,
    /// Encryption, evaluation and decryption.
    seconds: f64,
    /// Making the keys, once for all texts.
    keygen_seconds: f64,
    tokens: usize,
    padded_tokens: usize,
    bootstraps: u64,
    rotations: u64,
    ct_mults: u64,
    pt_mults: u64,
    peak_rss_bytes: Option<u64>,
    /// Most bytes of keys, ciphertexts and weights on the device at once.
    peak_device_bytes: u64,
    /// The same, as it was known before.
    predicted_peak_device_bytes: u64,
    log2_qp: f64,
    security_bits: Option<f64>,
    bootstrap_failure_log2: Option<f64>,
    /// Of the encrypted result as the server would send it: equal for equal seed and text, whatever the threads.
    ciphertext_sha256: String,
    preset: String,
    /// Of each device.
    threads: usize,
    #[serde(flatten)]
    movement: Movement,
    key_bytes: u64,
    /// Stages in which the plain network, with the same approximations, leaves a calibrated range. Empty: such texts are
    /// refused before.
    #[serde(skip_serializing_if = "Option::is_none")]
    out_of_range: Option<Vec<String>>,
    embedding: Vec<f64>,
    stages: Vec<StageRow>,
}

impl Report {
    /// Compares with the plain model's embedding.
    fn compare(&mut self, plain: &[f64], rounding: Rounding) -> Result<()> {
        self.cosine = Some(aegis_models::cosine(&self.embedding, plain)?);
        self.max_abs_error = Some(largest(self.embedding.iter().zip(plain).map(|(a, b)| a - b)));
        // What rounding alone takes from the plain embedding is no fault.
        let grid = session::rounded(plain.to_vec(), rounding)?;
        self.min_cosine = MIN_COSINE - (1.0 - aegis_models::cosine(&grid, plain)?);
        self.out_of_range = Some(vec![]);
        Ok(())
    }

    /// Fails where a comparison was made and the embedding is not the plain model's.
    fn verdict(&self) -> Result<()> {
        // Written so that NaN fails.
        if self.cosine.is_none_or(|cosine| cosine >= self.min_cosine) {
            return Ok(());
        }
        let (cosine, min) = (self.cosine.unwrap_or(f64::NAN), self.min_cosine);
        bail!(
            "the cosine with the plain model is {cosine:.6}, below {min:.4}; do keys and model belong together?"
        )
    }
}

/// Texts made ready for encryption, all covered by the calibration: what is refused is refused before keys are made.
struct Prepared {
    params: Params,
    model: Model,
    queries: Vec<Shared>,
    /// What they were made of.
    texts: String,
}

impl Prepared {
    fn new(preset: &str, bert: &Arc<Bert>, texts: &[String]) -> Result<Self> {
        let params = presets::find(preset)?;
        let lengths = texts.iter().map(|text| token_count(bert, text)).collect::<Result<Vec<_>>>()?;
        let model = session::model(&params, bert, lengths.into_iter().max().unwrap_or(1))?;
        let queries = session::queries(&model, texts)?;
        Ok(Self { params, model, queries, texts: texts.join("\n") })
    }
}

/// Client and server in one process.
struct Local {
    devices: Devices,
    client: Client,
    server: Server,
    /// What a run was found to take.
    memory: Memory,
    evaluation_keys: Arc<EvaluationKeys>,
    seed: Seed,
    keygen_seconds: f64,
}

impl Local {
    /// Makes keys for prepared texts, which come back.
    fn new(
        prepared: Prepared,
        (devices, comm): (args::Devices, args::Comm),
        threads: Option<NonZeroUsize>,
        limit: args::Memory,
        seed: args::Seed,
    ) -> Result<(Self, Vec<Shared>)> {
        let start = Instant::now();
        let Prepared { params, model, queries, texts } = prepared;
        let devices = Devices::open(params, devices, comm, threads)?;
        agree(&devices, &model, &texts)?;
        let seed = devices.seed(seed)?;
        let ctx = &devices.ctx;
        let (server, memory) = session::server_within(&devices, model, limit)?;
        let request = server.request();
        devices.note(&format!("making keys: {:.2} GiB", gib(request.bytes(ctx.params()))));
        let (client, evaluation_keys) = Client::generate(ctx, seed.derive("keys", &[]), request)?;
        ctx.device().sync()?;
        let evaluation_keys = Arc::new(evaluation_keys);
        let keygen_seconds = start.elapsed().as_secs_f64();
        Ok((Self { devices, client, server, memory, evaluation_keys, seed, keygen_seconds }, queries))
    }

    /// Embeds texts that share a query under encryption, and compares each with the plain model where they are to be
    /// checked. `texts` are all texts.
    fn embed(
        &self,
        shared: &Shared,
        rounding: Rounding,
        check: bool,
        texts: &[String],
    ) -> Result<Vec<Report>> {
        let start = Instant::now();
        let (model, query) = (self.server.model(), &shared.query);
        let encrypted = self.client.encrypt(model, query, &self.seed)?;
        let mut progress = Progress::new(self.server.plan().stages(), Some(&self.devices));
        let result = self
            .server
            .evaluate(&self.evaluation_keys, encrypted, &mut progress)
            .context("evaluation failed")?;
        let (blocks, ctx) = (result.blocks(), &self.devices.ctx);
        let movement = self.devices.movement(&progress.received())?;
        let stages = progress.into_rows();
        let identity = model.bert().identity().to_owned();
        let header = Header { kind: Kind::Result, model: identity, shape: query.shape.clone() };
        let message = message::encode(ctx, &header, blocks)?;
        let embeddings = self.client.decrypt(&query.shape, blocks)?;
        let seconds = start.elapsed().as_secs_f64();
        let params = ctx.params();
        let of_text = |tokens, embedding| Report {
            cosine: None,
            max_abs_error: None,
            round_bits: rounding.bits,
            min_cosine: MIN_COSINE,
            texts: query.shape.lengths().len(),
            seconds,
            keygen_seconds: self.keygen_seconds,
            tokens,
            padded_tokens: query.shape.padded_tokens(),
            bootstraps: stages.iter().map(|row| row.bootstraps).sum(),
            rotations: stages.iter().map(|row| row.rotations).sum(),
            ct_mults: stages.iter().map(|row| row.products).sum(),
            pt_mults: stages.iter().map(|row| row.plain_products).sum(),
            peak_rss_bytes: memory::peak_rss_bytes(),
            peak_device_bytes: ctx.device().memory().peak,
            predicted_peak_device_bytes: self.memory.peak(),
            log2_qp: params.log2_qp(),
            security_bits: params.security_bits(),
            bootstrap_failure_log2: params.bootstrap_failure_log2(),
            ciphertext_sha256: files::sha256(&message),
            preset: params.name().to_owned(),
            threads: self.devices.threads,
            movement: movement.clone(),
            key_bytes: self.evaluation_keys.bytes(),
            out_of_range: None,
            embedding,
            stages: stages.clone(),
        };
        let mut reports = vec![];
        for ((&text, &tokens), embedding) in shared.texts.iter().zip(query.shape.lengths()).zip(embeddings) {
            let mut report = of_text(tokens, session::rounded(embedding, rounding)?);
            if check {
                report.compare(&model.bert().embed_plain(&texts[text])?, rounding)?;
            }
            reports.push(report);
        }
        Ok(reports)
    }
}

/// Whether all processes are about to do the same, down to the texts.
fn agree(devices: &Devices, model: &Model, texts: &str) -> Result<()> {
    devices.agree("a release", env!("CARGO_PKG_VERSION").as_bytes())?;
    devices.agree("parameters", &devices.ctx.params().digest())?;
    devices.agree("a placement", format!("{:?}", devices.placement()).as_bytes())?;
    devices.agree("a model", model.bert().identity().as_bytes())?;
    devices.agree("a calibration", serde_json::to_string(&model.calibration().constants)?.as_bytes())?;
    devices.agree("texts", texts.as_bytes())
}

/// Number of tokens of a text; one that cannot be embedded is an error of input.
fn token_count(bert: &Bert, text: &str) -> Result<usize> {
    Ok(bert.tokenize(text)?.len())
}

/// `aegis embed`.
pub(crate) fn embed(args: &Embed) -> Result<()> {
    let texts = text::many(&args.text, args.text_file.as_deref())?;
    let prepared = Prepared::new(&args.preset, &session::load_model(&args.model)?, &texts)?;
    let (local, queries) =
        Local::new(prepared, (args.devices, args.comm), args.run.threads, args.memory, args.seed)?;
    let (mut verdict, mut seconds) = (Ok(()), 0.0);
    // Reports of texts whose turn has not come: one before them is in a later run.
    let (mut waiting, mut next) = (BTreeMap::new(), 0);
    for shared in &queries {
        let reports = local.embed(shared, args.rounding, args.check, &texts)?;
        seconds += reports.first().map_or(0.0, |report| report.seconds);
        waiting.extend(shared.texts.iter().copied().zip(reports));
        while let Some(report) = waiting.remove(&next) {
            next += 1;
            verdict = verdict.and(report.verdict());
            if !local.devices.is_first() {
                continue;
            }
            if args.run.json {
                output::line(&serde_json::to_string(&report)?)?;
            } else {
                output::line(&summary(&report))?;
                output::line(&output::numbers(&report.embedding))?;
            }
        }
    }
    let (texts, runs) = (texts.len(), queries.len());
    let per_minute = 60.0 * texts as f64 / seconds;
    local
        .devices
        .note(&format!("texts {texts}, runs {runs}, {seconds:.1} s: {per_minute:.2} texts a minute"));
    verdict
}

/// `aegis demo`.
pub(crate) fn demo(args: &Demo) -> Result<()> {
    // The text has a default, which a file stands in for.
    let text = match &args.text_file {
        Some(path) => text::one(None, Some(path))?,
        None => text::one(Some(&args.text), None)?,
    };
    let bert = session::load_model(&args.model)?;
    let prepared = Prepared::new(&args.preset, &bert, std::slice::from_ref(&text))?;
    let documents = DOCUMENTS.iter().map(|text| bert.embed_plain(text)).collect::<Result<Vec<_>, _>>()?;
    let plain = bert.embed_plain(&text)?;
    output::line(&format!("sentence: {text} ({} tokens)", token_count(&bert, &text)?))?;
    let (local, queries) =
        Local::new(prepared, (args.devices, args::Comm::Local), args.threads, args.memory, args.seed)?;
    let [query] = &queries[..] else { bail!("one text gives one query") };
    let reports = local.embed(query, Rounding { bits: None }, true, std::slice::from_ref(&text))?;
    let [report] = &reports[..] else { bail!("one text gives one embedding") };
    output::line(&table(&report.stages))?;
    output::line("")?;
    let encrypted_ranking = aegis_models::rank(&report.embedding, &documents)?;
    let plain_ranking = aegis_models::rank(&plain, &documents)?;
    output::line("similarity to five documents: encrypted, plain")?;
    for ((document, similarity), (_, expected)) in encrypted_ranking.iter().zip(&plain_ranking) {
        output::line(&format!("  {similarity:.4}  {expected:.4}  {}", DOCUMENTS[*document]))?;
    }
    let order = |ranking: &[(usize, f64)]| ranking.iter().map(|r| r.0).collect::<Vec<_>>();
    let same = order(&encrypted_ranking) == order(&plain_ranking);
    output::line(if same { "the rankings agree" } else { "THE RANKINGS DIFFER" })?;
    output::line("")?;
    output::line(&summary(report))?;
    if !same {
        bail!("the encrypted ranking differs from the plain one");
    }
    report.verdict()
}

/// The figures of one text, one a line.
fn summary(r: &Report) -> String {
    let or_unknown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let lines = [
        ("cosine with the plain model", or_unknown(r.cosine.map(|c| format!("{c:.6}")))),
        ("largest error", or_unknown(r.max_abs_error.map(|e| format!("{e:.2e}")))),
        ("tokens, padded", format!("{}, {}", r.tokens, r.padded_tokens)),
        ("texts that shared the run", r.texts.to_string()),
        ("bootstraps", r.bootstraps.to_string()),
        ("seconds, of them keys before", format!("{:.1}, {:.1}", r.seconds, r.keygen_seconds)),
        ("peak memory", or_unknown(r.peak_rss_bytes.map(|b| format!("{:.2} GiB", gib(b))))),
        (
            "on the device, predicted",
            format!("{:.2} GiB, {:.2} GiB", gib(r.peak_device_bytes), gib(r.predicted_peak_device_bytes)),
        ),
        ("evaluation keys", format!("{:.2} GiB", gib(r.key_bytes))),
        ("log2 QP", format!("{:.1}", r.log2_qp)),
        ("security bits", or_unknown(r.security_bits.map(|b| format!("{b:.1}")))),
        ("failure of one bootstrap", or_unknown(r.bootstrap_failure_log2.map(|f| format!("2^{f:.1}")))),
        ("SHA-256 of the encrypted result", r.ciphertext_sha256.clone()),
    ];
    lines.iter().map(|(name, value)| format!("{name:32} {value}")).collect::<Vec<_>>().join("\n")
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cosine: Option<f64>) -> Report {
        Report {
            cosine,
            max_abs_error: cosine.map(|_| 1e-3),
            round_bits: None,
            min_cosine: MIN_COSINE,
            texts: 1,
            seconds: 1.0,
            keygen_seconds: 1.0,
            tokens: 3,
            padded_tokens: 64,
            bootstraps: 31,
            rotations: 1,
            ct_mults: 1,
            pt_mults: 1,
            peak_rss_bytes: Some(1),
            peak_device_bytes: 1,
            predicted_peak_device_bytes: 1,
            log2_qp: 1684.0,
            security_bits: Some(132.0),
            bootstrap_failure_log2: Some(-138.0),
            ciphertext_sha256: "00".into(),
            preset: presets::DEFAULT.into(),
            threads: 2,
            movement: Movement::default(),
            key_bytes: 1,
            out_of_range: cosine.map(|_| vec![]),
            embedding: vec![1.0],
            stages: vec![],
        }
    }

    /// The names are an interface: programs read them.
    #[test]
    fn the_report_keeps_its_names() {
        let json = serde_json::to_value(report(Some(1.0))).expect("JSON");
        for name in [
            "cosine",
            "max_abs_error",
            "texts",
            "seconds",
            "tokens",
            "padded_tokens",
            "bootstraps",
            "rotations",
            "ct_mults",
            "pt_mults",
            "peak_rss_bytes",
            "peak_device_bytes",
            "predicted_peak_device_bytes",
            "log2_qp",
            "security_bits",
            "bootstrap_failure_log2",
            "ciphertext_sha256",
            "embedding",
            "devices",
            "mesh",
            "strategy",
            "bytes_ffn",
            "bytes_attention",
            "bytes_bootstrap",
            "bytes_keys",
            "bytes_other",
        ] {
            assert!(json.get(name).is_some(), "{name} is missing in {json}");
        }
        let unchecked = serde_json::to_value(report(None)).expect("JSON");
        assert!(unchecked.get("cosine").is_none(), "a comparison that was not made is not reported");
    }

    /// The verdict on a rounded embedding is that on the exact one, and what is printed is the rounded one's.
    #[test]
    fn a_rounded_embedding_is_judged_by_what_rounding_takes() {
        let plain: Vec<f64> =
            aegis_models::normalize((1..65).map(|i| f64::from(i).sin()).collect()).expect("a direction");
        let other: Vec<f64> = plain.iter().rev().copied().collect();
        for bits in [4, 10] {
            let rounding = Rounding { bits: Some(bits) };
            for (exact, good) in [(&plain, true), (&other, false)] {
                let mut report = report(None);
                report.embedding = session::rounded(exact.clone(), rounding).expect("an embedding");
                report.compare(&plain, rounding).expect("a comparison");
                assert_eq!(report.verdict().is_ok(), good, "{bits} bits: {:?}", report.cosine);
                assert!(report.max_abs_error.is_some_and(|e| !good || e <= 0.5f64.powi(bits as i32 + 1)));
            }
        }
    }

    #[test]
    fn a_wrong_embedding_is_a_failure() {
        for (cosine, fails) in
            [(None, false), (Some(0.9996), false), (Some(0.9994), true), (Some(f64::NAN), true)]
        {
            assert_eq!(report(cosine).verdict().is_err(), fails, "{cosine:?}");
        }
    }
}
