//! Samples: reading, writing, splitting, ageing.

mod common;

use common::{Folder, bits, samples};
use flate2::{Compression, write::GzEncoder};
use graftage::data::{AgedSensor, Samples};
use graftage_core::random::Generator;
use std::io::Write;

/// `count` samples whose only number is their index.
fn indices(count: usize) -> Samples {
    let mut samples = Samples::new(1);
    (0..count).for_each(|i| samples.push(&[i as f32], i as u32));
    samples
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn features_are_divided_by_the_scale_and_the_last_column_is_the_label() {
    let text = "8,-4e0, 0.5 ,2\n16,1,-0,0\n";
    let folder = Folder::new();
    for path in [folder.file("plain.csv", text), folder.file("packed.csv.gz", gzip(text))] {
        let samples = Samples::read(&path, 16.0).unwrap();
        assert_eq!(bits(samples.features()), bits(&[0.5, -0.25, 0.03125, 1.0, 0.0625, -0.0]));
        assert_eq!((samples.labels(), samples.inputs(), samples.len(), samples.classes()), (&[2, 0][..], 3, 2, 3));
    }
}

#[test]
fn a_first_line_of_names_is_skipped_and_one_with_a_number_is_not() {
    let folder = Folder::new();
    let named = folder.file("named.csv", "left,right,class\n1,2,0\n");
    assert_eq!(Samples::read(&named, 1.0).unwrap().features(), [1.0, 2.0]);
    let damaged = folder.file("damaged.csv", "left,2,class\n1,2,0\n");
    let message = Samples::read(&damaged, 1.0).unwrap_err().to_string();
    assert!(message.contains("line 1, column 1"), "{message}");
}

#[test]
fn what_is_written_is_read_again_bit_for_bit() {
    // Numbers of all sizes, of which a scale of a power of two loses no bit.
    let mut generator = Generator::new(9, 0);
    let mut samples = Samples::new(7);
    for label in 0..300 {
        let numbers: Vec<f32> = std::iter::repeat_with(|| f32::from_bits(generator.bits()))
            .filter(|x| x.is_finite() && (x.abs() > 1e-30 && x.abs() < 1e30))
            .take(6)
            .collect();
        samples.push(&[&numbers[..], &[-0.0]].concat(), label);
    }
    let folder = Folder::new();
    let path = folder.path("samples.csv");
    for scale in [1.0, 16.0, 0.25] {
        samples.write(&path, scale).unwrap();
        let read = Samples::read(&path, scale).unwrap();
        assert_eq!(bits(read.features()), bits(samples.features()));
        assert_eq!(read.labels(), samples.labels());
    }
}

#[test]
fn a_split_is_a_partition() {
    let all = indices(50);
    for (train, seed) in [(1, 0), (25, 1), (49, 2)] {
        let (first, second) = all.split(train, seed).unwrap();
        assert_eq!((first.len(), second.len()), (train, 50 - train));
        let mut together = [first.labels(), second.labels()].concat();
        together.sort_unstable();
        assert_eq!(together, all.labels());
        // A sample keeps its label.
        assert!(first.iter().chain(second.iter()).all(|(input, label)| input == [label as f32]));
    }
    for train in [0, 50, 51] {
        assert!(all.split(train, 0).is_err(), "{train} of 50");
    }
}

/// The orders were computed by another program from the definition of PCG-XSH-RR 64/32 and of the shuffle.
#[test]
fn the_orders_of_split_and_arrival_are_fixed_by_their_seeds() {
    let all = indices(20);
    let orders = [
        (
            0,
            [8, 13, 11, 5, 7, 9, 14, 6, 18, 0, 15, 12, 17, 2, 4, 10, 16, 3, 19, 1],
            [4, 7, 8, 9, 11, 16, 18, 1, 2, 10, 0, 14, 5, 6, 15, 12, 3, 17, 19, 13],
        ),
        (
            7,
            [19, 4, 9, 18, 3, 13, 12, 0, 14, 2, 17, 11, 7, 5, 15, 6, 16, 8, 1, 10],
            [11, 4, 3, 2, 1, 5, 13, 15, 12, 18, 16, 8, 7, 10, 0, 19, 9, 6, 14, 17],
        ),
    ];
    for (seed, split, arrival) in orders {
        let (train, test) = all.split(12, seed).unwrap();
        assert_eq!((train.labels(), test.labels()), (&split[..12], &split[12..]), "seed {seed}");
        assert_eq!(all.arrive(20, seed).labels(), arrival, "seed {seed}");
        assert_eq!(all.arrive(3, seed).labels(), &arrival[..3], "seed {seed}");
    }
}

/// Gain and offset of each element, as they show on samples of zeros and ones.
fn response(inputs: usize, seed: u64) -> Vec<(f32, f32)> {
    let mut probes = Samples::new(inputs);
    probes.push(&vec![0.0; inputs], 0);
    probes.push(&vec![1.0; inputs], 0);
    let aged = probes.aged(&AgedSensor::draw(inputs, seed));
    let (offsets, sums) = aged.features().split_at(inputs);
    offsets.iter().zip(sums).map(|(offset, sum)| (sum - offset, *offset)).collect()
}

#[test]
fn a_sensor_ages_within_its_bounds_and_the_same_for_the_same_seed() {
    let mut all = Vec::new();
    for seed in 0..50 {
        let drawn = response(64, seed);
        // The sum of gain and offset was rounded once.
        assert!(drawn.iter().all(|(gain, offset)| (0.2 - 1e-6..1.2).contains(gain) && (0.0..0.5).contains(offset)));
        assert_eq!(drawn, response(64, seed));
        assert_ne!(drawn, response(64, seed + 1));
        all.extend(drawn);
    }
    // 3,200 draws reach everywhere, and lie about the middle.
    let range = |of: fn(&(f32, f32)) -> f32| {
        let mean = all.iter().map(of).sum::<f32>() / all.len() as f32;
        (all.iter().map(of).fold(9.0, f32::min), mean, all.iter().map(of).fold(-9.0, f32::max))
    };
    let ((low, mean, high), (least, middle, most)) = (range(|d| d.0), range(|d| d.1));
    assert!(low < 0.21 && (mean - 0.7).abs() < 0.02 && high > 1.19, "{low} {mean} {high}");
    assert!(least < 0.01 && (middle - 0.25).abs() < 0.01 && most > 0.49, "{least} {middle} {most}");
}

/// From the same other program.
#[test]
fn the_first_drift_of_seed_1_is_the_one_that_was_published() {
    let expected = [(0.260_026_8, 0.179_377_14), (0.896_399_1, 0.226_780_28)];
    for ((gain, offset), (g, o)) in response(2, 1).into_iter().zip(expected) {
        assert!((gain - g).abs() < 1e-6 && (offset - o).abs() < 1e-6, "{gain} {offset}");
    }
}

#[test]
fn an_aged_sample_is_gain_times_it_plus_offset_and_keeps_its_label() {
    let samples = samples(40, 5, 3);
    let aged = samples.aged(&AgedSensor::draw(5, 4));
    assert_eq!(aged.labels(), samples.labels());
    for ((fresh, _), (aged, _)) in samples.iter().zip(aged.iter()) {
        for ((x, y), (gain, offset)) in fresh.iter().zip(aged).zip(response(5, 4)) {
            assert!((y - (gain * x + offset)).abs() < 1e-6);
        }
    }
}

#[test]
fn samples_that_do_not_fit_a_network_are_named() {
    let folder = Folder::new();
    let path = folder.path("samples.csv");
    let samples = indices(5);
    assert!(samples.check(&path, 1, 5).is_ok());
    let features = samples.check(&path, 2, 5).unwrap_err().to_string();
    assert!(features.contains("samples.csv") && features.contains("1 features") && features.contains("takes 2"));
    let label = samples.check(&path, 1, 3).unwrap_err().to_string();
    assert!(label.contains("sample 4: label 3 is not one of the 3 classes"), "{label}");
}
