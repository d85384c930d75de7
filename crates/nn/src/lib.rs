//! Transformer layers on CKKS-encrypted activations: tensors of ciphertexts, packings, layers, and the programs of tasks
//! that they become.
//!
//! Each layer is one file with three facts ([`Layer`]): the levels it takes, its meaning on plain tensors, and the tasks
//! that evaluate it on ciphertexts. A [`Network`] wires layers together. A [`Plan`] decides the rest before any key is made:
//! where bootstraps fall and at which level each layer runs, by exact dynamic programming ([`levels`]), the order of the
//! tasks ([`Schedule`]), every key and the memory of a run. A [`Program`] is the computation as data, a [`Lane`] a run of
//! it. [`encoder`] builds the network of a BERT encoder from plain weights and calibrated constants ([`Calibration`]).
//!
//! [`check`] is the whole test of a layer; here, of an affine map on a small ring without security:
//!
//! ```
//! use std::sync::Arc;
//! use aegis_ckks::{Context, Level, Params, insecure_levelled_spec};
//! use aegis_nn::layers::linear::Linear;
//! use aegis_nn::{Layer, Layout, MODEL, Tensor, check};
//!
//! let params = Params::insecure(insecure_levelled_spec(9, 3))?;
//! let device = aegis_cpu::Cpu::new(params.rns().clone(), 1)?;
//! let ctx = Context::new(params, Arc::new(device))?;
//!
//! // 8 padded tokens of 8 features in 2 heads: 256 slots hold 32 a token.
//! let layout = Layout::new(ctx.params().slots(), 8, 8, 2, 16)?;
//! let weight = Tensor::from_fn(8, 8, |i, o| if i == o { 2.0 } else { 0.1 });
//! let layer = Linear::new("double", &layout, (MODEL, MODEL), weight, vec![0.5; 8], vec![0.5; 8])?;
//!
//! let x = Tensor::from_fn(5, 8, |token, feature| 0.1 * token as f64 - 0.05 * feature as f64);
//! let report = check(&Arc::new(layer), &ctx, Level(1), &[&x], 1e-5)?;
//! assert!(report.max_padding < 1e-5, "the three padded rows stay zero");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What every layer keeps
//! * Rows of padding are zeros, before and after: a row that drifts out of an approximation's range would
//!   destroy its whole ciphertext. Masks are folded into biases, weights and the coefficients of polynomials.
//! * Token 0 (CLS, a public position) of each text has its own factors and coefficients: its activations are far larger
//!   than the others'.
//! * Levels and scales are those of the plan; layers go through [`aegis_ckks::Evaluator`] and
//!   [`aegis_circuits`] and never set either.
//!
//! # Non-goals
//! Training, reading weight files and tokenising (`aegis-models`), making keys for people, attention masks other than
//! padding at the end of each text, texts of secret length.
#![forbid(unsafe_code)]

pub mod calibration;
mod catalog;
mod encoder;
mod error;
mod exchange;
mod layer;
pub mod layers;
mod layout;
pub mod levels;
mod network;
mod ops;
mod plan;
mod program;
mod refresh;
mod rows;
mod run;
mod schedule;
mod tensor;

/// The series and inverses that calibrations describe, from [`aegis_circuits`].
pub use aegis_circuits::{chebyshev, goldschmidt};
pub use aegis_ckks::{ErrorKind, Excerpt};
pub use calibration::{
    Bounds, Calibration, ExpPolynomial, GeluCalibration, InverseCalibration, LayerCalibration,
    NormCalibration, SoftmaxCalibration, TokenZero,
};
pub use catalog::{Bill, Catalog, Cost, KERNEL_COSTS};
pub use encoder::{Affine, EncoderWeights, LayerWeights, Norm, Pooling, encoder};
pub use error::{BadConstant, CheckFailure, Error, Result, Unpackable};
pub use exchange::{Exchange, Transfer};
pub use layer::{CheckReport, Layer, Port, ValidRange, check, check_texts, decrypt, encrypt};
pub use layout::Layout;
pub use network::{Excursion, Network, PlainRun};
pub use plan::Plan;
pub use program::{BlockId, BlockInfo, Emitter, Kind, Place, Program, Run, Section, StageInfo, Task, TaskId};
pub use rows::{Row, Rows};
pub use run::{Lane, Observer, TaskInfo};
pub use schedule::{At, LaneId, MOVE_BYTE_PS, Memory, Schedule, ScheduleFault, Step, Working};
pub use tensor::{Axis, Content, CtTensor, Grid, MODEL, Score, Shape, Tensor, TensorRef, largest};
