//! What client and server exchange: the ciphertexts of a query or a result, with what the server must know in clear.
//!
//! A message is: magic, version, length of the header, header (JSON), each ciphertext with its length, SHA-256 of all
//! before. Nothing in it is trusted: lengths are bounded before anything is read, and every ciphertext is checked by
//! `ckks`. The checksum detects damage, not forgery.

use std::fmt;

use aegis_ckks::{Ciphertext, Context};
use aegis_models::QueryShape;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, MessageDamage, Result};
use crate::is_identity;

/// The first bytes of every message.
pub const MAGIC: [u8; 8] = *b"AEGISMSG";
/// Largest message that need be read: 64 ciphertexts of the default preset are smaller.
pub const MAX_BYTES: u64 = 1 << 30;

/// 2: the header holds the lengths of several texts.
const VERSION: u16 = 2;
const MAX_HEADER_BYTES: usize = 4096;
/// Most ciphertexts of one message: a BERT-large takes 16 for a text of 512 tokens.
const MAX_CIPHERTEXTS: usize = 64;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// From client to server: the embedded tokens of the texts.
    Query,
    /// From server to client: the pooled hidden states.
    Result,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Query => "a query",
            Self::Result => "a result",
        })
    }
}

/// What everybody may read. The number of tokens of each text is public: the server needs it to mask padding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Query or result.
    pub kind: Kind,
    /// SHA-256 of the model's weights: 64 lower-case hexadecimal digits.
    pub model: String,
    /// Numbers of tokens and layout.
    pub shape: QueryShape,
}

impl Header {
    /// What is wrong with it, if anything.
    fn fault(&self) -> Option<MessageDamage> {
        if !is_identity(&self.model, 32) {
            return Some(MessageDamage::Model);
        }
        self.shape.layout().is_err().then_some(MessageDamage::Shape)
    }
}

/// The header as it stands in a message.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    header: Header,
    ciphertexts: usize,
}

/// A message as bytes.
///
/// # Errors
/// [`Error::TooManyCiphertexts`], [`Error::BadHeader`] for what [`decode`] would refuse, [`Error::Ckks`] for a ciphertext
/// of another context or a device that fails.
pub fn encode(ctx: &Context, header: &Header, ciphertexts: &[Ciphertext]) -> Result<Vec<u8>> {
    if ciphertexts.len() > MAX_CIPHERTEXTS {
        return Err(Error::TooManyCiphertexts { have: ciphertexts.len(), max: MAX_CIPHERTEXTS });
    }
    if let Some(fault) = header.fault() {
        return Err(Error::BadHeader(fault));
    }
    let stored = Stored { header: header.clone(), ciphertexts: ciphertexts.len() };
    // Short strings and numbers: nothing that serialisation could refuse.
    let text = serde_json::to_vec(&stored).unwrap_or_default();
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text);
    for ct in ciphertexts {
        let mut block = Vec::new();
        ct.write(ctx, &mut block)?;
        bytes.extend((block.len() as u64).to_le_bytes());
        bytes.extend(block);
    }
    let digest = Sha256::digest(&bytes);
    bytes.extend(digest);
    Ok(bytes)
}

/// The header of a message, after its checksum was verified.
///
/// # Errors
/// Those of [`decode`] but [`Error::BadCiphertext`].
pub fn header(bytes: &[u8], want: Kind) -> Result<Header> {
    Ok(open(bytes, want)?.0.header)
}

/// Header and ciphertexts of a message.
///
/// # Errors
/// [`Error::NotAMessage`], [`Error::Version`], [`Error::OtherKind`], [`Error::DamagedMessage`],
/// [`Error::BadCiphertext`].
pub fn decode(ctx: &Context, bytes: &[u8], want: Kind) -> Result<(Header, Vec<Ciphertext>)> {
    let (stored, mut rest) = open(bytes, want)?;
    let mut ciphertexts = Vec::with_capacity(stored.ciphertexts);
    for index in 0..stored.ciphertexts {
        let length = u64::from_le_bytes(take(&mut rest)?);
        let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
        let (block, after) = split.ok_or(damaged(MessageDamage::CutOff))?;
        let ciphertext =
            Ciphertext::read(ctx, block).map_err(|source| Error::BadCiphertext { index, source })?;
        ciphertexts.push(ciphertext);
        rest = after;
    }
    match rest {
        [] => Ok((stored.header, ciphertexts)),
        _ => Err(damaged(MessageDamage::Trailing)),
    }
}

