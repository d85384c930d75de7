//! What a set of keys serves: the public note that a client keeps beside its secret key.

use aegis_ckks::{Excerpt, SecretKey};
use serde::{Deserialize, Serialize};

use crate::error::{Error, KeysetDamage, Result};
use crate::is_identity;

/// No description is longer.
pub const MAX_BYTES: u64 = 1 << 16;

/// Longest name of a preset, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// More tokens than any model has positions.
const MAX_TOKENS: usize = 1 << 20;

/// What a set of keys serves. Public; stored as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyset {
    /// Identity of the secret key: 32 lower-case hexadecimal digits.
    pub key_id: String,
    /// Name of the parameter preset.
    pub preset: String,
    /// SHA-256 of the weights of the model they were made for: 64 lower-case hexadecimal digits.
    pub model: String,
    /// Tokens that texts are padded to, at least 1.
    pub padded_tokens: usize,
}

impl Keyset {
    /// Reads what [`to_bytes`](Self::to_bytes) gave. Fields it does not know are ignored.
    ///
    /// # Errors
    /// [`Error::NotAKeyset`] and, naming the field, [`Error::DamagedKeyset`] for anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let length = bytes.len() as u64;
        if length > MAX_BYTES {
            return Err(Error::DamagedKeyset(KeysetDamage::Length { bytes: length, max: MAX_BYTES }));
        }
        let keyset: Self = serde_json::from_slice(bytes).map_err(|e| Error::NotAKeyset(Excerpt(e)))?;
        let is_name = |text: &str| text.len() <= MAX_NAME_BYTES && text.chars().all(|c| c.is_ascii_graphic());
        let fields = [
            ("key_id", is_identity(&keyset.key_id, 16)),
            ("preset", is_name(&keyset.preset)),
            ("model", is_identity(&keyset.model, 32)),
            ("padded_tokens", (1..=MAX_TOKENS).contains(&keyset.padded_tokens)),
        ];
        match fields.iter().find(|(_, good)| !good) {
            Some((name, _)) => Err(Error::DamagedKeyset(KeysetDamage::Field(name))),
            None => Ok(keyset),
        }
    }

    /// As JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings and a number: nothing that serialisation could refuse.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Whether it describes this secret's keys.
    ///
    /// # Errors
    /// [`Error::OtherKeys`] with both identities.
    pub fn check(&self, secret: &SecretKey) -> Result<()> {
        if self.key_id == secret.id().to_string() {
            return Ok(());
        }
        Err(Error::OtherKeys { have: self.key_id.clone(), want: secret.id() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyset() -> Keyset {
        let (key_id, model) = ("0123456789abcdef".repeat(2), "f".repeat(64));
        Keyset { key_id, preset: "N16_B13_S40".into(), model, padded_tokens: 64 }
    }

    #[test]
    fn a_description_survives_its_bytes() {
        assert_eq!(Keyset::parse(&keyset().to_bytes()).expect("undamaged"), keyset());
    }

    /// What a description says ends up in file names, layouts and on terminals.
    #[test]
    fn fields_without_a_possible_value_are_named() {
        let good = keyset();
        let cases = [
            ("key_id", Keyset { key_id: String::new(), ..good.clone() }),
            ("key_id", Keyset { key_id: "\u{1b}[2J".repeat(8), ..good.clone() }),
            ("key_id", Keyset { key_id: good.key_id.to_uppercase(), ..good.clone() }),
            ("preset", Keyset { preset: "\u{1b}[31m".into(), ..good.clone() }),
            ("preset", Keyset { preset: "N".repeat(65), ..good.clone() }),
            ("model", Keyset { model: "0".into(), ..good.clone() }),
            ("padded_tokens", Keyset { padded_tokens: 0, ..good.clone() }),
            ("padded_tokens", Keyset { padded_tokens: usize::MAX, ..good.clone() }),
        ];
        for (name, bad) in cases {
            let error = Keyset::parse(&bad.to_bytes()).expect_err(name);
            let field = |fault| matches!(fault, KeysetDamage::Field(field) if field == name);
            assert!(matches!(error, Error::DamagedKeyset(fault) if field(fault)), "{name}");
        }
        for bytes in [&b""[..], b"{}", b"null", b"\xff", &[b'['; 1000]] {
            assert!(matches!(Keyset::parse(bytes), Err(Error::NotAKeyset(_))));
        }
        let long = Keyset::parse(&[b' '; 1 << 17]);
        assert!(matches!(long, Err(Error::DamagedKeyset(KeysetDamage::Length { .. }))));
    }

    /// Serde quotes what it does not expect: 60 kB of a hostile description went to the terminal.
    #[test]
    fn what_a_hostile_description_says_is_shown_cut_and_escaped() {
        use std::error::Error as _;
        let text = format!("{{\"padded_tokens\":\"\\u001b[31m{}\"}}", "x".repeat(60_000));
        let error = Keyset::parse(text.as_bytes()).expect_err("it is hostile");
        let source = error.source().expect("the parser").to_string();
        assert!(source.chars().count() < 100 && !source.contains('\u{1b}'), "{source}");
        assert!(source.contains("invalid type") && source.contains("column"), "{source}");
    }
}
