//! Text to token ids, with the limits that `tokenizer.json` carries taken off.

use std::path::Path;

use tokenizers::Tokenizer as Inner;

use super::config::Config;
use crate::error::{Error, Result};
use crate::files;

/// The tokens of one text, `[CLS]` and `[SEP]` included, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    ids: Vec<u32>,
    types: Vec<u32>,
}

impl Tokens {
    /// Row in the word table of every token.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Row in the token type table of every token.
    pub fn types(&self) -> &[u32] {
        &self.types
    }

    /// Number of tokens, at least 1.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Never true: an empty text is refused before.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Tokens of one sentence given by their ids, all of type 0: for tests and for tokens that come from
    /// elsewhere.
    ///
    /// # Errors
    /// [`Error::Tokens`] if there are none, more than positions, or an id lies outside the vocabulary.
    pub fn from_ids(ids: Vec<u32>, config: &Config) -> Result<Self> {
        if ids.is_empty() || ids.len() > config.positions {
            return Err(Error::Tokens(format!("{} ids, where 1 to {} fit", ids.len(), config.positions)));
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= config.vocabulary) {
            return Err(Error::Tokens(format!(
                "id {id} is not in the vocabulary of {} words",
                config.vocabulary
            )));
        }
        let types = vec![0; ids.len()];
        Ok(Tokens { ids, types })
    }
}

/// The tokenizer of a model, never truncating and never padding.
pub struct Tokenizer {
    inner: Inner,
    unknown: Option<u32>,
    vocabulary: usize,
    token_types: usize,
    positions: usize,
}

impl Tokenizer {
    /// Reads `tokenizer.json` in `dir`.
    ///
    /// # Errors
    /// [`Error::Read`] without the file, [`Error::Tokenizer`] if it cannot be understood.
    pub fn load(dir: &Path, config: &Config) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let bytes = files::read(&path, files::SMALL)?;
        Self::parse(&bytes, config).map_err(|reason| Error::Tokenizer { path, reason })
    }

    fn parse(bytes: &[u8], config: &Config) -> std::result::Result<Self, String> {
        let mut file: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let unknown = file.pointer("/model/unk_token").and_then(serde_json::Value::as_str).map(str::to_owned);
        let fields = file.as_object_mut().ok_or("it is not an object")?;
        // The file of all-MiniLM-L6-v2 truncates to 128 and pads to exactly 128 tokens: texts would silently lose their
        // end, and padding is decided by the packing. The decoder is of no use here, and reading a damaged one panics
        // (tokenizers 0.23, `DecoderHelper`).
        ["truncation", "padding", "decoder"].iter().for_each(|field| drop(fields.remove(*field)));
        check_template(fields.get("post_processor"))?;
        let inner: Inner = serde_json::from_value(file).map_err(|e| e.to_string())?;
        Ok(Tokenizer {
            unknown: unknown.and_then(|token| inner.token_to_id(&token)),
            inner,
            vocabulary: config.vocabulary,
            token_types: config.token_types,
            positions: config.positions,
        })
    }

    /// The tokens of `text`, `[CLS]` and `[SEP]` included.
    ///
    /// # Errors
    /// [`Error::EmptyText`], [`Error::TextTooLong`] over the positions of the model,
    /// [`Error::OnlyUnknownTokens`], [`Error::Tokenize`] if the tokenizer does not belong to the model.
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        let encoding = self.inner.encode(text, true).map_err(|e| Error::Tokenize(e.to_string()))?;
        let (ids, types) = (encoding.get_ids(), encoding.get_type_ids());
        let marks = encoding.get_special_tokens_mask();
        if marks.first() != Some(&1) || marks.last() != Some(&1) {
            // The constants for token 0 are those of [CLS].
            return Err(Error::Tokenize("no special tokens mark its ends".into()));
        }
        let content = || ids.iter().zip(marks).filter(|&(_, &special)| special == 0);
        if content().next().is_none() {
            return Err(Error::EmptyText);
        }
        if ids.len() > self.positions {
            return Err(Error::TextTooLong { tokens: ids.len(), max: self.positions });
        }
        if self.unknown.is_some_and(|unknown| content().all(|(&id, _)| id == unknown)) {
            return Err(Error::OnlyUnknownTokens);
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.vocabulary) {
            return Err(Error::Tokenize(format!("id {id} is outside the vocabulary of {}", self.vocabulary)));
        }
        if let Some(kind) = types.iter().find(|&&kind| kind as usize >= self.token_types) {
            return Err(Error::Tokenize(format!(
                "token type {kind} is outside the {} of the model",
                self.token_types
            )));
        }
        Ok(Tokens { ids: ids.to_vec(), types: types.to_vec() })
    }
}

/// Whether a template places what there is: the `tokenizers` crate panics at the first text otherwise.
fn check_template(processor: Option<&serde_json::Value>) -> std::result::Result<(), String> {
    let Some(processor) = processor else { return Ok(()) };
    let pieces = ["single", "pair"].iter().filter_map(|name| processor.get(name)?.as_array()).flatten();
    for token in pieces.filter_map(|piece| piece.pointer("/SpecialToken/id")?.as_str()) {
        if processor.get("special_tokens").and_then(|tokens| tokens.get(token)).is_none() {
            return Err(format!("its template places {token}, which it does not define"));
        }
    }
    let single = processor.get("single").and_then(serde_json::Value::as_array).into_iter().flatten();
    if single.filter_map(|piece| piece.pointer("/Sequence/id")).any(|id| id != "A") {
        return Err("its template of one text places a second one".into());
    }
    let parts = processor.get("processors").and_then(serde_json::Value::as_array).into_iter().flatten();
    parts.map(Some).try_for_each(check_template)
}
