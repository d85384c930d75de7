//! Client and server apart: keygen, encrypt, eval, decrypt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis::checkpoint::{Checkpoints, bytes_at_most, clear};
use aegis::keyset::Keyset;
use aegis::message::{self, Header, Kind};
use aegis::{Client, Evaluation};
use aegis_models::{QueryShape, Shared};
use aegis_nn::{CtTensor, MODEL};
use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{Checkpoint, Comm, Decrypt, Encrypt, Eval, Keygen};
use crate::checkpoint::{self, CheckpointFolder};
use crate::content::Content;
use crate::devices::{Devices, Movement};
use crate::fault::input;
use crate::files::{self, Output, Staged};
use crate::memory::peak_rss_bytes;
use crate::progress::{Progress, table};
use crate::session;
use crate::temporary::Folder;
use crate::{keys, output, presets, text};

/// Makes `secret.key`, `eval.keys` and `keyset.json`.
pub(crate) fn keygen(args: &Keygen) -> Result<()> {
    let start = Instant::now();
    let params = presets::find(&args.preset)?;
    let cannot = || format!("cannot create {}", args.out.display());
    let _folder = Folder::create(&args.out).with_context(cannot)?;
    keys::refuse_interrupted(&args.out)?;
    let places = keys::files_of(&args.out);
    if !args.force {
        for (path, _) in &places {
            files::refuse_existing(path, "pass --force to replace it; what was encrypted under it is lost")?;
        }
    }
    let [secret_file, evaluation_file, description] =
        places.map(|(path, content)| Output::reserve(&path, content));
    let (secret_file, evaluation_file, description) = (secret_file?, evaluation_file?, description?);
    let bert = session::load_model(&args.model)?;
    let model = session::model(&params, &bert, args.max_tokens.unwrap_or(1))?;
    model.calibration().check_length(args.max_tokens.unwrap_or(1))?;
    let padded_tokens = model.layout().tokens();
    let seed = keys::seed(args.seed)?;
    let ctx = session::context(params, args.run.threads)?;
    let server = session::server(&ctx, model)?;
    let (client, evaluation) = Client::generate(&ctx, seed.derive("keys", &[]), server.request())?;
    let secret = client.secret();
    let keyset = Keyset {
        key_id: secret.id().to_string(),
        preset: args.preset.clone(),
        model: bert.identity().to_owned(),
        padded_tokens,
    };
    let evaluation_file = evaluation_file.fill(|out| Ok(evaluation.write(&ctx, out)?))?;
    let secret_file = secret_file.fill(|out| Ok(secret.write(&ctx, out)?))?;
    let description = description.fill(|out| Ok(out.write_all(&keyset.to_bytes())?))?;
    let bytes = evaluation_file.bytes;
    let shown = |file: &Staged| file.path().display().to_string();
    let (secret_path, evaluation_path) = (shown(&secret_file), shown(&evaluation_file));
    keys::publish(&args.out, vec![secret_file, evaluation_file, description], args.force)?;
    let seconds = start.elapsed().as_secs_f64();
    if args.run.json {
        return output::line(
            &json!({
                "key_id": keyset.key_id,
                "preset": keyset.preset,
                "padded_tokens": keyset.padded_tokens,
                "switching_keys": evaluation.count(),
                "eval_keys_bytes": bytes,
                "seconds": seconds,
                "peak_rss_bytes": peak_rss_bytes(),
            })
            .to_string(),
        );
    }
    output::line(&format!(
        "{} (keep it) and {} ({:.2} GiB, {} keys, for the server): key set {}, texts of up to {} tokens, {seconds:.1} s",
        secret_path,
        evaluation_path,
        bytes as f64 / (1u64 << 30) as f64,
        evaluation.count(),
        keyset.key_id,
        keyset.padded_tokens,
    ))
}

