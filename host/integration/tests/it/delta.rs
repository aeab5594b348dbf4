//! Tests of deltas: small, exact, and refused for another image.

use crate::common::{Folder, bits, checkpoint, parse};
use graftage::delta::{Count, Delta, DeltaError};
use graftage::graft::{IMAGE, graft};
use graftage::image::identity;
use graftage_core::adapt::Recipe;
use graftage_core::image::Header;
use graftage_core::random::Generator;
use graftage_core::scion::{Pull, Rule};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::io::Read;

/// Returns the image of a network of these widths.
fn image(widths: &[u32], recipe: Recipe) -> Vec<u8> {
    let folder = Folder::empty();
    graft(&checkpoint(widths, 20), recipe, usize::MAX, &folder.path("model")).unwrap();
    std::fs::read(folder.path("model").join(IMAGE)).unwrap()
}

fn usual() -> Vec<u8> {
    image(&[5, 8, 3], Recipe::DEFAULT)
}

fn weights(image: &[u8]) -> Vec<f32> {
    parse(image).weights().collect()
}

/// Returns weights as an adaptation leaves them, and some that it never would.
fn adapted(image: &[u8]) -> Vec<f32> {
    let mut generator = Generator::new(6, 0);
    let mut weights: Vec<f32> = weights(image).into_iter().map(|w| w + 0.01 * (generator.uniform() - 0.5)).collect();
    let odd = [0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::from_bits(1), f32::from_bits(0x8000_0001), 1e30];
    weights[3..11].copy_from_slice(&odd);
    weights
}

fn between(image: &[u8], adapted: &[f32]) -> Delta {
    Delta::between(&parse(image), identity(image), adapted).unwrap()
}

#[test]
fn applying_gives_the_adapted_weights_to_the_bit_and_changes_nothing_else() {
    let image = usual();
    let adapted = adapted(&image);
    let delta = Delta::parse(&between(&image, &adapted).to_bytes()).unwrap();
    let made = delta.apply(&parse(&image), identity(&image)).unwrap();
    assert_eq!(bits(&weights(&made)), bits(&adapted));
    let (base, made) = (parse(&image), parse(&made));
    // A device with the new image is still pulled to the weights that the first device began with.
    assert_eq!(made.start(), base.start());
    assert_eq!(made.header, Header { centred: true, ..base.header.clone() });
    assert_eq!(made.length(), base.length() + 4 * adapted.len());
    // A delta back gives the first image again.
    let (made, factory) = (delta.apply(&base, identity(&image)).unwrap(), weights(&image));
    let back = between(&made, &factory).apply(&parse(&made), identity(&made)).unwrap();
    assert_eq!(back, image[..parse(&image).length()]);
}

#[test]
fn a_rule_without_a_pull_needs_no_centre() {
    for pull in [Pull::None, Pull::Zero { strength: 1.0 }] {
        let image = image(&[5, 8, 3], Recipe { rule: Rule { pull, ..Recipe::FREE.rule }, ..Recipe::FREE });
        let adapted = adapted(&image);
        let (base, made) = (parse(&image), between(&image, &adapted).apply(&parse(&image), identity(&image)).unwrap());
        assert_eq!((&parse(&made).header, parse(&made).length()), (&base.header, base.length()));
    }
}

#[test]
fn frozen_weights_cost_nothing_in_a_delta() {
    let image = image(&[64, 32, 10], Recipe::DEFAULT);
    let mut weights = weights(&image);
    let none = between(&image, &weights);
    assert_eq!(none.count(), Count { differing: 0, all: 2410 });
    assert!(none.to_bytes().len() < 60, "{}", none.to_bytes().len());
    weights[7] += 0.125;
    let one = between(&image, &weights);
    assert_eq!(one.count(), Count { differing: 1, all: 2410 });
    assert!(one.to_bytes().len() < 80, "{}", one.to_bytes().len());
}

