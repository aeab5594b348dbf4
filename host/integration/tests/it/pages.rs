//! Tests that all of every page can be seen, in windows of three widths. A browser measures it, if one is installed.
//!
//! `GRAFTAGE_PAGES=FOLDER` keeps the pages for inspection.

use crate::common::{self, Folder, parse, samples};
use graftage::confusion::{Compared, Confusion};
use graftage::graft::{IMAGE, graft};
use graftage::image::identity;
use graftage::record::{Event, Lesson, Record, Refused};
use graftage::rehearse::Rehearsal;
use graftage::replay::{Target, Verification};
use graftage::report::{Account, Story};
use graftage::report::{account_page, page, training_page};
use graftage::session::{Memory, Session};
use graftage::training::Training;
use graftage_core::adapt::{Recipe, Report};
use graftage_core::error::Refusal;
use graftage_core::network::{Outcome, Prediction};
use graftage_core::session::{Judged, Taken, Verdict};
use graftage_link::Ended;
use graftage_theory::Results;
use graftage_theory::theory_page;
use graftage_train::page::{comparison_page, transfer_page};
use graftage_train::tournament::compare::Comparison;
use graftage_train::tournament::transfer::Transfer;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::Write;
use std::process::Command;

/// Widths of windows, in pixels: a phone, half a screen and a screen.
const WIDTHS: [u32; 3] = [390, 1000, 1500];

const LONG: &str = "a name that somebody has thought about for a long time and that goes on and on without an end";
const ONE_WORD: &str =
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft_0123456789_0123456789";

/// Script that measures each page in a frame of each width, and writes the faults in JSON.
const PROBE: &str = r#"
const LEAST = 9, SLACK = 1;
function faults(view, width) {
  const found = [], root = view.document.documentElement;
  const fault = (what, node) => found.push(what + ': ' + (node.textContent || node.outerHTML).trim().slice(0, 60));
  const inside = (inner, outer) => inner.left >= outer.left - SLACK && inner.right <= outer.right + SLACK
    && inner.top >= outer.top - SLACK && inner.bottom <= outer.bottom + SLACK;
  const apart = (one, other) => one.right <= other.left + SLACK || other.right <= one.left + SLACK
    || one.bottom <= other.top + SLACK || other.bottom <= one.top + SLACK;
  if (view.innerWidth !== width) found.push('the window is ' + view.innerWidth + ' pixels wide');
  view.document.querySelectorAll('details').forEach(details => { details.open = true; });
  if (root.scrollWidth > width) found.push('the document is ' + root.scrollWidth + ' pixels wide');
  const box = node => node.getBoundingClientRect();
  const scrolls = node => node.closest('.scroll, pre');

  const texts = view.document.createTreeWalker(view.document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const parent = text.parentElement;
    if (!text.data.trim() || parent.closest('style, svg title')) continue;
    const scale = parent.ownerSVGElement ? parent.getScreenCTM().a : 1;
    const size = scale * parseFloat(view.getComputedStyle(parent).fontSize);
    if (size < LEAST) fault('text of ' + size.toFixed(1) + ' pixels', text);
    const range = view.document.createRange();
    range.selectNodeContents(text);
    for (const part of range.getClientRects()) {
      if (!scrolls(parent) && (part.left < -SLACK || part.right > width + SLACK)) fault('text outside the window', text);
      const svg = parent.ownerSVGElement, chart = parent.closest('figure');
      if (svg && !inside(part, box(svg))) fault('text outside its picture', text);
      if (chart && !inside(part, box(chart))) fault('text outside its figure', text);
    }
  }
  for (const svg of view.document.querySelectorAll('svg')) {
    const frame = box(svg);
    if (!svg.closest('table')) {
      if (frame.left < -SLACK || frame.right > width + SLACK) fault('a picture outside the window', svg);
      if (scrolls(svg)) fault('a picture in what scrolls', svg);
    }
    if (frame.width < 4 || frame.height < 4) fault('a picture of no size', svg);
    for (const shape of svg.querySelectorAll('path, line, rect, circle, polyline')) {
      if (!inside(box(shape), frame)) fault('a shape outside its picture', shape);
    }
  }
  for (const plot of view.document.querySelectorAll('.plot')) {
    const labels = [...plot.querySelectorAll('span')];
    labels.forEach((label, index) => labels.slice(index + 1).forEach(other => {
      if (!apart(box(label), box(other))) fault('a label on ' + other.textContent, label);
    }));
    if (labels.length < 2) fault('an axis without labels', plot);
    const unit = plot.previousElementSibling;
    labels.forEach(label => { if (!apart(box(label), box(unit))) fault('a label on the unit', label); });
  }
  for (const row of view.document.querySelectorAll('.pair')) {
    const plots = [...row.querySelectorAll('.plot')].map(box), units = row.querySelectorAll('.unit');
    if (plots.length < 2) continue;
    const [one, other] = plots, level = one.top === other.top;
    if (one.width !== other.width || one.height !== other.height) fault('two plots of different size', row);
    if (level !== (width >= 1000)) fault('two plots not in a row where there is room, or where there is none', row);
    const fonts = new Set([...units].map(unit => view.getComputedStyle(unit).fontSize));
    if (fonts.size !== 1) fault('two plots of different fonts', row);
  }
  return [...new Set(found)];
}
const results = [];
for (const [name, page] of pages) {
  for (const width of widths) {
    const frame = document.createElement('iframe');
    frame.style = 'border:0;height:1200px;width:' + width + 'px';
    document.body.append(frame);
    const view = frame.contentWindow;
    view.document.open();
    view.document.write(page);
    view.document.close();
    results.push([name, width, faults(view, width)]);
    frame.remove();
  }
}
document.getElementById('results').textContent = JSON.stringify(results);
"#;

