//! Tests of the repository's structure: the direction of dependencies, what core does without, and that the algorithm
//! is written only once.

mod house;

use graftage_core::network::Kind;
use graftage_tests::conformance::KINDS;
use std::fs;
use std::mem::discriminant;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns all Rust files below a folder of the repository, without build outputs and tests; none if the folder is
/// missing.
fn sources(folder: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "tests" {
                walk(&path, found);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&repository().join(folder), &mut found);
    found.sort();
    found
}

/// Returns the code without comments.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Returns the code without comments, whitespace, digit separators and `self.`, so that layout and place are
/// irrelevant.
fn squeezed(text: &str) -> String {
    let code: String = code(text).chars().filter(|c| !c.is_whitespace() && *c != '_').collect();
    code.replace("self.", "")
}

/// Returns core's modules in the order of lib.rs.
fn modules() -> Vec<String> {
    let lib = read(repository().join("core/src/lib.rs"));
    let name = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
    lib.lines().filter_map(name).collect()
}

/// Returns the modules that a file names after `crate::`. Names after `$crate::` do not count, as users' code expands
/// them.
fn named(text: &str) -> Vec<String> {
    let code = code(text);
    let paths = code.split("crate::").collect::<Vec<_>>();
    let named = paths.windows(2).filter(|pair| !pair[0].ends_with('$')).map(|pair| {
        assert!(!pair[1].starts_with('{'), "one module a line, so that this test can read it");
        pair[1].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    });
    named.collect()
}

#[test]
fn each_module_of_core_names_only_what_stands_before_it() {
    let modules = modules();
    let expected = [
        "error",
        "arithmetic",
        "random",
        "digest",
        "matrix",
        "polar",
        "norm",
        "schedule",
        "transport",
        "scion",
        "network",
        "adapt",
        "session",
        "message",
        "image",
        "snapshot",
    ];
    assert_eq!(modules, expected);
    // Besides lib.rs, there are the modules and the files of their folders.
    let parts = |module: &String| sources(&format!("core/src/{module}"));
    let files = 1 + modules.iter().map(|module| 1 + parts(module).len()).sum::<usize>();
    assert_eq!(sources("core/src").len(), files, "a file that is no module of lib.rs");
    let mut edges = 0;
    for (i, module) in modules.iter().enumerate() {
        for file in parts(module).into_iter().chain([repository().join(format!("core/src/{module}.rs"))]) {
            let text = read(&file);
            assert!(!code(&text).contains("super::super"), "{module}");
            for other in named(&text) {
                assert!(modules[..i].contains(&other) || other == *module, "{module} names {other}");
                edges += 1;
            }
        }
    }
    assert!(edges > 20, "only {edges} imports found");
}

/// Returns the modules named in the tables at the top of a lib.rs.
fn told(lib: &str) -> Vec<String> {
    let name =
        |line: &str| Some(line.strip_prefix("//! | [`")?.split_once('`')?.0.trim_start_matches("mod@").to_owned());
    lib.lines().filter_map(name).collect()
}

#[test]
fn the_tables_of_modules_name_each_of_them() {
    assert_eq!(told(&read(repository().join("core/src/lib.rs"))), modules());
    for library in ["host/src/lib.rs", "host/train/src/lib.rs"] {
        let lib = read(repository().join(library));
        let public = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
        let (mut named, mut all) = (told(&lib), lib.lines().filter_map(public).collect::<Vec<_>>());
        named.sort();
        all.sort();
        assert_eq!(named, all, "{library}");
    }
}

