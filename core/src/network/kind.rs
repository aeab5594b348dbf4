//! Kinds of layers as an image stores them: a tag and numbers.

use super::Window;
use crate::arithmetic::Functions;
use core::fmt;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeTuple, Serializer};

/// One layer of an architecture, as an image stores it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// [`Dense`](super::Dense).
    Dense {
        /// Number of inputs.
        inputs: u32,
        /// Number of outputs.
        outputs: u32,
    },
    /// [`Relu`](super::Relu).
    Relu {
        /// Number of inputs and of outputs.
        width: u32,
    },
    /// [`Tanh`](super::Tanh).
    Tanh {
        /// Number of inputs and of outputs.
        width: u32,
        /// Library that computes tanh.
        functions: Functions,
    },
    /// [`Convolution`](super::Convolution).
    Convolution {
        /// Window that slides over the input.
        window: Window,
        /// Number of output channels.
        filters: u32,
    },
    /// [`Depthwise`](super::Depthwise).
    Depthwise(Window),
    /// [`AveragePool`](super::AveragePool).
    AveragePool(Window),
    /// [`MaxPool`](super::MaxPool).
    MaxPool(Window),
    /// [`RmsNorm`](super::RmsNorm).
    RmsNorm {
        /// Number of places, in the input and in the output.
        places: u32,
        /// Number of channels per place.
        channels: u32,
    },
    /// [`Standardise`](super::Standardise).
    Standardise {
        /// Number of inputs and of outputs.
        width: u32,
    },
    /// [`Clip`](super::Clip).
    Clip {
        /// Number of inputs and of outputs.
        width: u32,
        /// Bits of the bound, which is finite and > 0.
        bound: u32,
    },
}

/// Shape of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Number of inputs.
    pub inputs: u32,
    /// Number of outputs; 0 if the layer is not possible.
    pub outputs: u32,
}

impl Kind {
    /// One layer of every kind, in the order of their tags; each takes the outputs of the one before it. Tests of what
    /// must hold for all kinds use these.
    pub const EACH: [Kind; 10] = [
        Kind::Dense { inputs: 8, outputs: 24 },
        Kind::Relu { width: 24 },
        Kind::Tanh { width: 24, functions: Functions::Libm },
        Kind::Convolution { window: Window { places: 12, channels: 2, taps: 3, stride: 1 }, filters: 4 },
        Kind::Depthwise(Window { places: 10, channels: 4, taps: 3, stride: 1 }),
        Kind::AveragePool(Window { places: 8, channels: 4, taps: 2, stride: 2 }),
        Kind::MaxPool(Window { places: 4, channels: 4, taps: 2, stride: 2 }),
        Kind::RmsNorm { places: 2, channels: 4 },
        Kind::Standardise { width: 8 },
        Kind::Clip { width: 8, bound: 5.0f32.to_bits() },
    ];

    /// Shape of the layer. Sizes are checked when a network is made of it.
    pub const fn shape(self) -> Shape {
        const fn even(width: u32) -> Shape {
            Shape { inputs: width, outputs: width }
        }
        const fn slides(window: Window, channels: u32) -> Shape {
            let inputs = window.places.saturating_mul(window.channels);
            Shape { inputs, outputs: window.outputs().saturating_mul(channels) }
        }
        match self {
            Kind::Dense { inputs, outputs } => Shape { inputs, outputs },
            Kind::Relu { width } | Kind::Tanh { width, .. } | Kind::Standardise { width } => even(width),
            Kind::Clip { width, bound } => Shape { inputs: width, outputs: if is_bound(bound) { width } else { 0 } },
            Kind::Convolution { window, filters } => slides(window, filters),
            Kind::Depthwise(window) | Kind::AveragePool(window) | Kind::MaxPool(window) => {
                slides(window, window.channels)
            }
            Kind::RmsNorm { places, channels } => even(places.saturating_mul(channels)),
        }
    }

    /// Tag of the kind in the schema hash. A new kind takes the next tag and is added to [`Kind::EACH`].
    #[inline]
    const fn tag(self) -> u32 {
        match self {
            Kind::Dense { .. } => 1,
            Kind::Relu { .. } => 2,
            Kind::Tanh { .. } => 3,
            Kind::Convolution { .. } => 4,
            Kind::Depthwise(_) => 5,
            Kind::AveragePool(_) => 6,
            Kind::MaxPool(_) => 7,
            Kind::RmsNorm { .. } => 8,
            Kind::Standardise { .. } => 9,
            Kind::Clip { .. } => 10,
        }
    }

    /// Number of [numbers](Self::numbers) that describe a kind with this tag; `None` if there is no such kind.
    const fn count(tag: u32) -> Option<usize> {
        Some(match tag {
            2 | 9 => 1,
            1 | 3 | 8 | 10 => 2,
            5..=7 => 4,
            4 => 5,
            _ => return None,
        })
    }

    /// Kind with this tag and these numbers, if there is one.
    fn from_numbers(tag: u32, [a, b, c, d, e]: [u32; 5]) -> Option<Self> {
        let window = Window { places: a, channels: b, taps: c, stride: d };
        Some(match tag {
            1 => Kind::Dense { inputs: a, outputs: b },
            2 => Kind::Relu { width: a },
            3 => Kind::Tanh { width: a, functions: Functions::from_number(b)? },
            4 => Kind::Convolution { window, filters: e },
            5 => Kind::Depthwise(window),
            6 => Kind::AveragePool(window),
            7 => Kind::MaxPool(window),
            8 => Kind::RmsNorm { places: a, channels: b },
            9 => Kind::Standardise { width: a },
            10 => Kind::Clip { width: a, bound: b },
            _ => return None,
        })
    }

