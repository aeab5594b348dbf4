//! Tests of what `graftage report` writes about a story.

use graftage::rehearse::{Method, Rehearsal};
use graftage::replay::{Target, Verification};
use graftage::report::{Story, Summary};
use graftage::report::{page, sentence, summary};
use graftage::session::{Memory, Session};
use graftage::statistics::Spread;
use graftage::training::{Training, TrainingPoint};
use graftage_core::schedule::Momentum;
use graftage_core::scion::Rule;
use graftage_core::session::{Judged, Verdict};
use std::collections::{BTreeMap, BTreeSet};

fn method(key: &str, name: &str, mean: f32) -> Method {
    Method {
        key: key.into(),
        name: name.into(),
        step_size: 0.01,
        grid: vec![(0.001, 0.9), (0.01, mean), (0.1, 0.5)],
        accuracy: Spread { mean, deviation: 0.011, by_seed: vec![mean - 0.01, mean + 0.01] },
        curve: (0..=20).map(|k| (k * 10, mean - 0.2 * (1.0 - k as f32 / 20.0))).collect(),
    }
}

fn target(name: &str) -> Target {
    let digest = "93a1c07be25f4d18".into();
    Target { target: name.into(), steps: 400, differing: 0, first_difference: None, arrays: vec![], digest }
}

/// Returns a story in which nothing goes wrong and no control wins.
fn story() -> Story {
    let point = |step| TrainingPoint {
        step,
        loss: 2.3 / step as f32,
        validation_loss: None,
        validation_accuracy: None,
        average_loss: None,
        average_accuracy: None,
        groups: Vec::new(),
        train_loss: None,
        test_loss: 2.4 / step as f32,
        accuracy: 0.9,
        rate: 1e4,
        optimizer_share: 0.1,
    };
    Story {
        training: Training {
            network: "64-32-10".into(),
            parameters: 2410,
            optimizer: "Transported Scion".into(),
            arithmetic: "fast".into(),
            steps: 3000,
            batch: 32,
            schedule: None,
            settings: Vec::new(),
            rule: Rule { step_size: 0.02, momentum: Momentum::Constant(0.95), ..Rule::PLAIN },
            seed: 1,
            samples: (1000, 797),
            drawn: 96_000,
            best: None,
            stopped_early: false,
            unit: "samples".into(),
            loss: 0.05,
            groups: None,
            curve: (1..=3000).map(point).collect(),
            confusion: None,
            accuracy: 0.987,
        },
        rehearsal: Rehearsal {
            samples: 200,
            tuned_on: vec![101, 102],
            reported_on: vec![1, 2],
            clean: 0.987,
            aged: Spread { mean: 0.7, deviation: 0.05, by_seed: vec![0.65, 0.75] },
            methods: vec![
                method("transported_scion", "Transported Scion", 0.95),
                method("scion", "Scion, no transport", 0.945),
                method("sgd", "SGD with momentum", 0.92),
            ],
        },
        session: Session {
            board: "mps2-an386".into(),
            samples: 200,
            verdict: Verdict { committed: true, alarm: false, newest: Judged::default(), kept: Judged::default() },
            refused: 0,
            updates: 400,
            before: 0.701,
            after: 0.952,
            curve: vec![(1, 1.0), (2, 0.5), (200, 0.9)],
            confusion: None,
            digest: "93a1c07be25f4d18".into(),
            dropped: 0,
            seconds: 12.34567,
        },
        verification: Verification { targets: ["mps2-an386", "x86_64", "libtorch-exact"].map(target).into() },
        memory: Memory {
            flash: 31950,
            image: 9760,
            ram: 82944,
            parts: vec![("weights".into(), 9640), ("momentum".into(), 9000)],
        },
    }
}

/// Returns the page with plain spaces for no-break spaces.
fn words(story: &Story) -> String {
    page(story).replace('\u{a0}', " ")
}