/// Returns the faults of pages, each with the page's name and the width of the window; `None` if there is no browser.
///
/// With `GRAFTAGE_REQUIRE_BROWSER=1`, nothing is skipped: a missing browser panics.
fn faults(pages: &[(String, String)]) -> Option<Vec<(String, u32, Vec<String>)>> {
    let folder = Folder::empty();
    // A script must not contain the end tag of an element.
    let literal = |value: Value| value.to_string().replace("</", "<\\/").replace("<!--", "<\\!--");
    let probe = format!(
        "<!DOCTYPE html><meta charset=\"utf-8\"><body><pre id=\"results\">none</pre>\
         <script>const pages = {}, widths = {};{PROBE}</script>",
        literal(json!(pages)),
        literal(json!(WIDTHS)),
    );
    let path = folder.file("probe.html", probe);
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    chromium.args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom"]);
    chromium.args([&format!("--user-data-dir={}", folder.path("profile").display()), "--window-size=1600,1200"]);
    let output = match chromium.arg(format!("file://{}", path.display())).output() {
        Ok(output) => output,
        Err(error) => {
            let line =
                format!("pages are not looked at: chromium cannot be started ({error}); run `cargo xtask setup`");
            assert!(std::env::var("GRAFTAGE_REQUIRE_BROWSER").map_or(true, |required| required != "1"), "{line}");
            // Bypasses the test harness, which would capture the line.
            let _ = writeln!(std::io::stderr(), "{line}");
            return None;
        }
    };
    let dom = String::from_utf8_lossy(&output.stdout);
    let results = dom.split_once("<pre id=\"results\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let (results, _) = results.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let results = results.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&");
    Some(serde_json::from_str(&results).unwrap_or_else(|error| panic!("{error}: {results}")))
}

