//! Tests of trainings that continue: their data, their number of steps and the weights that they keep. Tests of
//! interrupted comparisons, and of trainings that a machine cannot take.

use crate::common::Folder;
use graftage::checkpoint::Checkpoint;
use graftage::data::{Dataset, Role, Split};
use graftage::files;
use graftage::report::training_page;
use graftage::statistics::Moments;
use graftage::training::Training;
use graftage_optim::method::Method;
use graftage_train::config::Config;
use graftage_train::error::{Error, Result};
use graftage_train::limits;
use graftage_train::tournament::compare::{Choice, Comparison, Options, Target, compare};
use graftage_train::tournament::transfer::{Transfer, transfer};
use graftage_train::tournament::trials::{Interruption, TRAININGS, Trials};
use graftage_train::trainer::{Live, News, Start, evaluate, train};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// Returns 240 samples of 4 features in three classes that overlap, drawn by a linear congruential generator.
fn samples() -> String {
    let mut state = 7u64;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let centres: Vec<f64> = (0..12).map(|_| 2.0 * uniform()).collect();
    let mut text = "a,b,c,d,place,leaf\n".to_owned();
    for index in 0..240 {
        let class = index % 3;
        for feature in 0..4 {
            text += &format!("{:.4},", centres[4 * class + feature] + 2.0 * uniform() - 1.0);
        }
        text += &format!("{},{}\n", ["north", "south", "east"][index / 3 % 3], ["lime", "oak", "willow"][class]);
    }
    text
}

const CONFIG: &str = r#"
seed = 3
output = "out"
threads = 1
device = "cpu"
normalise = "features"
[data.csv]
path = "samples.csv"
label = "leaf"
group = "place"
[split.seed]
train = 180
[model.mlp]
hidden = [16]
[optimizer]
step-size = 0.02
schedule = "constant"
[training]
steps = 60
batch = 16
evaluate-every = 5
checkpoint-every = 7
"#;

/// Returns a configuration that overfits: it learns its samples by heart, two fifths of them with wrong labels, and
/// gets worse on others.
fn overfitted() -> String {
    let text = CONFIG.replace("steps = 60", "steps = 300\nwrong-labels = 0.4").replace("train = 180", "train = 120");
    text.replace("[16]", "[64]")
}

const TEXT: &str = r#"
output = "out"
threads = 1
device = "cpu"
[data.text]
path = "text.txt"
[split.own]
validate = 0.2
[model.gpt]
layers = 1
width = 8
heads = 2
context = 8
[training]
steps = 4
batch = 3
"#;

fn folder() -> Folder {
    let folder = Folder::empty();
    folder.file("samples.csv", samples());
    folder.file("text.txt", "the quick brown fox jumps over the lazy dog. ".repeat(20));
    folder
}

/// Parses a configuration whose paths lie in a folder.
fn config(folder: &Folder, text: &str, output: &str) -> Config {
    let place = |name: &str| format!("{:?}", folder.path(name));
    let text = text.replace("\"samples.csv\"", &place("samples.csv")).replace("\"text.txt\"", &place("text.txt"));
    let mut config = Config::parse(&text).unwrap();
    config.output = folder.path(output);
    config
}

fn load(config: &Config) -> Dataset {
    config.data.load(&config.split, &config.normalise).unwrap()
}

/// Trains or resumes, and stops at step `stop_at` if there is one.
fn trained(config: &Config, resume: bool, stop_at: Option<u64>) -> Result<Training> {
    let stop = AtomicBool::new(false);
    train(config, &load(config), Start { resume, ..Start::default() }, &stop, training_page, |live: Live| {
        // The flag is read after the next step.
        if stop_at.is_some_and(|at| live.step + 1 >= at) {
            stop.store(true, Ordering::Relaxed);
        }
    })
}

/// Asserts that something is refused in one line that contains these words.
fn refused<T: std::fmt::Debug>(result: Result<T>, words: &[&str]) {
    let line = result.unwrap_err().to_string();
    assert!(!line.contains('\n'), "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} in {line:?}");
    }
}

/// Returns the bytes of all tensors of a file, by name.
fn tensors(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    tensors.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect()
}

/// Returns names, bytes and times of the files in a folder.
fn files(folder: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let file = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, (std::fs::read(entry.path()).unwrap(), entry.metadata().unwrap().modified().unwrap()))
    };
    entries.map(file).collect()
}

