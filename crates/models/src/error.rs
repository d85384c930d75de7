//! What a model directory, a calibration file or a text can be refused for.

use std::path::{Path, PathBuf};

use aegis_nn::{ErrorKind, Excerpt};

use crate::QueryShape;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a model, a calibration or a text is refused. Every message names the cause and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ---- files
    /// A file of the model directory cannot be read.
    #[error("cannot read {path}; a model directory holds config.json, model.safetensors and tokenizer.json")]
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
    /// A file is not the JSON that it should be.
    #[error("{path} is not {what}; fetch it or make it again")]
    Json {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What the parser said.
        source: Excerpt<serde_json::Error>,
    },
    /// config.json does not describe a BERT encoder that this crate can run.
    #[error("{path}: {fault}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: BadConfig,
    },
    /// model.safetensors is damaged.
    #[error("{path} is not a readable safetensors file; it is truncated or damaged, fetch it again")]
    Weights {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: Excerpt<safetensors::SafeTensorError>,
    },
    /// tokenizer.json is damaged or of another model.
    #[error("{path} is not usable ({fault}); take the tokenizer.json that belongs to the model")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: BadTokenizer,
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
         `aegis calibrate`"
    )]
    MissingCalibration {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A calibration file of another version.
    #[error("the format of {path} is {}, this release reads {want}; make the calibration again", Excerpt(.have))]
    CalibrationVersion {
        /// The file.
        path: PathBuf,
        /// The format that it names.
        have: String,
        /// The format that this release reads and writes.
        want: &'static str,
    },
    /// The constants of a calibration file are not those that were written.
    #[error(
        "the constants of {path} do not fit their checksum: the file is damaged; fetch it or make it again"
    )]
    CalibrationChecksum {
        /// The file.
        path: PathBuf,
    },
    /// The calibration was made for other weights.
    #[error(
        "the calibration is for {} (sha256 {}) but model.safetensors has sha256 {found}; \
         take the calibration that was made for these weights", Excerpt(.made_for), Excerpt(.expected)
    )]
    OtherModel {
        /// Name of the model in the calibration.
        made_for: String,
        /// The identity in the calibration.
        expected: String,
        /// The identity of the weights that were loaded.
        found: String,
    },
    /// Constants that a calibration file cannot hold: JSON has no NaN and no infinity.
    #[error("a constant of this calibration is not finite; calibrate on other texts")]
    CalibrationNotFinite(#[source] serde_json::Error),
    /// A calibration on no texts.
    #[error("a calibration needs at least one text, better thousands of the kind that will be encrypted")]
    NoTexts,

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
    /// A text has more tokens than any that the model's calibration was made from.
    #[error(
        "{tokens} tokens, the two that mark the ends included, are more than the {max} that this model's calibration \
         covers; shorten or split the text, or make a calibration for longer ones with `aegis calibrate`"
    )]
    LongerThanCalibration {
        /// Its tokens, special ones included.
        tokens: usize,
        /// Tokens of the longest text of the calibration.
        max: usize,
    },
    /// The vocabulary knows no part of the text.
    #[error("every token of the text is unknown to the model's vocabulary; its embedding would mean nothing")]
    OnlyUnknownTokens,
    /// The tokenizer refused the text or gave an id that the embedding table lacks.
    #[error("the text cannot be tokenized; tokenizer.json and config.json may belong to different models")]
    Tokenize(#[source] Excerpt<tokenizers::Error>),
    /// Tokens that do not form an input of this model.
    #[error("the tokens are not an input of this model: {0}")]
    Tokens(BadTokens),
    /// A query of a shape that no model has.
    #[error("the shape of the query makes no sense: {0:?}; encrypt the text again")]
    DamagedShape(QueryShape),
    /// A query of another model, or longer than any text that this one takes.
    #[error(
        "the query has texts of {:?} tokens, {} when padded, width {}, {} heads and {} intermediate features; this model has \
         {positions} positions, width {width}, {heads} heads and {intermediate} intermediate features; encrypt the text \
         with this model",
        .have.lengths(), .have.padded_tokens(), .have.width(), .have.heads(), .have.intermediate()
    )]
    OtherShape {
        /// The shape of the query.
        have: QueryShape,
        /// Most tokens that the model takes.
        positions: usize,
        /// Features of the model.
        width: usize,
        /// Heads of the model.
        heads: usize,
        /// Intermediate features of the model.
        intermediate: usize,
    },
    /// Two embeddings cannot be compared, or one cannot be made.
    #[error("not an embedding: {0}")]
    Embedding(NoEmbedding),

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

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Nn(e) => e.kind(),
            Self::Config { fault, .. } => fault.kind(),
            Self::WrongFormat { .. } | Self::CalibrationVersion { .. } => ErrorKind::Unsupported,
            Self::Read { .. }
            | Self::FileTooLarge { .. }
            | Self::Json { .. }
            | Self::Weights { .. }
            | Self::Tokenizer { .. }
            | Self::MissingTensor { .. }
            | Self::WrongShape { .. }
            | Self::NonFiniteWeight { .. }
            | Self::MoreLayers { .. }
            | Self::MissingCalibration { .. }
            | Self::CalibrationChecksum { .. }
            | Self::OtherModel { .. }
            | Self::CalibrationNotFinite(_)
            | Self::NoTexts
            | Self::EmptyText
            | Self::TextTooLong { .. }
            | Self::LongerThanCalibration { .. }
            | Self::OnlyUnknownTokens
            | Self::Tokenize(_)
            | Self::Tokens(_)
            | Self::DamagedShape(_)
            | Self::OtherShape { .. }
            | Self::Embedding(_)
            | Self::RoundingBits { .. }
            | Self::RoundedAway { .. }
            | Self::NotCovered(_) => ErrorKind::Input,
        }
    }

    /// What a parser of JSON said about the file at `path`, which should be `what`.
    pub(crate) fn json(path: &Path, what: &'static str) -> impl Fn(serde_json::Error) -> Self {
        move |source| Self::Json { path: path.to_owned(), what, source: Excerpt(source) }
    }
}

