//! Tests of samples: every format, splits, normalisation, wrong labels, ageing.

use crate::common::data::{gzip, load, load_normalised, refused, source, split};
use crate::common::{Folder, bits, samples};
use graftage::data::{AgedSensor, Dataset, Labelled, Legend, Normalisation, Normalise, Parts, Samples, Source, Split};
use graftage_core::random::Generator;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Returns `count` samples whose only number is their index.
fn indices(count: usize) -> Samples {
    let mut samples = Samples::new(1);
    (0..count).for_each(|i| samples.push(&[i as f32], i as u32));
    samples
}

/// Returns bits of the features and label of all samples, training part and test part, sorted.
fn sorted(labelled: &Labelled) -> Vec<(Vec<u32>, u32)> {
    let mut all: Vec<_> = labelled.train.iter().chain(labelled.test.iter()).map(|(x, y)| (bits(x), y)).collect();
    all.sort_unstable();
    all
}

/// Returns the path of real data beside the repository. If they are absent, says so, and the test ends.
fn real(file: &str) -> Option<PathBuf> {
    let path = crate::common::root().join("../shared/data").join(file);
    if !path.exists() {
        eprintln!("skipped: there is no {}", path.display());
    }
    path.exists().then_some(path)
}

#[test]
fn features_are_divided_by_the_scale_and_the_last_column_is_the_label() {
    let text = "8,-4e0, 0.5 ,2\n16,1,-0,0\n";
    let folder = Folder::empty();
    for path in [folder.file("plain.csv", text), folder.file("packed.csv.gz", gzip(text))] {
        let samples = Samples::read(&path, 3, &Legend::numbered(3)).unwrap().divided(16.0);
        assert_eq!(bits(samples.features()), bits(&[0.5, -0.25, 0.03125, 1.0, 0.0625, -0.0]));
        assert_eq!((samples.labels(), samples.inputs(), samples.len(), samples.classes()), (&[2, 0][..], 3, 2, 3));
    }
}

#[test]
fn a_first_line_of_names_is_no_sample() {
    let folder = Folder::empty();
    let named = folder.file("named.csv", "left,right,class\n1,2,0\n");
    assert_eq!(Samples::read(&named, 2, &Legend::numbered(1)).unwrap().features(), [1.0, 2.0]);
    let damaged = folder.file("damaged.csv", "left,2,class\n1,2,0\n");
    refused(Samples::read(&damaged, 2, &Legend::numbered(1)), &["line 1, column 1", "\"left\" is above numbers"]);
}

#[test]
fn written_samples_are_read_again_bit_for_bit() {
    // Numbers of all sizes. A scale that is a power of two loses no bit of them.
    let mut generator = Generator::new(9, 0);
    let mut samples = Samples::new(7);
    for label in 0..300 {
        let numbers: Vec<f32> = std::iter::repeat_with(|| f32::from_bits(generator.bits()))
            .filter(|x| x.is_finite() && (x.abs() > 1e-30 && x.abs() < 1e30))
            .take(6)
            .collect();
        samples.push(&[&numbers[..], &[-0.0]].concat(), label);
    }
    let folder = Folder::empty();
    let path = folder.path("samples.csv");
    for scale in [1.0, 16.0, 0.25] {
        samples.write(&path, scale, &Legend::default()).unwrap();
        let read = Samples::read(&path, 7, &Legend::numbered(300)).unwrap().divided(scale);
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
        // Each sample keeps its label.
        assert!(first.iter().chain(second.iter()).all(|(input, label)| input == [label as f32]));
    }
    for train in [0, 50, 51] {
        assert!(all.split(train, 0).is_err(), "{train} of 50");
    }
}

/// Checks orders that another program computed from the definition of PCG-XSH-RR 64/32 and of the shuffle.
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

/// Returns gain and offset of each element, measured on samples of zeros and of ones.
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
    // 3,200 draws reach the whole range and lie around its middle.
    let range = |of: fn(&(f32, f32)) -> f32| {
        let mean = all.iter().map(of).sum::<f32>() / all.len() as f32;
        (all.iter().map(of).fold(9.0, f32::min), mean, all.iter().map(of).fold(-9.0, f32::max))
    };
    let ((low, mean, high), (least, middle, most)) = (range(|d| d.0), range(|d| d.1));
    assert!(low < 0.21 && (mean - 0.7).abs() < 0.02 && high > 1.19, "{low} {mean} {high}");
    assert!(least < 0.01 && (middle - 0.25).abs() < 0.01 && most > 0.49, "{least} {middle} {most}");
}

/// Checks numbers from the same other program.
#[test]
fn the_first_ageing_of_seed_1_is_the_one_that_was_published() {
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
    let folder = Folder::empty();
    let path = folder.path("samples.csv");
    let samples = indices(5);
    assert!(samples.check(&path, 1, 5).is_ok());
    let features = samples.check(&path, 2, 5).unwrap_err().to_string();
    assert!(features.contains("samples.csv") && features.contains("1 features") && features.contains("takes 2"));
    let label = samples.check(&path, 1, 3).unwrap_err().to_string();
    assert!(label.contains("sample 4: label 3 is not one of the 3 classes"), "{label}");
}

// ---- formats ----

/// Encodes an IDX file: type, sizes, numbers.
fn idx(kind: u8, sizes: &[u32], numbers: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, sizes.len() as u8];
    sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    [&bytes, numbers].concat()
}

#[test]
fn idx_images_of_every_type_are_read_with_their_shape() {
    // Six numbers that every type can hold, and their bytes, the highest first.
    let numbers = [3.0, 0.0, 1.0, 127.0, 64.0, 2.0];
    let small = numbers.map(|x: f64| x as u8);
    let wide = |bytes: fn(f64) -> Vec<u8>| numbers.iter().flat_map(|x| bytes(*x)).collect::<Vec<_>>();
    let types = [
        (0x08, small.to_vec()),
        (0x09, small.to_vec()),
        (0x0b, wide(|x| vec![0, x as u8])),
        (0x0c, wide(|x| vec![0, 0, 0, x as u8])),
        (0x0d, wide(|x| (x as f32).to_bits().to_be_bytes().to_vec())),
        (0x0e, wide(|x| x.to_bits().to_be_bytes().to_vec())),
    ];
    let folder = Folder::empty();
    for (kind, bytes) in types {
        for (sizes, shape) in [(&[2, 1, 3][..], &[1, 3][..]), (&[3, 2], &[2]), (&[6, 1, 1, 1], &[1, 1, 1])] {
            let labels = [1, 0, 2, 1, 1, 0];
            let count = sizes[0] as usize;
            let images = folder.file("images.gz", gzip(idx(kind, sizes, &bytes)));
            let labels_file = folder.file("labels", idx(8, &sizes[..1], &labels[..count]));
            let source = source("idx", json!({ "images": images, "labels": labels_file }));
            let read = load(&source, json!({ "seed": { "train": count - 1 } }));
            assert_eq!(read.shape, shape, "type {kind:#x}");
            let expected = numbers.map(|x| x as f32).chunks(6 / count).map(bits).zip(labels.map(u32::from)).collect();
            let mut expected: Vec<_> = expected;
            expected.sort_unstable();
            assert_eq!(sorted(&read), expected, "type {kind:#x}, shape {shape:?}");
        }
    }
    // Signed types also hold numbers below 0.
    for (kind, bytes, expected) in
        [(0x09, vec![0xff, 0x80], [-1.0, -128.0]), (0x0b, vec![0xff, 0xfe, 1, 0], [-2.0, 256.0])]
    {
        let images = folder.file("images", idx(kind, &[2, 1], &bytes));
        let labels = folder.file("labels", idx(8, &[2], &[0, 1]));
        let source = source("idx", json!({ "images": images, "labels": labels }));
        let read = load(&source, json!({ "seed": { "train": 1 } }));
        let mut found = [read.train.features()[0], read.test.features()[0]];
        found.sort_by(f32::total_cmp);
        let mut expected = expected;
        expected.sort_by(f32::total_cmp);
        assert_eq!(found, expected, "type {kind:#x}");
    }
}