/// Runs the command line. Returns its status, standard output and standard error.
fn graftage(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(&*crate::common::GRAFTAGE);
    let output = command.args(arguments).current_dir(folder.path(".")).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Asserts that the command line fails with one line that contains these words.
fn fails(folder: &Folder, arguments: &[&str], words: &[&str]) {
    let (status, out, error) = graftage(folder, arguments);
    assert!(status.is_some_and(|status| status != 0), "{arguments:?}: {out}{error}");
    assert!(error.starts_with("graftage: ") && error.lines().count() == 1, "{arguments:?}: {error}");
    for word in words {
        assert!(error.contains(word), "{arguments:?}: {word:?} in {error:?}");
    }
}

#[test]
fn a_training_goes_on_with_its_own_data_alone() {
    let folder = folder();
    let config = config(&folder, CONFIG, "out");
    trained(&config, false, Some(20)).unwrap_err();
    let before = files(&config.output);
    let rescaled = |line: &str| match line.split_once(',') {
        Some((first, rest)) if first != "a" => format!("{},{rest}", first.parse::<f64>().unwrap() * 100.0),
        _ => line.to_owned(),
    };
    let whole = samples();
    let cases: [(String, &[&str]); 5] = [
        (whole.lines().map(|line| rescaled(line) + "\n").collect(), &["normalisation"]),
        (
            whole.replace("lime", "?").replace("oak", "lime").replace('?', "oak"),
            &["labels of the training part", "labels of the test part"],
        ),
        (whole.replace("lime", "linden"), &["names of the classes"]),
        (whole.lines().take(240).map(|line| line.to_owned() + "\n").collect(), &["number of samples of the test part"]),
        (whole.replacen("0.", "0.5", 1), &["features of the"]),
    ];
    for (data, words) in cases {
        assert_ne!(data, whole);
        folder.file("samples.csv", data);
        refused(
            trained(&config, true, None),
            &[&["state.safetensors", "the data is not what it trained on"], words].concat(),
        );
        assert!(files(&config.output) == before, "nothing is touched");
    }
    folder.file("samples.csv", whole);
    trained(&config, true, None).unwrap();
}

#[test]
fn a_text_is_known_by_its_bytes() {
    let folder = folder();
    let config = config(&folder, TEXT, "out");
    trained(&config, false, Some(2)).unwrap_err();
    folder.file("text.txt", "the quick brown cat jumps over the lazy dog. ".repeat(20));
    let words = ["bytes of the training part", "bytes of the validation part", "bytes of the test part differ"];
    refused(trained(&config, true, None), &words);
}

#[test]
fn a_state_that_does_not_say_its_data_is_refused() {
    let folder = folder();
    let config = config(&folder, CONFIG, "out");
    trained(&config, false, Some(20)).unwrap_err();
    let path = config.output.join("state.safetensors");
    let (tensors, mut metadata) = graftage_optim::read(&path).unwrap();
    let saved = metadata.get_mut("graftage-training").unwrap();
    let mut value: Value = serde_json::from_str(saved).unwrap();
    value.as_object_mut().unwrap().remove("data").unwrap();
    *saved = value.to_string();
    graftage_optim::write(&path, &tensors, metadata).unwrap();
    refused(trained(&config, true, None), &["state.safetensors", "an older version", "--force"]);
}

#[test]
fn a_prolonged_training_ends_in_the_bits_of_one_that_had_its_steps_from_the_start() {
    let folder = folder();
    let decaying = "schedule = { warmup-stable-decay = { warmup = 5, decay = 20 } }";
    let cases = [
        ("lag", CONFIG.to_owned(), None),
        ("adamw", CONFIG.replace("step-size", "method = \"adamw\"\nstep-size"), None),
        ("decay", CONFIG.replace("schedule = \"constant\"", decaying), Some(31)),
    ];
    for (name, text, stop_at) in cases {
        // By default it measures every fortieth of the way, which differs with the number of steps.
        let text = text.replace("evaluate-every = 5\n", "");
        let longer = text.replace("steps = 60", "steps = 100");
        let (first, cut) = (config(&folder, &text, name), config(&folder, &longer, name));
        let short = trained(&first, false, stop_at);
        assert_eq!(short.is_err(), stop_at.is_some(), "{name}: {short:?}");
        let prolonged = trained(&cut, true, None).unwrap();
        assert_eq!((prolonged.steps, prolonged.stopped_early), (100, false));
        let whole = config(&folder, &longer, &format!("{name}-whole"));
        trained(&whole, false, None).unwrap();
        for file in ["model.safetensors", "state.safetensors"] {
            assert!(tensors(&cut.output.join(file)) == tensors(&whole.output.join(file)), "{name}: {file}");
        }
        refused(trained(&first, true, None), &["state.safetensors", "100 steps", "60"]);
    }
    // Epochs can be added like steps.
    let epochs = CONFIG.replace("steps = 60", "epochs = 12");
    assert_eq!(trained(&config(&folder, &epochs, "lag"), true, None).unwrap().steps, 135);
}

#[test]
fn a_training_that_its_schedule_cannot_continue_is_refused() {
    let folder = folder();
    let linear = CONFIG.replace("schedule = \"constant\"", "schedule = \"linear\"");
    trained(&config(&folder, &linear, "linear"), false, Some(20)).unwrap_err();
    let before = files(&folder.path("linear"));
    let longer = linear.replace("steps = 60", "steps = 90");
    refused(
        trained(&config(&folder, &longer, "linear"), true, None),
        &["the linear schedule", "belong to 60, not to 90"],
    );
    assert!(files(&folder.path("linear")) == before);
    trained(&config(&folder, &linear, "linear"), true, None).unwrap();
    let decaying = "schedule = { warmup-stable-decay = { warmup = 5, decay = 20 } }";
    let decaying = CONFIG.replace("schedule = \"constant\"", decaying);
    trained(&config(&folder, &decaying, "decaying"), false, None).unwrap();
    let longer = decaying.replace("steps = 60", "steps = 90");
    // The first step of a decay still has the whole step size.
    refused(trained(&config(&folder, &longer, "decaying"), true, None), &["decay began at step 42 of 60"]);
}

#[test]
fn a_training_that_has_ended_is_left_alone() {
    let folder = folder();
    let config = config(&folder, CONFIG, "out");
    let training = trained(&config, false, None).unwrap();
    let before = files(&config.output);
    let mut news = Vec::new();
    let start = Start { resume: true, ..Start::default() };
    let again =
        train(&config, &load(&config), start, &AtomicBool::new(false), training_page, |live| news.extend(live.news))
            .unwrap();
    assert!(matches!(news[..], [News::Finished(60)]), "{news:?}");
    assert_eq!(again, training);
    assert!(files(&config.output) == before, "nothing is written");
    // A file that is missing after the end is written again.
    std::fs::remove_file(config.output.join("model.safetensors")).unwrap();
    assert_eq!(trained(&config, true, None).unwrap(), training);
    let contents = |files: &BTreeMap<String, (Vec<u8>, _)>| {
        files.iter().map(|(name, (bytes, _))| (name.clone(), bytes.clone())).collect::<Vec<_>>()
    };
    assert!(contents(&files(&config.output)) == contents(&before));
}

#[test]
fn the_best_weights_are_kept_beside_the_last() {
    let folder = folder();
    let best = overfitted().replace("[training]", "[training]\nkeep = \"best\"");
    for (name, text, role) in [
        ("validated", best.replace("train = 120", "train = 120\nvalidate = 0.25"), Role::Validate),
        ("tested", best.clone(), Role::Test),
    ] {
        let config = config(&folder, &text, name);
        let training = trained(&config, false, None).unwrap();
        let loss = |point: &graftage::training::TrainingPoint| match role {
            Role::Validate => point.validation_loss.unwrap(),
            _ => point.test_loss,
        };
        let lowest = training.curve.iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).unwrap();
        let found = training.best.clone().unwrap();
        assert!(lowest.step < 300, "the best is not the last");
        assert_eq!((found.step, found.chosen_loss, found.accuracy), (lowest.step, loss(lowest), lowest.accuracy));
        assert_eq!(found.chosen_on, if role == Role::Validate { "validation" } else { "test" });
        // The oracle is the file itself, measured anew.
        let (kept, last) = (config.output.join("best.safetensors"), config.output.join("model.safetensors"));
        let measured = evaluate(&kept, None, Some(role)).unwrap().measured;
        assert!((measured.loss - loss(lowest)).abs() < 1e-5, "{} {}", measured.loss, loss(lowest));
        assert_eq!(evaluate(&last, None, Some(Role::Test)).unwrap().measured.accuracy, training.accuracy);
        let weights = |path| Checkpoint::read(path).unwrap().tensors;
        assert_ne!(weights(&kept), weights(&last));
        let page = std::fs::read_to_string(config.output.join("report.html")).unwrap();
        let selected = "chosen on the test part";
        for text in [training.notes().join(" "), page] {
            assert!(text.contains("the best weights are those of step"), "{text}");
            assert_eq!(text.contains(selected), role == Role::Test, "{name}");
        }
        // The state alone is enough to continue.
        let cut = Config { output: folder.path(&format!("{name}-cut")), ..config.clone() };
        for at in [lowest.step.saturating_sub(2), lowest.step + 3, 200] {
            trained(&cut, cut.output.exists(), Some(at)).unwrap_err();
        }
        assert_eq!(trained(&cut, true, None).unwrap().best, training.best);
        for file in ["best.safetensors", "model.safetensors"] {
            assert!(tensors(&cut.output.join(file)) == tensors(&config.output.join(file)), "{file}");
        }
    }
    let command = ["eval", "validated/best.safetensors", "--part", "validate"];
    let (status, out, error) = graftage(&folder, &command);
    assert!(status == Some(0) && out.lines().last().unwrap().contains("60"), "{out}{error}");
    fails(&folder, &["eval", "tested/best.safetensors", "--part", "validate"], &["no validation part", "[split.*]"]);
}

