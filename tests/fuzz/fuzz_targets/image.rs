//! Fuzz target for images: refused with the network unchanged, or loaded bit for bit. A loaded image is written back as
//! the same image.
#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use graftage_core::image::{Header, Image, write};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Fixed, Kind, Layer};
use graftage_core::scion::{Geometry, Rule};
use graftage_fuzz::{CHECKSUM, Input, KINDS, Network, PREFIX, RECIPE, arrays, learn, seal, started, words};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// Bytes of a case, and the fields to correct before they are parsed.
#[derive(Arbitrary, Debug)]
struct Case<'a> {
    /// True to compute the schema hash from the layers.
    schema: bool,
    /// True to correct length and checksum.
    sealed: bool,
    input: Input<'a>,
}

static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (mut geometries, mut weights) = (Vec::new(), Vec::new());
    started(Rule::PLAIN).network_mut().parameters(&mut |parameter| {
        geometries.push(*parameter.geometry);
        weights.extend_from_slice(parameter.state.x.elements());
    });
    assert_eq!(Kind::schema(&KINDS), Network::SCHEMA);
    let header = Header {
        schema: Network::SCHEMA,
        layers: KINDS.into_iter().collect(),
        geometries: geometries.into_iter().collect(),
        recipe: RECIPE,
        scale: 16.0,
        centred: false,
    };
    written(&header, weights)
});

fn written(header: &Header, weights: impl IntoIterator<Item = f32, IntoIter: Clone>) -> Vec<u8> {
    let mut memory = vec![0; 4096];
    write(header, weights, &mut memory).expect("there is memory for it").to_vec()
}

/// Returns the image with the schema hash of its layers, if it has a header.
fn hashed(bytes: Vec<u8>) -> Vec<u8> {
    let body = bytes.len().checked_sub(CHECKSUM).and_then(|end| bytes.get(PREFIX..end)).unwrap_or(&[]);
    let Ok((mut header, words)) = postcard::take_from_bytes::<Header>(body) else { return bytes };
    header.schema = Kind::schema(&header.layers);
    let header = postcard::to_allocvec(&header).expect("there is memory for it");
    [&bytes[..PREFIX], &header, words, &[0; CHECKSUM]].concat()
}

fuzz_target!(|case: Case| {
    let mut bytes = case.input.bytes(&VALID);
    if case.schema {
        bytes = hashed(bytes);
    }
    if case.sealed {
        seal(&mut bytes);
    }
    let Ok(image) = Image::parse(&bytes) else { return };
    let alone = &bytes[..image.length()];
    assert_eq!(Image::parse(alone).as_ref(), Ok(&image), "what follows an image is no matter");

    let mut device = started(Rule::PLAIN);
    let before = (geometries(device.network_mut()), arrays(device.network_mut()));
    // Also load the image under its own schema: a network built from the layers in the image is loaded like this.
    for schema in [Network::SCHEMA, image.header.schema] {
        let network = device.network_mut();
        if image.load(schema, network).is_err() {
            assert_eq!((geometries(network), arrays(network)), before, "what is refused changes nothing");
            continue;
        }
        let [x, y, m] = arrays(network);
        let bits = x.iter().flat_map(|bits| bits.to_le_bytes());
        assert!(bits.eq(words(alone, Network::WEIGHTS).iter().copied()), "the weights of the image");
        assert!(x == y && m.iter().all(|bits| *bits == 0), "Y starts at X, M at 0");
        assert_eq!(geometries(network), &image.header.geometries[..]);
        let weights = || x.iter().copied().map(f32::from_bits);
        let again = written(&image.header, weights());
        let header = Image::parse(&again).expect("what is written is an image").header;
        assert_eq!(written(&header, weights()), again, "written and read again");
        device.set_start(image.start());
        if device.start(image.header.recipe).is_ok() {
            learn(&mut device);
        }
        return;
    }
});

fn geometries(network: &mut Network) -> Vec<Geometry> {
    let mut all = Vec::new();
    network.parameters(&mut |parameter| all.push(*parameter.geometry));
    all
}
