//! `model.safetensors`: header and weights; what is accepted embeds texts.

use std::ops::Range;

use aegis_models::Bert;
use serde_json::value::RawValue;

use crate::model::{ModelFolder, embed};
use crate::{Outcome, Target};

struct WeightsFile(ModelFolder);

pub(super) fn open() -> Box<dyn Target> {
    Box::new(WeightsFile(ModelFolder::new()))
}

/// The length of the header, a word.
const HEADER: usize = 8;

impl Target for WeightsFile {
    fn seeds(&self) -> Vec<Vec<u8>> {
        vec![self.0.read("model.safetensors")]
    }

    fn run(&self, input: &[u8]) -> Outcome {
        self.0.write("model.safetensors", input);
        match Bert::load(self.0.path()) {
            Ok(bert) => {
                embed(&bert);
                Outcome::Accepted
            }
            Err(_) => Outcome::Refused,
        }
    }

    fn bound(&self) -> usize {
        1 << 20
    }

    /// The length of the header becomes that of the JSON value that stands there, with the blanks after it.
    fn repair(&self, input: &mut Vec<u8>) {
        if let Some(text) = input.get(HEADER..)
            && let Some(length) = json_length(text)
        {
            let blanks = text[length..].iter().take_while(|&&b| b == b' ').count();
            input[..HEADER].copy_from_slice(&((length + blanks) as u64).to_le_bytes());
        }
    }

    fn json(&self, input: &[u8]) -> Option<Range<usize>> {
        let length = json_length(input.get(HEADER..)?)?;
        Some(HEADER..HEADER + length)
    }
}

/// Length of the JSON value at the beginning of `text`.
pub(super) fn json_length(text: &[u8]) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}
