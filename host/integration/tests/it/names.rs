//! Tests that names travel with the data: columns and classes are found by name, in every file and on the board.

use crate::common::{self, Folder, checkpoint, emulated, samples, squeezed};
use graftage::checkpoint::Checkpoint;
use graftage::data::{Legend, Samples};
use graftage::files;
use graftage::session::Session;

const CLASSES: [&str; 3] = ["lime", "oak", "willow"];

/// Writes a checkpoint with named columns and classes to `a.safetensors`. Returns it, and 30 samples that it can take.
fn named(folder: &Folder, widths: &[u32], classes: Vec<String>) -> (Checkpoint, Samples) {
    let (inputs, count) = (widths[0] as usize, classes.len() as u32);
    let mut checkpoint = checkpoint(widths, 20);
    checkpoint.about.legend = Legend {
        features: (0..inputs).map(|column| format!("p{column}")).collect(),
        label: Some("leaf".into()),
        others: vec!["place".into()],
        classes,
    };
    checkpoint.write(&folder.path("a.safetensors")).unwrap();
    (checkpoint, samples(30, inputs, count))
}

/// Formats samples as CSV, with the columns in this order. `rename` gives the names of columns, and `class` the labels.
fn table(
    checkpoint: &Checkpoint,
    samples: &Samples,
    order: impl Iterator<Item = usize> + Clone,
    rename: impl Fn(&str) -> String,
    class: impl Fn(u32) -> String,
) -> String {
    let legend = &checkpoint.about.legend;
    // The label comes first: its place has no meaning.
    let mut text = rename("leaf");
    order.clone().for_each(|column| text += &format!(",{}", rename(&legend.features[column])));
    for (input, label) in samples.iter() {
        text += &format!("\n{}", class(label));
        order.clone().for_each(|column| text += &format!(",{:?}", input[column] * common::SCALE));
    }
    text + "\n"
}

/// Adds one more column to the file, after the label.
fn beside(text: &str, column: &str) -> String {
    let lines = text.lines().map(|line| line.split_once(',').unwrap());
    let more = |at: usize| if at == 0 { column } else { "1.5" };
    lines.enumerate().map(|(at, (label, rest))| format!("{label},{},{rest}\n", more(at))).collect()
}

fn leaves() -> Vec<String> {
    CLASSES.map(String::from).into()
}

#[test]
fn eval_finds_columns_and_classes_by_name() {
    let folder = Folder::empty();
    let (checkpoint, samples) = named(&folder, &[4, 6, 3], leaves());
    samples.write(&folder.path("good.csv"), common::SCALE, &checkpoint.about.legend).unwrap();
    let eval = |file: &str| folder.graftage(&format!("eval a.safetensors --data {file}"));
    let expected = eval("good.csv").succeeded();
    assert!(expected.starts_with("classes: 0 lime, 1 oak, 2 willow\n"), "{expected}");
    let rows: Vec<String> = expected.lines().map(squeezed).collect();
    assert!(rows[2].starts_with("lime 10 ") && rows[5].starts_with("all 30 "), "{expected}");
    let same = |name: &str| name.to_owned();
    let name = |label: u32| CLASSES[label as usize].to_owned();
    for (file, text) in [
        ("names.csv", table(&checkpoint, &samples, [2, 0, 3, 1].into_iter(), same, name)),
        // This column of the training's file is no feature.
        ("place.csv", beside(&table(&checkpoint, &samples, 0..4, same, name), "place")),
        ("numbers.csv", table(&checkpoint, &samples, (0..4).rev(), same, |label| label.to_string())),
    ] {
        folder.file(file, text);
        assert_eq!(eval(file).succeeded(), expected, "{file}");
    }
    for (file, text, words) in [
        (
            "renamed.csv",
            table(&checkpoint, &samples, 0..4, |name| name.replace("p2", "q2"), name),
            &["renamed.csv", "column \"p2\" is missing"][..],
        ),
        ("fewer.csv", table(&checkpoint, &samples, 0..3, same, name), &["fewer.csv", "\"p3\" is missing"]),
        (
            "unlabelled.csv",
            table(&checkpoint, &samples, 0..4, |name| name.replace("leaf", "tree"), name),
            &["unlabelled.csv", "\"leaf\" is missing"],
        ),
        (
            "more.csv",
            beside(&table(&checkpoint, &samples, 0..4, same, name), "extra"),
            &["more.csv", "unknown column \"extra\""],
        ),
        (
            "class.csv",
            table(&checkpoint, &samples, 0..4, same, |label| name(label).replace("oak", "oka")),
            &["class.csv", "line 3", "label oka", "3 classes oak, "],
        ),
    ] {
        folder.file(file, text);
        let message = eval(file).failed();
        assert!(words.iter().all(|word| message.contains(word)), "{message}: {words:?}");
    }
    // A file without names is read by place.
    let bare = table(&checkpoint, &samples, 0..4, same, name);
    let bare: Vec<_> = bare.lines().skip(1).map(|line| line.split_once(',').unwrap()).collect();
    let bare: String = bare.into_iter().map(|(label, rest)| format!("{rest},{label}\n")).collect();
    folder.file("bare.csv", bare);
    assert_eq!(eval("bare.csv").succeeded(), expected);
}

