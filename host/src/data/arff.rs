//! ARFF, Weka's attribute-relation file format, with its header or without any.
//!
//! The format: <https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/>. Nothing is taken of its sparse lines,
//! relational attributes and weights.

use super::labels::Labels;
use super::names::{nearest, one_line};
use super::source::Raw;
use super::table::{Table, Wanted};
use super::unpacked;
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::iter::Peekable;
use std::path::Path;

/// A column, as a header declares it.
struct Attribute {
    name: String,
    /// What a nominal one may be.
    values: Option<Vec<String>>,
}

/// Reads a file.
///
/// # Errors
/// Where it cannot be read, has no samples, or a line is wrong: the message names line and column.
pub(super) fn read(path: &Path, wanted: Wanted, labels: Labels) -> Result<Raw> {
    let bytes = unpacked::read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Error::content(path, format!("line {line}: invalid UTF-8"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = (1..).zip(text.lines().map(str::trim));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('%')).peekable();
    let wrong = |what: String| Error::content(path, what);
    let attributes = header(&mut lines).map_err(wrong)?;
    let names = attributes.as_ref().map(|all| all.iter().map(|attribute| attribute.name.clone()).collect::<Vec<_>>());
    let (mut labels, mut table) = (Some(labels), None);
    for (number, line) in lines {
        let fields = fields(line).map_err(|what| wrong(format!("line {number}: {what}")))?;
        if let Some(labels) = labels.take() {
            let columns = names.as_ref().map_or(fields.len(), Vec::len);
            table = Some(Table::new(path, names.clone(), columns, number, wanted, labels)?);
        }
        if let Some(table) = &mut table {
            table.push(|| number, fields.iter().map(AsRef::as_ref))?;
        }
        for (column, (attribute, field)) in attributes.iter().flatten().zip(&fields).enumerate() {
            attribute.check(field).map_err(|what| wrong(format!("line {number}, column {}{what}", column + 1)))?;
        }
    }
    table.map(Table::finish).ok_or_else(|| wrong("no samples".into()))
}

impl Attribute {
    /// Refuses a field that is none of a nominal attribute's values.
    fn check(&self, field: &str) -> std::result::Result<(), String> {
        match &self.values {
            Some(values) if field != "?" && !values.iter().any(|value| value == field) => {
                Err(format!(" ({}): {field:?} is none of its values {}", one_line(&self.name), nearest(field, values)))
            }
            _ => Ok(()),
        }
    }
}

/// The attributes that a file declares before its lines; `None` where it has no header.
fn header<'a>(
    lines: &mut Peekable<impl Iterator<Item = (usize, &'a str)>>,
) -> std::result::Result<Option<Vec<Attribute>>, String> {
    if lines.peek().is_none_or(|(_, line)| !line.starts_with('@')) {
        return Ok(None);
    }
    let mut attributes = Vec::new();
    for (number, line) in lines.by_ref() {
        match declaration(line).map_err(|what| format!("line {number}: {what}"))? {
            Declaration::Relation => {}
            Declaration::Attribute(attribute) => attributes.push(attribute),
            Declaration::Data if attributes.is_empty() => {
                return Err(format!("line {number}: no @attribute before it"));
            }
            Declaration::Data => return Ok(Some(attributes)),
        }
    }
    Err("its header does not end in @data: the file is cut, or is no ARFF".into())
}

/// A line of the header.
enum Declaration {
    Relation,
    Attribute(Attribute),
    Data,
}

/// Reads a line of the header.
fn declaration(line: &str) -> std::result::Result<Declaration, String> {
    let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match keyword.to_ascii_lowercase().as_str() {
        "@relation" => Ok(Declaration::Relation),
        "@data" => Ok(Declaration::Data),
        "@attribute" => {
            let (name, kind) = value(rest.trim_start(), |c| c.is_whitespace() || c == '{')?;
            let kind = kind.trim();
            let values = match kind.strip_prefix('{') {
                Some(values) => {
                    let values =
                        values.strip_suffix('}').ok_or_else(|| format!("attribute {name:?}: its values end in }}"))?;
                    Some(fields(values)?.into_iter().map(Cow::into_owned).collect())
                }
                None => match kind.split_whitespace().next().unwrap_or_default().to_ascii_lowercase().as_str() {
                    "numeric" | "real" | "integer" | "string" | "date" => None,
                    _ => {
                        return Err(format!(
                            "attribute {name:?}: its type {kind:?} is none of numeric, string, date, {{...}}"
                        ));
                    }
                },
            };
            Ok(Declaration::Attribute(Attribute { name: name.into_owned(), values }))
        }
        _ => Err(format!("{keyword:?} is none of @relation, @attribute, @data")),
    }
}

/// The fields of a line, between commas. None follows a comma at its end: a missing one is written as `?`.
fn fields(mut line: &str) -> std::result::Result<Vec<Cow<'_, str>>, String> {
    if line.starts_with('{') {
        return Err("a sparse line; write its zeros out".into());
    }
    let mut fields = Vec::new();
    loop {
        let (field, rest) = value(line.trim_start(), |c| c == ',')?;
        fields.push(field);
        match rest.trim_start() {
            "" | "," => return Ok(fields),
            rest => match rest.strip_prefix(',') {
                Some(rest) => line = rest,
                None => return Err(format!("after the field {:?} a comma is missing", fields[fields.len() - 1])),
            },
        }
    }
}

/// The first value of a text, and what follows it: up to what ends it, or in quotes of either kind, in which a `\` makes the
/// next character stand for itself.
fn value(text: &str, ends: impl Fn(char) -> bool) -> std::result::Result<(Cow<'_, str>, &str), String> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
        let (value, rest) = text.split_at(text.find(ends).unwrap_or(text.len()));
        return Ok((value.trim_end().into(), rest));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            _ if c == quote => return Ok((value.into(), &text[at + 1..])),
            _ => value.push(c),
        }
    }
    Err(format!("a quote {quote} that does not end"))
}
