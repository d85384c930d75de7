//! A folder of keys: `secret.key`, `eval.keys` and `keyset.json`, which says what they serve.

use std::path::{Path, PathBuf};

use aegis_ckks::{Context, EvaluationKeys, Params, SecretKey, Seed, read_spec};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::fault::{BlameInput, input};
use crate::files::{self, Access, Staged};
use crate::{args, output};

/// Name of the file with the secret.
pub(crate) const SECRET: &str = "secret.key";
/// Name of the file for the server.
pub(crate) const EVALUATION: &str = "eval.keys";
/// Name of the description.
pub(crate) const DESCRIPTION: &str = "keyset.json";
/// No description is longer.
const MAX_DESCRIPTION_BYTES: u64 = 1 << 16;

/// What a set of keys serves. Public.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Keyset {
    /// Identity of the secret key.
    pub(crate) key_id: String,
    /// Parameter preset.
    pub(crate) preset: String,
    /// SHA-256 of the weights of the model they were made for.
    pub(crate) model: String,
    /// Tokens that texts are padded to.
    pub(crate) padded_tokens: usize,
}

impl Keyset {
    /// Reads the description in a folder of keys.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(DESCRIPTION);
        let text = files::read(&path, MAX_DESCRIPTION_BYTES)?;
        serde_json::from_slice(&text)
            .blame_input(format!("{} is damaged; make the keys again", path.display()))
    }

    /// Fails unless it describes this secret's keys.
    pub(crate) fn check(&self, secret: &SecretKey) -> Result<()> {
        if self.key_id == secret.id().to_string() {
            return Ok(());
        }
        let (have, want) = (&self.key_id, secret.id());
        Err(input(format!(
            "{DESCRIPTION} is of key set {have}, {SECRET} of {want}; restore the folder from a copy"
        )))
    }

    /// Writes it beside its place.
    pub(crate) fn stage(&self, folder: &Path) -> Result<Staged> {
        let text = serde_json::to_vec_pretty(self)?;
        files::stage(&folder.join(DESCRIPTION), Access::Normal, |out| Ok(out.write_all(&text)?))
    }
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