/// Encrypts texts that share one query.
pub(crate) fn encrypt(args: &Encrypt) -> Result<()> {
    let out = Output::reserve(&args.out, Content::Query)?;
    let texts = text::many(&args.text, args.text_file.as_deref())?;
    let keyset = keys::read_description(&args.keys)?;
    let bert = session::load_model(&args.model)?;
    if keyset.model != bert.identity() {
        return Err(input(format!(
            "the keys were made for the model with sha256 {}, {} has {}; make keys for it",
            keyset.model,
            args.model.display(),
            bert.identity()
        )));
    }
    let params = keys::params_of(&args.keys.join(keys::SECRET), args.parameters)?;
    let model = session::model(&params, &bert, keyset.padded_tokens.min(bert.config().positions))?;
    if model.layout().tokens() != keyset.padded_tokens {
        return Err(input(format!("{} does not fit this model; make the keys again", keys::DESCRIPTION)));
    }
    let shared = session::queries(&model, &texts)?;
    let [Shared { query, .. }] = &shared[..] else {
        let (queries, padded) = (shared.len(), keyset.padded_tokens);
        return Err(input(format!(
            "the texts take {queries} queries and a file holds one; encrypt them apart: with {padded} padded tokens a \
             query holds up to {} texts, of at most 16 tokens each",
            (padded / 16).max(1)
        )));
    };
    let ctx = session::context(params, args.run.threads)?;
    let secret = keys::read_secret(&ctx, &args.keys)?;
    keys::check_description(&keyset, &secret)?;
    let message = Client::new(&ctx, secret).query(&model, query, &keys::seed(args.seed)?)?;
    write_message(out, &message, &query.shape, args.run.json.then(|| json!({})))
}

/// What `eval --json` prints of the run besides its result.
#[derive(Serialize)]
struct Run {
    peak_rss_bytes: Option<u64>,
    peak_device_bytes: u64,
    predicted_peak_device_bytes: u64,
    #[serde(flatten)]
    movement: Movement,
}

/// Evaluates the model on an encrypted query. Reads no secret.
pub(crate) fn eval(args: &Eval) -> Result<()> {
    let start = Instant::now();
    let out = Output::reserve(&args.out, Content::Result)?;
    let folder = args.checkpoint.folder.as_deref();
    let mut folder = folder.map(|path| CheckpointFolder::open(path, args.checkpoint.resume)).transpose()?;
    let bytes = files::read(&args.input, message::MAX_BYTES)?;
    let cannot = || format!("{} cannot be used", args.input.display());
    let header = message::header(&bytes, Kind::Query).with_context(cannot)?;
    let bert = session::load_model(&args.model)?;
    if header.model != bert.identity() {
        let (have, want) = (header.model, bert.identity().to_owned());
        return Err(aegis::Error::OtherModel { have, want }).with_context(cannot);
    }
    bert.check_shape(&header.shape).with_context(cannot)?;
    let params = keys::params_of(&args.eval_keys, args.parameters)?;
    let held = keys::inventory(&params, &args.eval_keys)?;
    let layout = header.shape.layout().with_context(cannot)?;
    let devices = Devices::open(params, args.devices, Comm::Local, args.run.threads)?;
    let ctx = &devices.ctx;
    let (header, blocks) = message::decode(ctx, &bytes, Kind::Query).with_context(cannot)?;
    drop(bytes);
    let (server, memory) =
        session::server_within(&devices, session::model_with(&bert, layout)?, args.memory)?;
    let x = server.input(&header.shape, blocks).with_context(cannot)?;
    let keys_cannot = || format!("{} cannot be used", args.eval_keys.display());
    server.check_request(&held).with_context(keys_cannot)?;
    // In memory the keys take more than twice what they take as a file, whose uniform halves are seeds.
    files::refuse_larger(&args.eval_keys, server.request().bytes(ctx.params()))?;
    let evaluation_keys = Arc::new(keys::read_evaluation(ctx, &args.eval_keys)?);
    let mut progress = Progress::new(server.plan().stages(), Some(&devices));
    let y = match &mut folder {
        None => server.evaluate(&evaluation_keys, x, &mut progress).context("evaluation failed")?,
        Some(folder) => {
            let run = server.prepare(&evaluation_keys, &x).context("evaluation failed")?;
            evaluate_with_checkpoints(&run, x, folder, &args.checkpoint, &mut progress)?
        }
    };
    let header = Header { kind: Kind::Result, ..header };
    let run = Run {
        peak_rss_bytes: peak_rss_bytes(),
        peak_device_bytes: ctx.device().memory().peak,
        predicted_peak_device_bytes: memory.peak(),
        movement: devices.movement(&progress.received())?,
    };
    let run = args.run.json.then(|| serde_json::to_value(run)).transpose()?;
    let bytes = message::encode(ctx, &header, y.blocks())?;
    write_message(out, &bytes, &header.shape, run)?;
    if let Some(folder) = &mut folder {
        clear(folder).context("the result is written, its checkpoint cannot be removed")?;
    }
    output::note(&table(&progress.into_rows()));
    output::note(&format!("evaluated in {:.1} s", start.elapsed().as_secs_f64()));
    Ok(())
}