#[test]
fn it_stops_after_measurements_without_a_better_one_wherever_it_was_interrupted() {
    let folder = folder();
    let text = overfitted().replace("train = 120", "train = 120\nvalidate = 0.25");
    let text = text.replace("[training]", "[training]\nstop-after = 4");
    let whole = config(&folder, &text, "whole");
    let training = trained(&whole, false, None).unwrap();
    let losses: Vec<_> = training.curve.iter().map(|point| point.validation_loss.unwrap()).collect();
    let lowest = losses.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    assert_eq!(losses.len(), lowest + 5, "{losses:?}");
    assert!(training.stopped_early && training.steps < 300 && training.best.is_none());
    assert!(training.notes().join(" ").contains(&format!("it stopped at step {}", training.steps)));
    let cut = config(&folder, &text, "cut");
    // The last interruption is just before it stops.
    for at in [9, training.curve[lowest].step + 1, training.steps - 2] {
        trained(&cut, cut.output.exists(), Some(at)).unwrap_err();
    }
    let resumed = trained(&cut, true, None).unwrap();
    assert_eq!((resumed.steps, resumed.stopped_early), (training.steps, true));
    for file in ["state.safetensors", "model.safetensors"] {
        assert!(tensors(&cut.output.join(file)) == tensors(&whole.output.join(file)), "{file}");
    }
    let before = files(&cut.output);
    assert_eq!(trained(&cut, true, None).unwrap(), resumed);
    assert!(files(&cut.output) == before, "it had ended");
    // Without the limit, it continues.
    let free = config(&folder, &text.replace("stop-after = 4\n", ""), "cut");
    assert_eq!(trained(&free, true, None).unwrap().steps, 300);
}