#[test]
fn the_summary_is_flat_and_true() {
    let story = story();
    let summary = summary(&story);
    let json = serde_json::to_value(&summary).unwrap();
    let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = [
        "accuracy_adapted",
        "accuracy_aged",
        "accuracy_clean",
        "adapted_deviation",
        "adapted_mean",
        "compared_updates",
        "controls",
        "differing_updates",
        "flash_bytes",
        "image_bytes",
        "network",
        "ram_bytes",
        "ram_parts",
        "recovered",
        "samples",
        "targets",
        "updates",
    ];
    assert_eq!(keys, expected);
    let keys: Vec<_> = json["controls"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["scion", "sgd"]);
    let sgd = &summary.controls["sgd"];
    assert_eq!((sgd.name.as_str(), sgd.step_size, sgd.mean, sgd.deviation), ("SGD with momentum", 0.01, 0.92, 0.011));
    assert_eq!(json["controls"]["sgd"].as_object().unwrap().len(), 4);
    assert_eq!((summary.accuracy_clean, summary.accuracy_aged, summary.accuracy_adapted), (0.987, 0.701, 0.952));
    assert!((summary.recovered.unwrap() - 0.251 / 0.286).abs() < 1e-5);
    assert_eq!((summary.adapted_mean, summary.adapted_deviation), (0.95, 0.011));
    assert_eq!((summary.updates, summary.compared_updates, summary.differing_updates), (400, 400, 0));
    assert_eq!(summary.targets, ["mps2-an386", "x86_64", "libtorch-exact"]);
    assert_eq!((summary.flash_bytes, summary.image_bytes, summary.ram_bytes), (31950, 9760, 82944));
    assert_eq!(summary.ram_parts, BTreeMap::from([("weights".into(), 9640), ("momentum".into(), 9000)]));
    let back: Summary = serde_json::from_value(json).unwrap();
    assert_eq!(back, summary);
}

#[test]
fn the_sentence_says_it_in_words() {
    let expected = "The accuracy of a network (64-32-10) on the test samples was 98.7 % and fell to 70.1 % when its sensor aged; \
                    after 200 labelled samples on the board it is 95.2 %. All 400 updates are bit-identical on \
                    mps2-an386, x86_64 and libtorch-exact. Firmware: 31.2 KB flash, 9.5 KB weights image, 81.0 KB RAM.";
    assert_eq!(sentence(&summary(&story())), expected);
    assert!(words(&story()).contains(expected));
}

#[test]
fn the_sentence_admits_what_is_not_the_same() {
    let mut differing = story();
    differing.verification.targets[1].differing = 3;
    differing.verification.targets[2].differing = 4;
    differing.verification.targets[2].first_difference = Some("update 12".into());
    let said = sentence(&summary(&differing));
    assert!(
        said.contains("NOT bit-identical") && said.contains(" 7 of the updates") && !said.contains("are bit-identical"),
        "{said}"
    );
    assert!(words(&differing).contains("NOT bit-identical") && words(&differing).contains("update 12"));

    let mut unfinished = story();
    unfinished.verification.targets[2].steps = 300;
    let said = sentence(&summary(&unfinished));
    assert!(said.contains("Only 300 of 400 updates were computed") && !said.contains("All 400"), "{said}");

    let mut alone = story();
    alone.verification.targets.truncate(1);
    let said = sentence(&summary(&alone));
    assert!(said.contains("not computed anywhere else") && !said.contains("are bit-identical"), "{said}");

    let mut useless = story();
    (useless.session.before, useless.session.updates) = (0.99, 0);
    let said = sentence(&summary(&useless));
    assert!(said.contains("and became 99.0 %") && said.contains("no updates"), "{said}");
    assert_eq!(summary(&useless).recovered, None);
}

#[test]
fn a_digest_that_differs_is_pointed_out() {
    assert!(!page(&story()).contains("Not all digests"));
    let mut story = story();
    story.verification.targets[1].digest = "0".into();
    assert!(page(&story).contains("Not all digests"));
}

