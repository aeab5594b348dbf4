//! ARFF, Weka's attribute-relation file format, with or without its header.
//!
//! Specification: <https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/>. Sparse lines, relational
//! attributes and weights are not supported.

use super::labels::Labels;
use super::names::{nearest, one_line};
use super::raw::Raw;
use super::table::{Table, Wanted};
use super::{kind, unpacked};
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::iter::Peekable;
use std::path::Path;

/// A column as declared by the header.
struct Attribute {
    name: String,
    /// Allowed values of a nominal attribute; `None` for other types.
    values: Option<Vec<String>>,
}

/// Reads an ARFF file.
///
/// # Errors
/// If the file cannot be read, has no samples, or a line is invalid; the message names line and column.
pub(super) fn read(path: &Path, wanted: Wanted, labels: Labels) -> Result<Raw> {
    let bytes = unpacked::read(path)?;
    let text = kind::text(path, &bytes)?;
    let lines = kind::lines(text).map(|(number, line)| (number, line.trim()));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('%')).peekable();
    let wrong = |what: String| Error::content(path, what);
    let (attributes, sample) = header(&mut lines).map_err(wrong)?;
    let names = attributes.as_ref().map(|all| all.iter().map(|attribute| attribute.name.clone()).collect::<Vec<_>>());
    let (mut labels, mut table) = (Some(labels), None);
    for (number, line) in sample.into_iter().chain(lines) {
        let fields = fields(line).map_err(|what| wrong(format!("line {number}: {what}")))?;
        if let Some(labels) = labels.take() {
            let columns = names.as_ref().map_or(fields.len(), Vec::len);
            table = Some(Table::new(path, names.clone(), columns, number, wanted, labels)?);
        }
        if let Some(table) = &mut table {
            table.push(number, &fields)?;
        }
        for (column, (attribute, field)) in attributes.iter().flatten().zip(&fields).enumerate() {
            attribute.check(field).map_err(|what| wrong(format!("line {number}, column {}{what}", column + 1)))?;
        }
    }
    table.map_or_else(|| Err(wrong("no samples".into())), Table::finish)
}

impl Attribute {
    /// Refuses a field that is not among a nominal attribute's values.
    fn check(&self, field: &str) -> std::result::Result<(), String> {
        match &self.values {
            Some(values) if field != "?" && !values.iter().any(|value| value == field) => Err(format!(
                " ({}): {field:?} is not one of its values {}",
                one_line(&self.name),
                nearest(field, values)
            )),
            _ => Ok(()),
        }
    }
}

/// Line number and text of a line.
type Line<'a> = (usize, &'a str);

/// Parses the header: the attributes declared before the samples, or `None` if there is no header. The second value is
/// a sample that follows `@data` on the same line.
fn header<'a>(
    lines: &mut Peekable<impl Iterator<Item = Line<'a>>>,
) -> std::result::Result<(Option<Vec<Attribute>>, Option<Line<'a>>), String> {
    if lines.peek().is_none_or(|(_, line)| !line.starts_with('@')) {
        return Ok((None, None));
    }
    let mut attributes = Vec::new();
    for (number, line) in lines.by_ref() {
        match declaration(line).map_err(|what| format!("line {number}: {what}"))? {
            Declaration::Relation => {}
            Declaration::Attribute(attribute) => attributes.push(attribute),
            Declaration::Data(_) if attributes.is_empty() => {
                return Err(format!("line {number}: @data without an @attribute before it"));
            }
            Declaration::Data(rest) => {
                return Ok((Some(attributes), (!is_end(rest)).then_some((number, rest))));
            }
        }
    }
    Err("its header does not end with @data: the file is truncated, or is not ARFF".into())
}

/// A parsed line of the header.
enum Declaration<'a> {
    Relation,
    Attribute(Attribute),
    /// The samples begin. Holds the rest of the line.
    Data(&'a str),
}

