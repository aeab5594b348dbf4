//! Facts about the sources: circles of modules, summaries, tuples in public items, conditional compilation.
//!
//! It reads text, not syntax trees: enough for sources that rustfmt has laid out, and tests show what it finds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates, as name and folder of sources below the root of the repository.
pub const CRATES: [(&str, &str); 12] = [
    ("graftage-core", "core/src"),
    ("graftage-link", "firmware/link/src"),
    ("graftage-firmware", "firmware/src"),
    ("graftage-boards", "host/boards/src"),
    ("graftage-optim", "host/optim/src"),
    ("graftage", "host/src"),
    ("graftage-theory", "host/theory/src"),
    ("graftage-train", "host/train/src"),
    ("graftage-cli", "host/cli/src"),
    ("graftage-integration", "host/integration/src"),
    ("graftage-speed", "host/speed/src"),
    ("xtask", "host/xtask/src"),
];

/// First words that make a summary a bare clause, which does not name its subject.
pub const BARE: [&str; 11] =
    ["What", "Of", "As", "How", "Those", "Whoever", "Whose", "Where", "Whether", "Which", "Every so"];

/// A module: the names that lead to it from the root of its crate, which has none.
pub type Name = Vec<String>;

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust files below a folder, without build outputs; none if it is missing.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                walk(&path, found);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, &mut found);
    found.sort();
    found
}

/// The code of a file without comments.
pub fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The modules of a crate whose sources lie in a folder, with their text. Binaries are modules of their own.
pub fn modules(folder: &Path) -> BTreeMap<Name, String> {
    let name = |file: &Path| -> Name {
        let inside = file.strip_prefix(folder).unwrap_or(file).with_extension("");
        let mut name: Name = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if name.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            name.pop();
        }
        name
    };
    files(folder).iter().map(|file| (name(file), fs::read_to_string(file).unwrap_or_default())).collect()
}

/// Paths in code: after `use`, with braces expanded, and after `crate::` or `super::` elsewhere.
fn paths(text: &str) -> Vec<Vec<String>> {
    let code = code(text);
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some((_, after)) = rest.split_once("use ") {
        let Some((tree, behind)) = after.split_once(';') else { break };
        let tree: String = tree.replace(" as ", "@").chars().filter(|c| !c.is_whitespace()).collect();
        expand(&tree, &mut Vec::new(), &mut found);
        rest = behind;
    }
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) {
                continue;
            }
            let path: String =
                code[at..].chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
            found.push(path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect());
        }
    }
    found
}

/// Expands a tree of imports without blanks into paths.
fn expand(tree: &str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let depth = before.len();
    match tree.split_once('{') {
        Some((head, rest)) if rest.ends_with('}') => {
            before.extend(head.split("::").filter(|part| !part.is_empty()).map(str::to_owned));
            let (mut level, mut start, rest) = (0, 0, &rest[..rest.len() - 1]);
            for (at, c) in rest.char_indices() {
                match c {
                    '{' => level += 1,
                    '}' => level -= 1,
                    ',' if level == 0 => {
                        expand(&rest[start..at], before, found);
                        start = at + 1;
                    }
                    _ => {}
                }
            }
            expand(&rest[start..], before, found);
        }
        _ if tree.is_empty() => {}
        _ => {
            let tree = tree.split('@').next().unwrap_or(tree);
            let own = tree.split("::").filter(|part| !part.is_empty()).map(str::to_owned);
            found.push(before.iter().cloned().chain(own).collect());
        }
    }
    before.truncate(depth);
}

