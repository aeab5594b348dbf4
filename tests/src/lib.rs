//! What no package can test alone: the same update on every target.
#![no_std]
#![forbid(unsafe_code)]

pub mod conformance;
