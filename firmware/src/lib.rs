//! Library for devices that go on learning: a Graftage network behind a serial link.
//!
//! Applications call [`learner::Learner`]: `learn(sample, label)` and `predict(sample)`. What is learnt survives power
//! cuts ([`store`]) and is recorded ([`journal`]). [`device::Device`] connects a learner to the link: bytes in, bytes
//! out. The binary `adapt` gives them a board's UART and the image in its flash; host tests give them mocks.
//!
//! Other firmware uses this library without features: they select the board for the binaries here. Without features the
//! library needs no allocator, atomic read-modify-write operation, critical section, logger or runtime, and brings none
//! of them, nor a panic handler or a linker script (`docs/firmware.md`). The feature `defmt`, which needs no board,
//! implements `defmt::Format` for its errors.
//!
//! Functions with many locals and a single caller are `#[inline(never)]`. Inlined, they would make the caller's frame
//! too large for short instructions and so increase code size.
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
