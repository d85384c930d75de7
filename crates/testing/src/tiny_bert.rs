//! A small random BERT in Hugging Face layout, written to a folder. The weights are random, with the magnitudes
//! of a trained model where the approximations depend on them; embeddings mean nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::Numbers;

/// Words of the small vocabulary, after `[PAD] [UNK] [CLS] [SEP] [MASK]`.
const WORDS: [&str; 11] = ["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "road", "##s", "."];

/// Shape and spelling of the small model.
#[derive(Clone, Debug)]
pub struct TinyBert {
    /// Features of a token.
    pub width: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Inner features of the feed-forward part.
    pub intermediate: usize,
    /// Rows of the position table.
    pub positions: usize,
    /// Seed of the weights.
    pub seed: u64,
    /// Put before every name, such as `bert.`.
    pub prefix: &'static str,
    /// Whether LayerNorm parameters are called `gamma` and `beta`.
    pub old_names: bool,
    /// F32, F16 or BF16; other formats are written as zeros of that size.
    pub format: Dtype,
}

impl Default for TinyBert {
    fn default() -> Self {
        TinyBert {
            width: 8,
            layers: 2,
            heads: 2,
            intermediate: 16,
            positions: 16,
            seed: 1,
            prefix: "",
            old_names: false,
            format: Dtype::F32,
        }
    }
}

/// One tensor of the file: format, shape and little-endian bytes.
pub type Stored = (Dtype, Vec<usize>, Vec<u8>);

impl TinyBert {
    /// The sizes of all-MiniLM-L6-v2, with random weights.
    pub fn of_minilm_size() -> Self {
        Self { width: 384, layers: 6, heads: 12, intermediate: 1536, positions: 512, ..Self::default() }
    }

    /// Writes `config.json`, `tokenizer.json` and `model.safetensors` into `dir`.
    ///
    /// # Errors
    /// Whatever writing the files gives.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        std::fs::write(dir.join("config.json"), self.config())?;
        std::fs::write(dir.join("tokenizer.json"), tokenizer())?;
        write_tensors(dir, &self.tensors())
    }

    /// The text of `config.json`.
    pub fn config(&self) -> String {
        serde_json::json!({
            "model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12,
            "hidden_size": self.width, "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "intermediate_size": self.intermediate, "max_position_embeddings": self.positions,
            "vocab_size": 5 + WORDS.len(), "type_vocab_size": 2
        })
        .to_string()
    }

    /// Every tensor by its name in the file; change it before [`write_tensors`] to make a damaged model.
    pub fn tensors(&self) -> BTreeMap<String, Stored> {
        let (d, f) = (self.width, self.intermediate);
        let mut maker = Maker { model: self, numbers: Numbers::new(self.seed), tensors: BTreeMap::new() };
        for (name, rows) in [("word", 5 + WORDS.len()), ("position", self.positions), ("token_type", 2)] {
            maker.random(&format!("embeddings.{name}_embeddings.weight"), &[rows, d], 1.0, 0.0);
        }
        maker.norm("embeddings", d);
        for layer in 0..self.layers {
            let p = format!("encoder.layer.{layer}");
            for name in [
                "attention.self.query",
                "attention.self.key",
                "attention.self.value",
                "attention.output.dense",
            ] {
                maker.linear(&format!("{p}.{name}"), d, d);
            }
            maker.linear(&format!("{p}.intermediate.dense"), d, f);
            maker.linear(&format!("{p}.output.dense"), f, d);
            maker.norm(&format!("{p}.attention.output"), d);
            maker.norm(&format!("{p}.output"), d);
        }
        maker.linear("pooler.dense", d, d);
        maker.tensors
    }
}

/// Writes `model.safetensors` into `dir`.
///
/// # Errors
/// Whatever writing gives; `InvalidData` for tensors whose bytes do not fit their shape.
pub fn write_tensors(dir: &Path, tensors: &BTreeMap<String, Stored>) -> io::Result<()> {
    let invalid = |e: safetensors::SafeTensorError| io::Error::new(io::ErrorKind::InvalidData, e.to_string());
    let views = tensors
        .iter()
        .map(|(name, (format, shape, bytes))| Ok((name, TensorView::new(*format, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(invalid)?;
    std::fs::write(dir.join("model.safetensors"), safetensors::serialize(views, None).map_err(invalid)?)
}

/// Adds tensors of random weights one by one.
struct Maker<'a> {
    model: &'a TinyBert,
    numbers: Numbers,
    tensors: BTreeMap<String, Stored>,
}

impl Maker<'_> {
    /// Weights of `outputs x inputs` with variance 1/inputs, small biases.
    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.random(&format!("{name}.weight"), &[outputs, inputs], (3.0 / inputs as f64).sqrt(), 0.0);
        self.random(&format!("{name}.bias"), &[outputs], 0.1, 0.0);
    }

    /// gamma near 1, beta near 0.
    fn norm(&mut self, owner: &str, d: usize) {
        let (gamma, beta) = if self.model.old_names { ("gamma", "beta") } else { ("weight", "bias") };
        self.random(&format!("{owner}.LayerNorm.{gamma}"), &[d], 0.2, 1.0);
        self.random(&format!("{owner}.LayerNorm.{beta}"), &[d], 0.1, 0.0);
    }

    /// Uniform in `centre - width .. centre + width`.
    fn random(&mut self, name: &str, shape: &[usize], width: f64, centre: f64) {
        let count: usize = shape.iter().product();
        let bytes = (0..count)
            .flat_map(|_| {
                let value = (centre + width * self.numbers.next()) as f32;
                match self.model.format {
                    Dtype::F32 => value.to_le_bytes().to_vec(),
                    Dtype::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
                    Dtype::BF16 => bf16::from_f32(value).to_le_bytes().to_vec(),
                    other => vec![0; other.bitsize() / 8],
                }
            })
            .collect();
        self.tensors
            .insert(format!("{}{name}", self.model.prefix), (self.model.format, shape.to_vec(), bytes));
    }
}

/// A WordPiece `tokenizer.json` that, like published ones, truncates and pads: to 3 tokens, so that a loader
/// which heeds it fails.
fn tokenizer() -> String {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let vocabulary: BTreeMap<&str, usize> =
        special.into_iter().chain(WORDS).enumerate().map(|(i, w)| (w, i)).collect();
    let added = |(id, token): (usize, &&str)| {
        serde_json::json!({"id": id, "special": true, "content": token, "single_word": false,
                           "lstrip": false, "rstrip": false, "normalized": false})
    };
    let piece = |token: &str| serde_json::json!({"SpecialToken": {"id": token, "type_id": 0}});
    let spelled = |token: &str, id: u32| serde_json::json!({"id": token, "ids": [id], "tokens": [token]});
    serde_json::json!({
        "version": "1.0",
        "truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {"strategy": {"Fixed": 3}, "direction": "Right", "pad_to_multiple_of": null,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": special.iter().enumerate().map(added).collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [piece("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, piece("[SEP]")],
            "pair": [piece("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, piece("[SEP]"),
                     {"Sequence": {"id": "B", "type_id": 1}}, piece("[SEP]")],
            "special_tokens": {"[CLS]": spelled("[CLS]", 2), "[SEP]": spelled("[SEP]", 3)}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary}
    })
    .to_string()
}
