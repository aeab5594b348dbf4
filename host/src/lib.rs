//! Graftage on the workstation: grafts trained networks onto microcontrollers, adapts them there, and verifies bit for
//! bit that a board's updates equal those computed on the workstation.
//!
//! It needs no libtorch: that is `graftage-optim`, the optimizer, and `graftage-train`, the trainer.
//!
//! | module | what it holds |
//! |---|---|
//! | [`error`] | one error, one clear line |
//! | [`statistics`] | mean and deviation of repeated measurements |
//! | [`parallel`] | threads, and work spread over them |
//! | [`files`] | output files, and who owns them |
//! | [`signals`] | how a signal ends a command |
//! | [`data`] | samples from tables, archives and texts, their splits, and how a sensor ages |
//! | [`network`] | core's layers, put together at run time |
//! | [`model`] | architectures that can be trained |
//! | [`checkpoint`] | weights as safetensors |
//! | [`confusion`] | which class is taken for which |
//! | [`training`] | results of a training |
//! | [`rule`] | the constants of the update in words |
//! | [`verdict`] | how a session ended, in words |
//! | [`workstation`] | core's adaptation, put together at run time |
//! | [`mod@image`] | a weights image as a file, with its names |
//! | [`graft`] | a checkpoint becomes an image and a Rust type |
//! | [`rehearse`] | adaptation on the workstation, beside its controls |
//! | [`record`] | what a board consumed and answered |
//! | [`board`] | a board on its link |
//! | [`monitor`] | what a board does, in a few lines |
//! | [`session`] | results of a session on a board |
//! | [`replay`] | a record, computed again |
//! | [`recorder`] | a record that grows in its file |
//! | [`delta`] | what a board has learnt, as a small file |
//! | [`report`] | all of it as one HTML page |

pub mod board;
pub mod checkpoint;
pub mod confusion;
pub mod data;
pub mod delta;
pub mod error;
pub mod files;
pub mod graft;
pub mod image;
pub mod model;
pub mod monitor;
pub mod network;
pub mod parallel;
pub mod record;
pub mod recorder;
pub mod rehearse;
pub mod replay;
pub mod report;
pub mod rule;
pub mod session;
pub mod signals;
pub mod statistics;
pub mod training;
pub mod verdict;
pub mod workstation;