/// Writes an IDX source of four training images, with an own test part of two.
fn idx_source(folder: &Folder) -> (Source, Value) {
    let keys = json!({
        "images": folder.file("images", idx(8, &[4, 1, 2], &[10, 11, 20, 21, 30, 31, 40, 41])),
        "labels": folder.file("labels", idx(8, &[4], &[0, 1, 2, 0])),
        "test-images": folder.file("test-images", idx(8, &[2, 1, 2], &[50, 51, 60, 61])),
        "test-labels": folder.file("test-labels.gz", gzip(idx(8, &[2], &[3, 1]))),
    });
    (source("idx", keys.clone()), keys)
}

#[test]
fn idx_files_of_tests_are_the_own_test_part() {
    let folder = Folder::empty();
    let (source, _) = idx_source(&folder);
    let read = load(&source, json!("own"));
    assert_eq!(read.train.features(), [10.0, 11.0, 20.0, 21.0, 30.0, 31.0, 40.0, 41.0]);
    assert_eq!(read.test.features(), [50.0, 51.0, 60.0, 61.0]);
    assert_eq!((read.train.labels(), read.test.labels()), (&[0, 1, 2, 0][..], &[3, 1][..]));
    // A class that occurs only in the test part counts, too.
    assert_eq!((read.legend.classes, read.shape), (["0", "1", "2", "3"].map(String::from).to_vec(), vec![1, 2]));
    // A split by seed splits the training images only; those that test are not touched.
    let read = load(&source, json!({ "seed": { "train": 3 } }));
    assert_eq!((read.train.len(), read.test.len(), read.legend.classes.len()), (3, 1, 3));
}

#[test]
fn an_error_in_an_idx_file_is_named_with_its_place() {
    let folder = Folder::empty();
    let (_, keys) = idx_source(&folder);
    let gzipped = gzip(idx(8, &[4], &[0, 1, 2, 0]));
    let cases: [(&str, Vec<u8>, &[&str]); 19] = [
        ("images", b"P5 28 28".to_vec(), &["images", "not an IDX file", "\"50352032\""]),
        ("images", vec![], &["not an IDX file"]),
        ("images", vec![0, 0, 8, 3, 0, 0], &["truncated at byte 6, in its header"]),
        ("images", idx(0x0a, &[4, 1, 2], &[0; 8]), &["byte 2", "unknown IDX type 0x0a"]),
        ("images", idx(8, &[4], &[0; 4]), &["byte 3: found 1 sizes", "labels?"]),
        ("images", idx(8, &[4, 1, 2], &[0; 7]), &["truncated at byte 23", "sample 4 of 4", "24 bytes"]),
        ("images", idx(8, &[4, 1, 2], &[0; 2]), &["truncated at byte 18", "sample 2 of 4"]),
        ("images", idx(8, &[4, 1, 2], &[0; 9]), &["1 bytes follow", "byte 24"]),
        ("images", idx(8, &[0, 1, 2], &[]), &["no samples"]),
        ("images", idx(8, &[4, 0, 2], &[]), &["no samples"]),
        ("images", idx(14, &[u32::MAX, u32::MAX, u32::MAX], &[]), &["too many for any memory"]),
        ("images", idx(8, &[3, 1, 2], &[0; 6]), &["labels", "4 labels for the 3 images", "images"]),
        ("images", gzipped.clone(), &["images", "a gzip file", ".gz"]),
        (
            "images",
            idx(13, &[4, 1, 2], &[[0; 20].to_vec(), f32::NAN.to_be_bytes().to_vec(), vec![0; 8]].concat()),
            &["sample 3, number 2, byte 36", "NaN"],
        ),
        (
            "images",
            idx(14, &[4, 1, 1], &[[0; 24].to_vec(), f64::INFINITY.to_be_bytes().to_vec()].concat()),
            &["sample 4, number 1, byte 40", "inf"],
        ),
        ("labels", idx(8, &[4, 1, 2], &[0; 8]), &["labels", "byte 2: found U8 and 3 sizes", "images?"]),
        ("labels", idx(12, &[4], &[0; 16]), &["labels", "byte 2: found I32"]),
        ("test-images", idx(8, &[2, 2, 1], &[0; 4]), &["test-images", "[2, 1]", "[1, 2]"]),
        ("test-labels", gzipped[..gzipped.len() - 9].to_vec(), &["test-labels.gz", "truncated gzip file"]),
    ];
    for (key, bytes, words) in cases {
        let mut keys = keys.clone();
        keys[key] = json!(folder.file(if key == "test-labels" { "wrong-test-labels.gz" } else { key }, bytes));
        refused(source("idx", keys).load(&Split::default(), &Normalise::None), words);
        idx_source(&folder);
    }
    let mut without = keys.clone();
    without.as_object_mut().unwrap().remove("test-labels");
    refused(source("idx", without).load(&Split::default(), &Normalise::None), &["images", "test-labels"]);
    // A trained model's classes limit the labels.
    let legend = Legend { classes: ["0", "1"].map(String::from).into(), ..Legend::default() };
    let unit = Normalisation { mean: vec![0.0], deviation: vec![1.0], ..Normalisation::default() };
    refused(
        source("idx", keys).load_as(&Split::default(), &unit, &legend),
        &["labels", "sample 3, byte 10", "label 2", "2 classes"],
    );
}

const PEOPLE: &str =
    "age, height,who,home ,pace\n1,2,ann,x,walk\n3,4,bob,y,run\n5,6,ann,y,\"sit, or \"\"lie\"\"\"\n7,8,cid,x,run\n";

#[test]
fn a_table_has_its_label_group_and_ignored_columns_anywhere() {
    let folder = Folder::empty();
    let table = folder.file("people.csv", PEOPLE);
    let bare = folder.file("bare.csv", PEOPLE.split_once('\n').unwrap().1);
    let (first, second) = PEOPLE.split_at(PEOPLE.find("5,6").unwrap());
    let packed = folder.file("people.csv.gz", [gzip(first), gzip(second)].concat());
    let sources = [
        source("csv", json!({ "path": table, "label": "pace", "group": "who", "ignore": ["home"] })),
        source("csv", json!({ "path": table, "group": "2", "ignore": ["3"] })),
        source("csv", json!({ "path": bare, "label": "4", "group": "2", "ignore": ["3"] })),
        source("csv", json!({ "path": packed, "group": "who", "ignore": ["home"] })),
    ];
    for source in sources {
        let read = load(&source, json!({ "group": { "test": ["ann"] } }));
        assert_eq!(read.legend.classes, ["run", "sit, or \"lie\"", "walk"], "{source:?}");
        assert_eq!(read.shape, [2]);
        assert_eq!((read.train.features(), read.train.labels()), (&[3.0, 4.0, 7.0, 8.0][..], &[0, 0][..]));
        assert_eq!((read.test.features(), read.test.labels()), (&[1.0, 2.0, 5.0, 6.0][..], &[2, 1][..]));
    }
    // Whole numbers keep their values, however they are written. Other columns are the features.
    let table = folder.file("numbers.csv", "class,a,b\n3,1,2\n+0,3,4\n03,5,6\n");
    let read = load(&source("csv", json!({ "path": table, "label": "class" })), json!({ "seed": { "train": 2 } }));
    assert_eq!(read.legend.classes, ["0", "1", "2", "3"]);
    let expected = [([1.0, 2.0], 3), ([3.0, 4.0], 0), ([5.0, 6.0], 3)];
    assert_eq!(sorted(&read), expected.map(|(x, y): ([f32; 2], _)| (bits(&x), y)));
}

