use aegis_ckks::{ErrorKind, Excerpt, Level};

use crate::Layout;
use crate::program::BlockId;
use crate::schedule::ScheduleFault;

/// Result of an operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model does not fit the packing.
    #[error("this model does not fit the packing: {0}")]
    Layout(Unpackable),
    /// A tensor of the wrong shape was passed.
    #[error("{what}: expected {want}, got {have}")]
    Shape {
        /// The tensor.
        what: String,
        /// The shape it must have.
        want: String,
        /// The shape it has.
        have: String,
    },
    /// Weights that cannot be computed with.
    #[error("{what} holds a value that is not finite; the weights are damaged, fetch them again")]
    NotFinite {
        /// The tensor.
        what: String,
    },
    /// A calibration file that does not make sense or belongs to another model.
    #[error("calibration, {place}: {fault}; make the calibration file anew for this model")]
    Calibration {
        /// Layer and entry.
        place: String,
        /// What is wrong with it.
        fault: BadConstant,
    },
    /// An activation left the range its approximation was made for.
    #[error(
        "{stage}: the value {value} is outside the calibrated range [{low}, {high}]; the result would \
         be wrong, calibrate on texts like this one"
    )]
    OutOfRange {
        /// Where.
        stage: String,
        /// The value farthest outside.
        value: f64,
        /// Lower end of the range.
        low: f64,
        /// Upper end of the range.
        high: f64,
    },
    /// No placement of bootstraps gets through.
    #[error(
        "{stage} needs {need} levels, at most {have} are there between two bootstraps; use a longer \
         modulus chain"
    )]
    Placement {
        /// The stage that cannot be reached or run.
        stage: String,
        /// Levels it needs.
        need: u32,
        /// Levels there are.
        have: u32,
    },
    /// The plan asks for bootstraps and there is no bootstrapper.
    #[error("the plan bootstraps, and no bootstrapper was given; use a parameter set with bootstrapping")]
    NoBootstrapper,
    /// Keys made for something else. The source names the first that is missing.
    #[error("the evaluation keys do not cover this plan; make them from the request of `Plan::keys`")]
    MissingKeys(#[source] aegis_ckks::Error),
    /// Levels that were chosen for another network.
    #[error("levels of {have} layers for a network of {want}; choose them for this one")]
    OtherLevels {
        /// Layers that they are for.
        have: usize,
        /// Layers of the network.
        want: usize,
    },
    /// A tensor that is packed otherwise than the network computes.
    #[error("the input is packed for {} tokens, the network for {}; pack it alike", .have.tokens(), .want.tokens())]
    OtherLayout {
        /// Packing of the tensor.
        have: Box<Layout>,
        /// Packing of the network.
        want: Box<Layout>,
    },
    /// A schedule that cannot run its program.
    #[error("this schedule cannot run this program: {0}; make it for this one")]
    Schedule(ScheduleFault),
    /// A schedule of several lanes, and nothing that carries blocks between them.
    #[error("the schedule moves block {}, and the run has no exchange; give each lane one, or run one lane", .0.0)]
    NoExchange(BlockId),
    /// A run with other blocks than those that are needed.
    #[error("{have} blocks, where {want} are needed; begin the run anew")]
    Blocks {
        /// Blocks that there are.
        have: usize,
        /// Blocks that are needed.
        want: usize,
    },
    /// A task made other blocks than it declares: a mistake in its layer.
    #[error("{stage} made blocks at levels {have:?}, declared {want:?}; its layer is wrong")]
    Made {
        /// The stage.
        stage: String,
        /// Levels of what was made.
        have: Vec<Level>,
        /// Levels declared.
        want: Vec<Level>,
    },
    /// A check of a layer failed.
    #[error("check of {layer}: {failure}")]
    Check {
        /// The layer.
        layer: String,
        /// Which fact does not hold.
        failure: CheckFailure,
    },
    /// A ciphertext is too low for what is to come.
    #[error("{stage} needs {need}, its input is at {have}; encrypt at the fresh level or bootstrap first")]
    LevelTooLow {
        /// The stage.
        stage: String,
        /// Level it needs.
        need: Level,
        /// Level of the input.
        have: Level,
    },
    /// The scheme refused.
    #[error(transparent)]
    Ckks(#[from] aegis_ckks::Error),
    /// A circuit refused.
    #[error(transparent)]
    Circuits(#[from] aegis_circuits::Error),
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Ckks(e) => e.kind(),
            Self::Circuits(e) => e.kind(),
            Self::MissingKeys(_) => ErrorKind::KeySet,
            Self::Layout(_) | Self::Placement { .. } | Self::NoBootstrapper => ErrorKind::Unsupported,
            Self::Schedule(_)
            | Self::NoExchange(_)
            | Self::Blocks { .. }
            | Self::Made { .. }
            | Self::OtherLevels { .. } => ErrorKind::Bug,
            Self::Shape { .. }
            | Self::NotFinite { .. }
            | Self::Calibration { .. }
            | Self::OutOfRange { .. }
            | Self::OtherLayout { .. }
            | Self::Check { .. }
            | Self::LevelTooLow { .. } => ErrorKind::Input,
        }
    }
}