#[test]
fn a_test_loss_that_has_risen_for_long_gets_a_word() {
    let folder = folder();
    folder.file("over.toml", overfitted());
    folder.file("fine.toml", CONFIG);
    let (_, out, error) = graftage(&folder, &["train", "over.toml"]);
    let training: Training = graftage::files::read_json(&folder.path("out/training.json")).unwrap();
    let lowest = training.curve.iter().min_by(|a, b| a.test_loss.total_cmp(&b.test_loss)).unwrap();
    let word = format!("test loss rose from {:.4} at step {} to {:.4}", lowest.test_loss, lowest.step, training.loss);
    assert!(out.contains(&word) && out.contains("keep = \"best\""), "{word}: {out}{error}");
    let (_, out, error) = graftage(&folder, &["train", "fine.toml", "--output", "fine"]);
    assert!(!out.contains("rose"), "{out}{error}");
    // After three or fewer measurements, or after a rise of less than a tenth, there is no note.
    let with = |losses: &[f32]| {
        let point = |loss: &f32| graftage::training::TrainingPoint { test_loss: *loss, ..training.curve[0].clone() };
        Training { curve: losses.iter().map(point).collect(), ..training.clone() }.notes()
    };
    assert_eq!(with(&[1.0, 2.0, 2.0, 2.0]), [""; 0]);
    assert_eq!(with(&[1.0, 2.0, 2.0, 2.0, 1.09]), [""; 0]);
    assert_eq!(with(&[1.0, 1.0, 1.0, 1.0, 1.11]).len(), 1);
    assert_eq!(with(&[0.001, 0.1, 0.1, 0.1, 0.01]), [""; 0], "a hundredth of a nat is little");
    assert_eq!(with(&[]), [""; 0]);
}

#[test]
fn samples_counted_as_learnt_are_those_that_were_drawn() {
    let folder = folder();
    let training = trained(&config(&folder, TEXT, "text"), false, None).unwrap();
    assert_eq!((training.drawn, training.unit.as_str()), (4 * 3 * 8, "tokens"));
    let training = trained(&config(&folder, CONFIG, "table"), false, None).unwrap();
    assert_eq!(training.drawn, 60 * 16);
}

