//! What docs/training.md says to type works, with the files that it shows.

mod common;

use common::Folder;
use graftage::config::Config;
use std::process::Command;

const PAGE: &str = include_str!("../../docs/training.md");

/// (language, text) of the fenced blocks of a page.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let mut parts = page.split("\n```");
    parts.next();
    let mut blocks = Vec::new();
    while let (Some(block), Some(_)) = (parts.next(), parts.next()) {
        let (language, text) = block.split_once('\n').unwrap();
        blocks.push((language, text));
    }
    blocks
}

#[test]
fn every_command_of_the_training_page_works_with_its_files() {
    let folder = Folder::new();
    folder.file("training.md", PAGE);
    let mut commands = 0;
    for (language, text) in blocks(PAGE) {
        if language != "sh" {
            // The first line names the file.
            let (name, content) = text.split_once('\n').unwrap();
            folder.file(name.strip_prefix("# ").unwrap(), content);
            continue;
        }
        for line in text.lines() {
            let arguments = line.strip_prefix("graftage ").unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_graftage"));
            let done = command.args(arguments.split(' ')).current_dir(folder.path(".")).output().unwrap();
            assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
            commands += 1;
        }
    }
    assert_eq!(commands, 8);
    for file in ["leaves/model.safetensors", "leaves/report.html", "compared/report.html", "transferred/report.html"] {
        assert!(folder.path(file).exists(), "{file}");
    }
    // Leaves of a place that it never saw.
    let result: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path("leaves/training.json")).unwrap()).unwrap();
    assert_eq!(result["accuracy"].as_f64(), Some(1.0));
}

#[test]
fn every_example_is_a_configuration() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    for example in &examples {
        Config::read(example).unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(examples.len(), 9);
}
