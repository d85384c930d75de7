//! Text to token ids, with the limits that `tokenizer.json` carries taken off.

use std::path::Path;

use serde_json::Value;
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
        let mut file: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let unknown = file.pointer("/model/unk_token").and_then(Value::as_str).map(str::to_owned);
        let fields = file.as_object_mut().ok_or("it is not an object")?;
        // The file of all-MiniLM-L6-v2 truncates to 128 and pads to exactly 128 tokens: texts would silently lose their
        // end, and padding is decided by the packing. The decoder is of no use here, and reading a damaged one panics
        // (tokenizers 0.23, `DecoderHelper`).
        ["truncation", "padding", "decoder"].iter().for_each(|field| drop(fields.remove(*field)));
        for name in ["normalizer", "pre_tokenizer", "post_processor", "model"] {
            fields.get(name).filter(|part| !part.is_null()).map_or(Ok(()), check_part)?;
        }
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

/// The parts that tokenizers of BERT models are made of. The `tokenizers` crate has more, some of which panic on a
/// damaged file or grow a text without bound.
const PARTS: [&str; 15] = [
    "Sequence",
    "BertNormalizer",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Strip",
    "StripAccents",
    "BertPreTokenizer",
    "Whitespace",
    "WhitespaceSplit",
    "TemplateProcessing",
    "BertProcessing",
    "WordPiece",
];

/// Whether a part and all parts in it are known, and templates place what there is: the crate panics at the first
/// text otherwise.
fn check_part(part: &Value) -> std::result::Result<(), String> {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or("of no type");
    if !PARTS.contains(&kind) {
        return Err(format!("it has a part {kind}, which tokenizers of BERT models do not have"));
    }
    if kind == "TemplateProcessing" {
        check_template(part)?;
    }
    let nested = ["normalizers", "pretokenizers", "processors"].iter().filter_map(|list| part.get(list));
    nested.filter_map(Value::as_array).flatten().try_for_each(check_part)
}

fn check_template(template: &Value) -> std::result::Result<(), String> {
    for (list, texts) in [("single", ["A", "A"]), ("pair", ["A", "B"])] {
        for piece in template.get(list).and_then(Value::as_array).into_iter().flatten() {
            let id = |kind: &str| piece.get(kind)?.get("id")?.as_str();
            let defined =
                |token: &str| template.get("special_tokens").is_some_and(|t| t.get(token).is_some());
            match (id("SpecialToken"), id("Sequence")) {
                (Some(token), None) if defined(token) => {}
                (Some(token), None) => {
                    return Err(format!("its template places {token}, which it does not define"));
                }
                (None, Some(text)) if texts.contains(&text) => {}
                _ => return Err(format!("its template \"{list}\" places {piece}, which is not there")),
            }
        }
    }
    Ok(())
}