#[test]
fn the_page_needs_nothing_else() {
    let page = page(&story());
    for resource in ["http", "<script", "<link", "@import", "url(", "src="] {
        assert!(!page.contains(resource), "{resource}");
    }
    // Colours come from the style sheet, which has two of each.
    assert!(page.contains("stroke=\"var(--series-2)\"") && !page.contains("=\"#"));
    for part in ["<html lang=\"en\">", "<figcaption>", "<svg role=\"img\"", "<title>Loss", "prefers-color-scheme"] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}

#[test]
fn every_method_is_named_in_chart_and_table() {
    let story = story();
    let page = page(&story);
    let legend = chart(&page, "Accuracy on aged").split("<ul class=\"legend\">").nth(1).unwrap();
    for method in &story.rehearsal.methods {
        assert!(legend.contains(&format!("</svg>{}</li>", method.name)), "{} below its chart", method.name);
        assert!(page.matches(&method.name).count() >= 3, "{} in both tables", method.name);
    }
    assert!(legend.contains("</svg>as new: 98.7</li>") && legend.contains("</svg>aged, not adapted: 70</li>"));
    let mut single = story.clone();
    single.rehearsal.methods[1].accuracy.by_seed.truncate(1);
    assert!(words(&single).contains("<td>94.5 %</td>"));
    assert!(words(&story).contains("<td>94.5 ± 1.1 %</td><td>−0.5</td><td>0 of 2 seeds</td>"));
}

#[test]
fn lines_differ_by_more_than_colour() {
    let mut story = story();
    story.rehearsal.methods =
        (0..30).map(|k| method(&k.to_string(), &format!("Method {k}"), 0.5 + 0.01 * k as f32)).collect();
    let page = page(&story);
    let lines: Vec<_> = lines(chart(&page, "Accuracy on aged")).iter().map(|line| style(line)).collect();
    let different: BTreeSet<_> = lines.iter().collect();
    assert_eq!((lines.len(), different.len()), (30, 30));
}

#[test]
fn every_point_is_shown_and_the_axis_begins_below_the_lowest() {
    let mut story = story();
    story.rehearsal.methods[2].curve[0].1 = 0.1;
    let page = page(&story);
    let chart = chart(&page, "Accuracy on aged");
    for (line, method) in lines(chart).iter().zip(story.rehearsal.methods.iter().rev()) {
        let points = places(line);
        assert_eq!(points.len(), method.curve.len(), "{}", method.name);
        assert!(points.iter().flatten().all(|place| (0.0..=100.0).contains(place)), "{points:?}");
    }
    assert!(chart.contains(">0</span>") && chart.contains(">100</span>"));
    // Lines with so few points get markers, too. On the third line, 10 % lies below 75 %.
    assert_eq!(chart.matches("h0M").count() + chart.matches("h0\"").count(), 3 * 21);
    let third = &places(lines(chart)[0]);
    assert!(third[0][1] > third[1][1] + 40.0, "{third:?}");
}

#[test]
fn a_single_measurement_is_a_dot() {
    let mut story = story();
    story.session.curve = vec![(7, 0.25)];
    let page = page(&story);
    let chart = chart(&page, "Share of samples that the board");
    assert!(chart.contains("class=\"marks\" d=\"M50 2h0\"") && chart.contains(">7</span>"), "{chart}");
    assert!(chart.contains(">25</span>") && !chart.contains("legend"));
}

#[test]
fn points_that_cannot_be_drawn_or_are_averaged_are_counted() {
    let mut story = story();
    assert!(chart(&page(&story), "Loss").contains("the mean of up to 3 measurements"));
    story.training.curve.truncate(10);
    assert!(!chart(&page(&story), "Loss").contains("note"));
    story.training.curve[3].loss = f32::INFINITY;
    assert!(chart(&page(&story), "Loss").contains("Not shown: 1 point that"));
    story.training.curve[4].test_loss = f32::NAN;
    assert!(chart(&page(&story), "Loss").contains("Not shown: 2 points that"));
}

