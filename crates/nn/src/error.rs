use aegis_ckks::Level;

/// Result of an operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong, grouped by whose fault it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model does not fit the packing.
    #[error("this model does not fit the packing: {0}")]
    Layout(String),
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
    #[error("calibration, {place}: {reason}; make the calibration file anew for this model")]
    Calibration {
        /// Layer and entry.
        place: String,
        /// What is wrong with it.
        reason: String,
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
    /// The plan asks for a bootstrap and there is no bootstrapper.
    #[error(
        "the plan bootstraps {value}, and no bootstrapper was given; use a parameter set with bootstrapping"
    )]
    NoBootstrapper {
        /// What is to be bootstrapped.
        value: String,
    },
    /// Keys made for something else.
    #[error("the evaluation keys do not cover this plan; make them from the request of `Network::keys`")]
    MissingKeys,
    /// A check of a layer failed.
    #[error("check of {layer}: {reason}")]
    Check {
        /// The layer.
        layer: String,
        /// Which fact does not hold, with the numbers.
        reason: String,
    },
    /// A ciphertext is too low for what is to come.
    #[error(
        "{stage} needs level {need:?}, its input is at {have:?}; encrypt at the fresh level or bootstrap first"
    )]
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
