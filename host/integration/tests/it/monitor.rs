//! Tests of what a monitor shows of a board.

use graftage::monitor::{Line, Monitor};
use graftage_core::error::ImageError;
use graftage_core::network::Prediction;
use graftage_core::session::{Counts, Taken};
use graftage_link::{Hello, Memory, Status};

const STATUS: Status = Status {
    scale: 16.0,
    steps: 2,
    counts: Counts { taken: 12, committed: 3, rolled_back: 1, alarms: 2 },
    learnt: 10,
    correct: 4,
    latest: Some(Taken { prediction: Prediction { class: 7, probability: 0.625 }, held_out: false }),
    loss: Some(0.5),
    step: 20,
    digest: 0xabcd,
    image: 1,
    movement: 0.25,
    budget: Some(1.0),
    saved: Some(15),
    slots: [Some(15), Some(14)],
};

fn hello(status: Result<Status, ImageError>) -> Hello {
    let memory =
        Memory { weights: 1, query_points: 2, momenta: 3, in_use: 4, replay: 5, held_out: 6, scratch: 7, link: 8 };
    Hello { board: "b1".try_into().unwrap(), schema: 9, inputs: 64, classes: 10, dropped: 2, memory, status }
}

/// Returns the line of a page that begins with a word.
fn line(monitor: &Monitor, word: &str) -> String {
    let page = monitor.page();
    let line = page.iter().find(|line| line.starts_with(word));
    line.unwrap_or_else(|| panic!("no {word}: {page:#?}")).split_once(' ').unwrap().1.trim().to_owned()
}

#[test]
fn a_page_says_where_a_board_stands() {
    let mut monitor = Monitor::default();
    monitor.refused = 3;
    assert!(monitor.page().is_empty() && monitor.summary().is_empty());
    monitor.see(hello(Ok(STATUS)), Line { damaged: 4, repeated: 5 });
    for (word, expected) in [
        ("b1:", "64 inputs, 10 classes, schema 0000000000000009"),
        ("samples", "12 taken: 10 learnt, 2 held out, 3 refused"),
        ("newest", "class 7 predicted with 62.5 %"),
        ("correct", "████████░░░░░░░░░░░░ 40.0 % of all"),
        ("loss", "0.5000 █"),
        ("step", "20, digest 000000000000abcd"),
        ("movement", "█████░░░░░░░░░░░░░░░ 0.250 of 1 radii"),
        ("sessions", "3 committed, 1 rolled back, 2 alarms"),
        ("stored", "generation 15 of the whole state; slots: generation 15, generation 14"),
        ("link", "2 frames dropped by the board, 4 by the workstation, 5 requests repeated"),
    ] {
        assert_eq!(line(&monitor, word), expected);
    }
    let expected = "b1: 12 samples, step 20, 40.0 % correct, loss 0.5000, movement 0.250 of 1, 3 committed, 1 rolled back, \
                    2 alarms, generation 15 stored, 6 frames dropped";
    assert_eq!(monitor.summary(), expected);
    for (alarms, expected) in [(0, "3 committed, 1 rolled back"), (1, "3 committed, 1 rolled back, 1 alarm")] {
        let counts = Counts { alarms, ..STATUS.counts };
        monitor.see(hello(Ok(Status { counts, ..STATUS })), Line::default());
        assert_eq!(line(&monitor, "sessions"), expected);
        assert!(monitor.summary().contains(&format!("{expected}, generation")), "{}", monitor.summary());
    }
}

#[test]
fn the_share_of_the_newest_samples_is_that_between_two_questions() {
    let mut monitor = Monitor::default();
    // Ten wrong samples, then 30 right ones, two between questions.
    for (learnt, correct) in [(0, 0), (10, 0)].into_iter().chain((1..=15).map(|k| (10 + 2 * k, 2 * k))) {
        monitor.see(hello(Ok(Status { learnt, correct, loss: Some(learnt as f32), ..STATUS })), Line::default());
        if learnt == 20 {
            assert!(line(&monitor, "correct").ends_with("50.0 % of all, 50.0 % of the last 20"));
        }
    }
    assert!(
        line(&monitor, "correct").ends_with("75.0 % of all, 100.0 % of the last 20"),
        "{}",
        line(&monitor, "correct")
    );
    assert!(line(&monitor, "loss").starts_with("40.0000 ▁▃") && line(&monitor, "loss").ends_with('█'));
    // A reset clears the history.
    monitor.see(hello(Ok(Status { learnt: 4, correct: 1, ..STATUS })), Line::default());
    assert!(line(&monitor, "correct").ends_with("25.0 % of all"), "{}", line(&monitor, "correct"));
}

#[test]
fn a_board_that_has_learnt_nothing_or_has_no_image_is_shown_too() {
    let mut monitor = Monitor::default();
    let status = Status {
        counts: Counts::default(),
        learnt: 0,
        latest: None,
        loss: None,
        budget: None,
        saved: None,
        slots: [None; 2],
        ..STATUS
    };
    monitor.see(hello(Ok(status)), Line::default());
    assert_eq!(line(&monitor, "movement"), "0.250 radii, no budget");
    assert_eq!(line(&monitor, "stored"), "nothing; slots: empty, empty");
    assert!(!monitor.page().iter().any(|line| line.starts_with("correct") || line.starts_with("loss")));
    assert!(monitor.summary().contains("none correct") && monitor.summary().contains("nothing stored"));
    monitor.see(hello(Err(ImageError::Checksum)), Line::default());
    assert_eq!(line(&monitor, "image"), ImageError::Checksum.to_string());
    assert_eq!(monitor.summary(), format!("b1: {}", ImageError::Checksum));
}

#[test]
fn the_last_lines_of_a_log_are_shown() {
    let mut monitor = Monitor::default();
    monitor.see(hello(Ok(STATUS)), Line::default());
    monitor.log((0..4).map(|k| format!("first {k}")).collect());
    monitor.log((0..4).map(|k| format!("second {k}")).collect());
    let page = monitor.page();
    let log: Vec<_> = page.iter().filter_map(|line| line.strip_prefix("log")).map(str::trim).collect();
    assert_eq!(log, ["first 2", "first 3", "second 0", "second 1", "second 2", "second 3"]);
}