#[test]
fn an_error_in_a_table_is_named_with_line_and_column() {
    let folder = Folder::empty();
    let seed = split(json!({ "seed": { "train": 1 } }));
    let all = json!({ "label": "pace", "ignore": ["who", "home"] });
    let cases: [(&str, Value, &[&str]); 20] = [
        (PEOPLE, json!({ "label": "race" }), &["no column \"race\"; the columns are pace, age, "]),
        (PEOPLE, json!({ "label": "5" }), &["no column \"5\"; the columns are "]),
        (PEOPLE, json!({ "group": "Who" }), &["no column \"Who\"; the columns are who, "]),
        (PEOPLE, json!({ "ignore": ["homes"] }), &["no column \"homes\"; the columns are home, "]),
        ("1,3,2\n", json!({ "label": "class" }), &["no column \"class\"; the file has no header", "0 to 2"]),
        ("a,a,b\n1,3,2\n", json!({ "ignore": ["a"] }), &["two columns are named \"a\""]),
        (PEOPLE, json!({ "label": "pace", "group": "pace" }), &["column \"pace\" is both the label and the group"]),
        (PEOPLE, json!({ "ignore": ["4"] }), &["column \"pace\" is both the label and ignored"]),
        (
            PEOPLE,
            json!({ "label": "pace", "ignore": ["0", "1", "2", "3"] }),
            &["line 2: none of the 5 columns is left"],
        ),
        (
            PEOPLE,
            json!({}),
            &[
                "line 2, column 3 (who): a feature must be a finite number, found \"ann\"; if the column is not a feature, name it in",
            ],
        ),
        ("a,b,c\n1,2\n", json!({}), &["line 2: 2 fields, but the header has 3"]),
        ("1,2,0\n\n1,2,3,4\n", json!({}), &["line 3: 4 fields, but 3 in the lines before it"]),
        ("1,?,0\n", json!({}), &["line 1, column 2", "\"overall\"", "\"?\""]),
        (
            "1,3,run\n3,4,1\n5,6,sit\n",
            json!({}),
            &["line 2, column 3: the label must be a name like those before it, found \"1\" (sample 2)"],
        ),
        (
            "1,2,1\n3,4,run\n5,6,1\n",
            json!({}),
            &["line 2, column 3: the label must be a whole number from 0, found \"run\""],
        ),
        (
            "1,3,run\n3,4,0.5\n5,6,run\n",
            json!({}),
            &["line 2, column 3", "only classification is supported", "0 to 65535", "\"0.5\""],
        ),
        ("1,2,65536\n", json!({}), &["line 1, column 3", "a class number from 0 to 65535", "\"65536\""]),
        ("1,3,\n", json!({}), &["line 1, column 3: the label is missing"]),
        ("1,,3\n", json!({ "group": "1" }), &["line 1, column 2: the group is missing"]),
        (&PEOPLE.replace("3,4", "3,inf"), all, &["line 3, column 2 (height)", "finite number", "\"inf\""]),
    ];
    for (text, mut keys, words) in cases {
        keys["path"] = json!(folder.file("table.csv", text));
        refused(source("csv", keys).load(&seed, &Normalise::None), &[&["table.csv: "], words].concat());
    }
    let names: String = (0..30).map(|i| format!("c{i},")).collect();
    let path = folder.file("wide.csv", format!("{names}class\n{}0\n", "1,".repeat(30)));
    refused(
        source("csv", json!({ "path": path, "label": "c29x" })).load(&seed, &Normalise::None),
        &["are c29, ", " and 21 more"],
    );
}

const ARFF: &str = r#"% Two people.
@RELATION 'a test'

@attribute id numeric
@Attribute 'step length'	REAL
@attribute "who's" {ann, 'bo b', "c\"d"}
@attribute note string
@attribute class { walk,run , 'sit, lie' }
@DATA
1, -2.5e0, ann, 'it\'s', walk
% between
2,?,'bo b',"a, b",run,

3, 4 , "c\"d", ?, 'sit, lie'
"#;

#[test]
fn arff_is_read_with_its_header_and_without() {
    let folder = Folder::empty();
    let expected = |read: &Labelled| {
        assert_eq!(
            (&read.legend.classes[..], &read.shape[..]),
            (&["run", "sit, lie", "walk"].map(String::from)[..], &[1][..])
        );
        // The training part, -2.5 and 4, has the mean 0.75 and the deviation 3.25.
        assert_eq!((read.train.features(), read.train.labels()), (&[-1.0, 1.0][..], &[2, 1][..]));
        assert_eq!((read.test.features(), read.test.labels()), (&[0.0][..], &[0][..]));
    };
    let by = json!({ "group": { "test": ["bo b"] } });
    let bare = ARFF.split_once("@DATA\n").unwrap().1;
    for (name, text) in [("a.arff", ARFF.into()), ("windows.arff", format!("\u{feff}{}", ARFF.replace('\n', "\r\n")))] {
        let keys = json!({ "path": folder.file(name, text), "group": "who's", "ignore": ["id", "note"] });
        expected(&load_normalised(&source("arff", keys), by.clone(), Normalise::Features));
    }
    let keys =
        json!({ "path": folder.file("bare.arff.gz", gzip(bare)), "label": "4", "group": "2", "ignore": ["0", "3"] });
    expected(&load_normalised(&source("arff", keys), by, Normalise::Features));
}

#[test]
fn an_error_in_an_arff_file_is_named_with_its_line() {
    let folder = Folder::empty();
    let change = |from: &str, to: &str| {
        assert!(ARFF.contains(from), "{from}");
        ARFF.replace(from, to)
    };
    let cases: [(String, &[&str]); 15] = [
        (change("REAL", "reel"), &["line 5", "\"step length\"", "\"reel\""]),
        (change("'sit, lie' }", "'sit, lie'"), &["line 8", "\"class\"", "}"]),
        (change("@attribute id", "@attribut id"), &["line 4", "\"@attribut\"", "@attribute"]),
        (change("'step length'", "'step length"), &["line 5", "quote '"]),
        (change("@DATA\n", ""), &["line 9", "\"1,\"", "@data"]),
        (ARFF.split_once("@DATA").unwrap().0.into(), &["@data", "truncated"]),
        ("@data\n1,2\n".into(), &["without an @attribute"]),
        (change("2,?,'bo b'", "{2 5}"), &["line 12", "sparse"]),
        (
            change("2,?,'bo b'", "2,?,'bo c'"),
            &["line 12, column 3 (who's)", "\"bo c\" is not one of its values bo b, "],
        ),
        (change("run,\n", "runs\n"), &["line 12, column 5 (class)", "\"runs\" is not one of its values run, "]),
        (change("2,?,'bo b'", "2,?,'bo b' x"), &["line 12", "comma", "bo b"]),
        (change("2,?,", "2,"), &["line 12: 4 fields, but 5 in the lines before it"]),
        (change("2,?,'bo b'", "2,x,'bo b'"), &["line 12, column 2 (step length)", "finite number", "\"x\""]),
        (change("2,?", "2,NaN"), &["line 12, column 2", "\"NaN\""]),
        (ARFF.split_once("1, -2.5").unwrap().0.into(), &["no samples"]),
    ];
    let arff = |path: &Path| source("arff", json!({ "path": path, "group": "who's", "ignore": ["id", "note"] }));
    let seed = split(json!({ "seed": { "train": 1 } }));
    for (text, words) in cases {
        let path = folder.file("wrong.arff", text);
        refused(arff(&path).load(&seed, &Normalise::Features), &[&["wrong.arff"], words].concat());
    }
    let path = folder.file("good.arff", ARFF);
    refused(arff(&path).load(&seed, &Normalise::None), &["line 12, column 2 (step length)", "\"features\"", "\"?\""]);
    let path = folder.file("latin.arff", [ARFF.as_bytes(), b"\xe9"].concat());
    refused(arff(&path).load(&seed, &Normalise::Features), &["line 15", "UTF-8"]);
    for bare in ["''\n", ",\n", "5\n"] {
        let path = folder.file("bare.arff", bare);
        refused(
            source("arff", json!({ "path": path })).load(&seed, &Normalise::None),
            &["line 1", "features and, last"],
        );
    }
}