/// What the first bytes say that a message is, by its unchecked header; `None` for other bytes or too few. To tell files
/// apart, not to read them.
pub fn kind(bytes: &[u8]) -> Option<Kind> {
    let mut rest = bytes.strip_prefix(&MAGIC)?;
    let _version: [u8; 2] = take(&mut rest).ok()?;
    let length = u32::from_le_bytes(take(&mut rest).ok()?) as usize;
    let text = rest.get(..length.min(MAX_HEADER_BYTES))?;
    serde_json::from_slice::<Stored>(text).ok().map(|stored| stored.header.kind)
}

/// The checked header, and the bytes of the ciphertexts.
fn open(bytes: &[u8], want: Kind) -> Result<(Stored, &[u8])> {
    let Some(rest) = bytes.strip_prefix(&MAGIC) else { return Err(Error::NotAMessage) };
    let Some((have, _)) = rest.split_first_chunk() else { return Err(damaged(MessageDamage::CutOff)) };
    let have = u16::from_le_bytes(*have);
    if have != VERSION {
        return Err(Error::Version { have, want: VERSION });
    }
    let (body, digest) = bytes.split_last_chunk::<32>().ok_or(damaged(MessageDamage::CutOff))?;
    if Sha256::digest(body).as_slice() != digest {
        return Err(damaged(MessageDamage::Checksum));
    }
    let mut rest = body.get(MAGIC.len() + 2..).ok_or(damaged(MessageDamage::CutOff))?;
    let length = u32::from_le_bytes(take(&mut rest)?) as usize;
    if length > MAX_HEADER_BYTES {
        return Err(damaged(MessageDamage::Header));
    }
    let (text, rest) = rest.split_at_checked(length).ok_or(damaged(MessageDamage::CutOff))?;
    let stored: Stored = serde_json::from_slice(text).map_err(|_| damaged(MessageDamage::Header))?;
    if let Some(fault) = stored.header.fault() {
        return Err(damaged(fault));
    }
    if stored.header.kind != want {
        return Err(Error::OtherKind { have: stored.header.kind, want });
    }
    if stored.ciphertexts > MAX_CIPHERTEXTS {
        return Err(damaged(MessageDamage::Ciphertexts));
    }
    Ok((stored, rest))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>().ok_or(damaged(MessageDamage::CutOff))?;
    *rest = after;
    Ok(*bytes)
}

fn damaged(fault: MessageDamage) -> Error {
    Error::DamagedMessage(fault)
}

#[cfg(test)]
mod tests {
    use aegis_ckks::{KeyGenerator, Seed, insecure_levelled_spec};
    use aegis_models::Bert;
    use aegis_testing::TinyBert;

    use super::*;

    /// A query of a random model, and a context that reads it.
    fn query() -> (Context, Vec<u8>) {
        let dir = tempfile::tempdir().expect("a folder");
        TinyBert::default().write(dir.path()).expect("a writable folder");
        let bert = Bert::load(dir.path()).expect("a model");
        let ctx = aegis_testing::insecure(insecure_levelled_spec(9, 1));
        let layout = bert.layout(ctx.params().slots(), 16).expect("a layout");
        let query = bert.query(&layout, "the cat sat").expect("a query");
        let seed = Seed::new([7; 32]);
        let level = ctx.params().fresh_level();
        let secret = KeyGenerator::new(&ctx, seed.clone()).secret_key();
        let x = aegis_nn::encrypt(
            &ctx,
            &secret,
            query.shape.input().expect("a shape"),
            &query.hidden,
            level,
            &seed,
        );
        let header = Header { kind: Kind::Query, model: bert.identity().to_owned(), shape: query.shape };
        let bytes = encode(&ctx, &header, x.expect("a ciphertext").blocks()).expect("a message");
        (ctx, bytes)
    }