#[test]
fn all_of_every_page_is_seen_at_every_width() {
    let mut pages = pages();
    let spoilt = spoilt(&pages[0].1);
    let expected: Vec<_> = spoilt.iter().map(|(name, _)| name.clone()).collect();
    if let Some(folder) = std::env::var_os("GRAFTAGE_PAGES") {
        for (name, page) in &pages {
            std::fs::write(std::path::Path::new(&folder).join(format!("{name}.html")), page).unwrap();
        }
    }
    pages.extend(spoilt);
    let Some(faults) = faults(&pages) else { return };
    assert_eq!(faults.len(), pages.len() * WIDTHS.len());
    let mut wrong = Vec::new();
    for (name, width, faults) in faults {
        if !expected.contains(&name) {
            wrong.extend(faults.into_iter().map(|fault| format!("{name} at {width}: {fault}")));
        } else if !faults.iter().any(|fault| fault.starts_with(&name)) {
            // Each of these pages is named after its fault.
            wrong.push(format!("not found at {width}: {name}, but {faults:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Returns pages with one fault each, which is also their name.
fn spoilt(page: &str) -> Vec<(String, String)> {
    let style = |rule: &str| page.replace("</style>", &format!("{rule}</style>"));
    let picture = |shape: &str| {
        let picture = format!("<figure><svg viewBox=\"0 0 100 100\" width=\"300\">{shape}</svg></figure></main>");
        page.replace("</main>", &picture)
    };
    let faults = [
        ("text of 8.0 pixels", style(".plot span { font-size: 8px }")),
        ("text of 6.0 pixels", picture("<text x=\"10\" y=\"50\" font-size=\"2\">small</text>")),
        ("the document is", style(".plot svg { width: 1600px }")),
        ("a picture outside the window", style(".plot svg { width: 1600px }")),
        ("text outside its picture", picture("<text x=\"80\" y=\"50\" font-size=\"10\">a label that is cut</text>")),
        ("a shape outside its picture", picture("<path d=\"M10 10H120V20z\"/>")),
        ("text outside its figure", style(".plot .left { right: 130% }")),
        ("a label on", style(".plot .below { left: 50% !important }")),
        ("two plots of different size", style(".pair figure:last-child .plot { height: 9rem }")),
        ("two plots of different fonts", style(".pair figure:last-child .unit { font-size: 1rem }")),
        ("a picture in what scrolls", page.replace("<figure>", "<figure class=\"scroll\">")),
    ];
    faults.map(|(name, page)| (name.to_owned(), page)).into()
}

fn told<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Returns every kind of page, with ordinary and with strange contents.
fn pages() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    let mut add = |name: &str, page: String| pages.push((name.to_owned(), page));
    let digits = |count| (0..count).map(|class| class.to_string()).collect::<Vec<_>>();

    add("training", training_page(&training(12, "samples", Some(confusion(digits(10))))));
    add("training-parts", training_page(&measured(training(3000, "images", Some(confusion(digits(40)))))));
    add("training-text", training_page(&training(60, "tokens", None)));
    add("training-one", training_page(&training(1, "samples", Some(confusion(digits(2))))));
    add("training-none", training_page(&training(0, "samples", Some(Confusion::default()))));
    add("training-names", training_page(&named(training(5, "samples", Some(confusion(names(12)))))));
    for (name, x) in [("nan", f32::NAN), ("huge", f32::MAX), ("tiny", 1e-45), ("same", 0.5)] {
        add(&format!("training-{name}"), training_page(&strange(training(20, "samples", None), x)));
    }

    add("comparison", comparison_page(&comparison(3, 200, "Transported Scion")));
    add("comparison-short", comparison_page(&comparison(1, 1, "AdamW")));
    add("comparison-names", comparison_page(&comparison(9, 40, LONG)));
    add("transfer", transfer_page(&transfer(4, 6)));
    add("transfer-one", transfer_page(&transfer(1, 1)));
    add("transfer-many", transfer_page(&transfer(14, 12)));
    add("theory", theory_page(&theory(4, "plain, p = 1.5")));
    add("theory-names", theory_page(&theory(6, LONG)));

    let both = |classes: Vec<String>| Some((weak(classes.clone()), confusion(classes)));
    add("account", account(30, &[6, 8, 3], both(digits(3))));
    add("account-none", account(0, &[6, 8, 3], None));
    add("account-few", account(3, &[6, 8, 3], both(names(3))));
    add("account-large", account(600, &[200, 100, 40], both(digits(40))));

    add("story", page(&story(3, "Scion, no transport", None)));
    add("story-names", page(&story(8, LONG, both(names(8)))));
    add("story-classes", page(&story(40, ONE_WORD, both(digits(40)))));
    add("story-alone", page(&story(1, "Scion", both(digits(1000)))));
    pages
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("{} {class}", if class % 2 == 0 { LONG } else { ONE_WORD })).collect()
}

/// Returns a confusion matrix that is mostly right.
fn confusion(classes: Vec<String>) -> Confusion {
    let count = classes.len() as u32;
    let mut confusion = Confusion::new(classes);
    for sample in 0..50 * count {
        let class = sample % count;
        confusion.add(class, if sample % 7 == 0 { (class + sample / 7) % count } else { class });
    }
    confusion
}

/// Returns a confusion matrix that is mostly wrong.
fn weak(classes: Vec<String>) -> Confusion {
    let count = classes.len() as u32;
    let mut confusion = Confusion::new(classes);
    (0..50 * count).for_each(|sample| confusion.add(sample % count, sample * sample % count));
    confusion
}

/// Returns a training that was measured `points` times.
fn training(points: u64, unit: &str, confusion: Option<Confusion>) -> Training {
    let curve: Vec<_> = (1..=points)
        .map(|k| {
            let loss = 0.05 + 2.3 / k as f32;
            json!({ "step": 10 * k, "loss": loss, "train_loss": null, "test_loss": 1.1 * loss, "accuracy": 1.0 - 0.4 * loss,
                "rate": 12_345.0 + 100.0 * (k % 5) as f32, "optimizer_share": 0.1 })
        })
        .collect();
    let mut training: Training = told(json!({
        "network": "MLP with 64 inputs, hidden layers of 32 and 10 classes", "parameters": 2410,
        "optimizer": "Transported Scion",
        "arithmetic": "fast", "steps": 10 * points, "batch": 32, "rule": graftage_core::scion::Rule::PLAIN, "seed": 1,
        "samples": [1_957_032, 797], "unit": unit, "loss": 0.05, "accuracy": 0.987, "groups": null, "curve": curve,
    }));
    training.confusion = confusion;
    training
}

/// Adds everything that can be measured.
fn measured(mut training: Training) -> Training {
    training.curve.iter_mut().for_each(|point| point.train_loss = Some(0.9 * point.loss));
    training.groups = Some(format!("{:<40} {}", "layer.0.weight", "spectral norm, radius 1 ".repeat(8)));
    training
}

fn named(mut training: Training) -> Training {
    (training.network, training.optimizer) = (LONG.repeat(3), ONE_WORD.repeat(2));
    training
}

/// Puts one number in every place.
fn strange(mut training: Training, x: f32) -> Training {
    for point in &mut training.curve {
        (point.loss, point.test_loss, point.accuracy, point.rate, point.optimizer_share) = (x, x, x, x, x);
    }
    (training.loss, training.accuracy) = (x, x);
    training
}

fn comparison(rows: usize, points: u64, name: &str) -> Comparison {
    let spread = |mean: f64| json!({ "mean": mean, "deviation": 0.01, "count": 3 });
    let row = |index: usize| {
        let curve: Vec<_> = (1..=points).map(|k| (10 * k, 0.1 * (index + 1) as f32 + 4.0 / k as f32)).collect();
        let run = |seed: u64| json!({ "step_size": 0.02, "momentum": 0.95, "seed": seed, "curve": curve, "last": 0.1, "test": [0.2, 0.9] });
        json!({ "name": format!("{name} {index}"), "step_size": 0.02, "momentum": 0.95,
            "grid": [[0.01, 0.95, 0.5], [0.02, 0.95, 0.4]],
            "runs": [run(1), run(2), run(3)], "last": spread(0.1), "test": spread(0.2), "accuracy": spread(0.9),
            "reached": spread(120.0), "difference": spread(-0.01), "ratio": spread(0.8) })
    };
    told(
        json!({ "network": "GPT of 4 blocks", "steps": 10 * points, "target": 0.15, "part": "test", "tuned_on": [11, 12],
        "reported_on": [1, 2, 3], "rows": (0..rows).map(row).collect::<Vec<_>>() }),
    )
}

fn transfer(widths: u32, steps: i32) -> Transfer {
    let curve = |(name, width): (&str, u32)| {
        let losses: Vec<_> = (0..steps)
            .map(|k| {
                let mean = 0.5 + 0.05 * f64::from((k - 3) * (k - 3)) + 0.01 * f64::from(width);
                json!([2f32.powi(k - 8), { "mean": mean, "deviation": 0.01, "count": 2 }])
            })
            .collect();
        json!({ "name": name, "width": 32 << width, "parameters": 1000 << width, "losses": losses, "best": 2f32.powi(-5),
            "at_edge": width == 0, "cost": { "mean": 0.01, "deviation": 0.002, "count": 2 } })
    };
    let names = ["Transported Scion", "AdamW"];
    let curves: Vec<_> = names.iter().flat_map(|name| (0..widths).map(|width| curve((name, width)))).collect();
    told(json!({ "network": "MLP 64-32-10", "steps": 300, "momentum": 0.95, "seeds": [1, 2], "curves": curves }))
}

fn theory(series: u32, name: &str) -> Results {
    let series = |slope: f64| {
        let points = (0..series).map(move |index| {
            let y = |k| f64::from(index + 1) * 2f64.powi(k).powf(slope);
            let points: Vec<_> = (0..7).map(|k| (2f64.powi(k - 9), y(k))).collect();
            json!({ "name": format!("{name} {index}"), "points": points, "slope": { "value": slope, "interval": 0.01 },
                "theory": points })
        });
        points.collect::<Vec<_>>()
    };
    let panel = |slope: f64| {
        json!({ "title": format!("A panel of slope {slope}"), "x": "samples N", "y": "mean gradient norm",
            "caption": "How it is to be read.", "series": series(slope) })
    };
    let finding = json!({ "what": "the exponent", "theory": -0.25, "prototype": { "value": -0.24, "interval": 0.01 },
        "measured": { "value": -0.26, "interval": 0.02 }, "promised": [-0.3, -0.2] });
    let outcome = |experiment: &str| {
        json!({ "experiment": experiment, "findings": [finding],
            "panels": [panel(-0.25), panel(3.5), panel(1e-3)], "seconds": 12.0 })
    };
    told(json!({ "extent": "full", "seed": 1, "outcomes": [outcome("lag"), outcome("rate")] }))
}

/// Returns the page of the record of a session with `count` samples, on a network of these widths.
fn account(count: usize, widths: &[u32], confusions: Option<(Confusion, Confusion)>) -> String {
    let folder = Folder::empty();
    graft(&common::checkpoint(widths, 20), Recipe::DEFAULT, usize::MAX, &folder.path("model")).unwrap();
    let bytes = std::fs::read(folder.path("model").join(IMAGE)).unwrap();
    let image = parse(&bytes);
    let mut events = Vec::new();
    for (index, (input, label)) in samples(count, widths[0] as usize, widths[widths.len() - 1]).iter().enumerate() {
        // Most predictions are wrong in the beginning.
        let right = index * index % 30 < index;
        let prediction = Prediction { class: if right { label } else { label + 1 }, probability: 0.5 };
        let outcome = Outcome { admitted: 1, loss: 2.0 / (index + 1) as f32 };
        let report = Report { step: index as u64 + 1, outcome, digest: 0 };
        let taken = Taken { prediction, held_out: false };
        events.push(Event::Sample(Lesson { input: input.to_vec(), label, taken, reports: vec![report] }));
    }
    events.push(Event::Refused(Refused { input: vec![], label: 0, why: Refusal::NotFinite { index: 0 } }));
    if count > 0 {
        let verdict = Verdict {
            committed: true,
            alarm: false,
            newest: Judged { held_out: 4, before: 2, after: 3 },
            kept: Judged { held_out: 4, before: 3, after: 4 },
        };
        events.push(Event::End(Ended { verdict, digest: 7 }));
    }
    let record = Record { board: "a board".into(), schema: 0, image: identity(&bytes), start: 1, events };
    let shapes: Vec<_> =
        widths.windows(2).flat_map(|pair| [(pair[1] as usize, pair[0] as usize), (pair[1] as usize, 1)]).collect();
    let moved: Vec<f32> =
        image.weights().enumerate().map(|(index, weight)| weight + 1e-3 * (index % 9) as f32).collect();
    let targets = ["a board", "x86_64", "libtorch-exact"].map(target);
    account_page(&Account {
        record: &record,
        image: &image,
        in_use: &moved,
        shapes: &shapes,
        targets: &targets,
        damage: None,
        confusions: confusions.map(|(before, after)| Compared { before, after }),
    })
}

fn target(name: &str) -> Target {
    let digest = "93a1c07be25f4d18".into();
    Target { target: name.into(), steps: 400, differing: 0, first_difference: None, arrays: vec![], digest }
}

/// Returns the demo's story, with `methods` methods of this name.
fn story(methods: usize, name: &str, confusion: Option<(Confusion, Confusion)>) -> Story {
    let spread = |mean: f32| json!({ "mean": mean, "deviation": 0.011, "by_seed": [mean - 0.01, mean + 0.01] });
    let method = |index: usize| {
        let mean = 0.95 - 0.02 * index as f32 % 0.9;
        let curve: Vec<_> = (0..=20).map(|k| (10 * k, mean - 0.2 * (1.0 - k as f32 / 20.0))).collect();
        let grid: Vec<_> = (0..12).map(|k| (0.001 * 2f32.powi(k), mean - 0.01 * k as f32)).collect();
        json!({ "key": index.to_string(), "name": format!("{name} {index}"), "step_size": 0.001, "grid": grid,
            "accuracy": spread(mean), "curve": curve })
    };
    let rehearsal: Rehearsal =
        told(json!({ "samples": 200, "tuned_on": [11, 12], "reported_on": [1, 2], "clean": 0.987, "aged": spread(0.7),
        "methods": (0..methods).map(method).collect::<Vec<_>>() }));
    let none = json!({ "held_out": 0, "before": 0, "after": 0 });
    let mut session: Session = told(json!({
        "board": "mps2-an386", "samples": 200, "verdict": { "committed": true, "alarm": false, "newest": none, "kept": none },
        "refused": 3, "updates": 400, "before": 0.701, "after": 0.952, "dropped": 1, "seconds": 12.3,
        "digest": "93a1c07be25f4d18",
        "curve": (1..=200).map(|k| (k, 0.9 - 0.5 / k as f32)).collect::<Vec<_>>(),
    }));
    session.confusion = confusion;
    let mut targets: Vec<_> = ["mps2-an386", "x86_64", "libtorch-exact"].map(target).into();
    targets[1].first_difference = Some(LONG.into());
    let parts = ["weights", "momentum", ONE_WORD].map(|part| (part.into(), 9640)).into();
    Story {
        training: training(40, "samples", None),
        rehearsal,
        session,
        verification: Verification { targets },
        memory: Memory { flash: 31950, image: 9760, ram: 82944, parts },
    }
}
