//! Tests of what a training leaves to watch it by, and to go back to: averages, numbers by group, event files, and
//! several checkpoints.

use crate::common::Folder;
use graftage::data::Dataset;
use graftage::report::training_page;
use graftage::training::{Training, TrainingPoint};
use graftage_train::config::Config;
use graftage_train::error::Result;
use graftage_train::trainer::{AVERAGE, EVENTS, Live, METRICS, MODEL, STATE, Start, evaluate, train};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const CONFIG: &str = r#"
output = "out"
threads = 1
device = "cpu"
[data.csv]
path = "samples.csv"
[split.seed]
seed = 1
train = 180
[model.mlp]
hidden = [8]
[optimizer]
step-size = 0.05
schedule = { cosine = { warmup = 5, floor = 0.1 } }
average = "exponential=0.9"
limiter = 3.0
decay = "cautious=0.2"
[[optimizer.groups]]
pattern = "*"
of-roles = ["bias"]
rule = "adamw"
step-factor = 0.5
[training]
steps = 60
batch = 16
evaluate-every = 5
checkpoint-every = 10
checkpoints = 3
tensorboard = true
"#;

fn samples() -> String {
    let mut text = "a,b,c,label\n".to_owned();
    for n in 0..240u32 {
        let (x, y) = ((n * 37 % 101) as f32 / 50.0 - 1.0, (n * 53 % 97) as f32 / 48.0 - 1.0);
        text += &format!("{x},{y},{},{}\n", x * y, if x * x + y * y < 0.6 { "in" } else { "out" });
    }
    text
}

fn config(folder: &Folder, change: impl Fn(&str) -> String) -> Config {
    folder.file("samples.csv", samples());
    let text = change(CONFIG).replace("\"samples.csv\"", &format!("{:?}", folder.path("samples.csv")));
    let mut config = Config::parse(&text).unwrap();
    config.output = folder.path("out");
    config
}

fn load(config: &Config) -> Dataset {
    config.data.load(&config.split, &config.normalise).unwrap()
}

/// Trains, and stops at step `stop_at` if there is one.
fn run(config: &Config, start: Start, stop_at: Option<u64>) -> Result<Training> {
    let stop = AtomicBool::new(false);
    train(config, &load(config), start, &stop, training_page, |live: Live| {
        if stop_at.is_some_and(|at| live.step + 1 >= at) {
            stop.store(true, Ordering::Relaxed);
        }
    })
}

/// Returns the names of the checkpoints.
fn checkpoints(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("state")).collect();
    names.sort();
    names
}

fn lines(folder: &Path) -> Vec<TrainingPoint> {
    let text = std::fs::read_to_string(folder.join(METRICS)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn averaged_weights_are_measured_and_saved_beside_the_last_ones() {
    let folder = Folder::empty();
    let config = config(&folder, str::to_owned);
    let training = run(&config, Start::default(), None).unwrap();
    let last = training.curve.last().unwrap();
    let [average, own] = [AVERAGE, MODEL].map(|name| {
        let evaluation = evaluate(&config.output.join(name), None, Some(graftage::data::Role::Test)).unwrap();
        (evaluation.measured.loss, evaluation.measured.accuracy)
    });
    assert_eq!(own, (last.test_loss, last.accuracy));
    assert_eq!(average, (last.average_loss.unwrap(), last.average_accuracy.unwrap()));
    assert_ne!(average.0, own.0);
    // Without an average there is neither file nor number.
    let folder = Folder::empty();
    let without = self::config(&folder, |text| text.replace("average = \"exponential=0.9\"\n", ""));
    let training = run(&without, Start::default(), None).unwrap();
    assert!(!without.output.join(AVERAGE).exists());
    assert!(training.curve.iter().all(|point| point.average_loss.is_none()));
    assert!(!std::fs::read_to_string(without.output.join(METRICS)).unwrap().contains("average"));
}

#[test]
fn metrics_and_page_have_numbers_by_group() {
    let folder = Folder::empty();
    let config = config(&folder, str::to_owned);
    run(&config, Start::default(), None).unwrap();
    for point in lines(&config.output) {
        let names: Vec<_> = point.groups.iter().map(|group| group.group.as_str()).collect();
        assert_eq!(names, ["hidden", "* (bias)", "head"]);
        let [hidden, biases, head] = &point.groups[..] else { panic!("{point:?}") };
        // A cosine from 1 to 0.1 after five steps of warm-up.
        let done = (point.step as f64 - 6.0) / 55.0;
        let factor = match point.step {
            1..=5 => point.step as f64 / 5.0,
            _ => 0.1 + 0.9 * (1.0 + (std::f64::consts::PI * done).cos()) / 2.0,
        };
        for (group, step_size) in [(hidden, 0.05), (biases, 0.025), (head, 0.05)] {
            let found = f64::from(group.step_size);
            assert!((found - step_size * factor).abs() < 1e-6, "step {}: {group:?}", point.step);
            assert!(group.gradient > 0.0 && group.weights > 0.0, "{group:?}");
        }
        assert!(hidden.dual.unwrap() > 0.0 && hidden.step_over_weights.unwrap() > 0.0 && hidden.ahead > 0.0);
        assert_eq!((biases.dual, biases.ahead), (None, 0.0));
    }
    let page = std::fs::read_to_string(config.output.join("report.html")).unwrap();
    for words in [
        "Dual norm of the momentum",
        "test part, averaged weights",
        "step size 0.05 falling to 0.1 of it along a cosine after 5 steps of warm-up",
        "decay cautious=0.2",
        "gradients limited to 3 times their mean",
    ] {
        assert!(page.contains(words), "{words}");
    }
}

/// Fields of a protocol buffer: number to values, each with its wire type.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => varint(&mut bytes).to_le_bytes().to_vec(),
            kind => {
                let length = match kind {
                    1 => 8,
                    5 => 4,
                    2 => varint(&mut bytes) as usize,
                    other => panic!("wire type {other}"),
                };
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                value.to_vec()
            }
        };
        fields.push((key >> 3, value));
    }
    fields
}

