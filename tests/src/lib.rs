//! Conformance program, which no package can test alone: the same updates on every target.
#![no_std]
#![forbid(unsafe_code)]

pub mod conformance;
pub mod every;