    /// The message with its header changed, and the length and checksum that belong to it: what a hostile peer sends.
    fn forged(bytes: &[u8], change: impl FnOnce(String) -> String) -> Vec<u8> {
        let length = u32::from_le_bytes(*bytes[10..].first_chunk().expect("a length")) as usize;
        let text = change(String::from_utf8(bytes[14..14 + length].to_vec()).expect("JSON"));
        let mut forged = bytes[..10].to_vec();
        forged.extend((text.len() as u32).to_le_bytes());
        forged.extend(text.as_bytes());
        forged.extend(&bytes[14 + length..bytes.len() - 32]);
        let digest = Sha256::digest(&forged);
        forged.extend(digest);
        forged
    }

    #[test]
    fn truncated_and_changed_messages_are_refused() {
        let (ctx, bytes) = query();
        assert_eq!(decode(&ctx, &bytes, Kind::Query).expect("undamaged").1.len(), 1);
        assert_eq!((kind(&bytes[..1000]), kind(&bytes[..100]), kind(b"PK")), (Some(Kind::Query), None, None));
        for length in (0..600).chain([bytes.len() - 33, bytes.len() - 1]) {
            assert!(decode(&ctx, &bytes[..length], Kind::Query).is_err(), "{length} bytes");
        }
        for at in (0..600).chain([bytes.len() - 33, bytes.len() - 1]) {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            assert!(decode(&ctx, &changed, Kind::Query).is_err(), "byte {at}");
        }
        assert!(matches!(header(b"PK\x03\x04 and more", Kind::Query), Err(Error::NotAMessage)));
        let newer = [&bytes[..8], &[3, 0], &bytes[10..]].concat();
        assert!(matches!(header(&newer, Kind::Query), Err(Error::Version { have: 3, want: 2 })));
        assert!(matches!(
            header(&bytes, Kind::Result),
            Err(Error::OtherKind { have: Kind::Query, want: Kind::Result })
        ));
    }

    /// A checksum stops no forger: each of these carries a right one.
    #[test]
    fn forged_headers_are_refused() {
        let (ctx, bytes) = query();
        let replace = |from: &'static str, to: &'static str| {
            forged(&bytes, |text| {
                assert!(text.contains(from), "{text}");
                text.replacen(from, to, 1)
            })
        };
        use MessageDamage::{Ciphertexts, CutOff, Header, Model, Shape, Trailing};
        for (from, to, fault) in [
            ("{", "[", Header),
            ("{", "{\"deep\":[[[[[[[[[[", Header),
            ("\"ciphertexts\":1", "\"ciphertexts\":0", Trailing),
            ("\"ciphertexts\":1", "\"ciphertexts\":2", CutOff),
            ("\"ciphertexts\":1", "\"ciphertexts\":18446744073709551615", Ciphertexts),
            ("\"tokens\":[5]", "\"tokens\":[0]", Shape),
            ("\"tokens\":[5]", "\"tokens\":[]", Shape),
            ("\"tokens\":[5]", "\"tokens\":[5,5]", Shape),
            ("\"tokens\":[5]", "\"tokens\":5", Header),
            ("\"stride\":16,\"tokens\":[5]", "\"stride\":0,\"tokens\":[5,5]", Shape),
            ("\"stride\":16,\"tokens\":[5]", "\"stride\":9223372036854775808,\"tokens\":[5,5]", Shape),
            ("\"padded_tokens\":16", "\"padded_tokens\":18446744073709551615", Shape),
            ("\"slots\":256", "\"slots\":0", Shape),
            ("\"model\":\"", "\"model\":\"\\u001b[2J", Model),
        ] {
            let refused = decode(&ctx, &replace(from, to), Kind::Query).expect_err(to);
            assert!(matches!(refused, Error::DamagedMessage(found) if found == fault), "{to}: {refused}");
        }
        let long = forged(&bytes, |text| format!("{text}{}", " ".repeat(MAX_HEADER_BYTES)));
        assert!(matches!(header(&long, Kind::Query), Err(Error::DamagedMessage(Header))));
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let (ctx, bytes) = query();
        let (header, blocks) = decode(&ctx, &bytes, Kind::Query).expect("undamaged");
        let many = vec![blocks[0].clone(); MAX_CIPHERTEXTS + 1];
        assert!(matches!(encode(&ctx, &header, &many), Err(Error::TooManyCiphertexts { .. })));
        let nameless = Header { model: String::new(), ..header };
        assert!(matches!(encode(&ctx, &nameless, &blocks), Err(Error::BadHeader(MessageDamage::Model))));
    }
}