fn evaluate_with_checkpoints(
    run: &Evaluation<'_>,
    x: CtTensor,
    folder: &mut CheckpointFolder,
    args: &Checkpoint,
    progress: &mut Progress,
) -> Result<CtTensor> {
    let cannot = format!("{} cannot be used", folder.path().display());
    output::note(&format!(
        "checkpoints in {}, every {} s: at most {} MiB of disk",
        folder.path().display(),
        args.every,
        bytes_at_most(run).div_ceil(1 << 20)
    ));
    let mut checkpoints = Checkpoints::new(run, &x, folder)?;
    let (lane, resumed) = checkpoint::begin(&mut checkpoints, x).context(cannot)?;
    if args.resume {
        progress.skip(run, lane.position());
        let tasks = run.program().tasks().len();
        output::note(&match resumed {
            true => {
                format!("goes on from the checkpoint: {} of {tasks} tasks are done", progress.tasks_done())
            }
            false => "there is no checkpoint yet: begins with the first task".to_owned(),
        });
    }
    let every = Duration::from_secs(args.every);
    checkpoint::run(run, lane, &mut checkpoints, every, progress)
}

/// Decrypts a result to the embedding of each text.
pub(crate) fn decrypt(args: &Decrypt) -> Result<()> {
    let keyset = keys::read_description(&args.keys)?;
    let bytes = files::read(&args.input, message::MAX_BYTES)?;
    let cannot = || format!("{} cannot be used", args.input.display());
    let params = keys::params_of(&args.keys.join(keys::SECRET), args.parameters)?;
    let ctx = session::context(params, args.run.threads)?;
    let secret = keys::read_secret(&ctx, &args.keys)?;
    let (header, blocks) = message::decode(&ctx, &bytes, Kind::Result).with_context(cannot)?;
    if header.model != keyset.model || header.shape.padded_tokens() != keyset.padded_tokens {
        return Err(input("it is the result of another model or of other keys").context(cannot()));
    }
    let client = Client::new(&ctx, secret);
    let embeddings = client.decrypt(&header.shape, &blocks).with_context(cannot)?;
    let rounded = embeddings.into_iter().map(|embedding| session::rounded(embedding, args.rounding));
    let embeddings = rounded.collect::<Result<Vec<_>>>()?;
    for (tokens, embedding) in header.shape.lengths().iter().zip(&embeddings) {
        if args.run.json {
            output::line(&json!({ "tokens": tokens, "embedding": embedding }).to_string())?;
        } else {
            output::line(&output::numbers(embedding))?;
        }
    }
    Ok(())
}

/// Prints what was written; as JSON with these fields more, where there are any.
fn write_message(out: Output, bytes: &[u8], shape: &QueryShape, json: Option<Value>) -> Result<()> {
    let staged = out.fill(|out| Ok(out.write_all(bytes)?))?;
    let (path, size, sha256) = (staged.path().to_path_buf(), staged.bytes, staged.sha256.clone());
    staged.publish()?;
    if let Some(more) = json {
        let mut line = json!({
            "path": path,
            "texts": shape.lengths().len(),
            "tokens": shape.tokens(),
            "padded_tokens": shape.padded_tokens(),
            "ciphertexts": shape.layout()?.blocks(MODEL),
            "bytes": size,
            "ciphertext_sha256": sha256,
        });
        let fields = line.as_object_mut().into_iter().zip(more.as_object());
        fields.for_each(|(line, more)| line.extend(more.clone()));
        return output::line(&line.to_string());
    }
    output::line(&format!(
        "{}: texts of {} tokens, {:.1} MiB",
        path.display(),
        shape.lengths().iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
        size as f64 / (1 << 20) as f64
    ))
}
