//! Tests of images: an image reads back as it was written, and nothing else is taken for an image.

mod oracle;

use graftage_core::adapt::{HoldOut, Recipe};
use graftage_core::arithmetic::Functions;
use graftage_core::error::{Field, ImageError, Refusal};
use graftage_core::image::{Header, Image, VERSION, checksum, write};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Dense, Fixed, Kind, Layer, Parameter, Relu, Window};
use graftage_core::schedule::Momentum;
use graftage_core::scion::{Geometry, LARGEST, Pull, Rule};
use graftage_core::transport::Transport;
use graftage_core::{chain, norm::Norm};
use proptest::prelude::*;

type Network = chain![Dense<2, 3>, Relu<3>, Dense<3, 2>];

const LAYERS: [Kind; 3] =
    [Kind::Dense { inputs: 2, outputs: 3 }, Kind::Relu { width: 3 }, Kind::Dense { inputs: 3, outputs: 2 }];

fn header() -> Header {
    let momentum = Momentum::Constant(0.875);
    let rule = Rule { step_size: 0.25, momentum, pull: Pull::Start { strength: 0.5 }, ..Rule::PLAIN };
    Header {
        schema: Network::SCHEMA,
        layers: LAYERS.into_iter().collect(),
        geometries: [Geometry::HIDDEN, Geometry::BIAS, Geometry::HEAD, Geometry::BIAS].into_iter().collect(),
        recipe: Recipe {
            rule,
            replay: 300,
            seed: 1 << 40,
            hold_out: Some(HoldOut { every: 5, keep: 9 }),
            ..Recipe::DEFAULT
        },
        scale: 16.0,
        centred: false,
    }
}

fn weights() -> impl Iterator<Item = f32> + Clone {
    (0..Network::WEIGHTS).map(|i| i as f32 / 8.0 - 1.0)
}

fn image(header: &Header, weights: impl IntoIterator<Item = f32, IntoIter: Clone>) -> Vec<u8> {
    write(header, weights, &mut [0xee; 512]).unwrap().to_vec()
}