/// Encodes an array in version 1 of NumPy's format. Spaces and a line end align the numbers to 64 bytes.
fn npy(descr: &str, shape: &str, numbers: &[u8]) -> Vec<u8> {
    npy_header(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"), numbers)
}

fn npy_header(header: &str, numbers: &[u8]) -> Vec<u8> {
    let length = (10 + header.len()) / 64 * 64 + 64 - 10;
    let header = format!("{header:<width$}\n", width = length - 1);
    [b"\x93NUMPY\x01\x00", &(length as u16).to_le_bytes()[..], header.as_bytes(), numbers].concat()
}

#[test]
fn arrays_of_numpy_of_every_type_are_read_with_their_labels() {
    let numbers = [3.0, 0.0, -1.0, 100.0, 64.0, 2.5f64];
    let whole = numbers.map(|x| x.trunc());
    fn each<const N: usize>(numbers: [f64; 6], bytes: fn(f64) -> [u8; N]) -> Vec<u8> {
        numbers.iter().flat_map(|x| bytes(*x)).collect()
    }
    let types = [
        ("<f4", each(numbers, |x| (x as f32).to_le_bytes()), numbers),
        (">f4", each(numbers, |x| (x as f32).to_be_bytes()), numbers),
        ("<f8", each(numbers, |x| x.to_le_bytes()), numbers),
        ("|u1", each(whole.map(f64::abs), |x| [x as u8]), whole.map(f64::abs)),
        ("|i1", each(whole, |x| (x as i8).to_le_bytes()), whole),
        (">i2", each(whole, |x| (x as i16).to_be_bytes()), whole),
        ("<i4", each(whole, |x| (x as i32).to_le_bytes()), whole),
        ("<i8", each(whole, |x| (x as i64).to_le_bytes()), whole),
        (">i8", each(whole, |x| (x as i64).to_be_bytes()), whole),
    ];
    let folder = Folder::empty();
    let labels = folder.file("labels.csv", "what,who\nrun,ann\nsit,bob\nrun,bob\n");
    for (descr, bytes, expected) in types {
        for (shape, of_one) in [("(3, 2)", &[2][..]), ("(3,1,2)", &[1, 2])] {
            let path = folder.file("array.npy", npy(descr, shape, &bytes));
            let keys = json!({ "path": path, "labels": labels, "label": "what", "group": "who" });
            let read = load(&source("npy", keys), json!({ "group": { "test": ["ann"] } }));
            let expected = expected.map(|x| x as f32);
            assert_eq!(read.shape, of_one, "{descr}");
            assert_eq!((read.test.features(), read.train.features()), (&expected[..2], &expected[2..]), "{descr}");
            assert_eq!((read.test.labels(), read.train.labels()), (&[0][..], &[1, 0][..]), "{descr}");
            assert_eq!(read.legend.classes, ["run", "sit"]);
        }
    }
    // Version 2 has a longer length. The keys are in another order and in other quotes.
    let header = b"{\"shape\":(2, 1),\"fortran_order\":False,\"descr\":\"<f4\"}\n";
    let array = [b"\x93NUMPY\x02\x00", &(header.len() as u32).to_le_bytes()[..], header, &[0, 0, 128, 63, 0, 0, 0, 64]]
        .concat();
    let keys = json!({ "path": folder.file("two.npy", array), "labels": folder.file("two.csv", "0\n1\n") });
    let read = load(&source("npy", keys), json!({ "seed": { "train": 1 } }));
    assert_eq!(sorted(&read), [(bits(&[1.0]), 0), (bits(&[2.0]), 1)]);
}

#[test]
fn an_error_in_an_array_or_its_labels_is_named() {
    let folder = Folder::empty();
    let labels = folder.file("labels.csv", "0,a\n1,b\n");
    let good = npy("<f4", "(2, 3)", &[0; 24]);
    let nan = [[0; 16].to_vec(), f32::INFINITY.to_le_bytes().to_vec(), vec![0; 4]].concat();
    let cases: [(Vec<u8>, &[&str]); 16] = [
        (b"PK\x03\x04 an archive".to_vec(), &["not a NumPy array: it is a zip archive"]),
        (vec![], &["not a NumPy array"]),
        (b"\x93NUMPY".to_vec(), &["truncated at byte 6"]),
        (b"\x93NUMPY\x04\x00aaaa".to_vec(), &["byte 6", "version 4"]),
        (good[..60].to_vec(), &["truncated at byte 60, in its header"]),
        (good[..good.len() - 13].to_vec(), &["truncated at byte 139, in sample 1 of 2", "152 bytes"]),
        ([&good[..], &[0]].concat(), &["1 bytes follow", "byte 152"]),
        (npy("<f4", "(2, 3)", &nan), &["sample 2, number 2, byte 144", "inf"]),
        (npy("<c8", "(2, 3)", &[0; 48]), &["type \"<c8\"", "f4, f8", "astype"]),
        (npy("|O", "(2, 3)", &[0; 48]), &["type \"|O\""]),
        (npy_header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", &[0; 8]), &["records"]),
        (npy_header("{'descr': '<f4', 'shape': (2, 3)}", &[0; 24]), &["no \"fortran_order\""]),
        (npy("<f4", "(2,)", &[0; 8]), &["shape [2]"]),
        (npy("<f4", "(2, x)", &[0; 8]), &["its header (version 1)", "\"x)\" is not a Python literal"]),
        (npy("<f4", "(0, 3)", &[]), &["no samples"]),
        (npy("<f8", "(9223372036854775807, 2)", &[]), &["too many for any memory"]),
    ];
    let seed = split(json!({ "seed": { "train": 1 } }));
    let npy = |path: &Path, label: &str| source("npy", json!({ "path": path, "labels": labels, "label": label }));
    for (bytes, words) in cases {
        let path = folder.file("wrong.npy", bytes);
        refused(npy(&path, "0").load(&seed, &Normalise::None), &[&["wrong.npy: "], words].concat());
    }
    let path = folder.file("good.npy", good);
    assert_eq!(load(&npy(&path, "1"), json!({ "seed": { "train": 1 } })).legend.classes, ["a", "b"]);
    refused(npy(&path, "2").load(&seed, &Normalise::None), &["labels.csv", "no column \"2\""]);
    for (text, words) in [
        ("0\n1\n1\n", ["3 labels for the 2 samples", "good.npy"]),
        // The file holds only names: the first line is taken as names of columns.
        ("run\nsit\n", ["1 lines for the 2 samples", "read as a header"]),
        ("0\n-1\n", ["line 2, column 1", "only classification is supported"]),
    ] {
        folder.file("labels.csv", text);
        refused(npy(&path, "0").load(&seed, &Normalise::None), &[&["labels.csv"], &words[..]].concat());
    }
}

#[test]
fn the_end_of_a_text_tests() {
    let folder = Folder::empty();
    let bytes: Vec<u8> = (0..=99).chain([255]).collect();
    let paths = [folder.file("a.txt", &bytes), folder.file("a.txt.gz", gzip(&bytes))];
    for (path, (by, train)) in paths.iter().flat_map(|path| {
        [
            (path, (json!("own"), 91)),
            (path, (json!({ "seed": {} }), 81)),
            (path, (json!({ "seed": { "test": 0.5 } }), 50)),
            (path, (json!({ "seed": { "seed": 9, "train": 100 } }), 100)),
        ]
    }) {
        let data = source("text", json!({ "path": path })).load(&split(by), &Normalise::None).unwrap();
        assert_eq!(
            data,
            Dataset::Text(Parts { train: bytes[..train].to_vec(), validate: None, test: bytes[train..].to_vec() })
        );
    }
    let text = source("text", json!({ "path": paths[0] }));
    for (by, words) in [
        (json!({ "seed": { "train": 0 } }), ["101 bytes", "split into 0"]),
        (json!({ "seed": { "train": 101 } }), ["101 bytes", "split into 101"]),
        (json!({ "seed": { "test": 0.001 } }), ["101 bytes", "split into 101"]),
        (json!({ "group": { "test": ["a"] } }), ["no groups", "[split.seed]"]),
    ] {
        refused(text.load(&split(by), &Normalise::None), &[&["a.txt"], &words[..]].concat());
    }
    refused(text.load(&Split::default(), &Normalise::Divide(2.0)), &["a.txt", "no features", "the key normalise"]);
    let unit = Normalisation { mean: vec![0.0], deviation: vec![1.0], ..Normalisation::default() };
    refused(text.load_as(&Split::default(), &unit, &Legend::default()), &["a.txt", "no labelled samples"]);
}

/// Changes, cuts off and inserts bytes in files of every format. Each file is read, or refused in one line.
#[test]
fn a_damaged_file_never_ends_the_program() {
    let folder = Folder::empty();
    let labels = folder.file("labels.csv", "0,a\n1,b\n");
    let people = json!({ "group": "who", "ignore": ["home"], "label": "pace" });
    let arff = json!({ "group": "who's", "ignore": ["id", "note"] });
    let pictures =
        [folder.file("images", idx(8, &[2, 1, 2], &[1, 2, 3, 4])), folder.file("two", idx(8, &[2], &[0, 1]))];
    let cases = [
        ("csv", "path", PEOPLE.as_bytes().to_vec(), people),
        ("csv", "path", b"\"a\nb\",c\n1,0\n2,1\n".to_vec(), json!({ "label": "d" })),
        ("arff", "path", ARFF.as_bytes().to_vec(), arff),
        ("arff", "path", ARFF.split_once("@DATA\n").unwrap().1.into(), json!({ "ignore": ["0", "3"], "group": "2" })),
        ("npy", "path", npy("<f4", "(2, 3)", &[0; 24]), json!({ "labels": labels })),
        (
            "npy",
            "labels",
            b"what,who\nrun,ann\nsit,bob\n".to_vec(),
            json!({ "path": folder.file("n.npy", npy("|u1", "(2,1)", &[0; 2])) }),
        ),
        ("idx", "images", idx(8, &[2, 1, 2], &[1, 2, 3, 4]), json!({ "labels": pictures[1] })),
        ("idx", "labels", idx(8, &[2], &[0, 1]), json!({ "images": pictures[0] })),
    ];
    let seed = 5;
    let (mut generator, by) = (Generator::new(seed, 0), split(json!({ "seed": { "train": 1 } })));
    for (format, key, bytes, mut keys) in cases {
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..300 {
            let mut damaged = bytes.clone();
            for _ in 0..=generator.below(2) {
                let at = generator.below(damaged.len() as u32 + 1) as usize;
                match generator.below(4) {
                    0 => damaged.truncate(at),
                    1 => damaged.insert(at, b"\n,'\"{}?%@\\0\xff"[generator.below(12) as usize]),
                    2 if at < damaged.len() => _ = damaged.remove(at),
                    _ if at < damaged.len() => damaged[at] = generator.bits() as u8,
                    _ => {}
                }
            }
            let path = folder.file("damaged", damaged);
            keys[key] = json!(path);
            let loaded = source(format, keys.clone()).load(&by, &Normalise::Features);
            std::fs::remove_file(path).unwrap();
            match loaded {
                Ok(_) => taken += 1,
                Err(error) => {
                    refused += 1;
                    let message = error.to_string();
                    assert!(!message.contains('\n'), "{format} {key}, seed {seed}: {message:?}");
                }
            }
        }
        assert!(taken + refused == 300 && refused > 20, "{format} {key}, seed {seed}: {taken} {refused}");
    }
}

#[test]
fn another_main_file_takes_the_place_of_the_first() {
    let csv = |path: &str| source("csv", json!({ "path": path, "label": "a", "ignore": ["b"] }));
    assert_eq!(csv("x.csv").with_path(Path::new("y.csv")), csv("y.csv"));
    for (format, used) in
        [("idx", &["images", "labels"][..]), ("arff", &["path"]), ("npy", &["path", "labels"]), ("text", &["path"])]
    {
        let of = |file: &str| {
            let value = |key: &str| if key == "labels" { "l" } else { file }.to_owned();
            source(format, used.iter().map(|key| (key.to_string(), value(key))).collect())
        };
        // The labels of an array are not those of other samples, so a table takes the place of both files.
        let expected = if used.len() > 1 { source("csv", json!({ "path": "y" })) } else { of("y") };
        assert_eq!(of("x").with_path(Path::new("y")), expected, "{format}");
        assert_eq!(of("x").paths().len(), used.len());
        assert_eq!(of("x").path(), Path::new("x"));
    }
}

#[test]
fn an_unknown_key_is_refused_and_what_is_left_out_is_usual() {
    for wrong in [
        json!({ "csv": { "path": "a", "lable": "b" } }),
        json!({ "arff": { "path": "a", "test": "b" } }),
        json!({ "npy": { "path": "a", "labels": "b", "ignore": [] } }),
        json!({ "arff": { "path": "a", "header": true } }),
        json!({ "text": { "path": "a", "label": "b" } }),
        json!({ "idx": { "images": "a", "labels": "b", "test_images": "c" } }),
        json!({ "parquet": { "path": "a" } }),
    ] {
        let message = serde_json::from_value::<Source>(wrong.clone()).unwrap_err().to_string();
        assert!(message.starts_with("unknown "), "{wrong} {message}");
    }
    for wrong in [json!({ "seed": { "share": 1 } }), json!({ "group": { "train": [] } }), json!("other")] {
        assert!(serde_json::from_value::<Split>(wrong).unwrap_err().to_string().starts_with("unknown "));
    }
    assert_eq!(split(json!({ "seed": {} })), split(json!({ "seed": { "seed": 1 } })));
    assert_eq!(Split::default(), split(json!("own")));
    assert_eq!(serde_json::from_value::<Normalise>(json!("features")).unwrap(), Normalise::Features);
    assert_eq!(serde_json::from_value::<Normalise>(json!({ "divide": 16.0 })).unwrap(), Normalise::Divide(16.0));
    // A source that was written is read back as the same.
    let npy = source("npy", json!({ "path": "a", "labels": "b", "group": "c" }));
    assert_eq!(serde_json::from_value::<Source>(serde_json::to_value(&npy).unwrap()).unwrap(), npy);
}

// ---- splits ----

#[test]
fn a_share_is_rounded_and_split_in_the_order_of_its_seed() {
    let folder = Folder::empty();
    let all = indices(23);
    let path = folder.path("indices.csv");
    all.write(&path, 1.0, &Legend::default()).unwrap();
    let csv = source("csv", json!({ "path": path, "label": "1" }));
    for (keys, train, seed) in
        [(json!({}), 18, 1), (json!({ "seed": 5, "test": 0.3 }), 16, 5), (json!({ "seed": 2, "train": 20 }), 20, 2)]
    {
        let read = load(&csv, json!({ "seed": keys }));
        assert_eq!((read.train, read.test), all.split(train, seed).unwrap());
    }
    for (keys, words) in [
        (json!({ "train": 3, "test": 0.5 }), ["both train and test", ""]),
        (json!({ "test": 1.0 }), ["found 1", "(0, 1)"]),
        (json!({ "test": 0.0 }), ["found 0", "(0, 1)"]),
        (json!({ "test": -0.5 }), ["found -0.5", "(0, 1)"]),
        (json!({ "test": 0.01 }), ["23 samples", "split into 23"]),
        (json!({ "test": 0.99 }), ["23 samples", "split into 0"]),
        (json!({ "train": 23 }), ["23 samples", "split into 23"]),
    ] {
        refused(csv.load(&split(json!({ "seed": keys })), &Normalise::None), &words);
    }
    refused(csv.load(&Split::default(), &Normalise::None), &["indices.csv", "no test part of its own", "[split.seed]"]);
}

#[test]
fn groups_test_as_a_whole_and_an_unknown_or_empty_one_is_refused() {
    let folder = Folder::empty();
    let path = folder.file("people.csv", PEOPLE);
    let people = source("csv", json!({ "path": path, "group": "who", "ignore": ["home"] }));
    let read = load(&people, json!({ "group": { "test": ["cid", "ann", "cid"] } }));
    assert_eq!((read.train.features(), read.test.len()), (&[3.0, 4.0][..], 3));
    for (test, words) in [
        (json!(["an"]), ["no sample belongs to group \"an\"", "the groups are ann, "]),
        (json!(["ann", "bob", "cid"]), ["training part", "3 groups is empty"]),
        (json!([]), ["test part", "3 groups is empty"]),
    ] {
        refused(
            people.load(&split(json!({ "group": { "test": test } })), &Normalise::None),
            &[&["people.csv"], &words[..]].concat(),
        );
    }
    let without = source("csv", json!({ "path": path, "ignore": ["who", "home"] }));
    refused(
        without.load(&split(json!({ "group": { "test": ["ann"] } })), &Normalise::None),
        &["people.csv", "a group column"],
    );
}

// ---- normalisation ----

/// Table in which groups a and b train and c tests. The training part has 1, 3, missing, 8 in the first feature, and 5
/// throughout in the second; the mean of all seven is 32/7.
const NUMBERS: &str = "x,y,who,class\n1,5,a,0\n3,5,a,1\n,5,b,0\n8,5,b,1\n100,?,c,0\n?,7,c,1\n";

/// Loads a table like [`NUMBERS`], normalised in this way.
fn normalised(folder: &Folder, text: &str, normalise: Normalise) -> Labelled {
    let keys = json!({ "path": folder.file("numbers.csv", text), "group": "who" });
    load_normalised(&source("csv", keys), json!({ "group": { "test": ["c"] } }), normalise)
}

fn close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
    let near = |(f, e): (&f32, &f64)| (f64::from(*f) - e).abs() <= 2e-6 * e.abs().max(1.0);
    assert!(found.iter().zip(expected).all(near), "{found:?} {expected:?}");
}

#[test]
fn mean_and_deviation_are_those_of_the_training_part() {
    let folder = Folder::empty();
    // 1, 3, 8 have the mean 4 and the squared deviations 9 + 1 + 16.
    let deviation = (26f64 / 3.0).sqrt();
    let by_feature = normalised(&folder, NUMBERS, Normalise::Features);
    close(&by_feature.normalisation.mean, &[4.0, 5.0]);
    close(&by_feature.normalisation.deviation, &[deviation, 1.0]);
    close(by_feature.train.features(), &[-3.0 / deviation, 0.0, -1.0 / deviation, 0.0, 0.0, 0.0, 4.0 / deviation, 0.0]);
    close(by_feature.test.features(), &[96.0 / deviation, 0.0, 0.0, 2.0]);
    let all = [1.0, 5.0, 3.0, 5.0, 5.0, 8.0, 5.0f64];
    let mean = all.iter().sum::<f64>() / 7.0;
    let deviation = (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 7.0).sqrt();
    let overall = normalised(&folder, NUMBERS, Normalise::Overall);
    close(&overall.normalisation.mean, &[mean]);
    close(&overall.normalisation.deviation, &[deviation]);
    close(&overall.train.features()[4..6], &[0.0, (5.0 - mean) / deviation]);
    close(overall.test.features(), &[(100.0 - mean) / deviation, 0.0, 0.0, (7.0 - mean) / deviation]);
    // The test part does not influence it.
    let other = normalised(&folder, &NUMBERS.replace("100", "-7000"), Normalise::Overall);
    assert_eq!(other.normalisation, overall.normalisation);
    // Division gives the bits of binary32; no normalisation keeps the numbers.
    let full = NUMBERS.replace('?', "0.3").replace("\n,", "\n0.7,");
    let divided = normalised(&folder, &full, Normalise::Divide(3.0));
    assert_eq!(divided.normalisation.scale(), Some(3.0));
    assert_eq!(bits(&divided.test.features()[1..2]), bits(&[0.3f32 / 3.0]));
    let none = normalised(&folder, &full, Normalise::None);
    assert_eq!((none.normalisation.scale(), none.test.features()), (Some(1.0), &[100.0, 0.3, 0.3, 7.0][..]));
    assert_eq!((overall.normalisation.scale(), by_feature.normalisation.scale()), (None, None));
}

#[test]
fn a_feature_that_never_changes_is_divided_by_one_however_often_it_is_added() {
    // A tenth, added a thousand times: a rounded sum would leave a deviation that is not 0.
    let folder = Folder::empty();
    let text: String = (0..1000).map(|i| format!("0.1,{i},{}\n", i % 2)).collect();
    let csv = source("csv", json!({ "path": folder.file("tenth.csv", text) }));
    let Normalisation { mean, deviation, .. } =
        load_normalised(&csv, json!({ "seed": { "train": 999 } }), Normalise::Features).normalisation;
    assert_eq!((mean[0], deviation[0]), (0.1, 1.0));
}

#[test]
fn a_checkpoint_applies_what_it_learnt_and_keeps_its_classes() {
    let folder = Folder::empty();
    let by = json!({ "group": { "test": ["c"] } });
    let learnt = normalised(&folder, NUMBERS, Normalise::Features);
    let saved = serde_json::to_string(&learnt.normalisation).unwrap();
    let normalisation: Normalisation = serde_json::from_str(&saved).unwrap();
    let numbers = source("csv", json!({ "path": folder.path("numbers.csv"), "group": "who" }));
    assert_eq!(numbers.load_as(&split(by.clone()), &normalisation, &learnt.legend).unwrap(), learnt);
    // Other samples are scaled like the training part, whatever they are.
    let other = numbers.with_path(&folder.file("other.csv", "x,y,who,class\n4,6,a,1\n?,5,c,1\n"));
    let read = other.load_as(&split(by.clone()), &normalisation, &learnt.legend).unwrap();
    assert_eq!((read.train.features(), read.test.features()), (&[0.0, 1.0][..], &[0.0, 0.0][..]));
    // Only two of the three classes occur here. Each keeps its number.
    let people =
        source("csv", json!({ "path": folder.file("people.csv", PEOPLE), "group": "who", "ignore": ["home"] }));
    let ann = json!({ "group": { "test": ["ann"] } });
    let first = load(&people, ann.clone());
    let fewer =
        PEOPLE.lines().filter(|line| !line.contains("sit") && !line.contains("cid")).collect::<Vec<_>>().join("\n");
    let fewer = people.with_path(&folder.file("fewer.csv", fewer));
    let read = fewer.load_as(&split(ann.clone()), &first.normalisation, &first.legend).unwrap();
    assert_eq!(
        (read.train.labels(), read.test.labels(), &read.legend.classes),
        (&[0][..], &[2][..], &first.legend.classes)
    );
    let more = people.with_path(&folder.file("more.csv", PEOPLE.replace("8,cid,x,run", "8,cid,x,rum")));
    refused(
        more.load_as(&split(ann), &first.normalisation, &first.legend),
        &["more.csv: line 5, column 5 (pace): label rum is not one of the 3 classes run, "],
    );
    for (mean, deviation, words) in [
        (vec![0.0; 3], vec![1.0; 3], ["3 means and 3 deviations", "2 features"]),
        (vec![0.0; 2], vec![1.0; 1], ["2 means and 1 deviations", "2 features"]),
        (vec![0.0, f32::NAN], vec![1.0; 2], ["mean NaN", "not finite"]),
        (vec![0.0; 2], vec![1.0, 0.0], ["must be finite and > 0", "found 0"]),
    ] {
        let wrong = Normalisation { mean, deviation, ..Normalisation::default() };
        refused(numbers.load_as(&split(by.clone()), &wrong, &learnt.legend), &[&["numbers.csv"], &words[..]].concat());
    }
}

#[test]
fn a_normalisation_that_says_nothing_of_the_data_is_refused() {
    let folder = Folder::empty();
    let path = folder.file("a.csv", "x,y,who,class\n1,?,a,0\n2,,a,1\n3,4,b,0\n");
    let a = source("csv", json!({ "path": path, "group": "who" }));
    let by = split(json!({ "group": { "test": ["b"] } }));
    refused(a.load(&by, &Normalise::Features), &["a.csv", "column \"y\" has no values in the training part"]);
    for normalise in [Normalise::None, Normalise::Divide(2.0)] {
        refused(a.load(&by, &normalise), &["a.csv: line 2, column 2 (y)", "\"overall\"", "\"?\""]);
    }
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        refused(a.load(&by, &Normalise::Divide(scale)), &["normalisation", "must be finite and > 0"]);
    }
    let large = source("csv", json!({ "path": folder.file("large.csv", "1,0\n1e30,1\n") }));
    let by = split(json!({ "seed": { "train": 1 } }));
    refused(large.load(&by, &Normalise::Divide(1e-20)), &["large.csv", "column \"0\": 1e30 is too large for binary32"]);
}

