//! A single NumPy array (NEP 1, "A simple file format for NumPy arrays"), with its labels in a table or in another
//! array.
//!
//! Existing crates add big integers and complex numbers (npyz) or an array type (ndarray-npy), and refuse headers that
//! NumPy accepts, such as those of Python 2. This module reads the three entries of the header that are needed.

use super::labels::Labels;
use super::literal::{self, Literal};
use super::number::{Layout, Number};
use super::raw::Raw;
use super::table::Wanted;
use super::{Legend, Samples, csv, kind, unpacked};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Samples in a NumPy array.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Npy {
    /// Path of the array, shape `[samples, ...]`.
    pub path: PathBuf,
    /// Path of the labels: a CSV file with one line per sample, or an array with one whole number per sample.
    pub labels: PathBuf,
    /// Column of labels in the CSV file; the last one by default.
    #[serde(default, deserialize_with = "super::table::column")]
    pub label: Option<String>,
    /// Column of groups in the CSV file: people, places, days.
    #[serde(default, deserialize_with = "super::table::column")]
    pub group: Option<String>,
    /// `true` if the first line of the CSV file holds column names. By default this is detected; an ambiguous line is
    /// refused.
    #[serde(default)]
    pub header: Option<bool>,
    /// Field delimiter of the CSV file; by default it is detected from the first lines.
    #[serde(default)]
    pub delimiter: Option<char>,
    /// Number of classes. By default the largest label plus one, or the number of class names.
    #[serde(default)]
    pub classes: Option<usize>,
}

impl Npy {
    pub(super) fn read(&self, labels: Labels, legend: Option<&Legend>, group: Option<&str>) -> Result<Raw> {
        let bytes = unpacked::read(&self.path)?;
        let wrong = |what: String| Error::content(&self.path, what);
        let layout = layout(&bytes).map_err(wrong)?;
        if layout.shape.len() < 2 {
            let shape = &layout.shape;
            return Err(wrong(format!(
                "its array has shape {shape:?}, but it must have one dimension for the samples and at least one for their features"
            )));
        }
        let features = layout.numbers(&self.path, &bytes)?;
        let table = self.labels(labels, legend, group)?;
        let (count, labels) = (layout.shape[0], table.samples.labels);
        if labels.len() != count {
            let (found, path) = (labels.len(), self.path.display());
            let what = match (table.legend.label, self.header) {
                (Some(_), None) => format!(
                    "{found} lines for the {count} samples of {path} (its first line is read as a header; header = false in \
                     [data.npy] makes it a sample)"
                ),
                _ => format!("{found} labels for the {count} samples of {path}"),
            };
            return Err(Error::content(&self.labels, what));
        }
        let shape = layout.shape[1..].to_vec();
        let samples = Samples { inputs: shape.iter().product(), features, labels };
        // The table's other columns are not features of the array.
        let legend = Legend { features: Vec::new(), ..table.legend };
        Ok(Raw { samples, shape, legend, ..table })
    }

    /// Reads the labels, without features.
    fn labels(&self, mut labels: Labels, legend: Option<&Legend>, group: Option<&str>) -> Result<Raw> {
        let bytes = unpacked::read(&self.labels)?;
        if !bytes.starts_with(kind::NPY) {
            let wanted = Wanted {
                label: self.label.as_deref(),
                group,
                header: self.header,
                delimiter: self.delimiter,
                keys: Some("[data.npy]"),
                legend,
                ..Wanted::default()
            };
            return csv::parse(&self.labels, &bytes, wanted, labels);
        }
        let wrong = |what: String| Error::content(&self.labels, what);
        if let Some(column) = self.label.as_ref().or(self.group.as_ref()) {
            return Err(wrong(format!("an array has no column {column:?}: remove the key, or give the labels as CSV")));
        }
        let layout = layout(&bytes).map_err(wrong)?;
        if layout.shape[1..].iter().any(|size| *size != 1) {
            let shape = &layout.shape;
            return Err(wrong(format!(
                "its labels have shape {shape:?}, but there must be one per sample (use numpy.argmax(..., 1) on one-hot labels)"
            )));
        }
        for (index, label) in layout.numbers(&self.labels, &bytes)?.into_iter().enumerate() {
            labels.push(&label.to_string()).map_err(|what| wrong(format!("sample {}: {what}", index + 1)))?;
        }
        let (labels, classes) = labels.finish().map_err(wrong)?;
        let samples = Samples { inputs: 0, features: Vec::new(), labels };
        let legend = Legend { classes, ..Legend::default() };
        Ok(Raw { samples, shape: Vec::new(), legend, groups: None, own: None, notes: Vec::new() })
    }
}