#[test]
fn a_third_part_leaves_the_test_part_as_it_is() {
    let folder = folder();
    let parts = |split: &str| {
        let text = CONFIG.replace("[split.seed]\ntrain = 180", split).replace("normalise = \"features\"\n", "");
        match load(&config(&folder, &text, "out")) {
            Dataset::Labelled(data) => {
                let rows = |role| -> Option<Vec<Vec<u32>>> {
                    let rows = data.part(role)?.iter().map(|(input, _)| input.iter().map(|x| x.to_bits()).collect());
                    Some(rows.collect())
                };
                [rows(Role::Train), rows(Role::Validate), rows(Role::Test)]
            }
            Dataset::Text(_) => panic!("a text"),
        }
    };
    let [all, none, test] = parts("[split.seed]\nseed = 5\ntest = 0.25");
    let [train, validate, same] = parts("[split.seed]\nseed = 5\ntest = 0.25\nvalidate = 0.1");
    assert!(none.is_none() && test == same);
    let (train, validate) = (train.unwrap(), validate.unwrap());
    assert_eq!((train.len(), validate.len()), (156, 24));
    assert_eq!([train, validate].concat(), all.unwrap());
    let [train, validate, test] = parts("[split.group]\ntest = [\"east\"]\nvalidate = [\"south\"]").map(Option::unwrap);
    // The groups have every third sample of each class, in the order of the file.
    let whole = samples();
    let of = |place: &str| whole.lines().filter(|line| line.contains(place)).count();
    assert_eq!((train.len(), validate.len(), test.len()), (of("north"), of("south"), of("east")));
    let first = whole.lines().find(|line| line.contains("south")).unwrap().split(',').next().unwrap();
    assert_eq!(validate[0][0], first.parse::<f32>().unwrap().to_bits());
    let Dataset::Text(text) = load(&config(&folder, TEXT, "out")) else { panic!("samples") };
    let validate = text.validate.unwrap();
    assert_eq!((text.train.len(), validate.len(), text.test.len()), (648, 162, 90));
    assert_eq!([text.train, validate, text.test].concat(), std::fs::read(folder.path("text.txt")).unwrap());
    for (split, words) in [
        (json!({"seed": {"validate": 1.0}}), "must be in (0, 1)"),
        (json!({"seed": {"train": 20, "validate": 0.1}}), "cannot be for validation"),
        (json!({"seed": {"validate": 0.001}}), "cannot be for validation"),
        (json!({"group": {"test": ["east"], "validate": ["east"]}}), "cannot be in both"),
        (json!({"group": {"test": ["east"], "validate": ["south", "north"]}}), "training part"),
        (json!({"group": {"test": ["east"], "validate": ["west"]}}), "no sample belongs to group \"west\""),
    ] {
        let split: Split = serde_json::from_value(split).unwrap();
        let config = config(&folder, CONFIG, "out");
        refused(config.data.load(&split, &config.normalise).map_err(Error::from), &[words]);
    }
    // A split by groups and the word "own" are read back as they were written.
    for split in [json!("own"), json!({"own": {"validate": 0.5}}), json!({"group": {"test": ["x"]}})] {
        let read: Split = serde_json::from_value(split).unwrap();
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(serde_json::from_value::<Split>(written).unwrap(), read);
    }
}

#[test]
fn a_configuration_that_is_wrong_says_what_is_right() {
    let right = "write normalise = \"features\", ";
    let cases: [(&str, &str, &[&str]); 15] = [
        (
            "[model.mlp]",
            "[normalise]\nfeatures = true\n[model.mlp]",
            &["line 12", right, "divide = NUMBER", "above the first table"],
        ),
        ("[model.mlp]", "[normalise]\ndivide = \"10\"\n[model.mlp]", &["line 13", "expected f32"]),
        (
            "[model.mlp]",
            "normalise = \"overall\"\n[model.mlp]",
            &["line 12, column 1", "not a key of [split.seed]", "above the first"],
        ),
        ("[model.mlp]", "threads = 1\n[model.mlp]", &["\"threads\" is not a key of [split.seed]"]),
        ("batch = 16", "batch = 16\nseed = 4", &["line 20, column 1", "\"seed\" is not a key of [training]"]),
        ("train = 180", "tran = 180", &["unknown key \"tran\"; did you mean \"train\"?"]),
        ("step-size = 0.02", "step-size = 0", &["step size must be > 0"]),
        (
            "schedule = \"constant\"",
            "schedule = { warmup-stable-decay = { warmup = 50, decay = 20 } }",
            &["50", "20", "do not fit into 60"],
        ),
        (
            "schedule = \"constant\"",
            "schedule = { warmup-stable-decay = { warmup = 60, decay = 0 } }",
            &["60 steps of warmup take all 60"],
        ),
        ("batch = 16", "batch = 16\nstop-after = 0", &["stop-after", "at least 1"]),
        ("batch = 16", "batch = 16\nkeep = \"bset\"", &["\"bset\"; did you mean \"best\"?"]),
        (
            "step-size = 0.02",
            "step-size = 0.02\nconstrained = true",
            &["line 16, column 1", "instead of true, use pull = \"zero\""],
        ),
        ("step-size = 0.02", "step-size = 0.02\npull = \"one\"", &["a pull must be none, zero, start"]),
        (
            "step-size = 0.02",
            "step-size = 0.5\npull = \"start=3\"",
            &["pull must be > 0, and pull times step size at most 1"],
        ),
        ("steps = 60", "steps = 5000000000", &["steps must be at most 4294967295", "found 5000000000"]),
    ];
    let normal = CONFIG.replace("normalise = \"features\"\n", "");
    for (good, bad, words) in cases {
        assert!(normal.contains(good));
        let line = Config::parse(&normal.replacen(good, bad, 1)).unwrap_err();
        assert!(!line.contains('\n'), "{line}");
        for word in words {
            assert!(line.contains(word), "{bad}: {word:?} in {line:?}");
        }
    }
    // By epochs, the number of steps is known only with the data.
    let folder = folder();
    let epochs = CONFIG.replace("steps = 60", "epochs = 1");
    let text = epochs.replace("\"constant\"", "{ warmup-stable-decay = { warmup = 50, decay = 20 } }");
    refused(trained(&config(&folder, &text, "out"), false, None), &["do not fit into 12 steps"]);
}