/// The command line's help is made of summaries, too.
#[test]
fn every_summary_names_its_subject_and_no_comment_is_wider_than_the_page() {
    const WIDTH: usize = 120;
    let folders = ["core", "firmware", "host", "tests"].map(|folder| house::repository().join(folder));
    let (mut found, mut read) = (Vec::new(), 0);
    for file in folders.iter().flat_map(|folder| house::files(folder)) {
        let (name, text) = (file.display(), fs::read_to_string(&file).unwrap());
        let bare = house::summaries(&text).into_iter().filter(|(_, summary)| house::is_bare(summary));
        found.extend(bare.map(|(line, summary)| format!("{name}:{line}: {summary}")));
        let comment = |line: &&str| line.trim_start().starts_with("//");
        let wide = text.lines().enumerate().filter(|(_, line)| comment(line) && line.chars().count() > WIDTH);
        found.extend(wide.map(|(at, line)| format!("{name}:{}: {} columns", at + 1, line.chars().count())));
        read += house::summaries(&text).len();
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(read > 3000, "only {read} summaries were read");
}

#[test]
fn a_summary_that_is_a_bare_clause_is_found() {
    let text =
        "/// What it is.\n///\n/// Of course.\nfn f() {}\n//! Number of steps.\n\n    /// Every so many steps.\n";
    let found: Vec<_> = house::summaries(text).into_iter().map(|(line, text)| (line, house::is_bare(text))).collect();
    assert_eq!(found, [(1, true), (5, false), (7, true)]);
    assert!(!house::is_bare("Offset of a place") && !house::is_bare("Asks") && house::is_bare("As it is"));
}

/// A feature chooses between whole modules, so that each of them compiles in one way.
#[test]
fn no_library_of_the_workstation_has_code_for_one_feature_alone() {
    for (name, folder) in house::CRATES {
        let lines: usize =
            house::modules(&house::repository().join(folder)).values().map(|text| house::conditional(text)).sum();
        let most = match name {
            "graftage-core" | "graftage-firmware" => continue,
            // With libtorch, and without.
            "graftage-cli" => 2,
            _ => 0,
        };
        assert!(lines <= most, "{name}: {lines} lines");
    }
}

#[test]
fn a_tuple_in_a_public_item_is_found() {
    let text = "pub fn f(\n    a: (u8, u8),\n) -> Result<(u8, u8)> {\npub fn g(a: (u8, u8)) -> u8 {\n    pub a: Vec<(u8, u8)>,\n\
                pub fn h(f: impl Fn(u8, u8) -> u8) -> u8 {\n    pub b: Box<dyn Fn(u8, u8)>,\npub fn k() -> (u8, u8);\n";
    assert_eq!(house::tuples(text), [1, 5, 8]);
}

#[test]
fn the_reader_of_imports_sees_them() {
    let text = "use crate::a::{B, C}; // use crate::comment::X\nfn f() { crate::b_2::g() }\n$crate::c::d!()";
    assert_eq!(named(text), ["a", "b_2"]);
    assert_eq!(squeezed("a * self.b // c\n + 16_4"), "a*b+164");
}

#[test]
fn no_crate_has_a_circle_of_modules() {
    for (name, folder) in house::CRATES {
        let modules = house::modules(&house::repository().join(folder));
        assert!(modules.len() > 1 || ["graftage-integration"].contains(&name), "{name} has no sources");
        assert_eq!(house::circles(&modules), Vec::<Vec<String>>::new(), "{name}");
    }
}

#[test]
fn a_circle_of_modules_is_found() {
    let crate_of = |files: &[(&str, &str)]| {
        let name = |path: &str| path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        house::circles(&files.iter().map(|(path, text)| (name(path), (*text).to_owned())).collect())
    };
    let root = ("", "mod a;\nmod b;\npub use a::Item;");
    // By an import in braces one way, and by a path the other.
    let circle = crate_of(&[root, ("a", "use crate::{b::{self, C}, d};"), ("b", "fn f() { crate::a::g() }")]);
    assert_eq!(circle, [["a", "b"]]);
    // Through what the root exports again, and by a child of one of them.
    assert_eq!(crate_of(&[root, ("a", "use super::b;"), ("b", ""), ("b::c", "use crate::Item;")]), [["a", "b"]]);
    // Between siblings further down, through their parent.
    let parent = ("a", "mod c;\nmod d;\npub use c::{Other, Thing};");
    assert_eq!(
        crate_of(&[root, parent, ("a::c", "use super::d::E;"), ("a::d", "use super::Thing;")]),
        [["a::c", "a::d"]]
    );
    // A parent and its child are one.
    assert!(
        crate_of(&[root, ("a", "mod c;\nuse c::D;"), ("a::c", "use super::E;"), ("b", "use crate::a::E;")]).is_empty()
    );
}

#[test]
fn the_algorithm_is_written_once() {
    // Constants and formulas, without whitespace, that any other implementation would need. Names would prove less.
    const ONCE: [(&str, &str); 16] = [
        ("first coefficient of Polar Express", "8.2051"),
        ("second coefficient of Polar Express", "22.9019"),
        ("the quintic of Björck and Bowie", "1.875,-1.25,0.375"),
        ("the quintic of Jordan", "3.4445"),
        ("a coefficient of CANS", "25.1081"),
        ("a quintic", "s.multiply(c,(b,gram),(0.0,gram),poly)"),
        ("two quintics", "s.multiply(1.0,(a2,poly),(a1,third),gram)"),
        ("the polar iteration", "fnpolar<"),
        ("the table of norms", "Norm::Spectral=>(Polar,sqrt(m/n))"),
        ("the direction of a norm", "fndirection<"),
        ("the factor of the RMS norm", "sqrt(m*n)"),
        ("the transport c = β/(1 − β)", "beta/(1.0-beta)"),
        ("the lag feedback", "(beta-memory)/(1.0-beta)"),
        ("the transported step", "-(stepsize*radius*norm.factor(shape))"),
        ("the cap", "cap/sqrt("),
        ("the query point of the lag law", "query+(y-x)*before"),
    ];
    // Other ways to compute a polar factor.
    const NEVER: [&str; 2] = ["newtonschulz", ".svd("];
    let files: Vec<_> = ["core/src", "host", "firmware", "tests/src"].into_iter().flat_map(sources).collect();
    let texts: Vec<_> = files.iter().map(|file| (file, squeezed(&read(file)))).collect();
    for (what, needle) in ONCE {
        let found: Vec<_> = texts.iter().flat_map(|(file, text)| vec![file; text.matches(needle).count()]).collect();
        assert_eq!(found.len(), 1, "{what} ({needle}): {found:?}");
        assert!(found[0].starts_with(repository().join("core/src")), "{what}: {found:?}");
    }
    for (file, text) in texts {
        for needle in NEVER {
            assert!(!text.to_lowercase().contains(needle), "{needle} in {}", file.display());
        }
    }
}

#[test]
fn core_does_without_std_unsafe_heap_and_panics() {
    let lib = read(repository().join("core/src/lib.rs"));
    assert!(lib.contains("\n#![no_std]\n#![forbid(unsafe_code)]\n"));
    for file in sources("core/src") {
        let text = code(&read(&file)).replace("unsafe_code", "");
        for needle in ["unsafe", "std::", "alloc::", "extern crate", "panic!", ".unwrap()", ".expect(", "mul_add"] {
            assert!(!text.contains(needle), "{needle} in {}", file.display());
        }
    }
}

#[test]
fn dependencies_of_core_need_neither_std_nor_a_heap() {
    // Dependencies whose default features need neither; all others must have their default features off.
    const SMALL: [&str; 4] = ["crc", "heapless", "libm", "micromath"];
    let manifest = read(repository().join("core/Cargo.toml"));
    let table = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    for line in table.lines().filter(|line| line.contains('=')) {
        let (name, rest) = line.split_once('=').unwrap();
        assert!(SMALL.contains(&name.trim()) || rest.contains("default-features = false"), "{line}");
        assert!(!["std", "alloc"].iter().any(|feature| rest.contains(feature)), "{line}");
    }
}

/// Returns the variants of core's enum of layers.
fn kinds() -> Vec<String> {
    let text = read(repository().join("core/src/network/kind.rs"));
    let (_, body) = text.split_once("pub enum Kind {\n").unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let variant = |line: &str| {
        let rest = line.strip_prefix("    ").filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))?;
        rest.split(|c: char| !c.is_alphanumeric()).next().map(str::to_owned)
    };
    body.lines().filter_map(variant).collect()
}

