//! What a model directory, a calibration file or a text can be refused for.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a model, a calibration or a text is refused. Every message names the cause and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ---- files
    /// A file of the model directory cannot be read.
    #[error(
        "cannot read {path}: {source}; \
         a model directory holds config.json, model.safetensors and tokenizer.json"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is larger than any model that this crate serves.
    #[error("{path} has {bytes} bytes, more than the {limit} that this loader reads; is it the right file?")]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest size that is read.
        limit: u64,
    },
    /// config.json does not describe a BERT encoder that this crate can run.
    #[error("{path}: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// Cause and remedy.
        reason: String,
    },
    /// model.safetensors is damaged.
    #[error(
        "{path} is not a readable safetensors file ({reason}); it is truncated or damaged, fetch it again"
    )]
    Weights {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// tokenizer.json is damaged or of another model.
    #[error("{path} is not usable ({reason}); take the tokenizer.json that belongs to the model")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    // ---- weights
    /// The configuration needs a tensor that the file lacks.
    #[error(
        "model.safetensors has no tensor {name} (also looked for under: {tried}); \
         the file does not fit config.json"
    )]
    MissingTensor {
        /// Its name without prefix, in the present naming.
        name: String,
        /// The other spellings that were tried.
        tried: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error(
        "tensor {name} has shape {found:?} but config.json makes it {expected:?}; \
         the two files do not belong together"
    )]
    WrongShape {
        /// Its name in the file.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration makes.
        expected: Vec<usize>,
    },
    /// A tensor has a number format that this crate does not read.
    #[error("tensor {name} has format {found}; convert the model to F32, F16 or BF16")]
    WrongFormat {
        /// Its name in the file.
        name: String,
        /// The format in the file.
        found: String,
    },
    /// A weight is NaN or infinite.
    #[error(
        "tensor {name} holds {value} at position {index}; the weights are damaged, fetch the model again"
    )]
    NonFiniteWeight {
        /// Its name in the file.
        name: String,
        /// Index of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The file holds more layers than the configuration says.
    #[error(
        "config.json says {configured} layers but model.safetensors has {extra}; \
         the two files do not belong together"
    )]
    MoreLayers {
        /// Layers in the configuration.
        configured: usize,
        /// A tensor of a further layer.
        extra: String,
    },

    // ---- calibration
    /// The model directory has no calibration file.
    #[error(
        "{path} is missing: an encrypted run needs the calibrated approximations of this very model; \
         for all-MiniLM-L6-v2 `cargo xtask model` puts it there, for another model make one with \
         `Bert::calibrate` and `calibration_file`"
    )]
    MissingCalibration {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The calibration file cannot be understood.
    #[error("{path} is not a calibration file of this version ({reason}); make it again")]
    CalibrationFormat {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The calibration was made for other weights.
    #[error(
        "the calibration is for {made_for} (sha256 {expected}) but model.safetensors has sha256 {found}; \
         take the calibration that was made for these weights"
    )]
    OtherModel {
        /// Name of the model in the calibration.
        made_for: String,
        /// The identity in the calibration.
        expected: String,
        /// The identity of the weights that were loaded.
        found: String,
    },
    /// A constant of the calibration cannot be used.
    #[error("calibration, {place}: {reason}; make the calibration again")]
    CalibrationConstant {
        /// Where in the file.
        place: String,
        /// What is wrong with it.
        reason: String,
    },

    // ---- text
    /// There is nothing to embed.
    #[error("the text is empty (or only blanks and control characters); give at least one word")]
    EmptyText,
    /// The text has more tokens than can be processed.
    #[error(
        "the text has {tokens} tokens with the two that mark its ends, and at most {max} fit; \
         shorten or split it, or make keys for longer texts if the model has the positions"
    )]
    TextTooLong {
        /// Its tokens, special ones included.
        tokens: usize,
        /// The largest number that fits.
        max: usize,
    },
    /// The vocabulary knows no part of the text.
    #[error("every token of the text is unknown to the model's vocabulary; its embedding would mean nothing")]
    OnlyUnknownTokens,
    /// The tokenizer refused the text or gave an id that the embedding table lacks.
    #[error(
        "the text cannot be tokenized: {0}; tokenizer.json and config.json may belong to different models"
    )]
    Tokenize(String),
    /// Tokens that do not form an input of this model.
    #[error("the tokens are not an input of this model: {0}")]
    Tokens(String),
    /// Two embeddings cannot be compared, or one cannot be made.
    #[error("not an embedding: {0}")]
    Embedding(String),

    /// A grid that would not hide the noise of an encrypted run, or is none.
    #[error(
        "an embedding is rounded to 1 to {max} bits, not {bits}: a finer grid would leave the noise to be read",
        max = crate::MAX_ROUND_BITS
    )]
    RoundingBits {
        /// The bits asked for.
        bits: u32,
    },
    /// Rounding left nothing of an embedding.
    #[error("rounded to multiples of 2^-{bits} the embedding is zero; take more bits")]
    RoundedAway {
        /// The bits asked for.
        bits: u32,
    },
    /// A text whose values leave the ranges that the approximations are made for: its encrypted embedding would be wrong.
    #[error(
        "this model's calibration does not cover the text: in {} the value {:.4} is outside \
         [{:.4}, {:.4}]; rephrase it without markers such as [MASK], or calibrate on texts like it",
        .0.stage, .0.value, .0.range.0, .0.range.1
    )]
    NotCovered(aegis_nn::Excursion),

    // ---- encrypted evaluation
    /// A layer, a circuit or the scheme refused.
    #[error(transparent)]
    Nn(#[from] aegis_nn::Error),
}
