//! Options of QEMU.

use std::path::Path;

/// Returns a path as the value of an option, with commas doubled, because a single comma would end it.
pub(crate) fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
