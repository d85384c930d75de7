//! What a file holds, as far as its first bytes tell: an output replaces nothing else than its like.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use aegis::keyset::{self, Keyset};
use aegis::message::{self, Kind};
use aegis_ckks::{FileKind, file_kind};

/// What the command writes, and what it may find in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Empty,
    SecretKey,
    EvaluationKeys,
    Keyset,
    Query,
    Result,
    Calibration,
    Other,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "nothing",
            Self::SecretKey => "the secret key of a key set",
            Self::EvaluationKeys => "evaluation keys",
            Self::Keyset => "the description of a key set",
            Self::Query => "an encrypted query",
            Self::Result => "an encrypted result",
            Self::Calibration => "the calibration of a model",
            Self::Other => "something else",
        })
    }
}

impl From<Kind> for Content {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Query => Self::Query,
            Kind::Result => Self::Result,
        }
    }
}

/// What the file at `path` holds. Damage further on does not matter: a damaged key is nothing to write over either.
pub(crate) fn of(path: &Path) -> io::Result<Content> {
    let mut bytes = Vec::new();
    File::open(path)?.take(keyset::MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(match &bytes[..] {
        [] => Content::Empty,
        _ => match (file_kind(&bytes), message::kind(&bytes)) {
            (Some(FileKind::SecretKey), _) => Content::SecretKey,
            (Some(FileKind::EvaluationKeys), _) => Content::EvaluationKeys,
            (_, Some(kind)) => kind.into(),
            _ if aegis_models::is_calibration(&bytes) => Content::Calibration,
            _ if Keyset::parse(&bytes).is_ok() => Content::Keyset,
            _ => Content::Other,
        },
    })
}

#[cfg(test)]
mod tests {
    use aegis_ckks::{KeyGenerator, KeyRequest, Seed, insecure_levelled_spec};

    use super::*;

    #[test]
    fn files_are_recognised_as_they_are_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x");
        let ctx = aegis_testing::insecure(insecure_levelled_spec(5, 1));
        let generator = KeyGenerator::new(&ctx, Seed::new([1; 32]));
        let secret = generator.secret_key();
        secret.write(&ctx, File::create(&path).expect("writable")).expect("written");
        assert_eq!(of(&path).expect("readable"), Content::SecretKey);
        let none = KeyRequest::new(ctx.params().n());
        let keys = generator.evaluation_keys(&secret, &none).expect("keys");
        keys.write(&ctx, File::create(&path).expect("writable")).expect("written");
        assert_eq!(of(&path).expect("readable"), Content::EvaluationKeys);
        let (key_id, preset, model) = (secret.id().to_string(), "N".to_owned(), "0".repeat(64));
        let keyset = Keyset { key_id, preset, model, padded_tokens: 1 };
        std::fs::write(&path, keyset.to_bytes()).expect("writable");
        assert_eq!(of(&path).expect("readable"), Content::Keyset);
        // Messages: see `a_query_travels_to_the_server_and_back`.
    }
}
