//! Tests of the command line, the formats and the boards, in one program. Separate programs would each link the whole
//! library.

mod board;
mod cli;
mod data;
mod defaults;
mod delta;
mod dialect;
mod graft;
mod image;
mod monitor;
mod names;
#[cfg(feature = "torch")]
mod outputs;
#[cfg(feature = "torch")]
mod pages;
mod persistence;
mod records;
mod rehearse;
mod replay;
mod report;
mod sense;
mod theory;
#[cfg(feature = "torch")]
mod train;
#[cfg(feature = "torch")]
mod training;
mod versions;
#[cfg(feature = "torch")]
mod watching;

use graftage_integration as common;