/// What is wrong with a configuration: see [`Error::Config`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadConfig {
    /// A model of another kind.
    #[error(
        "{field} is {}; only \"{want}\" is supported, choose a BERT encoder with it",
        Excerpt(.have.as_deref().unwrap_or("absent"))
    )]
    Kind {
        /// The field.
        field: &'static str,
        /// Its value, where it is there.
        have: Option<String>,
        /// The value that is supported.
        want: &'static str,
    },
    /// A decoder.
    #[error("is_decoder is true; only encoders are supported, choose one")]
    Decoder,
    /// An embedding by other pooling than the mean.
    #[error("pooling_mode_{0} is on; only the mean over the tokens is supported, choose a model with it")]
    Pooling(&'static str),
    /// A size out of range.
    #[error("{field} is {value}; it must be from 1 to {max}")]
    Size {
        /// The field.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The largest possible.
        max: usize,
    },
    /// The features are no multiple of the heads.
    #[error("num_attention_heads {heads} does not divide hidden_size {width}; one of the two is wrong")]
    Heads {
        /// Number of heads.
        heads: usize,
        /// Number of features.
        width: usize,
    },
    /// What LayerNorm adds to the variance is out of range.
    #[error("layer_norm_eps is {0}; it must lie between 0 and 1")]
    Epsilon(f64),
}

impl BadConfig {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Kind { .. } | Self::Decoder | Self::Pooling(_) => ErrorKind::Unsupported,
            Self::Size { .. } | Self::Heads { .. } | Self::Epsilon(_) => ErrorKind::Input,
        }
    }
}

/// What is wrong with a tokenizer: see [`Error::Tokenizer`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadTokenizer {
    /// A token whose id the model has no embedding for.
    #[error("{} has id {id}, outside the vocabulary of {vocabulary} in config.json", Excerpt(.token))]
    Id {
        /// The token.
        token: String,
        /// Its id.
        id: u32,
        /// Words of the model.
        vocabulary: usize,
    },
    /// The unknown token is not in the vocabulary.
    #[error("{} is not in its vocabulary", Excerpt(.0))]
    Unknown(String),
    /// Words or marks of pieces longer than those of any BERT.
    #[error(
        "words of {chars} characters and marks of pieces of {prefix_bytes} bytes; at most {max_chars} and \
         {max_prefix_bytes} are those of BERT"
    )]
    Pieces {
        /// Longest word that is split, in characters.
        chars: usize,
        /// Length of the mark of a piece inside a word.
        prefix_bytes: usize,
        /// The longest word possible.
        max_chars: usize,
        /// The longest mark possible.
        max_prefix_bytes: usize,
    },
    /// An added token that is found by what stands around it.
    #[error("{} depends on what is around it; tokens of BERT do not", Excerpt(.0))]
    Context(String),
    /// An added token that the vocabulary gives another id.
    #[error("{} does not get its id {id}", Excerpt(.token))]
    Moved {
        /// The token.
        token: String,
        /// The id that the file says.
        id: u32,
    },
    /// A template with a token that is not defined as one.
    #[error("its template places {}, which is not defined as one token", Excerpt(.0))]
    Undefined(String),
    /// A template of another form.
    #[error("its template does not put one token before and one after the text")]
    Template,
    /// The `tokenizers` library refuses a part that this crate lets pass.
    #[error("the tokenizers library refuses it: {0}")]
    Library(Excerpt<tokenizers::Error>),
}

/// Why tokens are not an input of a model: see [`Error::Tokens`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadTokens {
    /// No tokens, or more than positions.
    #[error("{have} ids, where 1 to {max} fit")]
    Count {
        /// Tokens given.
        have: usize,
        /// Positions of the model.
        max: usize,
    },
    /// A table of the model has no such row.
    #[error("{table} {index}, where the model has {rows}")]
    Row {
        /// The table: word, position or token type.
        table: &'static str,
        /// The row asked for.
        index: usize,
        /// Rows of the table.
        rows: usize,
    },
}

/// Why numbers are not an embedding: see [`Error::Embedding`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoEmbedding {
    /// The slots of a result do not hold copies of one vector.
    #[error(
        "its copies differ by {difference:.3e} where the largest value is {largest:.3e}; the ciphertext is of other keys, \
         damaged, or the run left its calibrated ranges"
    )]
    Copies {
        /// Largest difference; NaN counts as the largest.
        difference: f64,
        /// Largest component of their mean.
        largest: f64,
    },
    /// A vector without direction.
    #[error("its length is {0}; the encrypted run left its calibrated ranges or the wrong key was used")]
    Length(f64),
    /// Vectors of two models.
    #[error("sizes {left} and {right} differ; use one model for both")]
    Sizes {
        /// Size of the first.
        left: usize,
        /// Size of the second.
        right: usize,
    },
}
