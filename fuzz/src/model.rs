//! What the targets of `models` share: a small random model in a folder, of which an input replaces one file.

use std::path::{Path, PathBuf};

use aegis_models::{Bert, Config, Tokenizer};
use aegis_testing::TinyBert;
use tempfile::TempDir;

/// Words, word parts, marks and characters of many bytes.
pub(crate) const TEXTS: [&str; 4] = [
    "The cat sat on the mat.",
    "dogs [SEP] [MASK] ##s \u{0}\u{fffd}  zebra 東京 é",
    "",
    "the the the the the the the the the the the the the the the the the",
];

/// A folder with a model that loads.
pub(crate) struct ModelFolder {
    /// Calibrations carry its last name: the same in every process.
    path: PathBuf,
    /// Removed when dropped.
    _folder: TempDir,
}

impl ModelFolder {
    pub(crate) fn new() -> Self {
        let model = TinyBert { layers: 1, ..TinyBert::default() };
        // In memory where the system has a folder for that: an input is a file to write and read.
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
        let folder = folder.expect("a folder for a model");
        let path = folder.path().join("model");
        std::fs::create_dir(&path).and_then(|()| model.write(&path)).expect("a writable folder");
        Self { path, _folder: folder }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.file(name), bytes).expect("a writable folder");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).expect("a readable file")
    }

    pub(crate) fn bert(&self) -> Bert {
        Bert::load(self.path()).expect("a model that loads")
    }
}

/// Every text, and a long word, becomes tokens of the model or is refused.
pub(crate) fn tokenize(tokenizer: &Tokenizer, config: &Config) {
    let word = "a".repeat(120);
    for text in TEXTS.into_iter().chain([&word[..]]) {
        if let Ok(tokens) = tokenizer.encode(text) {
            assert!((1..=config.positions).contains(&tokens.len()), "{} tokens", tokens.len());
            assert!(tokens.ids().iter().all(|&id| (id as usize) < config.vocabulary), "{tokens:?}");
            assert!(tokens.types().iter().all(|&kind| (kind as usize) < config.token_types), "{tokens:?}");
        }
    }
}

/// Every text gets an embedding of length one, or is refused.
pub(crate) fn embed(bert: &Bert) {
    for text in TEXTS {
        if let Ok(embedding) = bert.embed_plain(text) {
            let length: f64 = embedding.iter().map(|v| v * v).sum();
            assert!((length - 1.0).abs() < 1e-6, "an embedding of squared length {length}");
        }
    }
}
