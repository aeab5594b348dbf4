//! Test of the page on firmware of one's own: it shows the files of the crate that is built and run.

use std::fs;
use std::path::Path;

#[test]
fn the_page_shows_the_files_as_they_are() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(repository.join("docs/firmware.md")).unwrap();
    let mut shown = Vec::new();
    let mut pieces = page.split("\n```");
    let mut before = pieces.next().unwrap();
    while let (Some(block), Some(after)) = (pieces.next(), pieces.next()) {
        let (_, text) = block.split_once('\n').unwrap();
        // The line before a block, which ends with a colon, names the file.
        let line = before.trim_end().lines().last().unwrap_or("");
        if let Some((_, file)) = line.strip_suffix("):").and_then(|line| line.split_once("](../tests/outside/")) {
            let expected = fs::read_to_string(repository.join("tests/outside").join(file)).unwrap();
            assert_eq!(format!("{text}\n"), expected, "docs/firmware.md shows another {file}");
            shown.push(file);
        }
        before = after;
    }
    assert_eq!(shown, ["Cargo.toml", ".cargo/config.toml", "memory.x", "build.rs", "src/lib.rs", "src/main.rs"]);
}
