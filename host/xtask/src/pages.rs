//! What the pages for a newcomer say to type works, in their order and with the files that they show.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{console, process, project};

const TRAINING: &str = include_str!("../../../docs/training.md");
const DATA: &str = include_str!("../../../docs/data.md");
const ADAPTATION: &str = include_str!("../../../docs/adaptation.md");

/// Types them all; the folders are in `target/pages`.
pub fn run() -> Result<()> {
    let folder = project::root().join("target/pages");
    project::remove(&folder)?;
    let training = Page { text: TRAINING, folder: &folder.join("training") };
    training.show_files()?;
    fs::write(training.folder.join("training.md"), TRAINING)?;
    ensure!(training.follow()? == 10, "other commands than the ten of docs/training.md were found");
    for file in ["leaves/model.safetensors", "leaves/report.html", "compared/report.html", "transferred/report.html"] {
        ensure!(training.folder.join(file).exists(), "the commands of docs/training.md leave no {file}");
    }
    // Leaves of a place that it never saw.
    let result: serde_json::Value = serde_json::from_slice(&fs::read(training.folder.join("leaves/training.json"))?)?;
    ensure!(result["accuracy"].as_f64() == Some(1.0), "the leaves of docs/training.md are not learnt: {result}");
    let data = Page { text: DATA, folder: &folder.join("data") };
    data.show_files()?;
    ensure!(data.follow()? == 2, "other commands than the two of docs/data.md were found");
    // It says that it uses the other page's files.
    let adaptation = Page { text: ADAPTATION, folder: &folder.join("adaptation") };
    Page { text: TRAINING, ..adaptation }.show_files()?;
    adaptation.show_files()?;
    ensure!(adaptation.follow()? == 7, "other commands than the seven of docs/adaptation.md were found");
    Ok(())
}

/// A page, followed in a folder.
#[derive(Clone, Copy)]
struct Page<'a> {
    text: &'static str,
    folder: &'a Path,
}

impl Page<'_> {
    /// (language, text) of the fenced blocks.
    fn blocks(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let fenced = self.text.split("\n```").skip(1).step_by(2);
        fenced.map(|block| block.split_once('\n').unwrap_or((block, "")))
    }

    /// Writes the files that it shows, which its first line names.
    fn show_files(self) -> Result<()> {
        fs::create_dir_all(self.folder)?;
        for (_, text) in self.blocks().filter(|(language, _)| !["sh", "text"].contains(language)) {
            let (name, content) = text.split_once('\n').unwrap_or_default();
            let name = name.strip_prefix("# ").with_context(|| format!("{name:?} names no file"))?;
            fs::write(self.folder.join(name), content)?;
        }
        Ok(())
    }

    /// Types its commands, and returns how many. Where it shows what they print, they print as many lines with the same words, but for words with
    /// digits, which another machine may print otherwise.
    fn follow(self) -> Result<usize> {
        let (mut commands, mut printed) = (0, String::new());
        for (language, text) in self.blocks() {
            match language {
                "sh" => {
                    printed = text.lines().map(|line| self.typed(line)).collect::<Result<_>>()?;
                    commands += text.lines().count();
                }
                "text" => {
                    ensure!(words(text) == words(&printed), "the page shows\n{text}\nand what is printed is\n{printed}")
                }
                _ => {}
            }
        }
        Ok(commands)
    }

    /// Types a line, and returns what it prints.
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
            // The reader's folder is the repository's.
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

/// Lines that are not empty, as words without those that have a digit.
fn words(text: &str) -> Vec<Vec<&str>> {
    let lines =
        text.lines().map(|line| line.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit())));
    lines.map(Iterator::collect).filter(|words: &Vec<_>| !words.is_empty()).collect()
}