/// Returns mean and deviation, computed in binary64 with plain sums.
fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt())
}

/// Writes a table of two features to a file called `name`.
fn table(folder: &Folder, name: &str, rows: impl Iterator<Item = (f64, f64)>) -> Source {
    let rows: String = rows.enumerate().map(|(i, (a, b))| format!("{a},{b},{}\n", i % 2)).collect();
    source("csv", json!({ "path": folder.file(name, format!("time,x,class\n{rows}")) }))
}

#[test]
fn a_column_that_binary32_cannot_hold_is_normalised_in_binary64() {
    let folder = Folder::empty();
    // Milliseconds since 1970, where binary32 numbers are 131,072 apart.
    let time = |i: i32| 1.7e12 + 250.0 * f64::from(i);
    let x = |i: i32| 0.1 * f64::from(i * i % 7);
    let of = |normalise| {
        let by = json!({ "seed": { "train": 40, "seed": 3 } });
        load_normalised(&table(&folder, "times.csv", (0..41).map(|i| (time(i), x(i)))), by, normalise)
    };
    let read = of(Normalise::Features);
    let wide = &read.normalisation.wide;
    assert_eq!(wide.iter().map(|wide| (wide.column, wide.name.as_str())).collect::<Vec<_>>(), [(0, "time")]);
    // All but one of the 41 times train.
    let tested = (0..41).find(|i| {
        (read.test.features()[0] - read.train.features()[0]).abs() > 0.0 && {
            let others: Vec<_> = (0..41).filter(|other| other != i).map(time).collect();
            let (mean, deviation) = moments(&others);
            (f64::from(read.test.features()[0]) - (time(*i) - mean) / deviation).abs() < 1e-5
        }
    });
    let tested = tested.expect("the sample that tests is one of them");
    let trained: Vec<_> = (0..41).filter(|i| *i != tested).collect();
    let (mean, deviation) = moments(&trained.iter().map(|i| time(*i)).collect::<Vec<_>>());
    let mut expected: Vec<f64> = trained.iter().map(|i| (time(*i) - mean) / deviation).collect();
    let mut found: Vec<f64> = read.train.features().iter().step_by(2).map(|x| f64::from(*x)).collect();
    expected.sort_by(f64::total_cmp);
    found.sort_by(f64::total_cmp);
    assert!(found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() < 1e-6), "{found:?}");
    // binary32 would have rounded the times, by more than a deviation but by less than the distance of its numbers.
    let moved = wide[0].moved.unwrap();
    let farthest = 131_072.0 / deviation;
    assert!(moved > 1.0 && moved < farthest, "{moved} {farthest}");
    // The other column has the bits that a device computes.
    let (mean, deviation) = (read.normalisation.mean[1], read.normalisation.deviation[1]);
    let mut device: Vec<f32> = trained.iter().map(|i| (x(*i) as f32 - mean) / deviation).collect();
    let mut found: Vec<f32> = read.train.features()[1..].iter().step_by(2).copied().collect();
    device.sort_by(f32::total_cmp);
    found.sort_by(f32::total_cmp);
    assert_eq!(bits(&found), bits(&device));
    // Over all features, the small column is lost beside the large one, and binary32 moves neither by much.
    assert!(of(Normalise::Overall).normalisation.wide.iter().all(|wide| wide.name != "x"));
    // A checkpoint keeps the normalisation, to the last bit, and refuses to send the column as binary32.
    let saved = serde_json::to_string(&read.normalisation).unwrap();
    assert_eq!(serde_json::from_str::<Normalisation>(&saved).unwrap(), read.normalisation);
    refused(read.normalisation.check_binary32(), &["column \"time\"", "deviations", "subtract an offset", "ignore"]);
    refused(read.normalisation.undo(&read.train), &["column \"time\""]);
    let again = source("csv", json!({ "path": folder.path("times.csv") }));
    let by = split(json!({ "seed": { "train": 40, "seed": 3 } }));
    assert_eq!(again.load_as(&by, &read.normalisation, &read.legend).unwrap(), read);
    // Less an offset, it is a column like any other.
    let less = table(&folder, "less.csv", (0..41).map(|i| (time(i) - 1.7e12, x(i))));
    let less = less.load(&by, &Normalise::Features).unwrap();
    let Dataset::Labelled(less) = less else { panic!("labelled samples") };
    assert_eq!((less.normalisation.wide.len(), less.normalisation.check_binary32().is_ok()), (0, true));
    close(less.train.features(), &read.train.features().iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
}

