//! Tests that a process that dies after any operation leaves either the old files or the new ones.

use super::operations::death;
use super::*;
use std::collections::BTreeMap;
use std::fs;

/// Files of a folder by name, including hidden ones.
fn contents(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: &PathBuf| fs::read_to_string(path).unwrap_or_else(|_| "a folder".into());
    entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), text(&path))).collect()
}

fn set(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
}

const OLD: [(&str, &str); 4] = [("a", "old a"), ("b", "old b"), ("c", "old c"), ("notes", "mine")];
const NEW: [(&str, &str); 4] = [("a", "new a"), ("b", "new b"), ("d", "new d"), ("notes", "mine")];

/// Changes a folder from the old files to the new ones.
fn change(folder: &Folder) -> Result<()> {
    let mut change = folder.change();
    for (name, text) in &NEW[..3] {
        change.add(name, text.as_bytes())?;
    }
    change.supersede(&["c"]);
    change.commit()
}

/// Makes the same change in a process that dies after `operations` operations. Returns `true` if it completed.
fn dies(path: &Path, operations: u32) -> bool {
    for (name, text) in OLD {
        fs::write(path.join(name), text).unwrap();
    }
    let folder = Folder::open(path, true).unwrap();
    death::after(operations);
    let done = change(&folder).is_ok();
    // Dropping releases the lock; no other cleanup takes effect.
    drop(folder);
    death::after(u32::MAX);
    done
}

#[test]
fn after_a_death_the_old_files_or_the_new_ones_are_there() {
    let (old, new) = (set(&OLD), set(&NEW));
    let (mut olds, mut news) = (0, 0);
    for operations in 0.. {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        let done = dies(path, operations);
        let left = contents(path);
        // A reader completes a decided change and ignores an undecided one.
        read(&path.join("a")).unwrap();
        let shown: BTreeMap<_, _> = contents(path).into_iter().filter(|(name, _)| !name.starts_with('.')).collect();
        assert!(shown == old || shown == new, "{operations}: {left:?}, then {shown:?}");
        // A writer cleans up.
        drop(Folder::open(path, false).unwrap());
        assert_eq!(contents(path), shown, "{operations}");
        (olds, news) = (olds + u32::from(shown == old), news + u32::from(shown == new));
        assert!(!done || shown == new);
        if done {
            break;
        }
    }
    assert!(olds > 8 && news > 8, "{olds} deaths before the decision, {news} after it");
}

#[test]
fn a_process_that_dies_while_finishing_leaves_the_rest_to_the_next() {
    let new = set(&NEW);
    for operations in 0.. {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        // The first death after the decision.
        let decided = (0..100).find(|operations| {
            dies(path, *operations);
            path.join(".graftage-commit").exists()
        });
        assert!(decided.is_some());
        death::after(operations);
        let finished = read(&path.join("a"));
        death::after(u32::MAX);
        assert_eq!(read(&path.join("a")).unwrap(), b"new a");
        assert_eq!(contents(path), new, "{operations}");
        if finished.is_ok() {
            assert!(operations > 5);
            break;
        }
    }
}

#[test]
fn a_file_by_itself_is_the_old_one_or_the_new_one() {
    for force in [true, false] {
        for operations in 0.. {
            let temporary = tempfile::tempdir().unwrap();
            let path = temporary.path().join("a");
            if force {
                fs::write(&path, "old").unwrap();
            }
            let output = Output::claim(&path, force).unwrap();
            death::after(operations);
            let done = output.write(b"new").is_ok();
            death::after(u32::MAX);
            let found = fs::read_to_string(&path).ok();
            assert!(
                found.as_deref() == Some("new") || (!done && found.as_deref() == force.then_some("old")),
                "{found:?}"
            );
            // The next writer reuses what is left.
            Output::claim(&path, true).unwrap().write(b"newer").unwrap();
            assert_eq!(contents(temporary.path()), set(&[("a", "newer")]));
            if done {
                break;
            }
        }
    }
}

#[test]
fn a_file_that_has_appeared_meanwhile_is_not_replaced() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    let output = Output::claim(&path.join("x"), false).unwrap();
    let folder = Folder::open(path, false).unwrap();
    folder.claim(&["a", "b", "d"]).unwrap();
    fs::write(path.join("x"), "mine").unwrap();
    fs::write(path.join("d"), "mine").unwrap();
    let message = output.write(b"new").unwrap_err().to_string();
    assert!(message.contains("x: already exists; use --force to replace it"), "{message}");
    let message = change(&folder).unwrap_err().to_string();
    assert!(message.contains("d: already exists; use --force to replace it"), "{message}");
    assert_eq!(contents(path), set(&[("x", "mine"), ("d", "mine")]));
    fs::remove_file(path.join("d")).unwrap();
    change(&folder).unwrap();
    // A run may replace its own files.
    change(&folder).unwrap();
    assert_eq!(contents(path), set(&[("x", "mine"), ("a", "new a"), ("b", "new b"), ("d", "new d")]));
}

#[test]
fn a_folder_and_a_file_have_one_writer() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    let own = format!("another graftage process ({}) is writing here", std::process::id());
    let (folder, output) = (Folder::open(path, false).unwrap(), Output::claim(&path.join("x"), false).unwrap());
    for message in [Folder::open(path, true).unwrap_err(), Output::claim(&path.join("x"), true).unwrap_err()] {
        assert!(message.to_string().ends_with(&own), "{message}");
    }
    drop((folder, output));
    Folder::open(path, false).unwrap();
    Output::claim(&path.join("x"), false).unwrap();
    assert_eq!(contents(path), set(&[]));
}

/// A process that another thread has just started holds copies of all open files for a moment.
#[test]
fn a_copy_of_an_open_file_does_not_keep_its_lock() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("x");
    let claim = || lock::lock(&path, fs::File::create(&path).unwrap());
    let locked = claim().unwrap();
    let copy = locked.try_clone().unwrap();
    claim().unwrap_err();
    drop(locked);
    claim().unwrap();
    drop(copy);
}

#[test]
fn a_folder_that_was_made_for_nothing_goes_away() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("deep/er");
    drop(Folder::open(&path, false).unwrap());
    assert_eq!(contents(temporary.path()), set(&[]));
    let folder = Folder::open(&path, false).unwrap();
    change(&folder).unwrap();
    drop(folder);
    assert_eq!(contents(&path).len(), 3);
}

#[test]
fn files_of_an_earlier_run_may_be_replaced_by_the_next() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    let mut written = Written::default();
    for (name, text) in &NEW[..3] {
        fs::write(path.join(name), text).unwrap();
        written.add(name, text.as_bytes());
    }
    let folder = Folder::open(path, false).unwrap();
    folder.claim_again(&["a", "b", "d", "e"], &written).unwrap();
    change(&folder).unwrap();
    drop(folder);
    fs::write(path.join("b"), "new B").unwrap();
    let folder = Folder::open(path, false).unwrap();
    let message = folder.claim_again(&["a", "b"], &written).unwrap_err().to_string();
    assert!(message.contains("b: has changed since this run wrote it"), "{message}");
    assert_eq!(fs::read_to_string(path.join("b")).unwrap(), "new B");
}

#[test]
fn a_folder_of_an_outputs_name_is_no_file() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    fs::create_dir(path.join("d")).unwrap();
    let message = change(&Folder::open(path, true).unwrap()).unwrap_err().to_string();
    assert!(message.contains("d: is a folder, but a file must be written there"), "{message}");
    assert_eq!(contents(path), set(&[("d", "a folder")]));
}