#[test]
fn unmeasured_series_are_not_in_the_legend() {
    let mut story = story();
    assert!(!chart(&page(&story), "Loss").contains("training part"));
    story.training.curve.iter_mut().for_each(|point| point.train_loss = Some(1.0));
    assert!(chart(&page(&story), "Loss").contains("</svg>training part</li>"));
}

/// Returns the figure of the chart whose title begins with `title`.
fn chart<'a>(page: &'a str, title: &str) -> &'a str {
    let chart = page.split("<figure>").find(|chart| chart.contains(&format!("<title>{title}"))).unwrap();
    chart.split("</figure>").next().unwrap()
}

/// Returns the lines of a chart, from the back to the front.
fn lines(chart: &str) -> Vec<&str> {
    let paths = chart.split("<path ").filter(|path| path.starts_with("class=\"line"));
    paths.map(|path| path.split('>').next().unwrap()).collect()
}

/// Returns colour and dashes of a line.
fn style(line: &str) -> &str {
    line.split_once(" stroke=").unwrap().1
}

/// Returns the points of a line, in percent from the left and from the top.
fn places(line: &str) -> Vec<[f64; 2]> {
    let path = line.split_once("d=\"M").unwrap().1.split('"').next().unwrap();
    let point = |point: &str| {
        let (x, y) = point.split_once(' ').unwrap();
        [x, y].map(|number| number.parse().unwrap())
    };
    path.split('L').map(point).collect()
}

#[test]
fn the_page_escapes() {
    let mut story = story();
    let sly = "<b>&\"";
    story.rehearsal.methods[1].name = sly.into();
    story.training.network = sly.into();
    story.verification.targets[1].target = sly.into();
    story.verification.targets[1].first_difference = Some(sly.into());
    story.memory.parts[0].0 = sly.into();
    let page = page(&story);
    assert!(!page.contains("<b>"));
    assert!(page.matches("&lt;b&gt;&amp;").count() >= 8);
}

#[test]
fn a_control_that_wins_is_named() {
    let verdict = "No control does better than the board's rule. The best, Scion, no transport, is behind by 0.5 \
                   points (within one deviation).";
    assert!(words(&story()).contains(verdict));
    assert!(!sentence(&summary(&story())).contains("did better"));

    let mut close = story();
    close.rehearsal.methods[1].accuracy.mean = 0.955;
    close.rehearsal.methods[2].accuracy.mean = 0.98;
    let verdict = "SGD with momentum does better than the board's rule by 3.0 points. Scion, no transport does better \
                   than the board's rule by 0.5 points (within one deviation).";
    assert!(words(&close).contains(verdict));
    let said = " In rehearsal, SGD with momentum did better than the board's rule: 98.0 % against 95.0 %. All 400";
    assert!(sentence(&summary(&close)).contains(said));

    let mut level = story();
    level.rehearsal.methods[1].accuracy.mean = 0.95;
    assert!(words(&level).contains("Scion, no transport is level with it."));
    level.rehearsal.methods[1].accuracy.mean = 0.9501;
    assert!(words(&level).contains("by less than 0.1 points (within one deviation)"));
    assert!(!sentence(&summary(&level)).contains("did better"), "95.0 % against 95.0 %");
    level.rehearsal.methods.truncate(1);
    assert!(words(&level).contains("nothing to compare the board's rule with"));
}

#[test]
fn a_step_size_at_the_edge_of_its_grid_is_pointed_out() {
    assert!(!page(&story()).contains("may lie beyond"));
    let mut story = story();
    story.rehearsal.methods[2].step_size = 0.1;
    assert!(page(&story).contains("For SGD with momentum, it is the smallest or largest"));
}