/// Parses a line of the header.
fn declaration(line: &str) -> std::result::Result<Declaration<'_>, String> {
    let (keyword, rest) = line.split_at(line.find(|c: char| c.is_whitespace() || c == '%').unwrap_or(line.len()));
    let rest = rest.trim_start();
    match keyword.to_ascii_lowercase().as_str() {
        "@relation" => Ok(Declaration::Relation),
        "@data" => Ok(Declaration::Data(rest)),
        "@attribute" => {
            let (name, kind) = value(rest, |c| c.is_whitespace() || c == '{')?;
            let kind = kind.trim_start();
            let values = match kind.strip_prefix('{') {
                Some(values) => {
                    let (values, rest) =
                        values_of(values, "}").map_err(|what| format!("attribute {name:?}: {what}"))?;
                    if !is_end(rest) {
                        return Err(format!("attribute {name:?}: unexpected {rest:?} after its values"));
                    }
                    Some(values.into_iter().map(Cow::into_owned).collect())
                }
                None => {
                    let kind = &kind[..kind.find(|c: char| c.is_whitespace() || c == '%').unwrap_or(kind.len())];
                    match kind.to_ascii_lowercase().as_str() {
                        "numeric" | "real" | "integer" | "string" | "date" => None,
                        _ => {
                            return Err(format!(
                                "attribute {name:?}: its type {kind:?} is not one of numeric, string, date, {{...}}"
                            ));
                        }
                    }
                }
            };
            Ok(Declaration::Attribute(Attribute { name: name.into_owned(), values }))
        }
        _ => Err(format!("{keyword:?} is not one of @relation, @attribute, @data")),
    }
}

/// Returns `true` if `rest` is empty or a comment.
fn is_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('%')
}

/// Splits a line into its fields.
fn fields(line: &str) -> std::result::Result<Vec<Cow<'_, str>>, String> {
    if line.starts_with('{') {
        return Err("sparse lines are not supported; write out the zeros".into());
    }
    values_of(line, "").map(|(fields, _)| fields)
}

/// Splits `text` up to the mark `end` into values, and returns them with the text after the mark. Values are separated
/// by commas or tabs, or by blanks if the text has neither. A trailing comma adds no value: a missing value is written
/// as `?`.
fn values_of<'a>(text: &'a str, end: &str) -> std::result::Result<(Vec<Cow<'a, str>>, &'a str), String> {
    // Blanks separate values only if nothing else does: unquoted values that contain blanks are common.
    let divided = |blanks: bool| {
        let (mut values, mut rest) = (Vec::new(), text.trim_start());
        let divides = |c: char| c == ',' || c == '\t' || (blanks && c == ' ');
        let ends = |rest: &str| if end.is_empty() { is_end(rest) } else { rest.starts_with(end) };
        let mut divided = false;
        while !ends(rest) {
            if is_end(rest) {
                return Err(format!("its values must end with {end}"));
            }
            let (value, after) = value(rest, |c| divides(c) || c == '%' || end.starts_with(c))?;
            rest = after.trim_start();
            let comma = rest.strip_prefix(',');
            if comma.is_none() && !ends(rest) && !is_end(rest) && !after.starts_with(divides) {
                return Err(format!("a comma is missing after the field {value:?}"));
            }
            divided |= comma.is_some() || after.starts_with('\t');
            values.push(value);
            rest = comma.unwrap_or(rest).trim_start();
        }
        Ok((values, &rest[end.len()..], divided))
    };
    let (values, rest, _) = match (divided(false), divided(true)) {
        (first @ Ok((.., true)), _) | (first, Ok((.., true))) => first,
        (_, second) => second,
    }?;
    Ok((values, rest.trim_start()))
}

/// Splits off the first value of `text` and returns it with the rest. An unquoted value extends to the first character
/// for which `ends` holds. A quoted one uses either kind of quote; within it, `\` makes the next character literal.
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
    Err(format!("the quote {quote} is never closed"))
}
