//! The trainer of Graftage: models in libtorch, trained by Transported Scion and by its peers.
//!
//! | module | what it holds |
//! |---|---|
//! | [`error`] | one error, one clear line |
//! | [`config`] | what the trainer is told |
//! | [`network`] | the forward passes of the models |
//! | [`exact`] | core's rule on tensors, in core's bits |
//! | [`limits`] | memory and threads that a training takes |
//! | [`trainer`] | the trainer |
//! | [`trials`] | trainings by several optimizers from the same weights |
//! | [`compare`] | side-by-side comparison of optimizers |
//! | [`transfer`] | transfer of the best step size between widths |
//! | [`mod@bench`] | time of an optimizer step |
//! | [`page`] | comparisons and transfers as HTML pages |

pub mod bench;
pub mod compare;
pub mod config;
pub mod error;
pub mod exact;
pub mod limits;
pub mod network;
pub mod page;
pub mod trainer;
pub mod transfer;
pub mod trials;
