//! Tests of the repository's pages: every link leads somewhere.

use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns all pages, without build outputs and downloads.
fn pages() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "shared" {
                walk(&path, found);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&repository(), &mut found);
    found.sort();
    found
}

/// Returns a page without code blocks and inline code.
fn prose(text: &str) -> String {
    let (mut prose, mut inside) = (String::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            // Every other part is outside backquotes.
            prose.extend(line.split('`').step_by(2).flat_map(|part| [part, "`"]));
            prose.push('\n');
        }
    }
    prose
}

/// Returns the targets of the links in a page.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    prose.split("](").skip(1).map(|rest| rest.split([')', '\n']).next().unwrap().to_owned()).collect()
}

/// Returns the anchors of a page's headings, as forges generate them.
fn anchors(text: &str) -> Vec<String> {
    let mut inside = false;
    let headings = text.lines().filter(|line| {
        inside ^= line.starts_with("```");
        !inside && line.starts_with('#')
    });
    let anchor = |heading: &str| -> String {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// Returns the fault of a page's link, if it has one.
fn wrong(page: &Path, link: &str) -> Option<String> {
    if let Some((scheme, rest)) = link.split_once("://") {
        let host = rest.split('/').next().unwrap();
        let well_formed = scheme == "https" && host.contains('.') && rest.chars().all(|c| c.is_ascii_graphic());
        return (!well_formed).then(|| "no address".into());
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = match path {
        "" => page.to_owned(),
        path => page.parent().unwrap().join(path),
    };
    if !target.exists() {
        return Some(format!("{} is not there", target.display()));
    }
    let anchor = anchor?;
    let text = fs::read_to_string(&target).unwrap();
    (!anchors(&text).iter().any(|known| known == anchor))
        .then(|| format!("{} has no heading #{anchor}", target.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let (mut seen, mut broken) = (0, Vec::new());
    for page in pages() {
        for link in links(&fs::read_to_string(&page).unwrap()) {
            seen += 1;
            broken.extend(wrong(&page, &link).map(|what| format!("{}: {link}: {what}", page.display())));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(seen > 50, "only {seen} links found");
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let page = repository().join("README.md");
    let text = "[a](docs/link.md) `[b](c)`\n```\n[d](e)\n```\n[f](docs/none.md), [g](#h)";
    assert_eq!(links(text), ["docs/link.md", "docs/none.md", "#h"]);
    assert_eq!(anchors("# A `b`, c!\n```\n# d\n```\n## E_f"), ["a-b-c", "e_f"]);
    for (link, good) in [
        ("docs/link.md", true),
        ("docs/none.md", false),
        ("docs/link.md#no-such-heading", false),
        ("#no-such-heading", false),
        ("https://example.org/a", true),
        ("http://example.org", false),
        ("https://example", false),
        ("https://example.org/a b", false),
    ] {
        assert_eq!(wrong(&page, link).is_none(), good, "{link}");
    }
}
