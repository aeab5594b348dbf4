//! CSV (RFC 4180).
//!
//! A first line without any number is taken as names.

use super::labels::Labels;
use super::source::Raw;
use super::table::{Table, Wanted};
use super::unpacked;
use crate::error::{Error, Result};
use ::csv::{ReaderBuilder, StringRecord, Trim};
use std::path::Path;

/// Reads a file.
///
/// # Errors
/// Where it cannot be read, has no samples, or a line is wrong: the message names line and column.
pub(super) fn read(path: &Path, wanted: Wanted, labels: Labels) -> Result<Raw> {
    let text = unpacked::read(path)?;
    let mut rows = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(&text[..]);
    let mut row = StringRecord::new();
    let (mut names, mut labels, mut table) = (None, Some(labels), None);
    let mut first = true;
    while rows.read_record(&mut row).map_err(|e| Error::content(path, e.to_string().replace('\n', " ")))? {
        if std::mem::take(&mut first) && row.iter().all(|field| field.parse::<f32>().is_err()) {
            names = Some(row.iter().map(str::to_owned).collect());
            continue;
        }
        let line = || {
            // A row's position is where the one before it ended: empty lines may stand between them.
            let end = row.position().map_or(0, |position| position.byte() as usize);
            let ends = text[end..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            1 + text[..end + ends].iter().filter(|byte| **byte == b'\n').count()
        };
        if let Some(labels) = labels.take() {
            let columns = names.as_ref().map_or(row.len(), Vec::len);
            table = Some(Table::new(path, names.take(), columns, line(), wanted, labels)?);
        }
        if let Some(table) = &mut table {
            table.push(line, row.iter())?;
        }
    }
    table.map(Table::finish).ok_or_else(|| Error::content(path, "no samples"))
}
