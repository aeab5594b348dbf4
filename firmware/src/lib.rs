//! The device that goes on learning: a Graftage network behind a serial link.
//!
//! [`learner::Learner`] is what a firmware calls: `learn(sample, label)` and `predict(sample)`, with what is learnt kept
//! through power cuts ([`store`]) and recorded ([`journal`]). [`device::Device`] is the link's end in front of it: bytes in, bytes out. The binary `adapt`
//! gives them a board's UART and the image in its flash; host tests give them mocks. Other firmware uses this library
//! without any feature: features are the boards of its binaries.
//!
//! What has many locals of its own and one caller is `#[inline(never)]`: in the caller's frame, which then is too large for short
//! instructions, it takes more code.
#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
pub mod board;
#[cfg(target_os = "none")]
pub mod boot;
pub mod busy;
pub mod device;
pub mod eeprom;
pub mod journal;
pub mod learner;
pub mod readings;
pub mod sensing;
pub mod sensor;
pub mod store;
