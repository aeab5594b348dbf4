//! The device that goes on learning: a Graftage network behind a serial link.
//!
//! [`device::Device`] is the whole behaviour without a board: bytes in, bytes out. The binary `adapt` gives it a board's
//! UART and the image in its flash; host tests give it a mock.
#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
pub mod board;
pub mod device;
pub mod eeprom;
pub mod store;
