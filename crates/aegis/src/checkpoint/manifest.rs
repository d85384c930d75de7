//! The manifest of a checkpoint: bytes that are bounded, checked and not trusted.

use aegis_nn::BlockId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{CheckpointDamage, Error, Result};
use crate::identity::{Identity, sha256};

const MAGIC: [u8; 8] = *b"AEGISCKP";
const VERSION: u16 = 1;
/// Longest manifest: 30000 blocks, 600 GiB of the default preset.
pub(super) const MAX_BYTES: u64 = 4 << 20;

/// What a checkpoint consists of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) identity: Identity,
    /// Steps of the schedule that are done.
    pub(super) position: usize,
    pub(super) blocks: Vec<Entry>,
}

/// A block as it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    block: usize,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl Entry {
    pub(super) fn of(id: BlockId, bytes: &[u8]) -> Self {
        Self { block: id.0, bytes: bytes.len() as u64, sha256: sha256(bytes) }
    }

    pub(super) fn id(&self) -> BlockId {
        BlockId(self.block)
    }
}

impl Manifest {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        // Strings and numbers: nothing that serialisation could refuse.
        bytes.extend(serde_json::to_vec(self).unwrap_or_default());
        let digest = Sha256::digest(&bytes);
        bytes.extend(digest);
        bytes
    }

    /// Reads what [`Manifest::to_bytes`] gave. Positions and blocks are those of some program, or of none.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let damaged = Error::DamagedCheckpoint;
        let Some(rest) = bytes.strip_prefix(&MAGIC) else { return Err(Error::NotACheckpoint) };
        let (version, _) = rest.split_first_chunk().ok_or(damaged(CheckpointDamage::CutOff))?;
        let have = u16::from_le_bytes(*version);
        if have != VERSION {
            return Err(Error::Version { have, want: VERSION });
        }
        if bytes.len() as u64 > MAX_BYTES {
            return Err(damaged(CheckpointDamage::Manifest));
        }
        let (body, digest) = bytes.split_last_chunk::<32>().ok_or(damaged(CheckpointDamage::CutOff))?;
        if Sha256::digest(body).as_slice() != digest {
            return Err(damaged(CheckpointDamage::Checksum));
        }
        let text = body.get(MAGIC.len() + 2..).ok_or(damaged(CheckpointDamage::CutOff))?;
        let manifest: Self = serde_json::from_slice(text).map_err(|_| damaged(CheckpointDamage::Manifest))?;
        if !manifest.identity.is_possible() {
            return Err(damaged(CheckpointDamage::Identity));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let digest = |digit: &str| digit.repeat(64);
        let identity = Identity {
            release: "0.1.0".into(),
            parameters: digest("1"),
            model: digest("2"),
            calibration: digest("3"),
            plan: digest("4"),
            keys: "5".repeat(32),
            query: digest("6"),
        };
        let blocks = [3, 17].map(|block| Entry { block, bytes: 1000, sha256: digest("7") }).into();
        Manifest { identity, position: 12, blocks }
    }

    #[test]
    fn a_manifest_survives_its_bytes() {
        assert_eq!(Manifest::parse(&manifest().to_bytes()).expect("undamaged"), manifest());
    }

    #[test]
    fn truncated_and_changed_manifests_are_refused() {
        let bytes = manifest().to_bytes();
        for length in 0..bytes.len() {
            assert!(Manifest::parse(&bytes[..length]).is_err(), "{length} bytes");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            let refused = Manifest::parse(&changed).expect_err("changed");
            let expected = match (at, &refused) {
                (0..8, Error::NotACheckpoint) | (8..10, Error::Version { want: VERSION, .. }) => true,
                (10.., Error::DamagedCheckpoint(fault)) => *fault == CheckpointDamage::Checksum,
                _ => false,
            };
            assert!(expected, "byte {at}: {refused}");
        }
        let long = [&bytes[..10], &vec![b' '; MAX_BYTES as usize][..]].concat();
        assert!(matches!(Manifest::parse(&long), Err(Error::DamagedCheckpoint(CheckpointDamage::Manifest))));
    }

    /// A checksum stops no forger: each of these carries a right one.
    #[test]
    fn forged_manifests_are_refused() {
        let bytes = manifest().to_bytes();
        let text = std::str::from_utf8(&bytes[10..bytes.len() - 32]).expect("JSON");
        for (from, to, fault) in [
            ("{", "[", CheckpointDamage::Manifest),
            ("{", "{\"deep\":[[[[[[[[[[", CheckpointDamage::Manifest),
            ("\"position\":12", "\"position\":-1", CheckpointDamage::Manifest),
            ("\"block\":3", "\"block\":1e99", CheckpointDamage::Manifest),
            ("\"bytes\":1000", "\"bytes\":18446744073709551616", CheckpointDamage::Manifest),
            ("0.1.0", "\\u001b[2J", CheckpointDamage::Identity),
            ("\"keys\":\"5", "\"keys\":\"../", CheckpointDamage::Identity),
            ("\"model\":\"2", "\"model\":\"", CheckpointDamage::Identity),
        ] {
            assert!(text.contains(from), "{text}");
            let mut forged = [&bytes[..10], text.replacen(from, to, 1).as_bytes()].concat();
            let digest = Sha256::digest(&forged);
            forged.extend(digest);
            let refused = Manifest::parse(&forged).expect_err(to);
            assert!(matches!(refused, Error::DamagedCheckpoint(found) if found == fault), "{to}: {refused}");
        }
    }
}
