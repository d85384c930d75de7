//! Client and server apart: keygen, encrypt, eval, decrypt.

use std::sync::Arc;
use std::time::Instant;

use aegis::keyset::Keyset;
use aegis::message::{self, Header, Kind};
use aegis_ckks::KeyGenerator;
use anyhow::{Context as _, Result};
use serde_json::json;

use crate::args::{Decrypt, Encrypt, Eval, Keygen};
use crate::fault::{BlameInput, input};
use crate::files::{self, Access, Folder};
use crate::keys;
use crate::session::{self, Server};
use crate::{memory, output, presets};

/// Makes `secret.key`, `eval.keys` and `keyset.json`.
pub(crate) fn keygen(args: &Keygen) -> Result<()> {
    let start = Instant::now();
    let params = presets::find(&args.preset)?;
    let _folder = Folder::create(&args.out)?;
    if !args.force {
        for path in keys::paths(&args.out) {
            files::refuse_existing(&path, "pass --force to replace it; what was encrypted under it is lost")?;
        }
    }
    keys::paths(&args.out).iter().try_for_each(|path| files::check_writable(path))?;
    let bert = session::load_model(&args.model)?;
    let layout = session::layout(&params, &bert, args.max_tokens.unwrap_or(1))?;
    let seed = keys::seed(args.seed)?;
    let ctx = session::context(params, args.run.threads)?;
    let server = Server::new(&ctx, &bert, &layout)?;
    let generator = KeyGenerator::new(&ctx, seed.derive("keys", &[]));
    let secret = generator.secret_key();
    let evaluation = generator.evaluation_keys(&secret, &server.request())?;
    let keyset = Keyset {
        key_id: secret.id().to_string(),
        preset: args.preset.clone(),
        model: bert.identity().to_owned(),
        padded_tokens: layout.tokens(),
    };
    let [secret_path, evaluation_path, _] = keys::paths(&args.out);
    let evaluation_file =
        files::stage(&evaluation_path, Access::Normal, |out| Ok(evaluation.write(&ctx, out)?))?;
    let secret_file = files::stage(&secret_path, Access::Secret, |out| Ok(secret.write(&ctx, out)?))?;
    let (description, bytes) = (keys::stage_description(&keyset, &args.out)?, evaluation_file.bytes);
    // All three are whole: a failure before this line leaves the keys that were there before.
    let publish = if args.force { files::Staged::publish } else { files::Staged::publish_new };
    [secret_file, evaluation_file, description].into_iter().try_for_each(publish)?;
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
                "peak_rss_bytes": memory::peak_rss_bytes(),
            })
            .to_string(),
        );
    }
    output::line(&format!(
        "{} (keep it) and {} ({:.2} GiB, {} keys, for the server): key set {}, texts of up to {} tokens, {seconds:.1} s",
        secret_path.display(),
        evaluation_path.display(),
        bytes as f64 / (1u64 << 30) as f64,
        evaluation.count(),
        keyset.key_id,
        keyset.padded_tokens,
    ))
}

/// Encrypts one text.
pub(crate) fn encrypt(args: &Encrypt) -> Result<()> {
    files::check_writable(&args.out)?;
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
    let params = keys::params_of(&args.keys.join(keys::SECRET))?;
    let layout = session::layout(&params, &bert, keyset.padded_tokens.min(bert.config().positions))?;
    if layout.tokens() != keyset.padded_tokens {
        return Err(input(format!("{} does not fit this model; make the keys again", keys::DESCRIPTION)));
    }
    let query = session::query(&bert, &layout, &args.text)?;
    let ctx = session::context(params, args.run.threads)?;
    let secret = keys::read_secret(&ctx, &args.keys)?;
    keys::check_description(&keyset, &secret)?;
    let encrypted = session::encrypt(&ctx, &secret, &layout, &query, &keys::seed(args.seed)?)?;
    let header = Header { kind: Kind::Query, model: bert.identity().to_owned(), shape: query.shape };
    write_message(&ctx, &args.out, &header, encrypted.blocks(), args.run.json)
}