#[test]
fn a_training_too_large_for_this_machine_is_refused_before_anything_is_changed() {
    if limits::free().is_none() {
        println!("skipped: this system does not say how much memory is free");
        return;
    }
    let folder = folder();
    folder.file("right.toml", CONFIG);
    let (status, _, error) = graftage(&folder, &["train", "right.toml"]);
    assert_eq!(status, Some(0), "{error}");
    let before = files(&folder.path("out"));
    let cases: [(&str, &str, &[&str]); 4] = [
        (
            "batch = 16",
            "batch = 10000000000000",
            &["wrong.toml: ", "for [training] batch (", "use a smaller batch than 10000000000000"],
        ),
        ("[16]", "[1000000, 1000000]", &["wrong.toml: ", "for [model] (", "use a smaller model"]),
        ("threads = 1", "threads = 100000", &["wrong.toml: threads: must be from 1 to ", ", found 100000"]),
        ("threads = 1", "threads = 2000", &["threads: must be from 1 to ", ", found 2000"]),
    ];
    for (good, bad, words) in cases {
        folder.file("wrong.toml", CONFIG.replace(good, bad));
        for arguments in [&["train", "wrong.toml", "--force"][..], &["models", "wrong.toml"]] {
            fails(&folder, arguments, words);
        }
        assert!(files(&folder.path("out")) == before, "{bad}");
    }
    // The limits of the process count, too: a billion samples would fit a large machine.
    folder.file("wrong.toml", CONFIG.replace("batch = 16", "batch = 1000000000"));
    let shell = format!("ulimit -v 6000000; exec {} train wrong.toml --force", crate::common::GRAFTAGE.display());
    let output = Command::new("sh").args(["-c", &shell]).current_dir(folder.path(".")).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && error.contains("[training] batch"), "{error}");
    assert!(files(&folder.path("out")) == before);
    let compare = ["compare", "right.toml", "--optimizers", "scion", "--target", "1", "--jobs"];
    fails(&folder, &[&compare[..], &["2000"]].concat(), &["--jobs: must be from 1 to ", ", found 2000"]);
    fails(&folder, &[&compare[..], &["0"]].concat(), &["--jobs: must be from 1 to ", ", found 0"]);
}

#[test]
fn the_estimate_of_an_optimizer_is_what_it_takes() {
    let folder = folder();
    for method in Method::all() {
        let text = CONFIG.replace("step-size", &format!("method = \"{}\"\nstep-size", method.key()));
        let config = config(&folder, &text, "out");
        let feed = graftage_train::trainer::Feed::new(&load(&config), &config.model, 0.0, 1, tch::Device::Cpu).unwrap();
        let trainer = graftage_train::trainer::Trainer::new(&config, &feed, tch::Device::Cpu).unwrap();
        let count = 4 * 16 + 16 + 16 * 3 + 3;
        assert_eq!(trainer.optimizer().bytes(), 4 * count * limits::arrays(&config.optimizer, false), "{method}");
    }
}

fn options() -> Options {
    Options {
        trials: trials_of("scion,theta=0.5"),
        momenta: vec![0.9],
        each_momentum: false,
        tuned_on: vec![11],
        target: Target::Loss(0.5),
        choice: Choice::Loss,
    }
}

fn trials_of(optimizers: &str) -> Trials {
    Trials {
        contestants: optimizers.split(',').map(|name| name.parse().unwrap()).collect(),
        step_sizes: vec![0.01, 0.02],
        baseline_step_sizes: [("adamw", vec![0.01]), ("sgd", vec![0.1])].into(),
        seeds: vec![1, 2],
        on_training: false,
        jobs: 1,
    }
}

/// Compares, and stops when `most` trainings have ended.
fn compared(folder: &Folder, options: &Options, place: &str, resume: bool, most: usize) -> Result<Comparison> {
    let config = config(folder, CONFIG, "unused");
    let (stop, place) = (AtomicBool::new(false), files::Folder::open(&folder.path(place), false)?);
    let interruption = Interruption { folder: Some(&place), resume, stop: &stop };
    compare(&config, &load(&config), options, &interruption, |done, _| {
        stop.store(done >= most, Ordering::Relaxed);
    })
}

