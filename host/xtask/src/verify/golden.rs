//! Results that the reference computed once and for all: a digest of each part of the conformance program, in a file.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::lines;
use crate::project;

const NAME: &str = "tests/golden.txt";

/// Writes the digests of these lines to the file.
pub fn write(lines: &[String]) -> Result<String> {
    let text = text(lines);
    fs::write(path(), &text).with_context(|| format!("cannot write {NAME}"))?;
    Ok(format!("wrote {NAME}, {} parts", text.lines().count()))
}

/// Describes how these lines differ from the file.
pub fn difference(lines: &[String]) -> Result<Option<String>> {
    let kept = fs::read_to_string(path())
        .with_context(|| format!("cannot read {NAME}: write it with `cargo xtask verify --write-golden`"))?;
    let computed = text(lines);
    let parts = differing(&kept, &computed);
    Ok((!parts.is_empty()).then(|| {
        format!(
            "different from {NAME}: {}; if the change is intended, run `cargo xtask verify --write-golden`",
            parts.join(", ")
        )
    }))
}

fn path() -> PathBuf {
    project::root().join(NAME)
}

/// Formats a line for each part: its digest and its name.
fn text(lines: &[String]) -> String {
    parts(lines).iter().map(|(name, lines)| format!("{} {name}\n", lines::digest(lines))).collect()
}

/// Returns the lines of each part, in the order in which the parts begin.
fn parts(lines: &[String]) -> Vec<(&str, Vec<&str>)> {
    let mut parts: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in lines {
        let name = part(line);
        match parts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, lines)) => lines.push(line),
            None => parts.push((name, vec![line])),
        }
    }
    parts
}

/// Returns the part that a line `STEP FINGERPRINT ARRAY` belongs to. All arrays of the same update, or training, form
/// one part.
fn part(line: &str) -> &str {
    let Some(array) = lines::array(line) else { return line };
    let (_, update) =
        array.split_once(" of ").filter(|(matrix, _)| ["X", "Y", "M"].contains(matrix)).unwrap_or(("", array));
    update.split_once(", parameter ").map_or(update, |(update, _)| update)
}

/// Returns the names of the parts that are missing from one of two texts, or differ.
fn differing<'a>(kept: &'a str, computed: &'a str) -> Vec<&'a str> {
    let lacking = |text: &'a str, other: &'a str| text.lines().filter(|line| !other.lines().any(|same| same == *line));
    let mut names: Vec<_> = lacking(kept, computed).chain(lacking(computed, kept)).filter_map(name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn name(line: &str) -> Option<&str> {
    line.split_once(' ').map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "0 1 operation a + b\n0 2 operation 1 of 2\n1 3 X of Sign 3×7 free\n1 4 Y of Sign 3×7 free\n\
                         1 5 M of training, parameter 1\n1 6 M of training, parameter 2\nend of conformance: 9 of 9";

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn all_arrays_of_an_update_are_one_part() {
        let lines = lines(LINES);
        let names: Vec<_> = parts(&lines).iter().map(|(name, lines)| format!("{name}: {}", lines.len())).collect();
        let expected = [
            "operation a + b: 1",
            "operation 1 of 2: 1",
            "Sign 3×7 free: 2",
            "training: 2",
            "end of conformance: 9 of 9: 1",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_part_that_changes_comes_or_goes_is_named() {
        let kept = text(&lines(LINES));
        let other = |from: &str, to: &str| text(&lines(&LINES.replace(from, to)));
        assert_eq!(differing(&kept, &kept), [""; 0]);
        assert_eq!(differing(&kept, &other("1 6 M", "1 7 M")), ["training"]);
        assert_eq!(differing(&kept, &other("0 1 operation a + b\n", "")), ["operation a + b"]);
        assert_eq!(
            differing(&kept, &other("9 of 9", "8 of 9")),
            ["end of conformance: 8 of 9", "end of conformance: 9 of 9"]
        );
    }
}