/// Why a model does not fit the packing: see [`Error::Layout`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unpackable {
    /// Nothing to pack, or features that are no multiple of the heads.
    #[error("{width} features in {heads} heads, {intermediate} intermediate features")]
    Features {
        /// Model features.
        width: usize,
        /// Heads.
        heads: usize,
        /// Intermediate features.
        intermediate: usize,
    },
    /// A number that must be a power of two is none.
    #[error("{what} = {have} is not a power of two")]
    PowerOfTwo {
        /// What it counts.
        what: &'static str,
        /// The number.
        have: usize,
    },
    /// Fewer tokens than coordinates in a head.
    #[error("{tokens} padded tokens are fewer than the head dimension {head_dim}; pad further")]
    FewTokens {
        /// Padded tokens.
        tokens: usize,
        /// Coordinates in a head.
        head_dim: usize,
    },
    /// Tokens beyond one token block that do not fill the last one.
    #[error("{tokens} padded tokens are no multiple of the {fill} that fill the slots; pad further")]
    Blocks {
        /// Padded tokens.
        tokens: usize,
        /// Tokens that fill the slots.
        fill: usize,
    },
    /// A block has no room for a head.
    #[error("{tokens} tokens of head dimension {head_dim} in {slots} slots; at most {max}")]
    ManyTokens {
        /// Padded tokens.
        tokens: usize,
        /// Coordinates in a head.
        head_dim: usize,
        /// Number of slots.
        slots: usize,
        /// Most tokens that fit.
        max: usize,
    },
}

/// What is wrong with a constant of a calibration: see [`Error::Calibration`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadConstant {
    /// The calibration of another model.
    #[error("it was made for {}, not for {}", Excerpt(.have), Excerpt(.want))]
    OtherModel {
        /// Name of the model in the calibration.
        have: String,
        /// Name of the model at hand.
        want: String,
    },
    /// Entries that are not those of the layers in order.
    #[error("entry {entry} is for layer {layer}")]
    Order {
        /// Index of the entry.
        entry: usize,
        /// The layer that it names.
        layer: usize,
    },
    /// A number that is out of its range, or none.
    #[error("{value} is not between {low} and {high}")]
    Number {
        /// The number.
        value: f64,
        /// Lower end of the range.
        low: f64,
        /// Upper end of the range.
        high: f64,
    },
    /// Too many of something, or too few.
    #[error("{have}, where {min} to {max} are possible")]
    Count {
        /// How many there are.
        have: usize,
        /// The fewest possible.
        min: usize,
        /// The most possible.
        max: usize,
    },
    /// Two ends that are not those of a range.
    #[error("[{low}, {high}] is not a range")]
    Range {
        /// The first end.
        low: f64,
        /// The second.
        high: f64,
    },
    /// A factor that follows from another constant has another value.
    #[error("{have}, where {want} follows from other constants")]
    Fixed {
        /// The factor.
        have: f64,
        /// The value that follows.
        want: f64,
    },
    /// A polynomial or a schedule is not near its function.
    #[error("its approximation is off by {error:.3}, more than {limit}, in [{low}, {high}]")]
    Approximation {
        /// Largest error found; NaN counts as the largest.
        error: f64,
        /// The largest allowed.
        limit: f64,
        /// Lower end of the range.
        low: f64,
        /// Upper end of the range.
        high: f64,
    },
    /// No entry serves so many tokens.
    #[error("no schedule for {tokens} tokens")]
    NoSchedule {
        /// The tokens.
        tokens: usize,
    },
}

/// Which fact about a layer does not hold: see [`Error::Check`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckFailure {
    /// Another number of inputs was given than the layer declares.
    #[error("{have} inputs given, it takes {want}")]
    Inputs {
        /// Inputs given.
        have: usize,
        /// Inputs declared.
        want: usize,
    },
    /// The outputs declared, those of the plain layer and those made are not the same.
    #[error("outputs of {declared:?} columns declared, {plain:?} meant, {made} made")]
    Outputs {
        /// Columns of each output declared.
        declared: Vec<usize>,
        /// Columns of each output of the plain layer.
        plain: Vec<usize>,
        /// Outputs of the encrypted layer.
        made: usize,
    },
    /// An output at another level than declared.
    #[error("an output at {have}, declared {want}")]
    Level {
        /// Its level.
        have: Level,
        /// The level declared.
        want: Level,
    },
    /// The encrypted layer is not the plain one.
    #[error("error {error:e} against the plain layer, tolerance {tolerance:e}")]
    Difference {
        /// Largest difference; NaN counts as the largest.
        error: f64,
        /// What was allowed.
        tolerance: f64,
    },
}