/// Parses the header of a file.
fn layout(bytes: &[u8]) -> std::result::Result<Layout, String> {
    let Some(rest) = bytes.strip_prefix(kind::NPY) else {
        return Err(match kind::of(bytes) {
            Some(kind) => format!("not a NumPy array: it is {kind}"),
            None => "not a NumPy array: it does not begin with \"\\x93NUMPY\"".into(),
        });
    };
    let cut = || format!("truncated at byte {}, in its header", bytes.len());
    let (version, length, start) = match rest {
        [1, _, low, high, ..] => (1, usize::from(u16::from_le_bytes([*low, *high])), 10),
        [version @ (2 | 3), _, a, b, c, d, ..] => (*version, u32::from_le_bytes([*a, *b, *c, *d]) as usize, 12),
        [version, ..] if !(1..=3).contains(version) => return Err(format!("byte 6: unknown version {version}")),
        _ => return Err(cut()),
    };
    let header = bytes.get(start..).and_then(|rest| rest.get(..length)).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| format!("byte {start}: its header is not text"))?;
    let wrong = |what: &str| format!("its header (version {version}) {what}");
    let entries = match literal::parse(header) {
        Ok(Literal::Dict(entries)) => entries,
        Ok(_) => return Err(wrong("is not a dict")),
        Err(what) => {
            return Err(wrong(&format!("cannot be read, not even by NumPy: {what}; write it with numpy.save")));
        }
    };
    // If a key occurs twice, the last one counts.
    let entry = |key: &str| {
        let found = entries.iter().rev().find(|(name, _)| *name == Literal::Text(key.into()));
        found.map(|(_, value)| value).ok_or_else(|| wrong(&format!("has no {key:?}")))
    };
    let (big_endian, number) = match entry("descr")? {
        Literal::Text(descr) => number(descr)?,
        _ => return Err("its array holds records, not numbers".into()),
    };
    let Literal::Bool(fortran) = *entry("fortran_order")? else {
        return Err(wrong("has a fortran_order that is neither True nor False"));
    };
    let Literal::Tuple(sizes) = entry("shape")? else { return Err(wrong("has an invalid shape")) };
    let size = |size: &Literal| match size {
        Literal::Whole(size) => size.ok_or_else(|| wrong("has a shape that is too large for any memory")),
        _ => Err(wrong("has an invalid shape")),
    };
    let shape = sizes.iter().map(size).collect::<std::result::Result<Vec<_>, _>>()?;
    if shape.is_empty() {
        return Err("its array has shape (), so it is a single number".into());
    }
    Ok(Layout { number, big_endian, shape, header: start + length, fortran })
}

/// Parses a NumPy type name into the byte order (`true` for big-endian) and the number type.
fn number(descr: &str) -> std::result::Result<(bool, Number), String> {
    let (big_endian, name) = match descr.strip_prefix('>') {
        Some(name) => (true, name),
        None => (false, descr.strip_prefix(['<', '|', '=']).unwrap_or(descr)),
    };
    let number = match name {
        "b1" | "bool" | "?" => Number::Bool,
        "u1" | "uint8" | "B" => Number::U8,
        "i1" | "int8" | "b" => Number::I8,
        "u2" | "uint16" | "H" => Number::U16,
        "i2" | "int16" | "h" => Number::I16,
        "u4" | "uint32" | "I" => Number::U32,
        "i4" | "int32" | "i" => Number::I32,
        "u8" | "uint64" | "Q" => Number::U64,
        "i8" | "int64" | "q" => Number::I64,
        "f2" | "float16" | "e" => Number::F16,
        "f4" | "float32" | "f" => Number::F32,
        "f8" | "float64" | "d" => Number::F64,
        "O" | "object" => {
            return Err(format!(
                "its numbers have type {descr:?}, a Python pickle: save it with astype(numpy.float32)"
            ));
        }
        _ => {
            let what = "supported are f2, f4, f8, u1 to u8, i1 to i8 and b1: save it with astype(numpy.float32)";
            return Err(format!("its numbers have type {descr:?}; {what}"));
        }
    };
    Ok((big_endian, number))
}
