//! Files as their formats see them: unpacked.

use crate::error::{Error, Result};
use crate::files;
use flate2::read::MultiGzDecoder;
use std::io::Read;
use std::path::Path;

/// What a gzip file begins with (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads a whole file; one whose name ends in `.gz` is unpacked.
///
/// # Errors
/// Where it cannot be read, or its name says of its packing what is not so.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = files::read(path)?;
    if path.extension().is_none_or(|e| e != "gz") {
        return match bytes.starts_with(&GZIP) {
            true => Err(Error::content(path, "a gzip file: give it a name that ends in .gz")),
            false => Ok(bytes),
        };
    }
    let mut unpacked = Vec::new();
    let truncated = |e| Error::content(path, format!("damaged or cut gzip file ({e}); fetch it again"));
    MultiGzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).map_err(truncated)?;
    Ok(unpacked)
}