/// Reads the format with code that shares only the inflater with this software.
#[test]
fn the_bytes_are_those_of_version_1() {
    let image = usual();
    let mut weights = weights(&image);
    weights[0] = f32::from_bits(weights[0].to_bits() + if weights[0] > 0.0 { 5 } else { 7 });
    let positive = weights[0] > 0.0;
    let bytes = between(&image, &weights).to_bytes();
    assert_eq!(bytes[..6], *b"GRFD\x01\x00");
    let (content, sum) = bytes.split_last_chunk().unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(content);
    assert_eq!(u32::from_le_bytes(*sum), crc.sum());
    let varint = |mut rest: &[u8]| {
        let mut number = 0u64;
        for shift in (0..).step_by(7) {
            number |= u64::from(rest[0] & 127) << shift;
            let more = rest[0] > 127;
            rest = &rest[1..];
            if !more {
                break;
            }
        }
        (number, rest.len())
    };
    let mut rest = &content[6..];
    let header: Vec<u64> = (0..4)
        .map(|_| {
            let (number, left) = varint(rest);
            rest = &rest[rest.len() - left..];
            number
        })
        .collect();
    let made = between(&image, &weights).apply(&parse(&image), identity(&image)).unwrap();
    let expected = [parse(&image).header.schema, identity(&image).into(), identity(&made).into(), 75];
    assert_eq!(header, expected);
    let mut planes = Vec::new();
    flate2::read::DeflateDecoder::new(rest).read_to_end(&mut planes).unwrap();
    // +5 is coded as 10, and −7, towards −∞, as 13.
    let mut expected = vec![0; 4 * 75];
    expected[0] = if positive { 10 } else { 13 };
    assert_eq!(planes, expected);
}

#[test]
fn a_delta_for_another_image_or_network_is_refused() {
    let base = usual();
    let delta = between(&base, &adapted(&base));
    let apply = |image: &[u8]| delta.apply(&parse(image), identity(image)).unwrap_err();
    let other = image(&[5, 8, 3], Recipe { seed: 9, ..Recipe::DEFAULT });
    assert_eq!(apply(&other), DeltaError::Base { expected: identity(&base), found: identity(&other) });
    assert_eq!(apply(&image(&[5, 7, 3], Recipe::DEFAULT)), DeltaError::Schema);
    // If checksums agree by chance, the result reveals it.
    assert_eq!(delta.apply(&parse(&other), identity(&base)), Err(DeltaError::Result));
    let short = Delta::between(&parse(&base), 0, &[1.0]);
    assert_eq!(short, Err(DeltaError::Weights));
    let mut infinite = adapted(&base);
    infinite[9] = f32::INFINITY;
    assert_eq!(Delta::between(&parse(&base), 0, &infinite), Err(DeltaError::NotFinite));
}

#[test]
fn no_delta_with_a_flipped_bit_or_a_missing_byte_is_read() {
    let image = usual();
    let bytes = between(&image, &adapted(&image)).to_bytes();
    assert!(Delta::parse(&bytes).is_ok());
    for bit in 0..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Delta::parse(&damaged).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(Delta::parse(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert_eq!(Delta::parse(&[&bytes[..], &[0]].concat()), Err(DeltaError::Checksum));
}

/// Appends the right checksum.
fn sealed(content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(content);
    [content, &crc.sum().to_le_bytes()].concat()
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 500, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_bytes_are_refused_or_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Delta::parse(&bytes);
        let _ = Delta::parse(&sealed(&[b"GRFD\x01\x00", &bytes[..]].concat()));
    }

    /// Puts arbitrary bytes to inflate behind a whole header.
    #[test]
    fn any_packed_bytes_are_refused_or_applied_without_a_panic(
        keep in 0usize..200,
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let image = usual();
        let whole = between(&image, &adapted(&image)).to_bytes();
        let kept = &whole[..keep.min(whole.len() - 4)];
        if let Ok(delta) = Delta::parse(&sealed(&[kept, &bytes].concat())) {
            let _ = delta.apply(&parse(&image), identity(&image));
        }
    }

    #[test]
    fn any_finite_weights_come_back_bit_by_bit(words in proptest::collection::vec(any::<u32>(), 75)) {
        let image = usual();
        let finite = |bits: u32| Some(f32::from_bits(bits)).filter(|weight| weight.is_finite()).unwrap_or(-0.0);
        let adapted: Vec<f32> = words.into_iter().map(finite).collect();
        let delta = Delta::parse(&between(&image, &adapted).to_bytes()).unwrap();
        let made = delta.apply(&parse(&image), identity(&image)).unwrap();
        prop_assert_eq!(bits(&weights(&made)), bits(&adapted));
    }
}
