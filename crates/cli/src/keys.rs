//! A folder of keys: `secret.key`, `eval.keys` and `keyset.json`, which says what they serve.

use std::path::{Path, PathBuf};

use aegis::keyset::{self, Keyset};
use aegis_ckks::{Context, EvaluationKeys, Params, SecretKey, Seed, read_spec};
use anyhow::{Context as _, Result};

use crate::fault::BlameInput;
use crate::files::{self, Access, Staged};
use crate::{args, output};

/// Name of the file with the secret.
pub(crate) const SECRET: &str = "secret.key";
/// Name of the file for the server.
pub(crate) const EVALUATION: &str = "eval.keys";
/// Name of the description.
pub(crate) const DESCRIPTION: &str = "keyset.json";

/// Reads the description in a folder of keys.
pub(crate) fn read_description(folder: &Path) -> Result<Keyset> {
    let path = folder.join(DESCRIPTION);
    let bytes = files::read(&path, keyset::MAX_BYTES)?;
    Keyset::parse(&bytes).blame_input(format!("{} cannot be used", path.display()))
}

/// Fails unless the description is of this secret's keys.
pub(crate) fn check_description(keyset: &Keyset, secret: &SecretKey) -> Result<()> {
    keyset.check(secret).blame_input(format!("{DESCRIPTION} and {SECRET} do not belong together"))
}

/// Writes the description beside its place.
pub(crate) fn stage_description(keyset: &Keyset, folder: &Path) -> Result<Staged> {
    let bytes = keyset.to_bytes();
    files::stage(&folder.join(DESCRIPTION), Access::Normal, |out| Ok(out.write_all(&bytes)?))
}

/// Paths of the three files in a folder.
pub(crate) fn paths(folder: &Path) -> [PathBuf; 3] {
    [SECRET, EVALUATION, DESCRIPTION].map(|name| folder.join(name))
}

/// The checked parameters that a file of keys was made for.
pub(crate) fn params_of(path: &Path) -> Result<Params> {
    let blame = || format!("{} cannot be used", path.display());
    let spec = read_spec(files::open_unbuffered(path)?).blame_input(blame())?;
    let remedy = "its parameters are refused; use keys made from a preset that `aegis params` lists";
    Params::try_from(spec).blame_input(format!("{}: {remedy}", blame()))
}

/// Reads the secret key of a folder.
pub(crate) fn read_secret(ctx: &Context, folder: &Path) -> Result<SecretKey> {
    let path = folder.join(SECRET);
    SecretKey::read(ctx, files::open_unbuffered(&path)?)
        .blame_input(format!("{} cannot be used", path.display()))
}

/// Reads evaluation keys.
pub(crate) fn read_evaluation(ctx: &Context, path: &Path) -> Result<EvaluationKeys> {
    EvaluationKeys::read(ctx, files::open(path)?).blame_input(format!("{} cannot be used", path.display()))
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
