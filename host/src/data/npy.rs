//! One array of NumPy (NEP 1, "A simple file format for NumPy arrays"), and its labels in a table.
//!
//! The crates that read it bring a parser of Python's literals with big integers and complex numbers (npyz), or an array type
//! (ndarray-npy); of the header, three entries are read here.

use super::labels::Labels;
use super::number::{Layout, Number};
use super::source::Raw;
use super::table::Wanted;
use super::{Legend, Samples, csv, unpacked};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Samples in an array of NumPy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Npy {
    /// The array, `[samples, ...]`, in the order of C.
    pub path: PathBuf,
    /// A CSV file with a line for each sample.
    pub labels: PathBuf,
    /// Its column of labels; where nothing is said, the last one.
    #[serde(default)]
    pub label: Option<String>,
    /// Its column of groups: people, places, days.
    #[serde(default)]
    pub group: Option<String>,
}

impl Npy {
    pub(super) fn read(&self, labels: Labels) -> Result<Raw> {
        let bytes = unpacked::read(&self.path)?;
        let wrong = |what: String| Error::content(&self.path, what);
        let layout = layout(&bytes).map_err(wrong)?;
        let features = layout.numbers(&self.path, &bytes)?;
        let wanted = Wanted { label: self.label.as_deref(), group: self.group.as_deref(), ..Wanted::default() };
        let table = csv::read(&self.labels, wanted, labels)?;
        let (count, labels) = (layout.shape[0], table.samples.labels);
        if labels.len() != count {
            let what = format!(
                "{} lines for the {count} samples of {} (a first line without any number is taken as names)",
                labels.len(),
                self.path.display()
            );
            return Err(Error::content(&self.labels, what));
        }
        let shape = layout.shape[1..].to_vec();
        let samples = Samples { inputs: shape.iter().product(), features, labels };
        // The table's other columns are not the array's.
        let legend = Legend { features: Vec::new(), ..table.legend };
        Ok(Raw { samples, shape, legend, ..table })
    }
}

/// What a file begins with.
const MAGIC: &[u8] = b"\x93NUMPY";

/// What the header of a file says.
fn layout(bytes: &[u8]) -> std::result::Result<Layout, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("no array of NumPy: it does not begin with \"\\x93NUMPY\"")?;
    let cut = || format!("cut at byte {}, in its header", bytes.len());
    let (version, length, start) = match rest {
        [1, _, low, high, ..] => (1, usize::from(u16::from_le_bytes([*low, *high])), 10),
        [version @ (2 | 3), _, a, b, c, d, ..] => (*version, u32::from_le_bytes([*a, *b, *c, *d]) as usize, 12),
        [version, ..] if !(1..=3).contains(version) => return Err(format!("byte 6: there is no version {version}")),
        _ => return Err(cut()),
    };
    let header = bytes.get(start..).and_then(|rest| rest.get(..length)).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| format!("byte {start}: its header is no text"))?;
    let entry = |key: &str| {
        let at = ['\'', '"'].iter().find_map(|quote| header.split_once(&format!("{quote}{key}{quote}:")));
        at.map(|(_, value)| value.trim_start()).ok_or_else(|| format!("its header of version {version} has no {key:?}"))
    };
    let descr = entry("descr")?;
    let Some(kind) = descr.strip_prefix(['\'', '"']).and_then(|rest| rest.split(['\'', '"']).next()) else {
        return Err("an array of records, not of numbers".into());
    };
    let (order, number) = kind.split_at_checked(1).unwrap_or((kind, ""));
    let number = match (order, number) {
        ("|" | "<" | ">", "u1") => Number::U8,
        ("|" | "<" | ">", "i1") => Number::I8,
        ("<" | ">", "i2") => Number::I16,
        ("<" | ">", "i4") => Number::I32,
        ("<" | ">", "i8") => Number::I64,
        ("<" | ">", "f4") => Number::F32,
        ("<" | ">", "f8") => Number::F64,
        _ => return Err(format!("numbers of type {kind:?}; taken are f4, f8, u1, i1, i2, i4 and i8")),
    };
    if !entry("fortran_order")?.starts_with("False") {
        return Err("its numbers are in the order of Fortran: write it with numpy.ascontiguousarray".into());
    }
    let shape = entry("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(shape, _)| shape);
    let sizes =
        shape.map(|shape| shape.split(',').map(str::trim).filter(|size| !size.is_empty()).map(str::parse).collect());
    match sizes {
        Some(Ok(shape)) if Vec::len(&shape) >= 2 => {
            Ok(Layout { number, big_endian: order == ">", shape, header: start + length })
        }
        Some(Ok(shape)) => Err(format!("an array of shape {shape:?}; it has samples and, for each, one size or more")),
        _ => Err(format!("its header of version {version} has a shape that is none")),
    }
}
