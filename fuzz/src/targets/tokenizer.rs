//! `tokenizer.json`; what is accepted tokenises texts.

use std::ops::Range;

use aegis_models::{Config, Tokenizer};

use crate::model::{ModelFolder, tokenize};
use crate::{Outcome, Target};

struct TokenizerFile {
    folder: ModelFolder,
    config: Config,
}

pub(super) fn open() -> Box<dyn Target> {
    let folder = ModelFolder::new();
    let config = Config::load(folder.path()).expect("a valid configuration");
    Box::new(TokenizerFile { folder, config })
}

/// The other way to put tokens before and after a text.
const BERT_PROCESSING: &str = r###"{"added_tokens":[{"id":1,"content":"[UNK]","single_word":false,"lstrip":false,
    "rstrip":false,"normalized":false,"special":true}],
    "normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":true,
        "lowercase":false},
    "pre_tokenizer":{"type":"BertPreTokenizer"},
    "post_processor":{"type":"BertProcessing","sep":["[SEP]",3],"cls":["[CLS]",2]},
    "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":400,
        "vocab":{"[PAD]":0,"[UNK]":1,"[CLS]":2,"[SEP]":3,"the":4,"cat":5,"##s":6,"a":7,"##a":8}}}"###;

impl Target for TokenizerFile {
    fn seeds(&self) -> Vec<Vec<u8>> {
        vec![self.folder.read("tokenizer.json"), BERT_PROCESSING.as_bytes().to_vec()]
    }

    fn run(&self, input: &[u8]) -> Outcome {
        self.folder.write("tokenizer.json", input);
        match Tokenizer::load(self.folder.path(), &self.config) {
            Ok(tokenizer) => {
                tokenize(&tokenizer, &self.config);
                Outcome::Accepted
            }
            Err(_) => Outcome::Refused,
        }
    }

    fn bound(&self) -> usize {
        1 << 22
    }

    fn json(&self, input: &[u8]) -> Option<Range<usize>> {
        Some(0..input.len())
    }
}
