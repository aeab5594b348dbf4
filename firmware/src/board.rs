//! The boards. One file a board; what a binary needs of one: its name, its serial port, its image and its end.

pub mod mps2_an386;
pub mod sbcon;