    /// Numbers of the kind in the schema hash, always five.
    #[inline]
    const fn numbers(self) -> [u32; 5] {
        match self {
            Kind::Dense { inputs: a, outputs: b }
            | Kind::RmsNorm { places: a, channels: b }
            | Kind::Clip { width: a, bound: b } => [a, b, 0, 0, 0],
            Kind::Relu { width } | Kind::Standardise { width } => [width, width, 0, 0, 0],
            Kind::Tanh { width, functions } => [width, functions as u32, 0, 0, 0],
            Kind::Convolution { window, filters } => window.numbers(filters),
            Kind::Depthwise(window) | Kind::AveragePool(window) | Kind::MaxPool(window) => window.numbers(0),
        }
    }

    /// FNV-1a (64 bits) of the layer's tag and numbers.
    #[inline]
    pub(super) const fn hash(self) -> u64 {
        let numbers = self.numbers();
        let mut hash = fnv(0xcbf2_9ce4_8422_2325, self.tag() as u64);
        let mut rest: &[u32] = &numbers;
        while let [number, after @ ..] = rest {
            hash = fnv(hash, *number as u64);
            rest = after;
        }
        hash
    }

    /// Schema hash of an architecture: the hash of the last layer, then that of each earlier layer continued with what
    /// follows.
    #[inline]
    pub fn schema(layers: &[Kind]) -> u64 {
        let mut hash = None;
        for kind in layers.iter().rev() {
            hash = Some(match hash {
                None => kind.hash(),
                Some(rest) => fnv(kind.hash(), rest),
            });
        }
        hash.unwrap_or(0)
    }
}

impl Window {
    const fn numbers(self, filters: u32) -> [u32; 5] {
        [self.places, self.channels, self.taps, self.stride, filters]
    }
}

/// The Rust type of the layer, e.g. `Dense<64, 10>`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let slides = |f: &mut fmt::Formatter, name: &str, Window { places, channels, taps, stride }: Window| {
            write!(f, "{name}<{places}, {channels}, {taps}, {stride}>")
        };
        match *self {
            Kind::Dense { inputs, outputs } => write!(f, "Dense<{inputs}, {outputs}>"),
            Kind::Relu { width } => write!(f, "Relu<{width}>"),
            Kind::Tanh { width, functions: Functions::Libm } => write!(f, "Tanh<{width}>"),
            #[cfg(feature = "micromath")]
            Kind::Tanh { width, functions: Functions::Micromath } => write!(f, "MicromathTanh<{width}>"),
            Kind::Convolution { window: Window { places, channels, taps, stride }, filters } => {
                write!(f, "Convolution<{places}, {channels}, {filters}, {taps}, {stride}>")
            }
            Kind::Depthwise(window) => slides(f, "Depthwise", window),
            Kind::AveragePool(window) => slides(f, "AveragePool", window),
            Kind::MaxPool(window) => slides(f, "MaxPool", window),
            Kind::RmsNorm { places, channels } => write!(f, "RmsNorm<{channels}, {places}>"),
            Kind::Standardise { width } => write!(f, "Standardise<{width}>"),
            Kind::Clip { width, bound } => write!(f, "Clip<{width}, {{ {:?}f32.to_bits() }}>", f32::from_bits(bound)),
        }
    }
}

/// Writes the bytes that serde's derive writes with postcard, in a third of the code: an index from 0, and the numbers.
impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (tag, numbers) = (self.tag(), self.numbers());
        let count = Self::count(tag).unwrap_or_default();
        let mut tuple = serializer.serialize_tuple(1 + count)?;
        tuple.serialize_element(&(tag - 1))?;
        numbers.iter().take(count).try_for_each(|number| tuple.serialize_element(number))?;
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;

        impl<'de> Visitor<'de> for Numbers {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("the numbers of a layer")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Kind, A::Error> {
                let mut next = || sequence.next_element::<u32>()?.ok_or_else(|| de::Error::custom(""));
                let (tag, mut numbers) = (next()?.wrapping_add(1), [0; 5]);
                for number in numbers.iter_mut().take(Kind::count(tag).unwrap_or_default()) {
                    *number = next()?;
                }
                Kind::from_numbers(tag, numbers).ok_or_else(|| de::Error::custom("no kind of layer"))
            }
        }

        deserializer.deserialize_tuple(6, Numbers)
    }
}

const _: () = {
    let mut i = 0;
    while i < Kind::EACH.len() {
        assert!(Kind::EACH[i].tag() as usize == i + 1, "a kind is missing among all, or two have one tag");
        i += 1;
    }
};

/// Continues an FNV-1a hash with the eight bytes of a number, least significant first.
pub(super) const fn fnv(mut hash: u64, number: u64) -> u64 {
    let mut byte = 0;
    while byte < 8 {
        hash = (hash ^ ((number >> (8 * byte)) & 0xff)).wrapping_mul(0x0000_0100_0000_01b3);
        byte += 1;
    }
    hash
}

/// Returns whether these are the bits of a number that is finite and > 0.
pub(super) const fn is_bound(bits: u32) -> bool {
    bits > 0 && bits < f32::INFINITY.to_bits()
}
