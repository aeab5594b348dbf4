//! Transported Scion (Zhang and Lin 2026, arXiv 2605.18528) in portable Rust: `no_std`, no heap, no `unsafe`, and the
//! same bits on every machine.
//!
//! The modules follow the flow of data. Each imports only modules that are listed before it:
//!
//! | module | contents |
//! |---|---|
//! | [`error`] | reasons for refusing a sample, a recipe or an image |
//! | [`arithmetic`] | the few exact operations on which everything else is built |
//! | [`random`] | the random number generator |
//! | [`digest`] | the hash by which states are compared |
//! | [`matrix`] | the update rule's matrix operations, for fixed shapes, run-time shapes and libtorch tensors |
//! | [`polar`] | the polar factor of a matrix by quintic iteration |
//! | [`norm`] | norms, their linear minimization oracles and dual norms |
//! | [`schedule`] | schedules of step size and momentum |
//! | [`transport`] | the laws of transport, which choose where gradients are taken |
//! | [`scion`] | the transported step of one parameter |
//! | [`network`] | layers, forward and backward passes, one step over a batch |
//! | [`adapt`] | learning from a stream of labelled samples with a replay buffer |
//! | [`session`] | sessions, whose weights replace those in use if they do no worse on held-out samples |
//! | [`message`] | small structures encoded as bytes |
//! | [`image`] | weights and recipe as checksummed bytes |
//! | [`snapshot`] | the whole state of an adaptation as checksummed bytes |
//!
//! The bits are equal because of the arithmetic contract, `docs/arithmetic.md` in the repository: every operation is
//! one that IEEE 754 defines exactly, in an order that this crate fixes.
//!
//! # Example: a network that adapts, in static memory
//!
//! ```
//! use graftage_core::adapt::{Adaptation, Recipe, Ring};
//! use graftage_core::network::{Dense, Fixed, Relu};
//! use graftage_core::{chain, random::Generator};
//!
//! type Network = chain![Dense<4, 8>, Relu<8>, Dense<8, 3>];
//! type Device = Adaptation<'static, Network, Ring<4, 128>, [f32; Network::SCRATCH]>;
//!
//! let mut network = Network::ZERO;
//! graftage_core::network::initialise(&mut network, &mut Generator::new(1, 0), &mut [0.0; Network::SCRATCH]);
//! let mut device: Device = Adaptation::new(network, Ring::new(), [0.0; Network::SCRATCH]);
//! // `Recipe::FREE` lets random weights go anywhere. A trained network stays near its own weights with `set_start` and
//! // `Recipe::DEFAULT`.
//! device.start(Recipe::FREE)?;
//! for i in 0..60u8 {
//!     let label = u32::from(i % 3);
//!     let sample = [label as f32, 1.0 - label as f32, 0.5, f32::from(i) * 0.01];
//!     device.learn(&sample, label, |_| ())?;
//! }
//! assert_eq!(device.predict(&[2.0, -1.0, 0.5, 0.3])?.class, 2);
//! // A bad sample is refused and leaves every bit as it was.
//! let before = device.digest();
//! assert!(device.learn(&[f32::NAN, 0.0, 0.0, 0.0], 1, |_| ()).is_err());
//! assert_eq!(device.digest(), before);
//! # Ok::<(), graftage_core::error::Refusal>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

pub mod error;

pub mod arithmetic;

pub mod random;

pub mod digest;

pub mod matrix;

pub mod polar;

pub mod norm;

pub mod schedule;

pub mod transport;

pub mod scion;

pub mod network;

pub mod adapt;

pub mod session;

pub mod message;

pub mod image;

pub mod snapshot;
