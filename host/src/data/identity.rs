//! Short digests of data, used to detect that the data have changed.

use super::{Dataset, Samples};
use graftage_core::digest::Digest;
use serde::{Deserialize, Serialize};

/// Size or digest of each part of a data set. It detects accidents, not forgery.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity(Vec<(String, String)>);

impl Identity {
    /// Returns the parts that differ between two identities, e.g. `labels of the training part`; empty if they are
    /// equal.
    pub fn differences<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let missing = |(name, value): &&(String, String)| !other.0.iter().any(|(n, v)| n == name && v == value);
        let theirs = other.0.iter().filter(|(name, _)| !self.0.iter().any(|(own, _)| own == name));
        self.0.iter().filter(missing).chain(theirs).map(|(name, _)| name.as_str()).collect()
    }
}

impl Dataset {
    /// Computes the identity of all parts of the data. Samples are digested after normalisation.
    pub fn identity(&self) -> Identity {
        let mut parts = Vec::new();
        match self {
            Self::Labelled(data) => {
                let names = |names: &[String]| {
                    of_bytes(&names.iter().flat_map(|name| name.bytes().chain([0])).collect::<Vec<_>>())
                };
                let normalisation = serde_json::to_vec(&data.normalisation).unwrap_or_default();
                parts.push(("shape of a sample".to_owned(), format!("{:?}", data.shape)));
                parts.push(("names of the columns".to_owned(), names(&data.legend.features)));
                parts.push(("names of the classes".to_owned(), names(&data.legend.classes)));
                parts.push(("normalisation".to_owned(), of_bytes(&normalisation)));
                let all = [("training", Some(&data.train)), ("validation", data.validate.as_ref())];
                for (name, samples) in all.into_iter().chain([("test", Some(&data.test))]) {
                    let Some(samples) = samples else { continue };
                    parts.push((format!("number of samples of the {name} part"), samples.len().to_string()));
                    parts.push((format!("features of the {name} part"), of_features(samples)));
                    parts.push((format!("labels of the {name} part"), of_labels(samples)));
                }
            }
            Self::Text(text) => {
                let all = [("training", Some(&text.train)), ("validation", text.validate.as_ref())];
                for (name, bytes) in all.into_iter().chain([("test", Some(&text.test))]) {
                    let Some(bytes) = bytes else { continue };
                    parts.push((format!("bytes of the {name} part"), format!("{} {}", bytes.len(), of_bytes(bytes))));
                }
            }
        }
        Identity(parts)
    }
}

fn of_features(samples: &Samples) -> String {
    let mut digest = Digest::default();
    digest.numbers(samples.features());
    written(&digest)
}

fn of_labels(samples: &Samples) -> String {
    let mut digest = Digest::default();
    samples.labels().iter().for_each(|label| digest.word(*label));
    written(&digest)
}

/// Digests bytes. The length comes first because the last word is padded with zeros.
fn of_bytes(bytes: &[u8]) -> String {
    let mut digest = Digest::default();
    digest.doubles(&[bytes.len() as u64]);
    let (words, last) = bytes.as_chunks::<4>();
    words.iter().for_each(|word| digest.word(u32::from_le_bytes(*word)));
    digest.word(last.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)));
    written(&digest)
}

fn written(digest: &Digest) -> String {
    format!("{:016x}", digest.finish())
}
