//! Splitting of CSV text into rows of fields (RFC 4180, with comments).
//!
//! The csv crate silently accepts a quote that is never closed, and text after a closing quote. The rest of the file
//! then becomes a single field.

use std::borrow::Cow;

/// Fields of a row and the line on which they begin.
pub(super) struct Row<'a> {
    pub line: usize,
    pub fields: Vec<Cow<'a, str>>,
}

/// A comment line.
#[derive(Clone, Copy)]
pub(super) struct Comment<'a> {
    /// Number of the line.
    pub line: usize,
    /// Text after the `#`.
    pub text: &'a str,
}

/// Iterator over the rows of a text. It skips empty lines and lines that begin with `#`.
#[derive(Clone)]
pub(super) struct Rows<'a> {
    rest: &'a str,
    /// Line on which `rest` begins.
    line: usize,
    delimiter: char,
    /// `true` once there was a row.
    begun: bool,
    /// Number of lines after the first row that begin with `#`.
    pub comments: usize,
    /// Last comment before the first row.
    pub above: Option<Comment<'a>>,
}

impl<'a> Rows<'a> {
    pub fn new(text: &'a str, line: usize, delimiter: char) -> Self {
        Self { rest: text, line, delimiter, begun: false, comments: 0, above: None }
    }

    /// Field delimiter.
    pub fn delimiter(&self) -> char {
        self.delimiter
    }

    /// Consumes a line ending, if there is one.
    fn end_line(&mut self) {
        let rest = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix(['\n', '\r']));
        if let Some(rest) = rest {
            (self.rest, self.line) = (rest, self.line + 1);
        }
    }

    /// Consumes blanks that are not delimiters.
    fn skip_blanks(&mut self) {
        let delimiter = self.delimiter;
        self.rest = self.rest.trim_start_matches(|c| c == ' ' || (c == '\t' && delimiter != '\t'));
    }

    /// Consumes a field and leaves its terminator.
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
        // A quote within quotes is doubled.
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
            return Err(format!("line {line}: unexpected {after:?} after the end of the quote from line {opened}"));
        }
        let field = field.trim();
        Ok(if from == 0 { field.into() } else { field.replace("\"\"", "\"").into() })
    }
}

/// Error message, with the remedy, for a quote on `line` that is never closed.
fn never_closes(line: usize) -> String {
    format!("line {line}: a quote is never closed: close it, or double it within quotes if it is part of the text")
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
                self.above = Some(Comment { line: self.line, text: &self.rest[1..end] });
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
