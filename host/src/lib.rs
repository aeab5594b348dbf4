//! Graftage on the workstation: trains networks with Transported Scion, grafts them onto microcontrollers, lets them adapt
//! there, and proves that a board's updates are those that this machine computes itself, bit for bit.
//!
//! | module | what it says |
//! |---|---|
//! | [`error`] | one error, one clear line |
//! | [`files`] | what commands write, and to whom it belongs |
//! | [`signals`] | how a signal ends a command |
//! | [`data`] | samples from tables, archives and texts, their splits, and how a sensor ages |
//! | [`network`] | core's layers, put together at run time |
//! | [`model`] | what can be trained |
//! | [`checkpoint`] | weights as safetensors |
//! | [`confusion`] | which class is taken for which |
//! | [`adaptation`] | core's adaptation, put together at run time |
//! | [`mod@image`] | a weights image as a file, with its names |
//! | [`graft`] | a checkpoint becomes an image and a Rust type |
//! | [`rehearse`] | adaptation on the workstation, beside its controls |
//! | [`board`] | a board on its link |
//! | [`monitor`] | what a board does, in a few lines |
//! | [`record`] | what a board consumed and answered |
//! | [`replay`] | a record, computed again |
//! | [`delta`] | the difference that it made, as a small file |
//! | [`report`] | all of it as one HTML page |
//! | [`limits`] | what this machine can take |
//! | [`theory`] | whether the update rule obeys its theory |
//! | [`rule`] | the constants of the update in words |
//! | [`verdict`] | how a session ended, in words |
//! | [`wide`] | core's products over the processor's widest registers |
//!
//! With the feature `torch`:
//!
//! | module | what it says |
//! |---|---|
//! | [`cuda`] | the GPU |
//! | [`memory`] | the processor's memory |
//! | [`tensor`] | core's `Matrix` over libtorch tensors: `Exact` and `Fast` |
//! | [`optim`] | Transported Scion for one's own tch model |
//! | [`config`] | what the trainer is told |
//! | [`train`] | the trainer |
//! | [`trials`] | trainings by several optimizers, from the same weights |
//! | [`compare`] | optimizers side by side |
//! | [`transfer`] | whether the best step size moves with the width |
//! | [`mod@bench`] | what a step of the optimizer takes |

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
