//! Reading of files, with decompression of gzip.

use crate::error::{Error, Result};
use crate::files;
use flate2::bufread::GzDecoder;
use std::io::Read;
use std::path::Path;

/// First bytes of a gzip file (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads a whole file. A file whose name ends in `.gz` is decompressed.
///
/// # Errors
/// If the file cannot be read, its name and content disagree about compression, or bytes other than zeros follow the
/// gzip data.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = files::read(path)?;
    if path.extension().is_none_or(|e| e != "gz") {
        return match bytes.starts_with(&GZIP) {
            true => Err(Error::content(path, "this is a gzip file: give it a name that ends in .gz")),
            false => Ok(bytes),
        };
    }
    let (mut unpacked, mut rest) = (Vec::new(), &bytes[..]);
    // A file may consist of several members. Zeros may follow the last one if the file comes from a tape.
    loop {
        let mut member = GzDecoder::new(rest);
        let damaged = |e| Error::content(path, format!("damaged or truncated gzip file ({e}); download it again"));
        member.read_to_end(&mut unpacked).map_err(damaged)?;
        rest = member.into_inner();
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(unpacked);
        }
        if !rest.starts_with(&GZIP) {
            let (at, more) = (bytes.len() - rest.len(), rest.len());
            return Err(Error::content(path, format!("{more} bytes follow its gzip data, at byte {at}; remove them")));
        }
    }
}
