//! `cargo xtask verify`: compares the same updates on every target, line by line.
//!
//! Each target runs the conformance program of package graftage-tests, which prints a fingerprint of every array after
//! every step. The other targets are compared with the first one, and the first one with a file of digests.

mod golden;
mod lines;
pub mod target;

use anyhow::{Context, Result, ensure};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::json;

use crate::console;
use target::{SKIPPED, TARGETS, Target};

/// Options of `cargo xtask verify`.
#[derive(Args, Default)]
pub struct Options {
    /// Verify only this target; can be given more than once
    #[arg(long = "target", value_name = "NAME", value_parser = parser())]
    targets: Vec<String>,
    /// Print a JSON array of {name, equal, steps, digest}, with null if a target did not run; the table goes to
    /// standard error
    #[arg(long)]
    json: bool,
    /// Write the digests that this machine computes to tests/golden.txt, and do nothing else
    #[arg(long, conflicts_with_all = ["targets", "json"])]
    write_golden: bool,
}

fn parser() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(TARGETS.iter().map(|target| target.name))
}

/// Outcome of a target.
struct Row {
    name: &'static str,
    outcome: Outcome,
}

enum Outcome {
    Ran { steps: usize, digest: String, difference: Option<String> },
    Skipped(String),
    Failed(String),
}

/// Runs the named targets, or all but the controls if none is named, and prints the table.
pub fn run(options: &Options) -> Result<()> {
    let reference = reference()?;
    if options.write_golden {
        console::say(&golden::write(&reference)?);
        return Ok(());
    }
    let chosen = |target: &&Target| match &options.targets[..] {
        [] => target.control.is_none(),
        names => names.iter().any(|name| name == target.name),
    };
    let say = |line: &str| if options.json { console::complain(line) } else { console::say(line) };
    say(&format!("{:<15} {:>5}  {:<16}  equal to {}", "target", "steps", "digest", TARGETS[0].name));
    let mut rows = Vec::new();
    for target in TARGETS.iter().filter(chosen) {
        let row = Row { name: target.name, outcome: outcome(target, &reference) };
        say(&row.line());
        rows.push(row);
    }
    if options.json {
        console::say(&json!(rows.iter().map(Row::json).collect::<Vec<_>>()).to_string());
    }
    let wrong: Vec<_> = rows.iter().filter(|row| row.is_wrong()).map(|row| row.name).collect();
    let differing = (!wrong.is_empty()).then(|| format!("not equal: {}", wrong.join(", ")));
    let problems: Vec<_> = golden::difference(&reference)?.into_iter().chain(differing).collect();
    ensure!(problems.is_empty(), problems.join("; "));
    Ok(())
}

/// Runs a negative control, which must differ from the reference in an array whose name begins with `expected`. Returns
/// where it differs.
pub fn find_out(control: &Target, expected: &str) -> Result<String> {
    let difference = lines::first_difference(&reference()?, &control.lines()?);
    let difference = difference.filter(|difference| difference.contains(&format!(", {expected}")));
    difference.with_context(|| format!("the negative control {} was not detected in {expected}", control.name))
}

/// Returns what the first target prints.
fn reference() -> Result<Vec<String>> {
    let lines = TARGETS[0].lines()?;
    ensure!(lines::complete(&lines), "the conformance program did not reach its end");
    Ok(lines)
}

fn outcome(target: &Target, reference: &[String]) -> Outcome {
    if let Some(why) = target.skipped() {
        return Outcome::Skipped(why.into());
    }
    match target.lines() {
        Ok(lines) => match lines.first().and_then(|line| line.strip_prefix(SKIPPED)) {
            Some(why) => Outcome::Skipped(why.into()),
            None => Outcome::Ran {
                steps: lines::steps(&lines),
                digest: lines::digest(&lines),
                difference: lines::first_difference(reference, &lines),
            },
        },
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

impl Row {
    fn line(&self) -> String {
        let (steps, digest, verdict) = match &self.outcome {
            Outcome::Ran { steps, digest, difference } => {
                (steps.to_string(), digest.as_str(), difference.clone().unwrap_or_else(|| "equal".to_owned()))
            }
            Outcome::Skipped(why) => (String::new(), "", format!("skipped: {why}")),
            Outcome::Failed(why) => (String::new(), "", format!("failed: {why}")),
        };
        format!("{:<15} {steps:>5}  {digest:<16}  {verdict}", self.name)
    }

    fn json(&self) -> serde_json::Value {
        match &self.outcome {
            Outcome::Ran { steps, digest, difference } => {
                json!({"name": self.name, "equal": difference.is_none(), "steps": steps, "digest": digest})
            }
            Outcome::Skipped(_) | Outcome::Failed(_) => {
                json!({"name": self.name, "equal": null, "steps": null, "digest": null})
            }
        }
    }

    /// True if the target should have computed the same, and has not.
    fn is_wrong(&self) -> bool {
        match &self.outcome {
            Outcome::Ran { difference, .. } => difference.is_some(),
            Outcome::Skipped(_) => false,
            Outcome::Failed(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_and_json_say_what_became_of_a_target() {
        let ran = |difference: Option<&str>| Row {
            name: "t",
            outcome: Outcome::Ran { steps: 8, digest: "0f".into(), difference: difference.map(str::to_owned) },
        };
        let skipped = Row { name: "t", outcome: Outcome::Skipped("no such processor".into()) };
        let failed = Row { name: "t", outcome: Outcome::Failed("no QEMU".into()) };
        let verdicts = [ran(None), ran(Some("differs")), skipped, failed]
            .map(|row| (row.line().split_whitespace().skip(1).collect::<Vec<_>>().join(" "), row.is_wrong()));
        let expected = [
            ("8 0f equal", false),
            ("8 0f differs", true),
            ("skipped: no such processor", false),
            ("failed: no QEMU", true),
        ];
        assert_eq!(verdicts.each_ref().map(|(line, wrong)| (line.as_str(), *wrong)), expected);
        let json = ran(None).json().to_string();
        assert_eq!(json, r#"{"digest":"0f","equal":true,"name":"t","steps":8}"#);
    }

    #[test]
    fn no_two_boards_share_a_name() {
        let boards = TARGETS.iter().filter(|target| target.board().is_some());
        let mut names: Vec<_> = boards.map(|target| target.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
