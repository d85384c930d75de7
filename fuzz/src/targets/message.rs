//! A message between client and server; the ciphertexts of one that is accepted are decrypted, and a result is finished.

use std::ops::Range;

use aegis::message::{self, Header, Kind};
use aegis_ckks::{Context, KeyGenerator, Params, SecretKey, Seed, insecure_levelled_spec};
use sha2::{Digest, Sha256};

use super::weights::json_length;
use crate::model::{ModelFolder, TEXTS};
use crate::scheme::{answered, context, reseal};
use crate::{Outcome, Target};

struct Message {
    ctx: Context,
    secret: SecretKey,
    query: Vec<u8>,
}

/// Magic, version and length of the header.
const HEADER: usize = 14;
/// log2 of the ring degree: the slots of the small model fit.
const LOG_N: u32 = 9;

pub(super) fn open() -> Box<dyn Target> {
    const VALID: &str = "a valid query";
    let bert = ModelFolder::new().bert();
    let params = Params::insecure(insecure_levelled_spec(LOG_N, 0)).expect(VALID);
    let ctx = context(params).expect(VALID);
    let seed = Seed::new([7; 32]);
    let secret = KeyGenerator::new(&ctx, seed.clone()).secret_key();
    let layout = bert.layout(ctx.params().slots(), 16).expect(VALID);
    let query = bert.query(&layout, TEXTS[0]).expect(VALID);
    let level = ctx.params().fresh_level();
    let x = aegis_nn::encrypt(&ctx, &secret, query.shape.input().expect(VALID), &query.hidden, level, &seed)
        .expect(VALID);
    let header = Header { kind: Kind::Query, model: bert.identity().to_owned(), shape: query.shape };
    let query = message::encode(&ctx, &header, x.blocks()).expect(VALID);
    Box::new(Message { ctx, secret, query })
}

impl Target for Message {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let (header, blocks) = message::decode(&self.ctx, &self.query, Kind::Query).expect("undamaged");
        let result = Header { kind: Kind::Result, ..header.clone() };
        let twice = [&blocks[..], &blocks].concat();
        let shape = serde_json::to_string(&header.shape).expect("JSON");
        let alone = format!("\"stride\":16,\"tokens\":[{}]", header.shape.tokens());
        let shape = shape.replace(&alone, "\"stride\":4,\"tokens\":[4,1,3]");
        let shared = Header { shape: serde_json::from_str(&shape).expect("a shape"), ..result.clone() };
        assert_eq!(shared.shape.lengths(), [4, 1, 3]);
        let encode = |header, blocks| message::encode(&self.ctx, header, blocks).expect("a message");
        vec![
            self.query.clone(),
            encode(&result, &blocks),
            encode(&shared, &blocks),
            encode(&header, &twice),
            encode(&header, &[]),
        ]
    }

    fn run(&self, input: &[u8]) -> Outcome {
        let mut outcome = Outcome::Refused;
        for kind in [Kind::Query, Kind::Result] {
            let Ok((header, blocks)) = message::decode(&self.ctx, input, kind) else { continue };
            assert!(message::header(input, kind).is_ok_and(|h| h == header), "two headers of one message");
            let written = message::encode(&self.ctx, &header, &blocks).expect("what was read can be written");
            let (again, _) = message::decode(&self.ctx, &written, kind).expect("and read again");
            assert!(again == header, "a header changes by writing and reading");
            let slots: Option<Vec<Vec<f64>>> = blocks
                .iter()
                .map(|ct| {
                    let slots = answered(self.secret.decrypt(&self.ctx, ct))?;
                    Some(slots.iter().map(|z| z.re).collect())
                })
                .collect();
            if let Some(slots) = slots {
                let _ = header.shape.finish(&slots);
            }
            outcome = Outcome::Accepted;
        }
        outcome
    }

    fn bound(&self) -> usize {
        1 << 20
    }

    /// The length of the header, the checksum of each ciphertext and that of the whole become right.
    fn repair(&self, input: &mut Vec<u8>) {
        if let Some(text) = input.get(HEADER..)
            && let Some(length) = json_length(text)
        {
            input[HEADER - 4..HEADER].copy_from_slice(&(length as u32).to_le_bytes());
            let mut rest = &mut input[HEADER + length..];
            while let Some((length, blocks)) = rest.split_first_chunk_mut::<8>() {
                let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
                let Some((block, others)) = blocks.split_at_mut_checked(length) else { break };
                reseal(block);
                rest = others;
            }
        }
        if let Some((body, digest)) = input.split_last_chunk_mut::<32>() {
            digest.copy_from_slice(&Sha256::digest(body));
        }
    }

    fn json(&self, input: &[u8]) -> Option<Range<usize>> {
        let length = json_length(input.get(HEADER..)?)?;
        Some(HEADER..HEADER + length)
    }
}