#[test]
fn a_comparison_that_was_interrupted_ends_as_one_that_was_not() {
    let folder = folder();
    let options = options();
    let whole = compared(&folder, &options, "whole", false, usize::MAX).unwrap();
    let mut resume = false;
    for most in [1, 4] {
        let stopped = compared(&folder, &options, "cut", resume, most);
        assert!(matches!(&stopped, Err(Error::TrialsInterrupted { ended, .. }) if *ended == most), "{stopped:?}");
        refused(stopped, &["--resume", "cut"]);
        resume = true;
    }
    let path = folder.path("cut").join(TRAININGS);
    let kept = std::fs::read_to_string(&path).unwrap();
    assert_eq!(kept.lines().count(), 1 + 4);
    // A kill in the middle of a line loses that training.
    folder.file("cut/trainings.jsonl", &kept[..kept.len() - 30]);
    refused(compared(&folder, &options, "cut", false, usize::MAX), &[TRAININGS, "--resume"]);
    let other = Options { trials: Trials { seeds: vec![1, 3], ..options.trials.clone() }, ..options.clone() };
    refused(compared(&folder, &other, "cut", true, usize::MAX), &["seeds was \"1,2\" there, but is \"1,3\" now"]);
    let other = Options { target: Target::Loss(0.25), ..options.clone() };
    refused(compared(&folder, &other, "cut", true, usize::MAX), &["target was \"0.5\" there, but is \"0.25\" now"]);
    folder.file("samples.csv", samples().replacen("0.", "0.5", 1));
    refused(compared(&folder, &options, "cut", true, usize::MAX), &["on other data", "features of the training part"]);
    folder.file("samples.csv", samples());
    let mut done = 0;
    let resumed = compared(&folder, &options, "cut", true, usize::MAX).inspect(|_| done += 1).unwrap();
    assert_eq!(resumed, whole);
    refused(compared(&folder, &options, "nowhere", true, 1), &["no trainings to resume from"]);
}

#[test]
fn a_variant_of_the_configuration_is_compared_like_a_method() {
    let folder = folder();
    let variants = r#"
[variants.same]
method = "muon"
schedule = "constant"
[variants.decaying]
method = "adamw"
schedule = "constant"
decay = 0.5
"#;
    let config = config(&folder, &(CONFIG.to_owned() + variants), "unused");
    let stop = AtomicBool::new(false);
    let interruption = Interruption { folder: None, resume: false, stop: &stop };
    let run = |optimizers: &str| {
        let options = Options { trials: trials_of(optimizers), ..options() };
        compare(&config, &load(&config), &options, &interruption, |_, _| {})
    };
    let comparison = run("muon,variant=same,adamw,variant=decaying").unwrap();
    let names: Vec<_> = comparison.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["Muon", "same", "AdamW", "decaying"]);
    let [muon, same, adamw, decaying] = &comparison.rows[..] else { panic!("{comparison:?}") };
    assert_eq!((muon.step_size, &muon.runs), (same.step_size, &same.runs));
    assert_ne!(adamw.runs, decaying.runs);
    refused(run("variant=other"), &["has no table [variants.other]; it has decaying, same"]);
    let wrong = CONFIG.to_owned() + "[variants.a]\nstep-size = -1.0\n";
    let error = Config::parse(&wrong).unwrap_err();
    assert!(error.starts_with("[variants.a] "), "{error}");
}

#[test]
fn a_training_that_diverged_is_kept_as_one() {
    let folder = folder();
    // Features of 3e38 overflow.
    let wild = format!("{}3e38,3e38,3e38,3e38,north,oak\n", samples()).repeat(1);
    folder.file("samples.csv", wild);
    let config = Config { normalise: graftage::data::Normalise::None, ..config(&folder, CONFIG, "unused") };
    let config = Config { split: serde_json::from_value(json!({"group": {"test": ["east"]}})).unwrap(), ..config };
    let options =
        Options { trials: Trials { step_sizes: vec![0.01], ..trials_of("scion") }, tuned_on: Vec::new(), ..options() };
    let place = folder.path("diverged");
    let run = |resume| {
        let folder = files::Folder::open(&place, false).unwrap();
        let interruption = Interruption { folder: Some(&folder), resume, stop: &AtomicBool::new(false) };
        compare(&config, &load(&config), &options, &interruption, |_, _| ()).unwrap()
    };
    let first = run(false);
    assert!(first.rows[0].runs.iter().all(|run| run.last.is_infinite()));
    let lines = std::fs::read(place.join(TRAININGS)).unwrap();
    assert_eq!(run(true).rows[0].runs, first.rows[0].runs);
    assert!(std::fs::read(place.join(TRAININGS)).unwrap() == lines, "nothing was trained again");
}

