//! Helpers for data, written as in configurations, and for refusals.

use flate2::{Compression, write::GzEncoder};
use graftage::data::{Dataset, Labelled, Normalise, Source, Split};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::io::Write;

/// Returns `bytes` compressed with gzip.
pub fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

/// Returns the source that a configuration describes with this format and these keys.
pub fn source(format: &str, keys: Value) -> Source {
    serde_json::from_value(json!({ format: keys })).unwrap()
}

/// Returns the split that a configuration describes with this value.
pub fn split(value: Value) -> Split {
    serde_json::from_value(value).unwrap()
}

/// Loads the samples of a source with this split, not normalised.
pub fn load(source: &Source, by: Value) -> Labelled {
    load_normalised(source, by, Normalise::None)
}

/// Loads the samples of a source with this split and normalisation.
pub fn load_normalised(source: &Source, by: Value, normalise: Normalise) -> Labelled {
    match source.load(&split(by), &normalise).unwrap() {
        Dataset::Labelled(labelled) => labelled,
        Dataset::Text(_) => panic!("a text"),
    }
}

/// Asserts that something is refused in one line that contains all of these words.
#[track_caller]
pub fn refused<T: Debug>(result: graftage::error::Result<T>, words: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message:?}");
    words.iter().for_each(|word| assert!(message.contains(word), "{word:?} is not in {message:?}"));
}