/// Checks that every kind of layer is in `Kind::EACH`, in the program that every target runs, in the program that must
/// not contain a panic, in the fuzz targets and in the oracle.
#[test]
fn proofs_and_oracle_cover_every_kind_of_layer() {
    let names =
        Kind::EACH.map(|kind| format!("{kind:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned());
    assert_eq!(kinds(), names, "Kind::EACH is not one of every kind");
    for kind in Kind::EACH {
        let words = format!("{kind:?}");
        let name = words.split(|c: char| !c.is_alphanumeric()).next().unwrap();
        let conforming = KINDS.into_iter().flatten().any(|other| discriminant(other) == discriminant(&kind));
        assert!(conforming, "{name} is not in the conformance program");
        for file in ["tests/src/conformance.rs", "tests/src/every.rs"] {
            let text = squeezed(&read(repository().join(file)));
            let networks = text.split("chain![").skip(1).map(|rest| rest.split(']').next().unwrap_or(""));
            let layers: Vec<_> = networks.flat_map(|network| network.split(['<', '>', ','])).collect();
            assert!(layers.contains(&name), "{name} is not in {file}: {layers:?}");
        }
        let oracle = read(repository().join("tests/tests/oracle/layers.rs"));
        assert!(code(&oracle).contains(&format!("Layer::{name}")), "the oracle has no {name}");
    }
}

#[test]
fn the_oracle_shares_no_code_with_core() {
    let oracle = read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/mod.rs"));
    assert!(!squeezed(&oracle).contains("graftagecore"));
}
