//! `tokenizer.json` as BERT models have it.
//!
//! The tokenizer is built from this schema and not by the `tokenizers` crate, which picks a part by the fields that it
//! happens to have, whatever its `type` says, and panics at the first text of a file that places what is not there.

use std::collections::BTreeMap;

use aegis_nn::Excerpt;
use serde::Deserialize;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Model as _};

use super::Inner;
use crate::error::BadTokenizer;

/// Longest word that is split into pieces, in characters; splitting takes the square of it. BERT has 100.
const MAX_WORD_CHARS: usize = 1000;
/// Longest mark of a piece inside a word, in bytes. BERT has `##`.
const MAX_PREFIX_BYTES: usize = 16;

/// The fields that matter. Files also truncate and pad (that of all-MiniLM-L6-v2 to exactly 128 tokens): texts would
/// silently lose their end, and padding is decided by the packing.
#[derive(Deserialize)]
pub(super) struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Normalizer,
    pre_tokenizer: PreTokenizer,
    post_processor: PostProcessor,
    model: WordPiece,
}

/// A token that is found in a text before it is split.
#[derive(Deserialize)]
struct Added {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Normalizer {
    BertNormalizer(BertNormalizer),
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum PreTokenizer {
    BertPreTokenizer,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum PostProcessor {
    TemplateProcessing { single: Vec<Piece>, special_tokens: BTreeMap<String, Special> },
    BertProcessing { cls: (String, u32), sep: (String, u32) },
}

/// A piece of a template.
#[derive(Deserialize)]
enum Piece {
    SpecialToken { id: String, type_id: u32 },
    Sequence { id: String, type_id: u32 },
}

/// What a special token of a template stands for.
#[derive(Deserialize)]
struct Special {
    ids: Vec<u32>,
}

impl File {
    /// The tokenizer, every id of which is below `vocabulary`, and the id of the unknown token. The error is what is wrong
    /// with the file.
    pub(super) fn build(self, vocabulary: usize) -> Result<(Inner, u32), BadTokenizer> {
        let known = |name: &str, id: u32| match (id as usize) < vocabulary {
            true => Ok(()),
            false => Err(BadTokenizer::Id { token: name.into(), id, vocabulary }),
        };
        let (model, Normalizer::BertNormalizer(normalizer)) = (self.model, self.normalizer);
        let words = model.get_vocab();
        words.iter().try_for_each(|(word, &id)| known(word, id))?;
        let unknown = words.get(&model.unk_token).copied();
        let unknown = unknown.ok_or_else(|| BadTokenizer::Unknown(model.unk_token.clone()))?;
        let (chars, prefix_bytes) = (model.max_input_chars_per_word, model.continuing_subword_prefix.len());
        if chars > MAX_WORD_CHARS || prefix_bytes > MAX_PREFIX_BYTES {
            let (max_chars, max_prefix_bytes) = (MAX_WORD_CHARS, MAX_PREFIX_BYTES);
            return Err(BadTokenizer::Pieces { chars, prefix_bytes, max_chars, max_prefix_bytes });
        }
        let [cls, sep] = self.post_processor.ends()?;
        known("[CLS]", cls).and(known("[SEP]", sep))?;

        let PreTokenizer::BertPreTokenizer = self.pre_tokenizer;
        let library = |e| BadTokenizer::Library(Excerpt(e));
        let mut inner = Inner::new(model);
        inner.with_normalizer(Some(normalizer)).map_err(library)?;
        inner.with_pre_tokenizer(Some(BertPreTokenizer));
        inner.with_post_processor(Some(BertProcessing::new(("[SEP]".into(), sep), ("[CLS]".into(), cls))));

        for Added { id, token } in &self.added_tokens {
            known(&token.content, *id)?;
            if token.single_word || token.lstrip || token.rstrip {
                return Err(BadTokenizer::Context(token.content.clone()));
            }
        }
        let tokens = self.added_tokens.iter().map(|added| added.token.clone());
        inner.add_tokens(tokens).map_err(library)?;
        let moved =
            self.added_tokens.iter().find(|added| inner.token_to_id(&added.token.content) != Some(added.id));
        match moved {
            Some(Added { id, token }) => Err(BadTokenizer::Moved { token: token.content.clone(), id: *id }),
            None => Ok((inner, unknown)),
        }
    }
}

impl PostProcessor {
    /// Ids of the tokens before and after a text.
    fn ends(self) -> Result<[u32; 2], BadTokenizer> {
        let (single, special_tokens) = match self {
            Self::BertProcessing { cls, sep } => return Ok([cls.1, sep.1]),
            Self::TemplateProcessing { single, special_tokens } => (single, special_tokens),
        };
        let defined = |name: &str| match special_tokens.get(name).map(|token| &token.ids[..]) {
            Some(&[id]) => Ok(id),
            _ => Err(BadTokenizer::Undefined(name.into())),
        };
        match &single[..] {
            [
                Piece::SpecialToken { id: cls, type_id: 0 },
                Piece::Sequence { id: text, type_id: 0 },
                Piece::SpecialToken { id: sep, type_id: 0 },
            ] if text == "A" => Ok([defined(cls)?, defined(sep)?]),
            // The constants for token 0 are those of [CLS].
            _ => Err(BadTokenizer::Template),
        }
    }
}
