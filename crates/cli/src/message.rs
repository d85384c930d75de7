//! What client and server exchange: the ciphertexts of a query or a result, with what the server must know in clear.
//!
//! A message is: magic, version, length of the header, header, each ciphertext with its length, SHA-256 of all before.
//! Nothing in it is trusted: lengths are bounded before anything is read, and every ciphertext is checked by `ckks`.

use std::io::{Read, Write};

use aegis_ckks::{Ciphertext, Context};
use aegis_models::QueryShape;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fault::{BlameInput, input};

const MAGIC: [u8; 8] = *b"AEGISMSG";
const VERSION: u16 = 1;
const MAX_HEADER_BYTES: usize = 4096;
/// Most ciphertexts of one message: a BERT-large takes 16 for a text of 512 tokens.
const MAX_CIPHERTEXTS: usize = 64;
/// Largest message that is read: as many ciphertexts at the fresh level of the default preset.
pub(crate) const MAX_BYTES: u64 = 1 << 30;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// From client to server: the embedded tokens of a text.
    Query,
    /// From server to client: the pooled hidden state.
    Result,
}

/// What everybody may read. The number of tokens is public: the server needs it to mask padding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// SHA-256 of the model's weights.
    pub(crate) model: String,
    /// Number of tokens and layout.
    pub(crate) shape: QueryShape,
    /// Number of ciphertexts.
    pub(crate) ciphertexts: usize,
}

/// A message as bytes.
pub(crate) fn encode(ctx: &Context, header: &Header, ciphertexts: &[Ciphertext]) -> Result<Vec<u8>> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    let text = serde_json::to_vec(header)?;
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text);
    for ct in ciphertexts {
        let mut block = Vec::new();
        ct.write(ctx, &mut block)?;
        bytes.extend((block.len() as u64).to_le_bytes());
        bytes.write_all(&block)?;
    }
    let digest = Sha256::digest(&bytes);
    bytes.extend(digest);
    Ok(bytes)
}

/// The header of a message, after its checksum was verified.
pub(crate) fn header(bytes: &[u8], want: Kind) -> Result<Header> {
    Ok(open(bytes, want)?.0)
}

/// Header and ciphertexts of a message.
pub(crate) fn decode(ctx: &Context, bytes: &[u8], want: Kind) -> Result<(Header, Vec<Ciphertext>)> {
    let (header, mut rest) = open(bytes, want)?;
    let mut ciphertexts = Vec::with_capacity(header.ciphertexts);
    for _ in 0..header.ciphertexts {
        let length = u64::from_le_bytes(take(&mut rest)?) as usize;
        if length > rest.len() {
            return Err(damaged());
        }
        let (block, after) = rest.split_at(length);
        ciphertexts.push(Ciphertext::read(ctx, block).blame_input("the message holds a bad ciphertext")?);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(damaged());
    }
    Ok((header, ciphertexts))
}

fn open(bytes: &[u8], want: Kind) -> Result<(Header, &[u8])> {
    let mut rest = bytes;
    if take::<8>(&mut rest)? != MAGIC {
        return Err(input("it is not a message of aegis; pass what `aegis encrypt` or `aegis eval` wrote"));
    }
    let version = u16::from_le_bytes(take(&mut rest)?);
    if version != VERSION {
        return Err(input(format!(
            "it has version {version}, this program reads version {VERSION}; use the matching release"
        )));
    }
    let Some((body, digest)) = bytes.split_last_chunk::<32>() else { return Err(damaged()) };
    if Sha256::digest(body).as_slice() != digest {
        return Err(damaged());
    }
    let mut rest = &body[MAGIC.len() + 2..];
    let length = u32::from_le_bytes(take(&mut rest)?) as usize;
    if length > MAX_HEADER_BYTES || length > rest.len() {
        return Err(damaged());
    }
    let (text, rest) = rest.split_at(length);
    let header: Header = serde_json::from_slice(text).map_err(|_| damaged())?;
    if header.kind != want {
        let have = match header.kind {
            Kind::Query => "a query; `aegis eval` takes it",
            Kind::Result => "a result; `aegis decrypt` takes it",
        };
        return Err(input(format!("it holds {have}")));
    }
    if header.ciphertexts > MAX_CIPHERTEXTS || header.shape.layout().is_err() {
        return Err(damaged());
    }
    Ok((header, rest))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    if rest.read_exact(&mut bytes).is_err() {
        return Err(damaged());
    }
    Ok(bytes)
}

fn damaged() -> anyhow::Error {
    input("the message is truncated or damaged; make or copy it again")
}