#[test]
fn a_number_beyond_binary32_is_one_when_it_is_normalised() {
    let folder = Folder::empty();
    let by = || json!({ "seed": { "train": 3 } });
    let large = table(&folder, "large.csv", [(1e39, 1.0), (-1e39, 2.0), (1e39, 3.0), (-1e39, 4.0)].into_iter());
    for normalise in [Normalise::Features, Normalise::Overall, Normalise::Divide(1e38), Normalise::FeaturesClipped(0.5)]
    {
        let read = load_normalised(&large, by(), normalise);
        let wide = read.normalisation.wide.iter().find(|wide| wide.name == "time").unwrap();
        assert!(read.train.features().iter().all(|x| x.is_finite()), "{normalise:?}");
        assert!(wide.to_string().contains("\"time\": its numbers are too large for binary32"), "{normalise:?}");
        let of_divided = || read.train.features().iter().step_by(2).all(|x| x.abs() == 10.0);
        assert!(!matches!(normalise, Normalise::Divide(_)) || of_divided());
    }
    refused(
        large.load(&split(by()), &Normalise::None),
        &["large.csv: column \"time\": ", "1e39 is too large for binary32 even when normalised"],
    );
    // A file that is sent to a device is refused with the number's place.
    let path = folder.file("sent.csv", "x,y,class\n1,2,0\n1,-1e39,1\n");
    refused(
        Samples::read(&path, 2, &Legend::numbered(2)),
        &["sent.csv: line 3, column 2 (y): -1e39 is too large for binary32"],
    );
    let path = folder.file("sent.csv", "x,y,class\n1,1e400,0\n");
    refused(Samples::read(&path, 2, &Legend::numbered(2)), &["line 2, column 2 (y): 1e400 is too large for binary64"]);
    // Not even binary64 can hold this deviation.
    let huge = table(&folder, "huge.csv", [(1e300, 1.0), (-1e300, 2.0), (1e300, 3.0)].into_iter());
    refused(
        huge.load(&split(json!({ "seed": { "train": 2 } })), &Normalise::Features),
        &["huge.csv: ", "must be finite", "found inf"],
    );
}

