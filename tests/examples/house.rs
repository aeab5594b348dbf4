//! Prints facts about each crate: modules, lines, circles of modules, bare summaries, tuples in public items, features.
//!
//! `cargo run --release --package graftage-tests --example house` prints the table; `-- --list` also names the places.

#[path = "../tests/house/mod.rs"]
mod house;

use house::{CRATES, circles, conditional, is_bare, modules, repository, summaries, tuples};

fn main() {
    let list = std::env::args().any(|argument| argument == "--list");
    println!("| crate | modules | lines | circles | summaries | bare | tuples | cfg(feature) |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut places = Vec::new();
    for (name, folder) in CRATES {
        let modules = modules(&repository().join(folder));
        let circles = circles(&modules);
        let (mut lines, mut all, mut bare, mut public, mut features) = (0, 0, 0, 0, 0);
        for (module, text) in &modules {
            let module = module.join("::");
            lines += text.lines().count();
            features += conditional(text);
            for (line, summary) in summaries(text) {
                all += 1;
                if is_bare(summary) {
                    bare += 1;
                    places.push(format!("{name} {module}:{line}: bare summary: {summary}"));
                }
            }
            for line in tuples(text) {
                public += 1;
                places.push(format!("{name} {module}:{line}: tuple"));
            }
        }
        places.extend(circles.iter().map(|circle| format!("{name}: circle of {}", circle.join(" → "))));
        println!(
            "| {name} | {} | {lines} | {} | {all} | {bare} | {public} | {features} |",
            modules.len(),
            circles.len()
        );
    }
    if list {
        places.iter().for_each(|place| println!("{place}"));
    }
}