/// Returns a story with the number `x` in every place and `count` entries in every list.
fn strange(x: f32, count: usize) -> Story {
    let mut story = story();
    let spread = Spread { mean: x, deviation: x, by_seed: vec![x; count] };
    story.training.accuracy = x;
    story.training.rule.step_size = x;
    let point = TrainingPoint {
        step: u64::MAX,
        loss: x,
        validation_loss: None,
        validation_accuracy: None,
        average_loss: None,
        average_accuracy: None,
        groups: Vec::new(),
        train_loss: Some(x),
        test_loss: x,
        accuracy: x,
        rate: x,
        optimizer_share: x,
    };
    story.training.curve = vec![point; count];
    story.session.curve = vec![(usize::MAX, x); count];
    (story.session.before, story.session.after, story.session.seconds) = (x, x, x);
    for method in &mut story.rehearsal.methods {
        method.accuracy = spread.clone();
        method.step_size = x;
        method.grid = vec![(x, x); count];
        method.curve = vec![(count, x); count];
    }
    story.rehearsal.clean = x;
    story.rehearsal.aged = spread;
    story.rehearsal.reported_on = vec![u64::MAX; count];
    story.verification.targets.iter_mut().for_each(|target| target.differing = u64::MAX);
    story.memory.parts = vec![(String::new(), u64::MAX); count];
    story
}

#[test]
fn nothing_panics() {
    for count in [0, 1, 2, 300] {
        for x in
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, -1.0, 0.0, 1.0]
        {
            let story = strange(x, count);
            assert!(page(&story).ends_with("</html>"));
            assert!(!page(&story).contains("NaN"), "{x} {count}");
            assert!(!sentence(&summary(&story)).contains('\n'));
        }
    }
    assert!(!page(&strange(f32::MAX, 3)).contains("inf"));
    assert!(page(&strange(f32::NAN, 3)).matches("There are no measurements that can be drawn.").count() == 4);
    let mut empty = strange(0.0, 0);
    empty.rehearsal.methods.clear();
    empty.verification.targets.clear();
    assert!(page(&empty).contains("There are no measurements that can be drawn."));
    let mut many = story();
    many.rehearsal.methods =
        (0..40).map(|k| method(&k.to_string(), "A method with a very long name indeed", 0.9)).collect();
    assert_eq!(page(&many).matches("A method with a very long name indeed</li>").count(), 40);
}

#[test]
fn a_story_is_read_from_its_five_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("training")).unwrap();
    let mut told = story();
    // JSON has no NaN: a single ageing seed has no deviation, and a failed training has no loss.
    told.training.curve[7].loss = f32::INFINITY;
    told.rehearsal.aged.deviation = f32::NAN;
    told.session.before = f32::NAN;
    let write = |name: &str, value: serde_json::Value| {
        graftage::files::write_json(&folder.path().join(name), &value).unwrap();
    };
    write("training/training.json", serde_json::to_value(&told.training).unwrap());
    write("rehearsal.json", serde_json::to_value(&told.rehearsal).unwrap());
    write("session.json", serde_json::to_value(&told.session).unwrap());
    write("verification.json", serde_json::to_value(&told.verification).unwrap());
    let missing = Story::read(folder.path()).unwrap_err().to_string();
    assert!(missing.contains("memory.json"), "{missing}");
    write("memory.json", serde_json::to_value(&told.memory).unwrap());
    let mut read = Story::read(folder.path()).unwrap();
    assert!(
        read.training.curve[7].loss.is_nan() && read.session.before.is_nan() && read.rehearsal.aged.deviation.is_nan()
    );
    assert!(page(&read).contains("<td>70.0\u{a0}%</td>"));
    read.training.curve[7].loss = told.training.curve[7].loss;
    assert!(sentence(&summary(&read)).contains("and became n/a"));
    read.rehearsal.aged.deviation = 0.05;
    (read.session.before, told.session.before) = (0.7, 0.7);
    told.rehearsal.aged.deviation = 0.05;
    assert_eq!(read, told);
}
