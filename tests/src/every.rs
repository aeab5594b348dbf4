//! A small network with one layer of every kind, for programs that must have seen all of them.

use graftage_core::arithmetic::Functions;
use graftage_core::network::{
    AveragePool, Clip, Convolution, Dense, Depthwise, Kind, MaxPool, Relu, RmsNorm, Standardise, Tanh, Window,
};

/// Network of 6 inputs and 3 classes with one layer of every kind.
pub type EveryLayer = graftage_core::chain![
    Standardise<6>,
    Clip<6, BOUND>,
    Convolution<6, 1, 2, 3, 1>,
    RmsNorm<2, 4>,
    Tanh<8>,
    Depthwise<4, 2, 2, 1>,
    Relu<6>,
    MaxPool<3, 2, 2, 1>,
    AveragePool<2, 2, 2, 1>,
    Dense<2, 3>,
];

/// Architecture of [`EveryLayer`].
pub const KINDS: [Kind; 10] = [
    Kind::Standardise { width: 6 },
    Kind::Clip { width: 6, bound: BOUND },
    Kind::Convolution { window: window(6, 1, 3), filters: 2 },
    Kind::RmsNorm { places: 4, channels: 2 },
    Kind::Tanh { width: 8, functions: Functions::Libm },
    Kind::Depthwise(window(4, 2, 2)),
    Kind::Relu { width: 6 },
    Kind::MaxPool(window(3, 2, 2)),
    Kind::AveragePool(window(2, 2, 2)),
    Kind::Dense { inputs: 2, outputs: 3 },
];

/// Bits of the bound at which the network clips.
const BOUND: u32 = 0.75f32.to_bits();

const fn window(places: u32, channels: u32, taps: u32) -> Window {
    Window { places, channels, taps, stride: 1 }
}
