//! Graftage on the workstation: trains networks with Transported Scion, grafts them onto microcontrollers, adapts them
//! there, and verifies bit for bit that a board's updates equal those computed on the workstation.
//!
//! | module | contents |
//! |---|---|
//! | [`error`] | the library's error type, with one-line messages |
//! | [`files`] | reading of files and safe, exclusive writing of outputs |
//! | [`signals`] | termination by SIGINT, SIGTERM and SIGHUP |
//! | [`data`] | samples from tables, arrays and texts, their splits, and simulated sensor ageing |
//! | [`network`] | core's layers, assembled at run time |
//! | [`model`] | architectures that can be trained |
//! | [`checkpoint`] | weights as safetensors |
//! | [`confusion`] | counts of samples by true and predicted class |
//! | [`adaptation`] | core's adaptation, assembled at run time |
//! | [`mod@image`] | a weights image as a file, with its names |
//! | [`graft`] | conversion of a checkpoint to an image and a Rust type |
//! | [`rehearse`] | adaptation on the workstation, next to its controls |
//! | [`board`] | a board and the link to it |
//! | [`monitor`] | a board's activity, in a few lines |
//! | [`record`] | a board's inputs and answers |
//! | [`replay`] | recomputation of a record |
//! | [`delta`] | the difference between adapted weights and their image, as a small file |
//! | [`report`] | all results as one HTML page |
//! | [`limits`] | limits of this machine |
//! | [`theory`] | tests of the update rule against its theory |
//! | [`rule`] | the update rule's constants as text |
//! | [`verdict`] | a session's verdict as text |
//! | [`wide`] | core's matrix products on the processor's widest registers |
//!
//! With the feature `torch`:
//!
//! | module | contents |
//! |---|---|
//! | [`cuda`] | the GPU |
//! | [`memory`] | the processor's memory |
//! | [`tensor`] | core's `Matrix` over libtorch tensors: `Exact` and `Fast` |
//! | [`optim`] | Transported Scion for your own tch model |
//! | [`config`] | the trainer's configuration |
//! | [`train`] | the trainer |
//! | [`trials`] | trainings by several optimizers from the same weights |
//! | [`compare`] | side-by-side comparison of optimizers |
//! | [`transfer`] | transfer of the best step size between widths |
//! | [`mod@bench`] | time of an optimizer step |

pub mod adaptation;
#[cfg(feature = "torch")]
pub mod bench;
pub mod board;
pub mod checkpoint;
#[cfg(feature = "torch")]
pub mod compare;
#[cfg(feature = "torch")]
pub mod config;
pub mod confusion;
#[cfg(feature = "torch")]
pub mod cuda;
pub mod data;
pub mod delta;
pub mod error;
pub mod files;
pub mod graft;
pub mod image;
pub mod limits;
#[cfg(feature = "torch")]
pub mod memory;
pub mod model;
pub mod monitor;
pub mod network;
#[cfg(feature = "torch")]
pub mod optim;
pub mod record;
pub mod rehearse;
pub mod replay;
pub mod report;
pub mod rule;
pub mod signals;
#[cfg(feature = "torch")]
pub mod tensor;
pub mod theory;
#[cfg(feature = "torch")]
pub mod train;
#[cfg(feature = "torch")]
pub mod transfer;
#[cfg(feature = "torch")]
pub mod trials;
pub mod verdict;
pub mod wide;

/// The README's examples, compiled.
#[cfg(all(doctest, feature = "torch"))]
#[doc = include_str!("../../README.md")]
struct Readme;