#[test]
fn a_transfer_that_was_interrupted_ends_as_one_that_was_not() {
    let folder = folder();
    let config = config(&folder, CONFIG, "unused");
    let run = |place: &str, resume, most| -> Result<Transfer> {
        let (stop, place) = (AtomicBool::new(false), files::Folder::open(&folder.path(place), false)?);
        let interruption = Interruption { folder: Some(&place), resume, stop: &stop };
        transfer(&config, &load(&config), &[4, 8], &trials_of("theta=0.5"), &interruption, |done, _| {
            stop.store(done >= most, Ordering::Relaxed);
        })
    };
    let whole = run("whole", false, usize::MAX).unwrap();
    // It stops in the second width.
    let stopped = run("cut", false, 6);
    assert!(matches!(stopped, Err(Error::TrialsInterrupted { ended: 6, .. })), "{stopped:?}");
    assert_eq!(run("cut", true, usize::MAX).unwrap(), whole);
}

#[test]
fn a_comparison_refuses_options_that_cannot_work_and_leaves_out_unmeasured_results() {
    let folder = folder();
    folder.file("table.toml", CONFIG);
    let cases: [(&str, &[&str]); 13] = [
        ("compare --seeds 1,2,1", &["--seeds: 1 is named twice"]),
        ("compare --tuning-seeds 11,11", &["--tuning-seeds: 11 is named twice"]),
        ("compare --optimizers scion,scion", &["--optimizers: Scion is named twice"]),
        ("compare --step-sizes 0.01,0.01", &["--step-sizes: 0.01 is named twice"]),
        ("compare --step-sizes 0", &["--step-sizes: a step size must be finite and > 0, found 0"]),
        ("compare --momenta 0.9,0.9", &["--momenta: 0.9 is named twice"]),
        ("compare --momenta 1", &["--momenta: 1 is not in [0, 1)"]),
        ("compare --target nan", &["--target", "NaN", "finite one above 0"]),
        ("compare --target inf", &["--target", "inf"]),
        ("compare --seeds=", &["--seeds"]),
        ("transfer --seeds 1,1", &["--seeds: 1 is named twice"]),
        ("transfer --widths 8,8", &["--widths: 8 is named twice"]),
        ("transfer --widths=", &["--widths"]),
    ];
    for (arguments, words) in cases {
        let (command, options) = arguments.split_once(' ').unwrap();
        let mut all = vec![command, "table.toml"];
        all.extend(options.split(' '));
        if command == "compare" && !options.contains("--target") {
            all.extend(["--target", "0.5"]);
        }
        fails(&folder, &all, words);
    }
    let quick = "compare table.toml --optimizers scion,theta=0.5 --seeds 1 --tuning-seeds 11 --momenta 0.9 \
                 --step-sizes 0.02 --target 0.5 --output compared";
    let (status, out, error) = graftage(&folder, &quick.split_whitespace().collect::<Vec<_>>());
    assert_eq!(status, Some(0), "{error}");
    assert!(out.contains(" ± – |") && out.contains("(–)"), "{out}");
    let result: Value = graftage::files::read_json(&folder.path("compared/comparison.json")).unwrap();
    let row = &result["rows"][1];
    for spread in [&row["last"], &row["difference"], &row["accuracy"]] {
        assert!(spread["mean"].is_number() && spread["deviation"].is_null(), "{spread}");
    }
    let page = std::fs::read_to_string(folder.path("compared/report.html")).unwrap();
    assert!(page.contains(" ± –"), "the page, too");
    assert!(!folder.path("compared").join(TRAININGS).exists(), "it has ended");
    // The warnings of the table are also in the page and the JSON.
    for warning in result["warnings"].as_array().unwrap() {
        let warning = warning.as_str().unwrap();
        assert!(out.contains(warning) && page.contains(warning), "{warning}");
    }
    assert_eq!(Moments::of([1.0, 3.0]).deviation, Some(2f64.sqrt()));
}

#[test]
fn a_signal_leaves_the_trainings_that_have_ended() {
    let folder = folder();
    folder.file("long.toml", CONFIG.replace("steps = 60", "steps = 150"));
    let arguments = "compare long.toml --optimizers scion --seeds 1,2,3,4,5,6 --tuning-seeds 11 --momenta 0.9 \
                     --step-sizes 0.01,0.02 --target 0.5 --jobs 1 --output out";
    let mut command = Command::new(&*crate::common::GRAFTAGE);
    command.args(arguments.split_whitespace()).current_dir(folder.path("."));
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let path = folder.path("out").join(TRAININGS);
    let lines = || std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
    while lines() < 3 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && error.lines().last().unwrap().contains("use `--resume` to continue from out"),
        "{error}"
    );
    assert!(lines() >= 3 && !folder.path("out/comparison.json").exists());
    let resumed = format!("{arguments} --resume");
    let (status, _, error) = graftage(&folder, &resumed.split_whitespace().collect::<Vec<_>>());
    assert_eq!(status, Some(0), "{error}");
    assert!(folder.path("out/comparison.json").exists() && !path.exists());
    fails(&folder, &["compare", "long.toml", "--target", "1", "--resume"], &["--resume", "--output"]);
}
