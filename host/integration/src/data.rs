//! Data as configurations say them, and how they are refused.

use flate2::{Compression, write::GzEncoder};
use graftage::data::{Dataset, Labelled, Normalise, Source, Split};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::io::Write;

/// Bytes as gzip packs them.
pub fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

/// A source, as a configuration says it.
pub fn source(format: &str, keys: Value) -> Source {
    serde_json::from_value(json!({ format: keys })).unwrap()
}

/// A split, as a configuration says it.
pub fn split(value: Value) -> Split {
    serde_json::from_value(value).unwrap()
}

/// The samples that a source has for this split, not normalised.
pub fn load(source: &Source, by: Value) -> Labelled {
    load_normalised(source, by, Normalise::None)
}

/// The samples that a source has for this split, normalised so.
pub fn load_normalised(source: &Source, by: Value, normalise: Normalise) -> Labelled {
    match source.load(&split(by), &normalise).unwrap() {
        Dataset::Labelled(labelled) => labelled,
        Dataset::Text(_) => panic!("a text"),
    }
}

/// Asserts that something is refused, in one line with all of these words.
#[track_caller]
pub fn refused<T: Debug>(result: graftage::error::Result<T>, words: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message:?}");
    words.iter().for_each(|word| assert!(message.contains(word), "{word:?} is not in {message:?}"));
}
