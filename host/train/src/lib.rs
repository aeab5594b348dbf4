//! The trainer of Graftage: models in libtorch, trained by Transported Scion and by its peers.
//!
//! | module | contents |
//! |---|---|
//! | [`error`] | the crate's error type, with one-line messages |
//! | [`config`] | the configuration of a training, as a TOML file |
//! | [`model`] | the architectures that a configuration can name, and their forward passes |
//! | [`network`] | a model with its weights |
//! | [`exact`] | core's rule on tensors, with core's bits |
//! | [`limits`] | memory and threads that a training takes |
//! | [`trainer`] | one training in its folder |
//! | [`tournament`] | trainings by several optimizers: side by side, and over widths |
//! | [`mod@bench`] | time of an optimizer step |
//! | [`page`] | comparisons and transfers as HTML pages |

pub mod bench;
pub mod config;
pub mod error;
pub mod exact;
pub mod limits;
pub mod model;
pub mod network;
pub mod page;
pub mod tournament;
pub mod trainer;