/// CRC-32C bit by bit, masked as event files have it.
fn masked(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Reads an event file as a viewer does: values by tag and step, without those that a later start made void.
fn events(path: &Path) -> BTreeMap<String, BTreeMap<u64, f32>> {
    let bytes = std::fs::read(path).unwrap();
    let (mut rest, mut tags, mut first) = (&bytes[..], BTreeMap::<String, BTreeMap<u64, f32>>::new(), true);
    while !rest.is_empty() {
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(number(&rest[8..12]), masked(&rest[..8]));
        let data = &rest[12..12 + length];
        assert_eq!(number(&rest[12 + length..16 + length]), masked(data));
        rest = &rest[16 + length..];
        let event = fields(data);
        let of = |field: u64| event.iter().find(|(number, _)| *number == field).map(|(_, value)| value.clone());
        assert!(f64::from_le_bytes(of(1).unwrap().try_into().unwrap()) > 1.7e9, "the time since 1970");
        if std::mem::take(&mut first) {
            assert_eq!(of(3).unwrap(), b"brain.Event:2");
        }
        let step = of(2).map_or(0, |step| u64::from_le_bytes(step.try_into().unwrap()));
        if of(7).is_some() {
            tags.values_mut().for_each(|values| values.retain(|at, _| *at < step));
        }
        for (_, value) in of(5).map_or(Vec::new(), |summary| fields(&summary)) {
            let value = fields(&value);
            let tag = String::from_utf8(value[0].1.clone()).unwrap();
            tags.entry(tag).or_default().insert(step, f32::from_le_bytes(value[1].1.clone().try_into().unwrap()));
        }
    }
    tags
}

#[test]
fn event_files_hold_the_measurements_also_of_a_training_that_was_interrupted() {
    assert_eq!(masked(b"123456789"), 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8));
    for stop_at in [None, Some(7), Some(33)] {
        let folder = Folder::empty();
        let config = config(&folder, str::to_owned);
        if stop_at.is_some() {
            run(&config, Start::default(), stop_at).unwrap_err();
            // As if the process had been killed while it wrote.
            let path = config.output.join(EVENTS);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.extend([9, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
            std::fs::write(&path, bytes).unwrap();
            run(&config, Start { resume: true, ..Start::default() }, None).unwrap();
        } else {
            run(&config, Start::default(), None).unwrap();
        }
        let (tags, points) = (events(&config.output.join(EVENTS)), lines(&config.output));
        let curve = |of: fn(&TrainingPoint) -> Option<f32>| -> BTreeMap<u64, f32> {
            points.iter().filter_map(|point| Some((point.step, of(point)?))).collect()
        };
        for (tag, of) in [
            ("loss/test", (|point| Some(point.test_loss)) as fn(&TrainingPoint) -> Option<f32>),
            ("loss/average", |point| point.average_loss),
            ("accuracy/test", |point| Some(point.accuracy)),
            ("dual-norm/hidden", |point| point.groups[0].dual),
            ("step-size/* (bias)", |point| Some(point.groups[1].step_size)),
        ] {
            assert_eq!(tags[tag], curve(of), "{tag}, stopped at {stop_at:?}");
            assert_eq!(tags[tag].len(), 12, "{tag}");
        }
        assert!(!tags.contains_key("dual-norm/* (bias)") && !tags.contains_key("loss/train"), "{:?}", tags.keys());
    }
}

#[test]
fn several_checkpoints_are_kept_and_a_training_goes_back_to_one() {
    let folder = Folder::empty();
    let config = config(&folder, str::to_owned);
    run(&config, Start::default(), None).unwrap();
    let kept = ["state-40.safetensors", "state-50.safetensors", "state-60.safetensors", STATE];
    assert_eq!(checkpoints(&config.output), kept);
    let result = |name: &str| std::fs::read(config.output.join(name)).unwrap();
    let whole = [MODEL, AVERAGE].map(result);
    // Back to step 40, to the same end.
    let back = |at| run(&config, Start { resume: true, at: Some(at), ..Start::default() }, None);
    back(40).unwrap();
    assert_eq!([MODEL, AVERAGE].map(result), whole);
    assert_eq!(checkpoints(&config.output), kept);
    assert_eq!(lines(&config.output).len(), 12);
    let error = back(20).unwrap_err().to_string();
    assert!(error.ends_with("there is no checkpoint of step 20; there are those of steps 40, 50, 60"), "{error}");
    // Fewer are kept from now on, and those of a course that was left are gone.
    run(&config, Start { resume: true, at: Some(40), ..Start::default() }, Some(45)).unwrap_err();
    assert_eq!(checkpoints(&config.output), ["state-40.safetensors", "state-45.safetensors", STATE]);
    // A new start takes away what the former one kept.
    let fewer = self::config(&folder, |text| text.replace("checkpoints = 3\n", ""));
    run(&fewer, Start { force: true, ..Start::default() }, None).unwrap();
    assert_eq!(checkpoints(&fewer.output), [STATE]);
    let error = run(&fewer, Start { resume: true, at: Some(40), ..Start::default() }, None).unwrap_err().to_string();
    assert!(error.ends_with("only the last one is kept unless [training] has checkpoints"), "{error}");
}

#[test]
fn settings_that_cannot_be_are_refused_in_the_configuration() {
    let folder = Folder::empty();
    for (from, to, words) in [
        ("average = \"exponential=0.9\"", "average = \"exponential=1\"", "must be in (0, 1), found 1"),
        ("average = \"exponential=0.9\"", "average = \"mean\"", "use exponential=MEMORY or tail=STEP"),
        ("rule = \"adamw\"", "rule = \"adam\"", "unknown value \"adam\"; did you mean \"adamw\"?"),
        ("threads = 1", "threads = 1\nweights = \"bfloat16\"", "needs precision = \"bfloat16\", too"),
        (
            "{ cosine = { warmup = 5, floor = 0.1 } }",
            "\"cosine\"",
            "this value needs a table of settings, as in { cosine",
        ),
        ("checkpoints = 3", "checkpoints = 0", "checkpoints must be at least 1"),
        ("floor = 0.1", "floor = 1.1", "the floor must be in [0, 1], found 1.1"),
        ("warmup = 5", "warmup = 60", "60 steps of warmup take all 60 steps"),
        ("\"cautious=0.2\"", "\"careful\"", "is no decay: use LAMBDA or cautious=LAMBDA"),
        ("step-factor = 0.5", "momentum = \"1:0.5,up\"", "is neither a number nor a list STEP:VALUE,STEP:VALUE"),
    ] {
        let text = CONFIG.replace(from, to);
        assert_ne!(text, CONFIG);
        let error = Config::parse(&text).unwrap_err();
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
    }
    // Others need the model, and change nothing.
    for (from, to, words) in [
        ("limiter = 3.0", "limiter = 0.5", "the limiter: its factor must be finite and > 1, found 0.5"),
        ("\"cautious=0.2\"", "-1.0", "its decay must be finite and ≥ 0"),
        ("\"cautious=0.2\"", "1000", "the decay: times a step size of 0.05 it must be at most 1, found 1000"),
        ("limiter = 3.0", "momentum-start = \"zero\"", "momentum can start at 0 only without transport"),
        ("step-factor = 0.5", "momentum = \"1:0.5,9:0.9\"", "takes only a constant momentum"),
    ] {
        let config = config(&folder, |text| text.replace(from, to));
        let error = run(&config, Start::default(), None).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!config.output.exists(), "{to}");
    }
}

#[test]
fn a_model_of_bfloat16_trains_and_leaves_weights_in_binary32() {
    let folder = Folder::empty();
    let half = "threads = 1\nprecision = \"bfloat16\"\nweights = \"bfloat16\"";
    let config =
        config(&folder, |text| text.replace("threads = 1", half).replace("[training]", "[training]\nparts = 2"));
    let training = run(&config, Start::default(), None).unwrap();
    let (first, last) = (&training.curve[0], training.curve.last().unwrap());
    assert!(last.test_loss < 0.8 * first.test_loss, "{first:?} {last:?}");
    // The page, the state and the resumption are those of any training.
    let whole = std::fs::read(config.output.join(MODEL)).unwrap();
    run(&config, Start { resume: true, at: Some(40), ..Start::default() }, None).unwrap();
    assert_eq!(std::fs::read(config.output.join(MODEL)).unwrap(), whole);
    // Weights that bfloat16 does not hold: the optimizer has them in binary32.
    let checkpoint = graftage::checkpoint::Checkpoint::read(&config.output.join(MODEL)).unwrap();
    let fine = checkpoint.tensors[0].elements.iter().filter(|e| e.to_bits() & 0xffff != 0).count();
    assert!(fine > checkpoint.tensors[0].elements.len() / 2, "{fine}");
    // A user of a processor is told that it may be slower.
    for (words, told) in [(half, true), ("threads = 1", false)] {
        folder.file("half.toml", CONFIG.replace("threads = 1", words).replace("steps = 60", "steps = 6"));
        let run = folder.graftage("train half.toml --output half --force");
        assert_eq!(run.errors.contains("bfloat16\" on a processor"), told, "{}", run.errors);
    }
}
