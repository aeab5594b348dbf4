//! Detection of a file's format from its first bytes, for errors about files in another format.

use crate::error::{Error, Result};
use std::borrow::Cow;
use std::path::Path;

/// First bytes of a NumPy array.
pub(super) const NPY: &[u8] = b"\x93NUMPY";

/// First bytes of known formats, with a description.
const KINDS: [(&[u8], &str); 14] = [
    (NPY, "a NumPy array: read it with [data.npy]"),
    (b"PK\x03\x04", "a zip archive: unpack it; if it is a spreadsheet, save its table as CSV"),
    (b"PAR1\x15", "Parquet: save it as CSV"),
    (b"ARROW1\0\0", "Arrow: save it as CSV"),
    (b"\x89HDF\r\n\x1a\n", "HDF5: save its array with numpy.save"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file: save its array with numpy.save"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet (.xls): save its table as CSV"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF-", "a PDF document"),
    (b"SQLite format 3\0", "a SQLite database: save its table as CSV"),
    (b"BZh91AY", "compressed by bzip2: decompress it"),
    (b"\xfd7zXZ\0", "compressed by xz: decompress it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: decompress it"),
];

/// Describes a recognised format and the remedy, in words that follow "it is"; `None` if the format is unknown.
pub(super) fn of(bytes: &[u8]) -> Option<Cow<'static, str>> {
    // An npz archive is a zip archive whose first entry is an array.
    if let Some(rest) = bytes.strip_prefix(b"PK\x03\x04")
        && let Some(length) = rest.get(22..24).map(|length| usize::from(u16::from_le_bytes([length[0], length[1]])))
        && let Some(name) = rest.get(26..).and_then(|rest| rest.get(..length)).filter(|name| name.ends_with(b".npy"))
    {
        let array = String::from_utf8_lossy(&name[..length - 4]).replace(char::is_control, " ");
        return Some(format!("an npz archive: save only its array {array:?}, with numpy.save").into());
    }
    if let [0x80, 2..=5, ..] = bytes {
        return Some("a Python pickle: save its array with numpy.save".into());
    }
    let known = KINDS.iter().find(|(first, _)| bytes.starts_with(first));
    known.map(|(_, kind)| Cow::Borrowed(*kind))
}

/// Decodes a text file, without its byte order mark.
///
/// # Errors
/// If it is not text or not UTF-8; the message names its actual format or the first invalid line.
pub(super) fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str> {
    let wrong = |what: String| Err(Error::content(path, what));
    if let Some(kind) = of(bytes) {
        return wrong(format!("not a text file: it is {kind}"));
    }
    let marked = [&b"\xff\xfe\0\0"[..], b"\0\0\xfe\xff"].iter().any(|mark| bytes.starts_with(mark));
    // ASCII text in UTF-16 has a zero next to each of its bytes.
    let start = &bytes[..bytes.len().min(64)];
    let zeros = |first| start.iter().skip(first).step_by(2).filter(|byte| **byte == 0).count() > start.len() / 4;
    if marked {
        return wrong("it is UTF-32: save it as UTF-8".into());
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || zeros(0) != zeros(1) {
        return wrong("it is UTF-16: save it as UTF-8".into());
    }
    let line = |at: usize| 1 + ends(&bytes[..at]);
    match std::str::from_utf8(bytes) {
        Err(e) => wrong(format!("line {}: invalid UTF-8: save it as UTF-8", line(e.valid_up_to()))),
        Ok(text) => match text.find('\0') {
            Some(at) => wrong(format!("line {}: not text: it contains a zero byte", line(at))),
            None => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        },
    }
}

/// Number of line endings in these bytes: LF, CR LF, or CR.
pub(super) fn ends(bytes: &[u8]) -> usize {
    let alone = |(at, byte): (usize, &u8)| *byte == b'\n' || (*byte == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
    bytes.iter().enumerate().filter(|pair| alone((pair.0, pair.1))).count()
}

/// Iterates over the lines of a text with their numbers from 1. Lines end with LF, CR LF, or CR.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = Some(text);
    let next = move || {
        let text = rest?;
        let at = text.find(['\n', '\r']);
        rest = at.map(|at| &text[at + if text[at..].starts_with("\r\n") { 2 } else { 1 }..]);
        Some(&text[..at.unwrap_or(text.len())])
    };
    (1..).zip(std::iter::from_fn(next))
}
