//! Text to token ids.

mod file;

use std::path::Path;

use aegis_nn::Excerpt;
use tokenizers::TokenizerImpl;
use tokenizers::decoders::wordpiece::WordPiece as Decoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;

use super::files;
use crate::bert::Config;
use crate::error::{BadTokens, Error, Result};
use file::File;

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
            return Err(Error::Tokens(BadTokens::Count { have: ids.len(), max: config.positions }));
        }
        let rows = config.vocabulary;
        if let Some(index) = ids.iter().map(|&id| id as usize).find(|&id| id >= rows) {
            return Err(Error::Tokens(BadTokens::Row { table: "word", index, rows }));
        }
        let types = vec![0; ids.len()];
        Ok(Tokens { ids, types })
    }
}

/// The parts of a BERT tokenizer, by type: nothing that a file says puts another one in.
type Inner = TokenizerImpl<WordPiece, BertNormalizer, BertPreTokenizer, BertProcessing, Decoder>;

/// The tokenizer of a model, never truncating and never padding.
pub struct Tokenizer {
    inner: Inner,
    unknown: u32,
    positions: usize,
}

impl Tokenizer {
    /// Reads `tokenizer.json` in `dir`.
    ///
    /// # Errors
    /// [`Error::Read`] without the file, [`Error::Json`] and [`Error::Tokenizer`] if it is not one of a BERT model with this configuration.
    pub fn load(dir: &Path, config: &Config) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let bytes = files::read(&path, files::SMALL)?;
        let file: File =
            serde_json::from_slice(&bytes).map_err(Error::json(&path, "the tokenizer of a BERT model"))?;
        let (inner, unknown) =
            file.build(config.vocabulary).map_err(|fault| Error::Tokenizer { path, fault })?;
        Ok(Tokenizer { inner, unknown, positions: config.positions })
    }

    /// The tokens of `text`, `[CLS]` and `[SEP]` included.
    ///
    /// # Errors
    /// [`Error::EmptyText`], [`Error::TextTooLong`] over the positions of the model,
    /// [`Error::OnlyUnknownTokens`], [`Error::Tokenize`] if the library refuses.
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        let encoding = self.inner.encode_fast(text, true).map_err(|e| Error::Tokenize(Excerpt(e)))?;
        let (ids, types) = (encoding.get_ids(), encoding.get_type_ids());
        // Between [CLS] and [SEP].
        let content = ids.get(1..ids.len().saturating_sub(1)).unwrap_or_default();
        if content.is_empty() {
            return Err(Error::EmptyText);
        }
        if ids.len() > self.positions {
            return Err(Error::TextTooLong { tokens: ids.len(), max: self.positions });
        }
        if content.iter().all(|&id| id == self.unknown) {
            return Err(Error::OnlyUnknownTokens);
        }
        Ok(Tokens { ids: ids.to_vec(), types: types.to_vec() })
    }

    /// Ids of words and parts of words, ascending: all of the vocabulary but BERT's marks and unused entries, which
    /// stand in brackets.
    pub(crate) fn pieces(&self) -> Vec<u32> {
        let mark = |token: &str| token.len() > 2 && token.starts_with('[') && token.ends_with(']');
        let vocabulary = self.inner.get_vocab(true);
        let mut ids: Vec<u32> =
            vocabulary.into_iter().filter(|(token, _)| !mark(token)).map(|(_, id)| id).collect();
        ids.sort_unstable();
        ids
    }
}