/// Evaluates the model on an encrypted query. Reads no secret.
pub(crate) fn eval(args: &Eval) -> Result<()> {
    let start = Instant::now();
    files::check_writable(&args.out)?;
    let bytes = files::read(&args.input, message::MAX_BYTES)?;
    let cannot = format!("{} cannot be used", args.input.display());
    let named = |error: anyhow::Error| error.context(cannot.clone());
    let header = message::header(&bytes, Kind::Query).blame_input(&cannot)?;
    let bert = session::load_model(&args.model)?;
    if header.model != bert.identity() {
        let (have, want) = (&header.model, bert.identity());
        return Err(named(input(format!(
            "it was made for the model with sha256 {have}, this one has {want}; use the same model on both sides"
        ))));
    }
    bert.check_shape(&header.shape).map_err(input).map_err(named)?;
    let params = keys::params_of(&args.eval_keys)?;
    let ctx = session::context(params, args.run.threads)?;
    let (header, blocks) = message::decode(&ctx, &bytes, Kind::Query).blame_input(&cannot)?;
    drop(bytes);
    let layout = header.shape.layout().map_err(input).map_err(named)?;
    let server = Server::new(&ctx, &bert, &layout)?;
    let x = server.input(header.shape.tokens(), blocks).map_err(named)?;
    // In memory the keys take more than twice what they take as a file, whose uniform halves are seeds.
    files::refuse_larger(&args.eval_keys, server.request().bytes(ctx.params()))?;
    let evaluation_keys = Arc::new(keys::read_evaluation(&ctx, &args.eval_keys)?);
    server.check_keys(&evaluation_keys, &x).with_context(|| args.eval_keys.display().to_string())?;
    let mut progress = server.progress();
    let y = server.evaluate(&evaluation_keys, &x, &mut progress)?;
    let header = Header { kind: Kind::Result, ..header };
    write_message(&ctx, &args.out, &header, y.blocks(), args.run.json)?;
    output::note(&crate::progress::table(&progress.into_rows()));
    output::note(&format!("evaluated in {:.1} s", start.elapsed().as_secs_f64()));
    Ok(())
}

/// Decrypts a result to an embedding.
pub(crate) fn decrypt(args: &Decrypt) -> Result<()> {
    let keyset = keys::read_description(&args.keys)?;
    let bytes = files::read(&args.input, message::MAX_BYTES)?;
    let cannot = format!("{} cannot be used", args.input.display());
    let named = |error: anyhow::Error| error.context(cannot.clone());
    let params = keys::params_of(&args.keys.join(keys::SECRET))?;
    let ctx = session::context(params, args.run.threads)?;
    let secret = keys::read_secret(&ctx, &args.keys)?;
    let (header, blocks) = message::decode(&ctx, &bytes, Kind::Result).blame_input(&cannot)?;
    if header.model != keyset.model || header.shape.padded_tokens() != keyset.padded_tokens {
        return Err(named(input("it is the result of another model or of other keys")));
    }
    session::check_result(&ctx, &secret, &header.shape, &blocks).map_err(named)?;
    let embedding = session::decrypt(&ctx, &secret, &header.shape, &blocks)?;
    if args.run.json {
        return output::line(&json!({ "tokens": header.shape.tokens(), "embedding": embedding }).to_string());
    }
    let shown: Vec<String> = embedding.iter().map(|v| format!("{v:.6}")).collect();
    output::line(&shown.join(" "))
}

fn write_message(
    ctx: &aegis_ckks::Context,
    path: &std::path::Path,
    header: &Header,
    blocks: &[aegis_ckks::Ciphertext],
    json: bool,
) -> Result<()> {
    let bytes = message::encode(ctx, header, blocks)?;
    let staged = files::stage(path, Access::Normal, |out| Ok(out.write_all(&bytes)?))?;
    let (size, sha256) = (staged.bytes, staged.sha256.clone());
    staged.publish()?;
    if json {
        let line = json!({
            "path": path,
            "tokens": header.shape.tokens(),
            "padded_tokens": header.shape.padded_tokens(),
            "ciphertexts": blocks.len(),
            "bytes": size,
            "ciphertext_sha256": sha256,
        });
        return output::line(&line.to_string());
    }
    output::line(&format!(
        "{}: {} tokens, {:.1} MiB",
        path.display(),
        header.shape.tokens(),
        size as f64 / (1 << 20) as f64
    ))
}
