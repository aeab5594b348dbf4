//! CSV (RFC 4180) in the dialects that docs/data.md lists, with detection of the delimiter and of a header line.

use super::field::{is_missing, point_for_comma};
use super::labels::Labels;
use super::names::one_line;
use super::raw::Raw;
use super::rows::{Comment, Row, Rows};
use super::table::{Missing, Table, Wanted, column};
use super::{kind, unpacked};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A CSV file and the roles of its columns. A column is identified by its name, or by its number from 0.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Csv {
    /// Path of the file.
    pub path: PathBuf,
    /// Column of labels; the last one by default.
    #[serde(default, deserialize_with = "column")]
    pub label: Option<String>,
    /// Column of groups: people, places, days.
    #[serde(default, deserialize_with = "column")]
    pub group: Option<String>,
    /// Columns that are not features.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// `true` if the first line holds column names. By default this is detected; an ambiguous line is refused.
    #[serde(default)]
    pub header: Option<bool>,
    /// Field delimiter. By default it is detected from the first lines: comma, semicolon or tab.
    #[serde(default)]
    pub delimiter: Option<char>,
    /// Number of classes. By default the largest label plus one, or the number of class names.
    #[serde(default)]
    pub classes: Option<usize>,
}

impl Csv {
    /// Creates a source with default settings: the last column is the label.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            label: None,
            group: None,
            ignore: Vec::new(),
            header: None,
            delimiter: None,
            classes: None,
        }
    }

    /// Describes the columns to read: all columns without another role are features.
    pub(super) fn wanted(&self, missing: Missing) -> Wanted<'_> {
        Wanted {
            label: self.label.as_deref(),
            group: self.group.as_deref(),
            ignore: &self.ignore,
            header: self.header,
            delimiter: self.delimiter,
            keys: Some("[data.csv]"),
            features: true,
            missing,
            ..Wanted::default()
        }
    }
}

/// Delimiters that are detected, with their names.
const DELIMITERS: [(char, &str); 3] = [(',', "commas"), (';', "semicolons"), ('\t', "tabs")];

/// Number of rows inspected to detect the dialect.
const LOOKED_AT: usize = 256;

/// Reads a CSV file.
///
/// # Errors
/// If the file cannot be read, has no samples, its dialect is ambiguous, or a line is invalid; the message names line
/// and column.
pub(super) fn read(path: &Path, wanted: Wanted, labels: Labels) -> Result<Raw> {
    parse(path, &unpacked::read(path)?, wanted, labels)
}

/// Parses the bytes of a CSV file.
///
/// # Errors
/// Same as [`read`].
pub(super) fn parse(path: &Path, bytes: &[u8], wanted: Wanted, labels: Labels) -> Result<Raw> {
    let wrong = |what: String| Error::content(path, what);
    let Begun { mut rows, first, named } = begin(kind::text(path, bytes)?, &wanted).map_err(wrong)?;
    let Some((top, below)) = first.split_first() else { return Err(wrong("no samples".into())) };
    let names = named.then(|| top.fields.iter().map(|name| name.to_string()).collect());
    let samples = if named { below } else { &first };
    let Some(sample) = samples.first() else { return Err(wrong("no samples".into())) };
    let mut table = Table::new(path, names, top.fields.len(), sample.line, wanted, labels)?;
    samples.iter().try_for_each(|row| table.push(row.line, &row.fields))?;
    for row in &mut rows {
        let row = row.map_err(wrong)?;
        table.push(row.line, &row.fields)?;
    }
    let mut raw = table.finish()?;
    match rows.comments {
        0 => {}
        1 => raw.notes.push("1 line between the samples begins with # and is read as a comment".into()),
        lines => raw.notes.push(format!("{lines} lines between the samples begin with # and are read as comments")),
    }
    Ok(raw)
}

/// Returns whether a file names its columns.
///
/// # Errors
/// If it cannot be read, or its dialect is ambiguous.
pub(super) fn names_columns(path: &Path, wanted: Wanted) -> Result<bool> {
    let bytes = unpacked::read(path)?;
    let begun = begin(kind::text(path, &bytes)?, &wanted).map_err(|what| Error::content(path, what))?;
    Ok(begun.named)
}

/// A text whose dialect is known.
struct Begun<'a> {
    /// Rows that have not been inspected yet.
    rows: Rows<'a>,
    /// Inspected rows.
    first: Vec<Row<'a>>,
    /// `true` if the first inspected row holds column names.
    named: bool,
}

