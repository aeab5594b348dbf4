//! `cargo xtask pages`: runs the commands of the pages for newcomers, in their order and with the files that they show.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{console, process, project};

const TRAINING: &str = include_str!("../../../docs/training.md");
const DATA: &str = include_str!("../../../docs/data.md");
const ADAPTATION: &str = include_str!("../../../docs/adaptation.md");

/// Runs the commands of all pages. Their folders are in `target/pages`.
pub fn run() -> Result<()> {
    let folder = project::root().join("target/pages");
    project::remove(&folder)?;
    let training = Page { text: TRAINING, folder: &folder.join("training") };
    training.show_files()?;
    fs::write(training.folder.join("training.md"), TRAINING)?;
    ensure!(training.follow()? == 13, "docs/training.md does not have exactly thirteen commands");
    for file in ["leaves/model.safetensors", "leaves/report.html", "compared/report.html", "transferred/report.html"] {
        ensure!(training.folder.join(file).exists(), "the commands of docs/training.md do not write {file}");
    }
    // The test samples are leaves from a place that the training never saw.
    let result: serde_json::Value = serde_json::from_slice(&fs::read(training.folder.join("leaves/training.json"))?)?;
    ensure!(
        result["accuracy"].as_f64() == Some(1.0),
        "the network of docs/training.md did not learn the leaves: {result}"
    );
    let data = Page { text: DATA, folder: &folder.join("data") };
    data.show_files()?;
    ensure!(data.follow()? == 2, "docs/data.md does not have exactly two commands");
    // docs/adaptation.md says that it uses the files of docs/training.md.
    let adaptation = Page { text: ADAPTATION, folder: &folder.join("adaptation") };
    Page { text: TRAINING, ..adaptation }.show_files()?;
    adaptation.show_files()?;
    ensure!(adaptation.follow()? == 7, "docs/adaptation.md does not have exactly seven commands");
    Ok(())
}

/// Page that is followed in a folder.
#[derive(Clone, Copy)]
struct Page<'a> {
    text: &'static str,
    folder: &'a Path,
}

impl Page<'_> {
    /// Returns (language, text) of each fenced block.
    fn blocks(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let fenced = self.text.split("\n```").skip(1).step_by(2);
        fenced.map(|block| block.split_once('\n').unwrap_or((block, "")))
    }

    /// Writes the files that the page shows. The first line of each one names it. Rust is for programs of the reader.
    fn show_files(self) -> Result<()> {
        fs::create_dir_all(self.folder)?;
        for (_, text) in self.blocks().filter(|(language, _)| !["sh", "text", "rust"].contains(language)) {
            let (name, content) = text.split_once('\n').unwrap_or_default();
            let name = name.strip_prefix("# ").with_context(|| format!("{name:?} does not name a file"))?;
            fs::write(self.folder.join(name), content)?;
        }
        Ok(())
    }

    /// Runs the page's commands and returns their number. If the page shows what they print, they must print as many
    /// lines with the same words. Words with digits may differ on another machine and are ignored.
    fn follow(self) -> Result<usize> {
        let (mut commands, mut printed) = (0, String::new());
        for (language, text) in self.blocks() {
            match language {
                "sh" => {
                    printed = text.lines().map(|line| self.typed(line)).collect::<Result<_>>()?;
                    commands += text.lines().count();
                }
                "text" => {
                    ensure!(words(text) == words(&printed), "the page shows\n{text}\nbut the commands print\n{printed}")
                }
                _ => {}
            }
        }
        Ok(commands)
    }

    /// Runs a line and returns what it prints.
    fn typed(self, line: &str) -> Result<String> {
        console::say(&format!("$ {line}"));
        let root = project::root();
        let mut words = line.split(' ');
        let mut command = match words.next() {
            Some("cargo") => process::cargo(),
            Some("graftage") => Command::new(root.join("target/release/graftage")),
            _ => anyhow::bail!("{line:?} is not a command of this project"),
        };
        let is_cargo = line.starts_with("cargo");
        command.current_dir(if is_cargo { root.as_ref() } else { self.folder });
        for word in words {
            // The reader works in the repository's folder.
            let here = self.folder.join(word);
            match word.strip_prefix("qemu:") {
                Some(firmware) => command.arg(format!("qemu:{}", root.join(firmware).display())),
                None if is_cargo && here.is_file() => command.arg(here),
                None => command.arg(word),
            };
        }
        process::output(&mut command)
    }
}

/// Returns the lines that are not empty, as words without those that contain a digit.
fn words(text: &str) -> Vec<Vec<&str>> {
    let lines =
        text.lines().map(|line| line.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit())));
    lines.map(Iterator::collect).filter(|words: &Vec<_>| !words.is_empty()).collect()
}