#[test]
fn normalised_features_are_clipped_where_it_is_said() {
    let folder = Folder::empty();
    let (plain, clipped) = (
        normalised(&folder, NUMBERS, Normalise::Features),
        normalised(&folder, NUMBERS, Normalise::FeaturesClipped(0.75)),
    );
    assert_eq!(clipped.normalisation, Normalisation { clip: Some(0.75), ..plain.normalisation.clone() });
    for (plain, clipped) in [(&plain.train, &clipped.train), (&plain.test, &clipped.test)] {
        let expected: Vec<f32> = plain.features().iter().map(|x| x.clamp(-0.75, 0.75)).collect();
        assert_eq!(bits(clipped.features()), bits(&expected));
    }
    let beyond = |samples: &Samples| samples.features().iter().filter(|x| x.abs() == 0.75).count();
    assert!(beyond(&clipped.train) >= 2 && beyond(&clipped.test) == 2);
    let overall = normalised(&folder, NUMBERS, Normalise::OverallClipped(2.0)).normalisation;
    let of_all = normalised(&folder, NUMBERS, Normalise::Overall).normalisation;
    assert_eq!(overall, Normalisation { clip: Some(2.0), ..of_all });
    assert_eq!((overall.scale(), clipped.normalisation.scale()), (None, None));
    for clip in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let numbers = source("csv", json!({ "path": folder.path("numbers.csv"), "group": "who" }));
        let by = split(json!({ "group": { "test": ["c"] } }));
        refused(numbers.load(&by, &Normalise::FeaturesClipped(clip)), &["normalisation", "must be finite and > 0"]);
    }
}

