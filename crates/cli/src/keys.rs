//! A folder of keys: `secret.key`, `eval.keys` and `keyset.json`, which says what they serve.

mod publish;

use std::path::{Path, PathBuf};

use aegis::keyset::{self, Keyset};
use aegis_ckks::{Context, EvaluationKeys, KeyRequest, PRESETS, Params, SecretKey, Seed, read_spec};
use anyhow::{Context as _, Result};

pub(crate) use publish::{publish, refuse_interrupted};

use crate::content::Content;
use crate::fault::input;
use crate::{args, files, output};

/// Name of the file with the secret.
pub(crate) const SECRET: &str = "secret.key";
/// Name of the file for the server.
pub(crate) const EVALUATION: &str = "eval.keys";
/// Name of the description.
pub(crate) const DESCRIPTION: &str = "keyset.json";

/// The files of a folder, and what each holds.
pub(crate) fn files_of(folder: &Path) -> [(PathBuf, Content); 3] {
    [(SECRET, Content::SecretKey), (EVALUATION, Content::EvaluationKeys), (DESCRIPTION, Content::Keyset)]
        .map(|(name, content)| (folder.join(name), content))
}

/// Reads the description in a folder of keys.
pub(crate) fn read_description(folder: &Path) -> Result<Keyset> {
    refuse_interrupted(folder)?;
    let path = folder.join(DESCRIPTION);
    let bytes = files::read(&path, keyset::MAX_BYTES)?;
    Keyset::parse(&bytes).with_context(|| format!("{} cannot be used", path.display()))
}

/// Fails unless the description is of this secret's keys.
pub(crate) fn check_description(keyset: &Keyset, secret: &SecretKey) -> Result<()> {
    keyset.check(secret).with_context(|| format!("{DESCRIPTION} and {SECRET} do not belong together"))
}

/// The checked parameters that a file of keys was made for: those of a preset, unless others are `allowed`. A device works
/// for hours with what they say, so a stranger's choice is not taken unasked.
pub(crate) fn params_of(path: &Path, allowed: args::Parameters) -> Result<Params> {
    let blame = || format!("{} cannot be used", path.display());
    let spec = read_spec(files::open_unbuffered(path)?).with_context(blame)?;
    // Equal sets have equal digests; the digest in the file is compared when the rest of it is read.
    if !allowed.allow_custom_parameters && !PRESETS.contains(&spec) {
        return Err(input(format!(
            "{}: its parameters are not those of a preset that `aegis params` lists; make the keys with a preset, or pass \
             --allow-custom-parameters if you know why they differ",
            blame()
        )));
    }
    let remedy = "its parameters are refused; use keys made from a preset that `aegis params` lists";
    Params::try_from(spec).with_context(|| format!("{}: {remedy}", blame()))
}

/// The keys in a file, told by its entries before anything is planned for them or read to memory.
pub(crate) fn inventory(params: &Params, path: &Path) -> Result<KeyRequest> {
    let cannot = || format!("{} cannot be used", path.display());
    let held = EvaluationKeys::inventory(params, files::open(path)?).with_context(cannot)?;
    // Every network bootstraps and multiplies; more it may need only a plan can say.
    if held.wants_encapsulation() && held.relinearization_level().is_some() {
        return Ok(held);
    }
    Err(input(format!(
        "{}: it holds no keys to bootstrap and multiply with; make keys with `aegis keygen`",
        cannot()
    )))
}

/// Reads the secret key of a folder.
pub(crate) fn read_secret(ctx: &Context, folder: &Path) -> Result<SecretKey> {
    let path = folder.join(SECRET);
    SecretKey::read(ctx, files::open_unbuffered(&path)?)
        .with_context(|| format!("{} cannot be used", path.display()))
}

/// Reads evaluation keys.
pub(crate) fn read_evaluation(ctx: &Context, path: &Path) -> Result<EvaluationKeys> {
    EvaluationKeys::read(ctx, files::open(path)?)
        .with_context(|| format!("{} cannot be used", path.display()))
}

/// The seed that a user asked for, with a warning, or one from the operating system.
pub(crate) fn seed(asked: args::Seed) -> Result<Seed> {
    let Some(number) = asked.seed else {
        return Seed::from_os().context("the operating system gives no randomness");
    };
    output::note(&format!(
        "warning: --seed {number} is not secret: whoever knows it has the keys and can read the text"
    ));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Ok(Seed::new(bytes).derive("aegis command line", &[]))
}
