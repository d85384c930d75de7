//! The description of a set of keys, `keyset.json`.

use std::ops::Range;

use aegis::keyset::Keyset;

use crate::scheme::Scheme;
use crate::{Outcome, Target};

struct KeysetFile(Scheme);

pub(super) fn open() -> Box<dyn Target> {
    Box::new(KeysetFile(Scheme::levelled()))
}

impl Target for KeysetFile {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let key_id = self.0.secret.id().to_string();
        let keyset =
            Keyset { key_id, preset: "N16_B13_S40".into(), model: "0a".repeat(32), padded_tokens: 64 };
        vec![keyset.to_bytes()]
    }

    fn run(&self, input: &[u8]) -> Outcome {
        let Ok(keyset) = Keyset::parse(input) else { return Outcome::Refused };
        let again = Keyset::parse(&keyset.to_bytes()).expect("what was read can be read again");
        assert!(again == keyset, "a description changes by writing and reading");
        let _ = keyset.check(&self.0.secret);
        Outcome::Accepted
    }

    fn bound(&self) -> usize {
        1 << 18
    }

    fn json(&self, input: &[u8]) -> Option<Range<usize>> {
        Some(0..input.len())
    }
}