#[test]
fn a_normalisation_is_a_word_or_a_table() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Configuration {
        normalise: Normalise,
    }
    for (text, expected) in [
        ("normalise = \"none\"", Normalise::None),
        ("normalise = \"overall\"", Normalise::Overall),
        ("normalise = \"features\"", Normalise::Features),
        ("[normalise]\ndivide = 16.0", Normalise::Divide(16.0)),
        ("normalise = { features = { clip = 5.0 } }", Normalise::FeaturesClipped(5.0)),
        ("[normalise.overall]\nclip = 2.5", Normalise::OverallClipped(2.5)),
    ] {
        let read = toml::from_str::<Configuration>(text).unwrap();
        assert_eq!(read.normalise, expected, "{text}");
        let saved = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Configuration>(&saved).unwrap(), read, "{saved}");
    }
    for text in [
        "[normalise]\nfeatures = true",
        "[normalise]\nfeatures = { clip = \"a\" }",
        "[normalise]\noverall = { clips = 1.0 }",
        "[normalise]\ndivide = 16.0\nfeatures = { clip = 1.0 }",
        "[normalise]\ndivides = 16.0",
        "[normalise]",
        "normalise = \"feature\"",
        "normalise = 3",
    ] {
        let message = toml::from_str::<Configuration>(text).unwrap_err().to_string();
        assert!(message.contains("normalise = \"features\""), "{text}: {message}");
    }
}

// ---- wrong labels ----

/// Checks labels from the program that computed the orders of splits.
#[test]
fn wrong_labels_are_fixed_by_their_seed_and_those_of_a_smaller_share_are_among_those_of_a_larger() {
    let mut samples = Samples::new(1);
    (0..16).for_each(|i| samples.push(&[0.0], i % 4));
    let expected = [
        (0.25, [0, 1, 0, 3, 0, 1, 3, 0, 0, 1, 3, 1, 1, 1, 2, 0]),
        (0.5, [0, 1, 0, 1, 0, 1, 3, 0, 0, 1, 3, 1, 1, 0, 2, 0]),
        (1.0, [3, 2, 0, 1, 2, 0, 3, 0, 3, 3, 3, 1, 1, 0, 0, 0]),
    ];
    for (share, labels) in expected {
        let mut wrong = samples.clone();
        wrong.mislabel(share, 4, 7);
        assert_eq!(wrong.labels(), labels, "share {share}, seed 7");
    }
    for classes in [0, 1] {
        let mut same = samples.clone();
        same.mislabel(1.0, classes, 7);
        assert_eq!(same, samples);
    }
    let mut none = samples.clone();
    none.mislabel(0.0, 4, 7);
    assert_eq!(none, samples);
}

#[test]
fn every_other_class_is_as_likely() {
    let mut samples = Samples::new(1);
    (0..40_000).for_each(|i| samples.push(&[0.0], i % 4));
    let mut wrong = samples.clone();
    wrong.mislabel(0.3, 4, 1);
    let mut counts = [[0; 4]; 4];
    samples.labels().iter().zip(wrong.labels()).for_each(|(from, to)| counts[*from as usize][*to as usize] += 1);
    for (from, row) in counts.iter().enumerate() {
        for (to, count) in row.iter().enumerate() {
            // Of the 10,000 samples of a class, 7,000 stay and 1,000 become each of the others, within six deviations.
            let (mean, deviation) = if from == to { (7000.0, 46.0) } else { (1000.0, 30.0) };
            assert!((f64::from(*count) - mean).abs() < 6.0 * deviation, "{from} {to}: {counts:?}, seed 1");
        }
    }
}

// ---- real data ----

#[test]
fn mnist_is_what_it_is_known_to_be() {
    let (Some(images), Some(labels), Some(test_images), Some(test_labels)) = (
        real("mnist/train-images-idx3-ubyte.gz"),
        real("mnist/train-labels-idx1-ubyte.gz"),
        real("mnist/t10k-images-idx3-ubyte.gz"),
        real("mnist/t10k-labels-idx1-ubyte.gz"),
    ) else {
        return;
    };
    let keys = json!({ "images": images, "labels": labels, "test-images": test_images, "test-labels": test_labels });
    let mnist = source("idx", keys);
    let read = load_normalised(&mnist, json!("own"), Normalise::Overall);
    assert_eq!(
        (read.train.len(), read.test.len(), &read.shape[..], read.legend.classes.len()),
        (60_000, 10_000, &[28, 28][..], 10)
    );
    // Published constants, for pixels in [0, 1].
    let Normalisation { mean, deviation, .. } = &read.normalisation;
    assert!(
        (mean[0] / 255.0 - 0.13066).abs() < 5e-6 && (deviation[0] / 255.0 - 0.3081).abs() < 5e-5,
        "{mean:?} {deviation:?}"
    );
    assert_eq!(read.train.labels()[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    assert_eq!(read.test.labels()[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    let scaled: f64 = read.train.features().iter().map(|x| f64::from(*x)).sum();
    assert!((scaled / 47_040_000.0).abs() < 1e-5, "{scaled}");
}

#[test]
fn fsdd_is_split_by_speaker() {
    let (Some(path), Some(labels)) = (real("fsdd/logmel16x20_f32.npy"), real("fsdd/index.csv")) else { return };
    let fsdd = source("npy", json!({ "path": path, "labels": labels, "label": "digit", "group": "speaker" }));
    let by = json!({ "group": { "test": ["george"] } });
    let read = load_normalised(&fsdd, by.clone(), Normalise::Overall);
    assert_eq!(
        (read.train.len(), read.test.len(), &read.shape[..], read.legend.classes.len()),
        (1500, 500, &[320][..], 10)
    );
    for class in 0..10 {
        assert_eq!(read.train.labels().iter().filter(|label| **label == class).count(), 150);
    }
    // Sums that another program computed without rounding.
    close(&read.normalisation.mean, &[-4.110_543_159_831_635]);
    close(&read.normalisation.deviation, &[3.664_424_152_365_763_5]);
    let Normalisation { mean, deviation, .. } = load_normalised(&fsdd, by, Normalise::Features).normalisation;
    close(&[mean[0], mean[1], mean[319]], &[-2.968_763_931_103_944, -2.925_371_307_191_128, -7.345_262_113_332_749]);
    close(
        &[deviation[0], deviation[1], deviation[319]],
        &[4.237_567_368_512_338, 4.202_184_647_331_714, 3.241_910_253_150_798],
    );
}

#[test]
fn wisdm_without_a_header_is_split_by_user() {
    let Some(path) = real("wisdm/WISDM_ar_v1.1_transformed.arff") else { return };
    let wisdm = source("arff", json!({ "path": path, "label": "45", "group": "1", "ignore": ["0"] }));
    let by = json!({ "group": { "test": ["33", "19"] } });
    let read = load_normalised(&wisdm, by.clone(), Normalise::Features);
    assert_eq!((read.train.len(), read.test.len(), &read.shape[..]), (5038, 380, &[43][..]));
    let mut counts = BTreeMap::new();
    for label in read.train.labels().iter().chain(read.test.labels()) {
        *counts.entry(read.legend.classes[*label as usize].as_str()).or_insert(0) += 1;
    }
    let expected = [
        ("Walking", 2081),
        ("Jogging", 1625),
        ("Upstairs", 632),
        ("Downstairs", 528),
        ("Sitting", 306),
        ("Standing", 246),
    ];
    assert_eq!(counts, BTreeMap::from(expected));
    assert!(read.legend.classes.is_sorted());
    let Normalisation { mean, deviation, .. } = &read.normalisation;
    // Another program computed columns 2, 35, 36 and 44, two of which have missing values. Column 32 is 0 throughout.
    let pick = |of: &[f32]| [of[0], of[33], of[34], of[42]];
    close(
        &pick(mean),
        &[0.095_269_948_392_219_14, 1_836.640_969_464_018_8, 1_067.880_508_233_380_6, 11.560_093_290_988_487],
    );
    close(
        &pick(deviation),
        &[0.072_175_108_604_982_68, 1_054.709_686_198_229, 798.499_871_395_740_3, 2.561_421_418_982_033_7],
    );
    assert_eq!((mean[30], deviation[30]), (0.0, 1.0));
    let missing = read.test.iter().filter(|(x, _)| x[33].to_bits() == 0).count();
    assert_eq!(missing, 26);
    refused(wisdm.load(&split(by), &Normalise::None), &["line 10, column 36", "\"?\""]);
}