#[test]
fn eval_takes_raw_features_of_every_normalisation() {
    let folder = Folder::empty();
    let (mut checkpoint, samples) = named(&folder, &[4, 6, 3], leaves());
    let normalisation = checkpoint.about.normalisation.as_mut().unwrap();
    normalisation.mean = vec![0.1, -0.2, 0.3, 0.0];
    normalisation.deviation = vec![0.5, 2.0, 1.0, 4.0];
    let normalisation = normalisation.clone();
    checkpoint.write(&folder.path("a.safetensors")).unwrap();
    let legend = &checkpoint.about.legend;
    normalisation.undo(&samples).unwrap().write(&folder.path("raw.csv"), 1.0, legend).unwrap();
    // The same network, for samples that are scaled already.
    checkpoint.about.normalisation.as_mut().unwrap().mean = vec![0.0];
    checkpoint.about.normalisation.as_mut().unwrap().deviation = vec![1.0];
    checkpoint.write(&folder.path("b.safetensors")).unwrap();
    samples.write(&folder.path("scaled.csv"), 1.0, legend).unwrap();
    let eval = |arguments: &str| folder.graftage(&format!("eval {arguments}")).succeeded();
    assert_eq!(eval("a.safetensors --data raw.csv"), eval("b.safetensors --data scaled.csv"));
    // An aged stream is raw, too. It has names, and as many samples as are asked for.
    let age = "age a.safetensors --data raw.csv --samples 7 --stream s.csv --test t.csv";
    folder.graftage(age).succeeded();
    let stream = std::fs::read_to_string(folder.path("s.csv")).unwrap();
    assert!(stream.starts_with("p0,p1,p2,p3,leaf\n") && stream.lines().count() == 8, "{stream}");
    assert!(eval("a.safetensors --data t.csv").contains("all"));
}

#[test]
fn a_board_learns_the_same_whatever_the_order_of_the_columns() {
    let folder = Folder::empty();
    let classes: Vec<String> = ('a'..='j').map(|letter| format!("class {letter}")).collect();
    let (checkpoint, samples) = named(&folder, &[64, 32, 10], classes.clone());
    folder.graftage("graft a.safetensors --replay 16 -o model").succeeded();
    let same = |name: &str| name.to_owned();
    let name = |label: u32| classes[label as usize].clone();
    folder.file("a.csv", table(&checkpoint, &samples, 0..64, same, name));
    folder.file("b.csv", table(&checkpoint, &samples, (0..64).rev(), same, |label| label.to_string()));
    folder.file("renamed.csv", table(&checkpoint, &samples, 0..64, |name| name.replace("p7", "q7"), name));
    // Nothing here depends on the board, and one without a binary32 unit takes minutes.
    for board in emulated().into_iter().take(1) {
        let port = format!("--port=qemu:{}", board.firmware.display());
        let adapt = |stream: &str, more: &[&str]| {
            let arguments = ["adapt", &port, stream, "--test=a.csv", "--image=model/image.grft"];
            folder.command(arguments.into_iter().chain(more.iter().copied()))
        };
        let said = adapt("--stream=a.csv", &["--output=a.json", "--record=a.record", "--force"]).succeeded();
        assert!(said.contains("classes: 0 class a, 1 class b"), "{said}");
        let header = said.lines().position(|line| squeezed(line) == "class samples before after points").unwrap();
        let rows: Vec<_> = said.lines().skip(header + 1).map(squeezed).collect();
        assert!(rows[0].starts_with("class a 3 ") && rows[10].starts_with("all 30 "), "{said}");
        let session: Session = files::read_json(&folder.path("a.json")).unwrap();
        let (before, after) = session.confusion.unwrap();
        assert_eq!((before.samples(), before.accuracy(), after.accuracy()), (30, session.before, session.after));
        adapt("--stream=b.csv", &["--output=b.json", "--force"]).succeeded();
        assert_eq!(files::read_json::<Session>(&folder.path("b.json")).unwrap().digest, session.digest);
        // Replay reports the same, class by class.
        let replayed = folder.graftage("replay a.record --image model/image.grft --test b.csv").succeeded();
        let table =
            |text: &str| text.lines().skip_while(|l| !l.starts_with("class ")).map(squeezed).collect::<Vec<_>>();
        assert_eq!(table(&replayed), table(&said));
        let message = adapt("--stream=renamed.csv", &[]).failed();
        assert!(message.contains("renamed.csv") && message.contains("\"p7\" is missing"), "{message}");
    }
}

#[test]
fn a_stream_with_names_is_refused_where_no_image_says_what_they_mean() {
    let folder = Folder::empty();
    let (checkpoint, samples) = named(&folder, &[64, 32, 10], (0..10).map(|class| class.to_string()).collect());
    folder.graftage("graft a.safetensors --replay 16 -o model").succeeded();
    folder.graftage("graft a.safetensors --replay 16 --seed 9 -o other").succeeded();
    folder.file("a.csv", table(&checkpoint, &samples, 0..64, |name| name.into(), |label| label.to_string()));
    // Nothing here depends on the board, and one without a binary32 unit takes minutes.
    for board in emulated().into_iter().take(1) {
        let log = folder.path("log");
        let (emulator, line) = common::start(&board.firmware, &folder.path("model/image.grft"), None, &[], &log);
        drop(line);
        let port = format!("--port={}", emulator.1);
        let message = folder.command(["adapt", &port, "--stream=a.csv"]).failed();
        assert!(message.contains("a.csv") && message.contains("give the network's image with --image"), "{message}");
        // An image that the board does not run could give wrong names.
        let message = folder.command(["adapt", &port, "--stream=a.csv", "--image=other/image.grft"]).failed();
        assert!(message.contains("other/image.grft: not the image that the board runs"), "{message}");
        folder.command(["adapt", &port, "--stream=a.csv", "--image=model/image.grft"]).succeeded();
    }
}
