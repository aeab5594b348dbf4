//! Tests of image files: names travel with the image, and a device reads the image alone.

use crate::common::{Folder, checkpoint, parse};
use graftage::data::Legend;
use graftage::graft::graft;
use graftage::image::{ImageFile, identity, with_names};
use graftage_core::adapt::Recipe;

fn legend() -> Legend {
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    Legend {
        features: names(&["length", "width", "höhe \"1\"", ""]),
        label: Some("leaf".into()),
        others: names(&["place"]),
        classes: names(&["lime", "oak", "willow"]),
    }
}

/// Returns an image as core writes it, and the same image with names.
fn images(folder: &Folder) -> (Vec<u8>, Vec<u8>) {
    let mut checkpoint = checkpoint(&[4, 6, 3], 5);
    checkpoint.about.legend = legend();
    graft(&checkpoint, Recipe { replay: 16, ..Recipe::DEFAULT }, usize::MAX, &folder.path("model")).unwrap();
    let file = std::fs::read(folder.path("model/image.grft")).unwrap();
    (file[..parse(&file).length()].to_vec(), file)
}

#[test]
fn names_follow_the_image_and_change_nothing_in_it() {
    let folder = Folder::empty();
    let (image, file) = images(&folder);
    assert_eq!(file, with_names(&image, &legend()));
    // A device parses its flash from the image's place on. Erased bytes or names after the image make no difference.
    let device = |rest: &[u8]| {
        let flash = [&image, rest].concat();
        let image = parse(&flash);
        (image.header.clone(), image.weights().map(f32::to_bits).collect::<Vec<_>>(), image.length())
    };
    assert_eq!(device(&file[image.len()..]), device(&[0xff; 200]));
    let read = ImageFile::read(&folder.path("model/image.grft")).unwrap();
    assert_eq!((read.bytes(), read.legend()), (&image[..], &legend()));
    // The checksum that a board reports, and that records and deltas name, is the image's own.
    let sum = u32::from_le_bytes(*image.last_chunk().unwrap());
    assert_eq!((read.identity(), identity(&file), identity(&image)), (sum, sum, sum));
}

#[test]
fn an_image_without_names_has_numbered_classes() {
    let folder = Folder::empty();
    let (image, _) = images(&folder);
    let read = ImageFile::read(&folder.file("bare.grft", &image)).unwrap();
    assert_eq!(read.legend(), &Legend::numbered(3));
    assert_eq!(read.legend().classes_in_words(), None);
    assert_eq!(legend().classes_in_words().unwrap(), "classes: 0 lime, 1 oak, 2 willow");
}

#[test]
fn damaged_or_unfit_names_are_refused_with_the_reason() {
    let folder = Folder::empty();
    let (image, file) = images(&folder);
    let refused = |bytes: &[u8], word: &str| {
        let error = ImageFile::read(&folder.file("a.grft", bytes)).unwrap_err().to_string();
        assert!(error.contains("a.grft") && error.contains(word) && error.lines().count() == 1, "{error}: {word}");
    };
    for end in image.len() + 1..file.len() {
        refused(&file[..end], "cut short");
    }
    for at in image.len()..file.len() {
        for bit in 0..8 {
            let mut bytes = file.clone();
            bytes[at] ^= 1 << bit;
            assert!(ImageFile::read(&folder.file("b.grft", &bytes)).is_err(), "byte {at}, bit {bit}");
        }
    }
    let mut bytes = file.clone();
    bytes[file.len() - 1] ^= 1;
    refused(&bytes, "wrong checksum");
    bytes = file.clone();
    bytes[image.len() + 4] = 9;
    refused(&bytes, "the names after the image have version 9");
    refused(&[&file[..], &[0]].concat(), "bytes follow the image and its names");
    refused(&[&image[..], b"something else"].concat(), "the bytes after the image are not names");
    let mut unfit = legend();
    unfit.features.pop();
    refused(&with_names(&image, &unfit), "names 3 features and 3 classes, but the network has 4 and 3");
    unfit = legend();
    unfit.classes.pop();
    refused(&with_names(&image, &unfit), "names 4 features and 2 classes");
}

#[test]
fn a_delta_keeps_the_names_and_graft_says_which_class_has_which_number() {
    let folder = Folder::empty();
    let mut checkpoint = checkpoint(&[4, 6, 3], 5);
    checkpoint.about.legend = legend();
    checkpoint.write(&folder.path("a.safetensors")).unwrap();
    let said = folder.graftage("graft a.safetensors --replay 16 -o model").succeeded();
    assert!(said.contains("classes: 0 lime, 1 oak, 2 willow"), "{said}");
    let file = ImageFile::read(&folder.path("model/image.grft")).unwrap();
    let image = file.image().unwrap();
    let adapted: Vec<f32> = image.weights().map(|w| w + 0.5).collect();
    let delta = graftage::delta::Delta::between(&image, file.identity(), &adapted).unwrap();
    folder.file("a.grfd", delta.to_bytes());
    folder.graftage("delta apply --image model/image.grft a.grfd -o adapted.grft").succeeded();
    assert_eq!(ImageFile::read(&folder.path("adapted.grft")).unwrap().legend(), &legend());
}
