//! Tests of `graftage theory` and `graftage schedule`.

use crate::common::Folder;
use graftage_theory::{Experiment, Extent, Results};

/// Seed of all random numbers here.
const SEED: u64 = 1;

#[test]
fn the_quick_run_holds_and_goes_on() {
    let folder = Folder::empty();
    let quick = |arguments: &str| folder.graftage(&format!("theory --quick --output out {arguments}"));
    let text = quick("--threads 2").succeeded();
    assert!(text.contains("promises hold"), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("  holds")).count(), 27, "{text}");
    let path = folder.path("out/results.json");
    let read = || std::fs::read_to_string(&path).unwrap();
    let page = std::fs::read_to_string(folder.path("out/report.html")).unwrap();
    assert_eq!(page.matches("<svg role=\"img\"").count(), 5);
    assert!(!page.contains("http") && !page.contains("NaN") && !page.contains("There are no measurements"));

    // Nothing is overwritten by mistake.
    let (line, before) = (quick("").failed(), read());
    assert!(line.contains("--resume"), "{line}");
    let line = quick("--resume --seed 7").failed();
    assert!(line.contains("holds a quick run with seed 1, but this run is quick with seed 7"), "{line}");
    assert_eq!(read(), before);

    // A missing experiment is run again, to the same bits, whatever the number of threads.
    let first = Results::read(&path, Extent::Quick, SEED).unwrap();
    let mut results = first.clone();
    results.outcomes.retain(|outcome| outcome.experiment != Experiment::Average);
    assert_eq!(results.missing(), [Experiment::Average]);
    graftage::files::write_json(&path, &results).unwrap();
    quick("--resume --threads 1").succeeded();
    let mut second = Results::read(&path, Extent::Quick, SEED).unwrap();
    for (one, other) in second.outcomes.iter_mut().zip(&first.outcomes) {
        one.seconds = other.seconds;
    }
    // The table and the page show those times, so their checksums differ.
    second.written = first.written.clone();
    assert_eq!(second, first);
}

#[test]
fn a_run_that_cannot_be_is_refused() {
    let folder = Folder::empty();
    let line = folder.graftage("theory --quick --resume --output out").failed();
    assert!(line.contains("results.json") && line.contains("without --resume"), "{line}");
    for threads in ["0", "5000"] {
        let line = folder.graftage(&format!("theory --quick --output out --threads {threads}")).failed();
        assert!(
            line.contains("--threads: must be from 1 to ")
                && line.ends_with(&format!(", found {threads}"))
                && folder.files().is_empty(),
            "{line}"
        );
    }
    folder.file("results.json", "{\"extent\":\"quick\",");
    let line = folder.graftage("theory --quick --resume --output .").failed();
    assert!(line.contains("results.json"), "{line}");
    assert_eq!(folder.files().len(), 1);
}

#[test]
fn schedules_are_the_theorys() {
    let folder = Folder::empty();
    let text = folder.graftage("schedule --p 1.5 --rank 32 --samples 1e6").succeeded();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("plain") || line.starts_with("transported"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 6, "{text}");
    let (p, r, samples) = (1.5f64, 32.0, 1e6);
    for row in &rows {
        let [batch, steps, alpha, beta, step, error] =
            row[1..].iter().map(|cell| cell.parse::<f64>().unwrap()).collect::<Vec<_>>()[..]
        else {
            panic!("{row:?}")
        };
        // With ε the error: noise (rα/B)^((p−1)/p) = ε, lag η/α or (η/α)² = ε, progress 1/(ηT) = ε of T = N/B steps.
        let plain = row[0] == "plain";
        let close = |found: f64, expected: f64| {
            assert!((found / expected - 1.0).abs() < 2e-3, "{row:?}: {found} {expected}");
        };
        close((r * alpha / batch).powf((p - 1.0) / p), error);
        close((step / alpha).powi(if plain { 1 } else { 2 }), error);
        close(1.0 / (step * samples / batch), error);
        close(beta + alpha, 1.0);
        assert_eq!(steps, (samples / batch).floor());
        assert!(alpha <= 1.0 + 1e-6);
    }
    let batches: Vec<_> = rows.iter().map(|row| row[1]).collect();
    assert!(batches[0] == "1" && batches[3] == "1", "{text}");
    for wrong in ["--p 1 --rank 2 --samples 100", "--p 2.5 --rank 2 --samples 100", "--p 2 --rank 20 --samples 10"] {
        let line = folder.graftage(&format!("schedule {wrong}")).failed();
        assert!(line.contains("p must be above 1 and at most 2"), "{line}");
    }
}
