//! IDX, the format of MNIST (LeCun, Cortes and Burges, "The MNIST database", section "File formats").
//!
//! Layout: two zero bytes, the number type, the number of dimensions, the dimensions as big-endian u32, and the
//! numbers, big-endian.

use super::labels::Labels;
use super::number::{Layout, Number};
use super::raw::Raw;
use super::{Legend, Samples, kind, unpacked};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Images and their labels in IDX files.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Idx {
    /// Path of the images, shape `[samples, ...]`.
    pub images: PathBuf,
    /// Path of their labels, unsigned bytes.
    pub labels: PathBuf,
    /// Path of the images of the source's own test part; read only if the split is [`Split::Own`](super::Split::Own).
    #[serde(default)]
    pub test_images: Option<PathBuf>,
    /// Path of the labels of the test part.
    #[serde(default)]
    pub test_labels: Option<PathBuf>,
    /// Number of classes; by default the largest label plus one.
    #[serde(default)]
    pub classes: Option<usize>,
}

impl Idx {
    /// Reads the samples. If `own`, those of the source's own test part follow.
    pub(super) fn read(&self, own: bool, mut labels: Labels) -> Result<Raw> {
        let (shape, mut features) = images(&self.images)?;
        let train = shape[0];
        self::labels(&self.labels, &self.images, train, &mut labels)?;
        if own {
            let (Some(test_images), Some(test_labels)) = (&self.test_images, &self.test_labels) else {
                let what =
                    "the split \"own\" needs the keys test-images and test-labels: add them, or use [split.seed]";
                return Err(Error::content(&self.images, what));
            };
            let (test_shape, mut test) = images(test_images)?;
            if test_shape[1..] != shape[1..] {
                let what = format!(
                    "its images have shape {:?}, but those of {} have {:?}",
                    &test_shape[1..],
                    self.images.display(),
                    &shape[1..]
                );
                return Err(Error::content(test_images, what));
            }
            features.append(&mut test);
            self::labels(test_labels, test_images, test_shape[0], &mut labels)?;
        }
        let (labels, classes) = labels.finish().map_err(|what| Error::content(&self.labels, what))?;
        let shape = shape[1..].to_vec();
        let samples = Samples { inputs: shape.iter().product(), features, labels };
        let legend = Legend { classes, ..Legend::default() };
        Ok(Raw { samples, shape, legend, groups: None, own: own.then_some(train), notes: Vec::new() })
    }
}

/// Parses the header of a file.
fn layout(path: &Path, bytes: &[u8]) -> Result<Layout> {
    let wrong = |what: String| Error::content(path, what);
    let [0, 0, number, sizes, rest @ ..] = bytes else {
        if let Some(kind) = kind::of(bytes) {
            return Err(wrong(format!("not an IDX file: it is {kind}")));
        }
        let found: String = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        return Err(wrong(format!(
            "not an IDX file: it begins with the bytes {found:?}, not with \"0000\", a type and a number of sizes"
        )));
    };
    let number = match number {
        0x08 => Number::U8,
        0x09 => Number::I8,
        0x0b => Number::I16,
        0x0c => Number::I32,
        0x0d => Number::F32,
        0x0e => Number::F64,
        other => return Err(wrong(format!("byte 2: unknown IDX type 0x{other:02x}"))),
    };
    let count = usize::from(*sizes);
    let (sizes, _) = rest.as_chunks::<4>();
    let sizes = sizes.get(..count).ok_or_else(|| wrong(format!("truncated at byte {}, in its header", bytes.len())))?;
    let shape: Vec<_> = sizes.iter().map(|size| u32::from_be_bytes(*size) as usize).collect();
    Ok(Layout { number, big_endian: true, shape, header: 4 + 4 * count, fortran: false })
}

/// Reads the shape `[samples, ...]` and the numbers of a file of images.
fn images(path: &Path) -> Result<(Vec<usize>, Vec<f64>)> {
    let bytes = unpacked::read(path)?;
    let layout = layout(path, &bytes)?;
    if layout.shape.len() < 2 {
        let what =
            format!("byte 3: found {} sizes, but images have two or more (are these labels?)", layout.shape.len());
        return Err(Error::content(path, what));
    }
    let features = layout.numbers(path, &bytes)?;
    Ok((layout.shape, features))
}

/// Reads the labels of `count` images.
fn labels(path: &Path, images: &Path, count: usize, labels: &mut Labels) -> Result<()> {
    let bytes = unpacked::read(path)?;
    let layout = layout(path, &bytes)?;
    if layout.number != Number::U8 || layout.shape.len() != 1 {
        let what = format!(
            "byte 2: found {:?} and {} sizes, but labels are U8 and have one (are these images?)",
            layout.number,
            layout.shape.len()
        );
        return Err(Error::content(path, what));
    }
    let body = layout.body(path, &bytes)?;
    if layout.shape[0] != count {
        let what = format!("{} labels for the {count} images of {}", layout.shape[0], images.display());
        return Err(Error::content(path, what));
    }
    for (index, label) in body.iter().enumerate() {
        let wrong =
            |what| Error::content(path, format!("sample {}, byte {}: {what}", index + 1, layout.header + index));
        labels.push(&label.to_string()).map_err(wrong)?;
    }
    Ok(())
}
