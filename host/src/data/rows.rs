//! The lines of a CSV text as fields (RFC 4180, with comments).
//!
//! The csv crate takes a quote that never closes, and text after one that does, without a word: the rest of a file then is one
//! field.

use std::borrow::Cow;

/// The fields of a sample, and the line on which they begin.
pub(super) struct Row<'a> {
    pub line: usize,
    pub fields: Vec<Cow<'a, str>>,
}

/// Rows of a text; empty lines and lines that begin with `#` are none.
#[derive(Clone)]
pub(super) struct Rows<'a> {
    rest: &'a str,
    /// The line on which what is left begins.
    line: usize,
    delimiter: char,
    /// Whether there was a row.
    begun: bool,
    /// Lines that began with `#`, after the first row.
    pub comments: usize,
    /// The line before the first row, where it began with `#`: its number, and what follows that.
    pub above: Option<(usize, &'a str)>,
}

impl<'a> Rows<'a> {
    pub fn new(text: &'a str, line: usize, delimiter: char) -> Self {
        Self { rest: text, line, delimiter, begun: false, comments: 0, above: None }
    }

    /// What divides its fields.
    pub fn delimiter(&self) -> char {
        self.delimiter
    }

    /// Takes the end of a line, if there is one.
    fn end_line(&mut self) {
        let rest = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix(['\n', '\r']));
        if let Some(rest) = rest {
            (self.rest, self.line) = (rest, self.line + 1);
        }
    }

    /// Takes blanks that do not divide fields.
    fn skip_blanks(&mut self) {
        let delimiter = self.delimiter;
        self.rest = self.rest.trim_start_matches(|c| c == ' ' || (c == '\t' && delimiter != '\t'));
    }

    /// Takes a field, up to what ends it.
    fn field(&mut self) -> Result<Cow<'a, str>, String> {
        self.skip_blanks();
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let delimiter = self.delimiter;
            let end = self.rest.find([delimiter, '\n', '\r']).unwrap_or(self.rest.len());
            let (field, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Ok(field.trim().into());
        };
        let opened = self.line;
        // A quote within quotes is written twice.
        let mut from = 0;
        let end = loop {
            let at = from + quoted[from..].find('"').ok_or_else(|| never_closes(opened))?;
            match quoted[at + 1..].starts_with('"') {
                true => from = at + 2,
                false => break at,
            }
        };
        let field = &quoted[..end];
        self.line += super::kind::ends(field.as_bytes());
        self.rest = &quoted[end + 1..];
        self.skip_blanks();
        if !(self.rest.is_empty() || self.rest.starts_with([self.delimiter, '\n', '\r'])) {
            let after: String = self.rest.chars().take_while(|c| !c.is_control()).take(16).collect();
            let line = self.line;
            return Err(format!("line {line}: {after:?} follows the quote that closes the one of line {opened}"));
        }
        let field = field.trim();
        Ok(if from == 0 { field.into() } else { field.replace("\"\"", "\"").into() })
    }
}

/// Says what to do about a quote of that line.
fn never_closes(line: usize) -> String {
    format!(
        "line {line}: a quote that never closes: close it, or write it twice within quotes where it is part of the text"
    )
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<Row<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
            let comment = self.rest.starts_with('#');
            if self.rest.is_empty() {
                return None;
            }
            if !comment && !self.rest[..end].trim_matches(' ').is_empty() {
                break;
            }
            self.comments += usize::from(comment && self.begun);
            if comment && !self.begun {
                self.above = Some((self.line, &self.rest[1..end]));
            }
            self.rest = &self.rest[end..];
            self.end_line();
        }
        self.begun = true;
        let (line, mut fields) = (self.line, Vec::new());
        loop {
            match self.field() {
                Ok(field) => fields.push(field),
                Err(what) => {
                    self.rest = "";
                    return Some(Err(what));
                }
            }
            match self.rest.strip_prefix(self.delimiter) {
                Some(rest) => self.rest = rest,
                None => break,
            }
        }
        self.end_line();
        Some(Ok(Row { line, fields }))
    }
}
