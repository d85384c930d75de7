//! A client's model and keys on the small preset with 128 bits of security, made without the command.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use aegis::keyset::Keyset;
use aegis::message::{self, Header, Kind};
use aegis_ckks::{Context, KeyGenerator, N14_L6_S40, Params, SecretKey, Seed};
use aegis_models::{Bert, CALIBRATION_FILE, Query, QueryShape, calibration_file};
use aegis_nn::{MODEL, Shape, Tensor};
use aegis_testing::{TinyBert, on_cpu};
use tempfile::{TempDir, tempdir};

/// A text that the calibration covers.
pub(crate) const TEXT: &str = "the cat sat on the mat.";
/// One that a calibration on [`NARROW`] alone does not.
pub(crate) const OUTSIDE: &str = "the [MASK] sat";
pub(crate) const NARROW: &str = "cat";
const TEXTS: [&str; 4] = [TEXT, "a dog ran", "cat", "the dogs sat."];

pub(crate) struct Client {
    dir: TempDir,
    bert: Bert,
    ctx: Context,
    secret: SecretKey,
}

impl Client {
    pub(crate) fn new() -> Self {
        let dir = tempdir().expect("a folder");
        let bert = calibrated(&TinyBert::default(), &dir.path().join("model"), &TEXTS);
        let ctx = on_cpu(Params::try_from(N14_L6_S40).expect("a preset"), 1);
        let secret = KeyGenerator::new(&ctx, Seed::new([1; 32])).secret_key();
        let client = Self { dir, bert, ctx, secret };
        fs::create_dir(client.keys()).expect("writable");
        let key = File::create(client.keys().join("secret.key")).expect("writable");
        client.secret.write(&client.ctx, key).expect("writable");
        let (key_id, model) = (client.secret.id().to_string(), client.bert.identity().to_owned());
        let keyset = Keyset { key_id, preset: N14_L6_S40.name.into(), model, padded_tokens: 16 };
        fs::write(client.keys().join("keyset.json"), keyset.to_bytes()).expect("writable");
        client
    }

    /// A new path in the client's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn model(&self) -> PathBuf {
        self.path("model")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.path("keys")
    }

    /// The same weights with a calibration that covers hardly any text.
    pub(crate) fn narrow_model(&self) -> PathBuf {
        let path = self.path("narrow");
        calibrated(&TinyBert::default(), &path, &[NARROW]);
        path
    }

    /// A model whose queries have room for four short texts.
    pub(crate) fn long_model(&self) -> PathBuf {
        let path = self.path("long");
        if !path.exists() {
            calibrated(&TinyBert { positions: 64, ..TinyBert::default() }, &path, &TEXTS);
        }
        path
    }

    /// The secret key, described as one of keys for [`Self::long_model`].
    pub(crate) fn long_keys(&self) -> PathBuf {
        let path = self.path("long-keys");
        fs::create_dir(&path).expect("writable");
        fs::copy(self.keys().join("secret.key"), path.join("secret.key")).expect("writable");
        let bert = Bert::load(self.long_model()).expect("a model");
        let (key_id, model) = (self.secret.id().to_string(), bert.identity().to_owned());
        let keyset = Keyset { key_id, preset: N14_L6_S40.name.into(), model, padded_tokens: 64 };
        fs::write(path.join("keyset.json"), keyset.to_bytes()).expect("writable");
        path
    }

    /// Writes the result that a faultless server would send for short texts, and gives their embeddings.
    pub(crate) fn shared_result(&self, path: &Path, texts: &[&str]) -> Vec<Vec<f64>> {
        let bert = Bert::load(self.long_model()).expect("a model");
        let layout = bert.layout(self.ctx.params().slots(), 64).expect("a layout");
        let queries: Vec<_> = texts.iter().map(|t| bert.query(&layout, t).expect("a query")).collect();
        let shape = Query::share(&queries).remove(0).query.shape;
        let embeddings: Vec<_> =
            texts.iter().map(|text| bert.embed_plain(text).expect("an embedding")).collect();
        // Pooling leaves the sum of the next sixteen rows in each, around the end.
        let window = |text: usize, row: usize| {
            let first = 16 * text;
            let tokens = first..first + shape.lengths()[text];
            (row..row + 16).filter(|t| tokens.contains(&(t % 64))).count() as f64 / tokens.len() as f64
        };
        let sums = Tensor::from_fn(64, embeddings[0].len(), |row, c| {
            embeddings.iter().enumerate().map(|(text, e)| window(text, row) * e[c]).sum()
        });
        self.write_result(path, &bert, shape, &sums);
        embeddings
    }

    fn write_result(&self, path: &Path, bert: &Bert, shape: QueryShape, rows: &Tensor) {
        let (level, seed) = (self.ctx.params().fresh_level(), Seed::new([2; 32]));
        let all_rows = Shape::one(&shape.layout().expect("a layout"), MODEL, rows.rows());
        let y =
            aegis_nn::encrypt(&self.ctx, &self.secret, all_rows, rows, level, &seed).expect("a ciphertext");
        let header = Header { kind: Kind::Result, model: bert.identity().to_owned(), shape };
        let bytes = message::encode(&self.ctx, &header, y.blocks()).expect("a message");
        fs::write(path, bytes).expect("writable");
    }

    /// Writes the result that a faultless server would send for [`TEXT`], and gives its embedding.
    pub(crate) fn result(&self, path: &Path) -> Vec<f64> {
        let layout = self.bert.layout(self.ctx.params().slots(), 16).expect("a layout");
        let Query { shape, .. } = self.bert.query(&layout, TEXT).expect("a query");
        let embedding = self.bert.embed_plain(TEXT).expect("an embedding");
        let copies = Tensor::from_fn(layout.tokens(), embedding.len(), |_, c| embedding[c]);
        self.write_result(path, &self.bert, shape, &copies);
        embedding
    }
}

/// The small model in a folder, with a calibration on these texts.
pub(crate) fn calibrated(model: &TinyBert, dir: &Path, texts: &[&str]) -> Bert {
    fs::create_dir(dir).expect("writable");
    model.write(dir).expect("writable");
    let bert = Bert::load(dir).expect("a model");
    let tokens: Vec<_> = texts.iter().map(|t| bert.tokenize(t).expect("tokens")).collect();
    let mut calibration = bert.calibrate("test", &tokens).expect("constants");
    calibration.tokens = bert.config().positions; // what is refused here is refused for its values
    let file = calibration_file(&calibration, bert.identity()).expect("a file");
    fs::write(dir.join(CALIBRATION_FILE), file).expect("writable");
    bert
}
