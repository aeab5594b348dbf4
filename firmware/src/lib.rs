//! The device that goes on learning: a Graftage network behind a serial link.
//!
//! [`learner::Learner`] is what a firmware calls: `learn(sample, label)` and `predict(sample)`, with what is learnt kept
//! through power cuts ([`store`]) and recorded ([`journal`]). [`device::Device`] is the link's end in front of it: bytes in, bytes out. The binary `adapt`
//! gives them a board's UART and the image in its flash; host tests give them mocks. Other firmware uses this library
//! without any feature: features are the boards of its binaries. Without one it needs no allocator, atomic read-modify-write
//! operation, critical section, logger or run-time, and brings none, nor a panic handler or a linker script
//! (`docs/firmware.md`); `defmt` alone gives its errors their format.
//!
//! What has many locals of its own and one caller is `#[inline(never)]`: in the caller's frame, which then is too large for short
//! instructions, it takes more code.
#![no_std]

#[cfg(all(feature = "board", target_os = "none"))]
pub mod board;
#[cfg(all(feature = "board", target_os = "none"))]
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