/// Detects the dialect of a text and inspects its first rows.
fn begin<'a>(text: &'a str, wanted: &Wanted) -> std::result::Result<Begun<'a>, String> {
    let mut rows = dialect(text, wanted)?;
    let first = rows.by_ref().take(LOOKED_AT).collect::<std::result::Result<Vec<_>, _>>()?;
    let named = first.split_first().map_or(Ok(false), |(top, below)| is_header(top, below, wanted))?;
    // numpy.savetxt writes its header as a comment.
    if let (false, None, Some(Comment { line, text }), Some(row)) = (named, wanted.header, rows.above, first.first())
        && let Some(Ok(names)) = Rows::new(text, line, rows.delimiter()).next()
        && names.fields.len() == row.fields.len()
        && names.fields.len() > 1
        && names.fields.iter().all(|field| is_number(field) == Some(false))
    {
        let remedy = match wanted.keys {
            Some(keys) => format!("remove the #, or set header = false in {keys}"),
            None => "remove the #, or the line".into(),
        };
        return Err(format!("line {line}: does this comment name the columns? {remedy}"));
    }
    Ok(Begun { rows, first, named })
}

/// Splits a text into rows, with the delimiter that is configured or detected.
fn dialect<'a>(text: &'a str, wanted: &Wanted) -> std::result::Result<Rows<'a>, String> {
    let taken = |delimiter: char, said: &str| match delimiter {
        ',' | ';' | '\t' | '|' => Ok(delimiter),
        _ => Err(format!(r#"{said}: the delimiter must be ",", ";", "\t" or "|""#)),
    };
    // Some programs put the `sep=` line for Excel in quotes.
    let (first, rest) = text.split_at(text.find(['\n', '\r']).unwrap_or(text.len()));
    let bare = first.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(first);
    let said = bare.get(..4).filter(|word| word.eq_ignore_ascii_case("sep=")).map(|_| bare[4..].chars());
    let excel = said.and_then(|mut said| said.next().filter(|_| said.next().is_none()));
    let (text, line) = match excel {
        Some(_) => (rest.strip_prefix("\r\n").or_else(|| rest.get(1..)).unwrap_or_default(), 2),
        None => (text, 1),
    };
    let delimiter = match (excel, wanted.delimiter) {
        (Some(excel), Some(key)) if excel != key => {
            return Err(format!("line 1: sep={excel} contradicts delimiter = {:?}", key.to_string()));
        }
        (Some(excel), _) => taken(excel, &format!("line 1: sep={excel}"))?,
        (None, Some(key)) => taken(key, &format!("delimiter = {:?}", key.to_string()))?,
        (None, None) => recognised(text, line, wanted)?,
    };
    Ok(Rows::new(text, line, delimiter))
}

/// Detects the delimiter: the one that splits each of the first rows into the same number of fields. If there is none,
/// the one that splits the first row into the most fields.
fn recognised(text: &str, line: usize, wanted: &Wanted) -> std::result::Result<char, String> {
    let rows = |delimiter| Rows::new(text, line, delimiter).take(LOOKED_AT).map_while(std::result::Result::ok);
    let counts = DELIMITERS.map(|(delimiter, _)| rows(delimiter).map(|row| row.fields.len()).collect::<Vec<_>>());
    let even =
        |counts: &Vec<usize>| counts.first().filter(|n| **n > 1 && counts.iter().all(|count| count == *n)).copied();
    let mut found: Vec<_> = DELIMITERS.iter().zip(&counts).filter_map(|(d, counts)| Some((even(counts)?, d))).collect();
    // Decimal commas, too, split the rows evenly.
    if found.len() > 1 && found[0].1.0 == ',' {
        let decimal = |row: Row| row.fields.iter().any(|field| point_for_comma(field).is_some());
        if let Some((_, (delimiter, _))) = found[1..].iter().find(|(_, (delimiter, _))| rows(*delimiter).any(decimal)) {
            return Ok(*delimiter);
        }
    }
    found.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    match found[..] {
        [(first, (a, names)), (second, (b, others)), ..] if first == second => {
            let remedy = match wanted.keys {
                Some(keys) => format!("set delimiter = {:?} or {:?} in {keys}", a.to_string(), b.to_string()),
                None => "put fields that contain them in quotes".into(),
            };
            Err(format!("line {line}: both {names} and {others} split its lines into {first} fields: {remedy}"))
        }
        [(_, (delimiter, _)), ..] => Ok(*delimiter),
        [] => {
            let (mut most, mut delimiter) = (1, ',');
            for ((candidate, _), counts) in DELIMITERS.iter().zip(&counts) {
                if let Some(fields) = counts.first().filter(|fields| **fields > most) {
                    (most, delimiter) = (*fields, *candidate);
                }
            }
            match rows(',').next() {
                Some(row) if most == 1 && wanted.features => undivided(&row, wanted).map_or(Ok(delimiter), Err),
                _ => Ok(delimiter),
            }
        }
    }
}

/// Describes the apparent delimiter of a row that no supported delimiter splits.
fn undivided(row: &Row, wanted: &Wanted) -> Option<String> {
    let (line, field) = (row.line, row.fields.first()?);
    if field.contains('|') {
        let remedy = wanted.keys.map_or("use commas".into(), |keys| format!("set delimiter = \"|\" in {keys}"));
        return Some(format!("line {line}: its fields seem to be separated by |: {remedy}"));
    }
    let blanks = field.split(' ').filter(|word| word.parse::<f64>().is_ok()).count() > 1;
    blanks.then(|| format!("line {line}: its fields seem to be separated by blanks: use commas"))
}

/// Returns whether a field is a number (else a name); `None` if it is missing.
fn is_number(field: &str) -> Option<bool> {
    (!is_missing(field)).then(|| field.parse::<f64>().is_ok() || point_for_comma(field).is_some())
}

/// Returns whether the first row holds column names.
///
/// # Errors
/// If the row may be a header or a sample, and no setting decides.
fn is_header(top: &Row, below: &[Row], wanted: &Wanted) -> std::result::Result<bool, String> {
    let fields = &top.fields;
    let known = wanted.legend.map(|legend| &legend.features[..]).filter(|names| !names.is_empty());
    if known.is_some_and(|names| names.iter().all(|name| fields.iter().any(|field| field == name))) {
        return Ok(true);
    }
    if let Some(header) = wanted.header {
        return Ok(header);
    }
    let kinds: Vec<_> = fields.iter().map(|field| is_number(field)).collect();
    if !kinds.contains(&Some(true)) {
        return Ok(kinds.contains(&Some(false)));
    }
    let remedy = || match wanted.keys {
        Some(keys) => format!("set header = true or header = false in {keys}"),
        None => {
            "if it is a header, use the column names of the training's file; if it is a sample, write 1.0 for 1".into()
        }
    };
    let line = top.line;
    for (column, kind) in kinds.iter().enumerate().filter_map(|(column, kind)| Some((column, (*kind)?))) {
        let mut others = below.iter().filter_map(|row| is_number(row.fields.get(column)?)).peekable();
        if others.peek().is_some() && others.all(|other| other != kind) {
            let (found, over) = (one_line(&fields[column]), if kind { "names" } else { "numbers" });
            let place = format!("line {line}, column {}: {found:?} is above {over}", column + 1);
            return Err(format!("{place}: is this line a header, or a sample? {}", remedy()));
        }
    }
    // Some programs number the columns; wavelengths and years also count up. A name that occurs again below, or is a
    // known class, is not a column name.
    let again = |(column, field): (usize, &Cow<str>)| {
        let known = wanted.legend.is_some_and(|legend| legend.classes.iter().any(|class| class == field));
        known || below.iter().any(|row| row.fields.get(column) == Some(field))
    };
    let mut names = fields.iter().enumerate().filter(|(column, _)| kinds[*column] == Some(false));
    // All values below this name occur more than once, but the name itself only once.
    let alone = |(column, field): (usize, &Cow<str>)| {
        let mut counts = HashMap::new();
        below.iter().filter_map(|row| row.fields.get(column)).for_each(|other| *counts.entry(other).or_insert(0) += 1);
        !again((column, field)) && !counts.is_empty() && counts.values().all(|count| *count > 1)
    };
    let numbers = || fields.iter().zip(&kinds).filter(|(_, kind)| **kind == Some(true)).map(|(field, _)| field);
    let whole: Option<Vec<u64>> =
        numbers().map(|field| field.parse().ok().filter(|number: &u64| number.to_string() == **field)).collect();
    let counts = whole.is_some_and(|whole| {
        let up = whole.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]));
        up && (whole.len() > 2 || (whole.len() == 2 && whole[0] < 2))
    });
    if names.clone().any(alone) || (counts && !names.any(again)) {
        let shown: Vec<_> = fields.iter().take(4).map(|field| one_line(field)).collect();
        let more = if fields.len() > 4 { ",..." } else { "" };
        return Err(format!("line {line}: is {}{more} a header, or a sample? {}", shown.join(","), remedy()));
    }
    Ok(false)
}