/// The module that a path leads to, from inside a module; re-exports are followed.
fn resolve(path: &[String], from: &Name, modules: &BTreeMap<Name, String>, left: u32) -> Option<Name> {
    let (first, _) = path.split_first()?;
    let mut place: Name = match first.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => from.clone(),
        name => {
            let child: Name = from.iter().cloned().chain([name.to_owned()]).collect();
            modules.contains_key(&child).then(|| from.clone())?
        }
    };
    let mut rest = path.iter().skip_while(|part| ["crate", "self"].contains(&part.as_str())).peekable();
    while rest.next_if(|part| *part == "super").is_some() {
        place.pop();
    }
    while let Some(part) = rest.peek() {
        let deeper: Name = place.iter().cloned().chain([(*part).clone()]).collect();
        if !modules.contains_key(&deeper) {
            break;
        }
        place = deeper;
        rest.next();
    }
    // What a module has from another one is the other one's.
    if let (Some(item), Some(text), 1..) = (rest.peek(), modules.get(&place), left) {
        for path in paths(text).iter().filter(|path| path.last() == Some(item) && path.len() > 1) {
            match resolve(path, &place, modules, left - 1) {
                Some(found) if found != place => return Some(found),
                _ => {}
            }
        }
    }
    Some(place)
}

/// The circles of modules: each as the names of siblings, each of which uses the next and the last the first.
///
/// A module and those inside it are one whole: what uses which counts between siblings.
pub fn circles(modules: &BTreeMap<Name, String>) -> Vec<Vec<String>> {
    let mut uses: BTreeMap<Name, BTreeSet<Name>> = BTreeMap::new();
    for (from, text) in modules {
        for path in paths(text) {
            let Some(to) = resolve(&path, from, modules, 4) else { continue };
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if common < from.len() && common < to.len() {
                uses.entry(from[..=common].to_vec()).or_default().insert(to[..=common].to_vec());
            }
        }
    }
    let mut circles = BTreeSet::new();
    for start in uses.keys() {
        // The shortest way back, breadth first.
        let mut ways = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in ways {
                for next in way.last().and_then(|last| uses.get(last)).into_iter().flatten() {
                    if next == start {
                        let mut circle: Vec<String> = way.iter().map(|name| name.join("::")).collect();
                        let least = (0..circle.len()).min_by_key(|at| circle[*at].clone()).unwrap_or(0);
                        circle.rotate_left(least);
                        circles.insert(circle);
                    } else if seen.insert(next.clone()) {
                        longer.push([&way[..], std::slice::from_ref(next)].concat());
                    }
                }
            }
            ways = longer;
        }
    }
    circles.into_iter().collect()
}

/// The summaries of a file's documentation: line, counted from 1, and text of the first line of each block.
pub fn summaries(text: &str) -> Vec<(usize, &str)> {
    let doc = |line: &'_ str| line.trim_start().starts_with("///") || line.trim_start().starts_with("//!");
    let mut before = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if doc(line) && !before {
            found.push((at + 1, line.trim_start()[3..].trim()));
        }
        before = doc(line);
    }
    found
}

/// Tells whether a summary begins with a bare clause.
pub fn is_bare(summary: &str) -> bool {
    BARE.iter().any(|word| {
        summary.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ',', ';', ':']))
    })
}

/// The public functions that return a tuple and the public fields that hold one, as line numbers.
pub fn tuples(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some(item) = line.trim_start().strip_prefix("pub ") else { continue };
        let kind = if item.contains("fn ") {
            let signature: String = lines[at..]
                .iter()
                .scan(false, |end, line| {
                    let go = !*end;
                    *end = line.ends_with('{') || line.ends_with(';') || line.ends_with('}');
                    go.then_some(*line)
                })
                .collect();
            signature.rsplit_once("->").map(|(_, result)| result.to_owned())
        } else {
            item.split_once(": ")
                .filter(|(name, _)| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
                .map(|(_, kind)| kind.to_owned())
        };
        if kind.is_some_and(|kind| has_tuple(&kind)) {
            found.push(at + 1);
        }
    }
    found
}

/// Tells whether a type holds a tuple of at least two.
fn has_tuple(kind: &str) -> bool {
    kind.match_indices('(').any(|(at, _)| {
        let call = kind[..at].ends_with(|c: char| c.is_alphanumeric());
        let mut depth = 0;
        let inside = kind[at..].chars().take_while(|c| {
            depth += i32::from(*c == '(') - i32::from(*c == ')');
            depth > 0
        });
        !call && inside.collect::<String>().contains(',')
    })
}

/// Number of lines that compile only with, or without, a feature.
pub fn conditional(text: &str) -> usize {
    code(text).lines().filter(|line| line.contains("cfg(") && line.contains("feature")).count()
}
