//! Output of a target: lines `STEP FINGERPRINT ARRAY`, and a last one.

use sha2::{Digest, Sha256};

/// Beginning of the last line. Without that line, the program did not finish.
const END: &str = "end of conformance";

/// Returns whether the program finished.
pub fn complete(lines: &[String]) -> bool {
    lines.last().is_some_and(|line| line.starts_with(END))
}

/// Returns the array that a line is about; `None` for the last line.
pub fn array(line: &str) -> Option<&str> {
    line.splitn(3, ' ').nth(2).filter(|_| !line.starts_with(END))
}

/// Describes where two runs first differ; `None` if they are equal.
pub fn first_difference(reference: &[String], lines: &[String]) -> Option<String> {
    let at = (0..reference.len().max(lines.len())).find(|i| reference.get(*i) != lines.get(*i))?;
    let Some(expected) = reference.get(at) else { return Some("prints more than it should".to_owned()) };
    let place = match (expected.split_once(' '), array(expected)) {
        (Some((step, _)), Some(array)) => format!("step {step}, {array}"),
        _ => "the end".to_owned(),
    };
    Some(match lines.get(at) {
        Some(_) => format!("differs first at {place}"),
        None => format!("ends before {place}"),
    })
}

/// Returns the number of updates in the lines. Each update fingerprints its (first) X once.
pub fn steps(lines: &[String]) -> usize {
    let counts = |array: &&str| {
        array.starts_with("X of ") && array.split_once(", parameter ").is_none_or(|(_, parameter)| parameter == "1")
    };
    lines.iter().filter_map(|line| array(line)).filter(counts).count()
}

/// Returns the first 64 bits of the SHA-256 of lines, in hexadecimal.
pub fn digest(lines: &[impl AsRef<str>]) -> String {
    let lines: Vec<_> = lines.iter().map(AsRef::as_ref).collect();
    Sha256::digest(lines.join("\n")).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_first_difference_names_step_and_array() {
        let reference =
            lines("0 11 operation a + b\n1 22 X of Sign 3×7 free\n1 33 M of Sign 3×7 free\nend of conformance: 9 of 9");
        assert!(complete(&reference) && !complete(&reference[..3]));
        assert_eq!(first_difference(&reference, &reference), None);
        let other =
            lines("0 11 operation a + b\n1 22 X of Sign 3×7 free\n1 34 M of Sign 3×7 free\nend of conformance: 9 of 9");
        let difference = first_difference(&reference, &other).unwrap();
        assert_eq!(difference, "differs first at step 1, M of Sign 3×7 free");
        assert_eq!(first_difference(&reference, &reference[..2]).unwrap(), "ends before step 1, M of Sign 3×7 free");
        assert_eq!(first_difference(&reference, &reference[..3]).unwrap(), "ends before the end");
        assert!(first_difference(&reference[..2], &reference).is_some());
    }

    #[test]
    fn each_update_counts_once() {
        let text = "0 1 operation a + b\n1 2 X of Sign 3×7 free\n1 2 Y of Sign 3×7 free\n\
                    1 3 X of training, parameter 1\n1 3 X of training, parameter 2\nend of conformance: 9 of 9";
        assert_eq!(steps(&lines(text)), 2);
    }
}
