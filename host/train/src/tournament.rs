//! Trainings by several optimizers, from the same weights and on the same batches.

pub mod compare;
pub mod transfer;
pub mod trials;