/// Writes the correct length and checksum into changed bytes.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len() as u32;
    bytes[6..10].copy_from_slice(&length.to_le_bytes());
    let content = bytes.len() - 4;
    let checksum = oracle::crc32(&bytes[..content]);
    bytes[content..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Returns geometry, X, Y and M of every parameter.
fn state(network: &mut Network) -> Vec<(Geometry, [Vec<u32>; 3])> {
    let mut all = Vec::new();
    network.parameters(&mut |Parameter { geometry, state, .. }| {
        all.push((*geometry, [&state.x, &state.y, &state.m].map(|part| oracle::bits(part.elements()))));
    });
    all
}

/// Returns a number in postcard's encoding: seven bits per byte, the lowest first.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Returns a layer as an image of version 4 encodes it: the index of its kind, then its numbers.
fn written(kind: Kind) -> Vec<u8> {
    let window = |Window { places, channels, taps, stride }: Window| vec![places, channels, taps, stride];
    let (place, numbers) = match kind {
        Kind::Dense { inputs, outputs } => (0, vec![inputs, outputs]),
        Kind::Relu { width } => (1, vec![width]),
        Kind::Tanh { width, functions: Functions::Libm } => (2, vec![width, 0]),
        Kind::Tanh { width, functions: Functions::Micromath } => (2, vec![width, 1]),
        Kind::Convolution { window: slides, filters } => (3, [window(slides), vec![filters]].concat()),
        Kind::Depthwise(slides) => (4, window(slides)),
        Kind::AveragePool(slides) => (5, window(slides)),
        Kind::MaxPool(slides) => (6, window(slides)),
        Kind::RmsNorm { places, channels } => (7, vec![places, channels]),
        Kind::Standardise { width } => (8, vec![width]),
        Kind::Clip { width, bound } => (9, vec![width, bound]),
    };
    [place].into_iter().chain(numbers).flat_map(|number| varint(number.into())).collect()
}

#[test]
fn every_kind_of_layer_is_written_by_place_and_numbers_and_read_again() {
    let fast = Kind::Tanh { width: 300, functions: Functions::Micromath };
    for kind in Kind::EACH.into_iter().chain([fast]) {
        let schema = Kind::schema(&[kind]);
        let bytes = image(&Header { schema, layers: [kind].into_iter().collect(), ..header() }, weights());
        let (before, layer) = (10 + varint(schema).len() + 1, written(kind));
        assert_eq!(bytes[before..][..layer.len()], layer, "{kind:?}");
        assert_eq!(Image::parse(&bytes).unwrap().header.layers, [kind]);
        // An index without a kind.
        let mut other = bytes;
        other[before] = Kind::EACH.len() as u8;
        assert_eq!(Image::parse(&seal(other)), Err(ImageError::Malformed));
    }
}

#[test]
fn a_centred_image_has_the_weights_that_its_device_began_with_beside_them() {
    let began = || weights().map(|w| w * 0.5);
    let centred = Header { centred: true, ..header() };
    let bytes = write(&centred, weights().chain(began()), &mut [0; 1024]).unwrap().to_vec();
    let (read, plain) = (Image::parse(&bytes).unwrap(), image(&header(), weights()));
    assert!(read.weights().eq(weights()));
    assert_eq!(oracle::bits(&read.weights().collect::<Vec<_>>()), oracle::bits(&weights().collect::<Vec<_>>()));
    assert!(read.start().iter().map(|word| f32::from_le_bytes(*word)).eq(began()));
    let plain = Image::parse(&plain).unwrap();
    assert!(plain.start().iter().map(|word| f32::from_le_bytes(*word)).eq(weights()));
    let mut network = Network::ZERO;
    read.load(Network::SCHEMA, &mut network).unwrap();
    let mut x = weights();
    for (_, [bits, ..]) in state(&mut network) {
        assert!(bits.iter().zip(&mut x).all(|(bits, x)| *bits == x.to_bits()));
    }
    // The two sets together have a number too few or too many, or the second has one that is not finite.
    for words in [2 * Network::WEIGHTS - 1, 2 * Network::WEIGHTS + 1, 2 * Network::WEIGHTS + 2] {
        let numbers = weights().chain(began()).chain(weights()).take(words).collect::<Vec<_>>();
        let bytes = write(&centred, numbers, &mut [0; 1024]).unwrap().to_vec();
        let loaded = Image::parse(&bytes).and_then(|image| image.load(Network::SCHEMA, &mut network));
        assert_eq!(loaded, Err(ImageError::Malformed), "{words}");
    }
    let numbers = weights().chain(began().map(|w| if w == 0.0 { f32::NAN } else { w })).collect::<Vec<_>>();
    let bytes = write(&centred, numbers, &mut [0; 1024]).unwrap().to_vec();
    assert_eq!(Image::parse(&bytes), Err(ImageError::NotFinite));
}

#[test]
fn a_written_image_is_read_back_to_the_bit() {
    let (bytes, header) = (image(&header(), weights()), header());
    for more in [0, 1, 100] {
        let longer = [bytes.as_slice(), &vec![0xff; more]].concat();
        let read = Image::parse(&longer).unwrap();
        assert_eq!((&read.header, read.length()), (&header, bytes.len()));
        let mut network = Network::ZERO;
        network.parameters(&mut |mut parameter| parameter.state.m.elements_mut().fill(1.0));
        read.load(Network::SCHEMA, &mut network).unwrap();
        let mut weights = weights();
        for ((geometry, [x, y, m]), expected) in state(&mut network).into_iter().zip(&header.geometries) {
            assert_eq!(geometry, *expected);
            assert!(x.iter().zip(&mut weights).all(|(x, w)| *x == w.to_bits()));
            assert_eq!(y, x);
            assert!(m.iter().all(|m| *m == 0));
        }
        assert!(weights.next().is_none());
    }
}

#[test]
fn the_bytes_of_the_format_never_change() {
    // First bytes, version, length; schema, layers, geometries; step size, schedule, momentum, transport, pull, chain;
    // rest of the recipe; scale; centred or not; weights; checksum.
    const GOLDEN: &str = "
        47524654 0400 a8000000
        82b791dea9ccb3e087 01 03 000203 0103 000302
        04 0000004040 0c0000803f 0400002041 0c0000803f
        0000803e 00 00 0000603f 00 0000003f 02 0000003f 03
        08 02 ac02 808080808020 00 01 05 09 01 3333b33e 00
        00008041 00
        000080bf 000060bf 000040bf 000020bf 000000bf 0000c0be 000080be 000000be 00000000
        0000003e 0000803e 0000c03e 0000003f 0000203f 0000403f 0000603f 0000803f
        e6a6d8a9";
    let found: String = image(&header(), weights()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found, GOLDEN.split_whitespace().collect::<String>());
}

#[test]
fn the_checksum_is_the_one_of_the_standard() {
    assert_eq!([oracle::crc32(b"123456789"), checksum(b"123456789")], [0xcbf4_3926; 2]);
    let bytes = image(&header(), weights());
    assert_eq!(seal(bytes.clone()), bytes);
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = image(&header(), weights());
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Image::parse(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = image(&header(), weights());
    for length in 0..bytes.len() {
        assert_eq!(Image::parse(&bytes[..length]), Err(ImageError::Truncated), "{length} bytes");
        // If it is truncated and sealed again, it is refused for the missing bytes.
        if length >= 14 {
            let mut network = Network::ZERO;
            let sealed = seal(bytes[..length].to_vec());
            let loaded = Image::parse(&sealed).and_then(|image| image.load(Network::SCHEMA, &mut network));
            assert_eq!(loaded, Err(ImageError::Malformed), "{length} bytes");
            assert_eq!(state(&mut network), state(&mut { Network::ZERO }));
        }
    }
}

#[test]
fn an_image_that_does_not_fit_is_refused_and_leaves_the_network_unchanged() {
    let good = header();
    let with = |change: fn(&mut Header)| {
        let mut header = good.clone();
        change(&mut header);
        image(&header, weights())
    };
    let weight =
        |place: usize, value: f32| image(&good, weights().enumerate().map(|(i, w)| if i == place { value } else { w }));
    let changed = |place: usize, byte: u8| {
        let mut bytes = image(&good, weights());
        bytes[place] = byte;
        seal(bytes)
    };
    let recipe = |field| ImageError::Recipe(Refusal::Recipe(field));
    let found = Kind::schema(&LAYERS[..1]);
    let cases = [
        (changed(0, b'g'), ImageError::Magic),
        (changed(4, VERSION as u8 + 1), ImageError::Version { expected: VERSION, found: VERSION + 1 }),
        (changed(5, 1), ImageError::Version { expected: VERSION, found: VERSION + 256 }),
        (with(|header| header.schema ^= 1), ImageError::Malformed),
        (
            with(|header| {
                header.layers.clear();
                header.schema = Kind::schema(&[]);
            }),
            ImageError::Malformed,
        ),
        (
            with(|header| {
                header.layers.truncate(1);
                header.schema = Kind::schema(&header.layers);
            }),
            ImageError::Schema { expected: Network::SCHEMA, found },
        ),
        (with(|header| header.geometries.truncate(3)), ImageError::Malformed),
        (with(|header| header.geometries.push(Geometry::BIAS).unwrap()), ImageError::Malformed),
        (with(|header| header.geometries.clear()), ImageError::Malformed),
        (image(&good, weights().skip(1)), ImageError::Malformed),
        (image(&good, weights().chain([0.0])), ImageError::Malformed),
        (seal([&image(&good, weights())[..], &[0]].concat()), ImageError::Malformed),
        (with(|header| header.recipe.budget = Some(f32::NAN)), recipe(Field::Budget)),
        (with(|header| header.recipe.batch = 0), recipe(Field::Batch)),
        (with(|header| header.recipe.steps = 17), recipe(Field::Steps)),
        (with(|header| header.recipe.replay = 0), recipe(Field::Replay)),
        (with(|header| header.recipe.hold_out = Some(HoldOut { every: 1, keep: 9 })), recipe(Field::HoldOut)),
        (weight(0, f32::NAN), ImageError::NotFinite),
        (weight(16, f32::INFINITY), ImageError::NotFinite),
        (with(|header| header.scale = 0.0), ImageError::NotFinite),
        (with(|header| header.scale = -1.0), ImageError::NotFinite),
        (with(|header| header.scale = f32::NAN), ImageError::NotFinite),
        (with(|header| header.scale = f32::INFINITY), ImageError::NotFinite),
        (with(|header| header.recipe.rule.momentum = Momentum::Constant(1.0)), recipe(Field::Momentum)),
        (with(|header| header.recipe.rule.transport = Transport::Fixed { theta: f32::NAN }), recipe(Field::Theta)),
        (with(|header| header.recipe.rule.step_size = 2.5), recipe(Field::Pull)),
        (with(|header| header.recipe.rule.step_size = -1.0), recipe(Field::Step)),
        (with(|header| header.recipe.rule.pull = Pull::Zero { strength: 0.0 }), recipe(Field::Pull)),
        (with(|header| header.recipe.cap = Some(f32::NAN)), recipe(Field::Cap)),
        (with(|header| header.geometries[2].radius = f32::NAN), recipe(Field::Radius)),
        (with(|header| header.geometries[0].norm = Norm::Convolution { taps: 0 }), recipe(Field::Taps)),
    ];
    let mut network = Network::ZERO;
    Image::parse(&image(&good, weights().map(|w| 2.0 * w))).unwrap().load(Network::SCHEMA, &mut network).unwrap();
    let before = state(&mut network);
    for (i, (bytes, why)) in cases.into_iter().enumerate() {
        let loaded = Image::parse(&bytes).and_then(|image| image.load(Network::SCHEMA, &mut network));
        assert_eq!(loaded, Err(why), "case {i}");
        assert_eq!(state(&mut network), before, "case {i}");
    }
}

#[test]
fn an_image_is_written_whole_or_not_at_all() {
    let needed = image(&header(), weights()).len();
    for length in 0..needed {
        assert_eq!(write(&header(), weights(), &mut vec![0; length]), None, "{length} bytes");
    }
    assert!(write(&header(), weights(), &mut vec![0; needed]).is_some());
}

proptest! {
    #![proptest_config(oracle::cases(2000))]

    #[test]
    fn any_bytes_are_read_without_panic(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        common in 0usize..200,
    ) {
        prop_assert!(Image::parse(&body).is_err());
        // Bytes with the right first bytes, length and checksum, and the first part of a good image.
        let good = image(&header(), weights());
        let common = 10 + common % (good.len() - 10);
        let bytes = seal([&good[..common], &body, &[0; 4]].concat());
        let mut network = Network::ZERO;
        if let Ok(image) = Image::parse(&bytes)
            && image.load(Network::SCHEMA, &mut network).is_ok()
        {
            network.parameters(&mut |Parameter { state, .. }| assert!(state.x.elements().iter().all(|x| x.is_finite())));
        }
    }

    #[test]
    fn any_good_image_comes_back(
        bits in proptest::collection::vec(any::<u32>(), Network::WEIGHTS),
        (step, momentum, theta) in (1e-6f32..=1.0, 0.0f32..1.0, 0.0f32..=1.0),
        (batch, steps, replay, seed) in (1u32..=65536, 1u32..=16, 1u32.., any::<u64>()),
        norm in proptest::sample::select(Norm::ALL.to_vec()),
        pull in proptest::sample::select(vec![Pull::None, Pull::Zero { strength: 0.3 }, Pull::Start { strength: 1.0 }]),
        cap in proptest::option::of(f32::MIN_POSITIVE..2.0),
        (radius, scale) in (f32::MIN_POSITIVE..LARGEST, f32::MIN_POSITIVE..f32::MAX),
    ) {
        let mut header = header();
        let (momentum, transport) = (Momentum::Constant(momentum), Transport::Fixed { theta });
        let rule = Rule { step_size: step, momentum, transport, pull, ..Rule::PLAIN };
        header.recipe = Recipe { rule, batch, steps, replay, seed, cap, ..Recipe::DEFAULT };
        header.geometries[1] = Geometry { norm, radius };
        header.scale = scale;
        let weights: Vec<f32> = bits.into_iter().map(|b| f32::from_bits(b & !(1 << 23))).collect();
        let bytes = image(&header, weights.iter().copied());
        let read = Image::parse(&bytes).unwrap();
        prop_assert_eq!(&read.header, &header);
        let mut network = Network::ZERO;
        read.load(Network::SCHEMA, &mut network).unwrap();
        let found: Vec<u32> = state(&mut network).into_iter().flat_map(|(_, [x, ..])| x).collect();
        prop_assert_eq!(found, oracle::bits(&weights));
    }
}
