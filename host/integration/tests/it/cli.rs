//! Tests of the command line: bad input gives one clear line and no file; good input does what was asked.

use crate::common::{self, Folder, Run, about, bits, checkpoint, firmware, samples, squeezed, with_weights};
use flate2::{Compression, write::GzEncoder};
use graftage::checkpoint::Checkpoint;
use graftage::data::{AgedSensor, Legend, Samples};
use graftage::image::identity;
use graftage::record::{Event, Lesson, Record};
use graftage::rehearse::{GroupRehearsal, Rehearsal};
use graftage::replay::Verification;
use graftage::{files, graft, replay, workstation};
use graftage_core::adapt::Recipe;
use graftage_core::polar::Quintics;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Pull, Rule};
use graftage_core::session::Taken;
use graftage_core::transport::Transport;
use graftage_link::Ended;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;
use std::collections::HashMap;
use std::io::Write;
use std::process::Command;

/// Creates a checkpoint for four features and three classes, with its data, its model and the record of a session.
fn folder() -> Folder {
    let folder = Folder::empty();
    let checkpoint = checkpoint(&[4, 6, 3], 40);
    checkpoint.write(&folder.path("good.safetensors")).unwrap();
    samples(60, 4, 3).write(&folder.path("good.csv"), common::SCALE, &Legend::default()).unwrap();
    let recipe = Recipe { batch: 4, steps: 2, replay: 16, seed: 1, ..Recipe::DEFAULT };
    graft::graft(&checkpoint, recipe, usize::MAX, &folder.path("model")).unwrap();
    let bytes = std::fs::read(folder.path("model/image.grft")).unwrap();
    let image = common::parse(&bytes);
    let mut board = workstation::start(workstation::network(&image).unwrap(), recipe, image.start()).unwrap();
    let (start, mut events) = (board.digest(), Vec::new());
    for (input, label) in samples(20, 4, 3).iter() {
        let mut reports = Vec::new();
        let prediction = board.learn(input, label, |report| reports.push(report)).unwrap();
        let taken = Taken { prediction, held_out: false };
        events.push(Event::Sample(Lesson { input: input.to_vec(), label, taken, reports }));
    }
    let record = Record {
        board: "mps2-an386".into(),
        schema: common::parse(&bytes).header.schema,
        image: identity(&bytes),
        start,
        events,
    };
    record.write(&folder.path("good.record")).unwrap();
    folder
}

/// Asserts that each command line fails with one line that contains all of its words, and leaves no file behind.
fn all_fail(folder: &Folder, cases: &[(&str, &[&str])]) {
    let before = folder.files();
    for (arguments, words) in cases {
        let run = folder.graftage(arguments);
        assert_eq!(run.errors.lines().count(), 1, "{arguments}: {}", run.errors);
        assert_eq!(run.output, "", "{arguments}");
        let message = run.failed();
        assert!(words.iter().all(|word| message.contains(word)), "{arguments}: {message}\nwithout one of {words:?}");
        assert_eq!(folder.files(), before, "{arguments}");
    }
}

#[test]
fn a_wrong_data_file_is_named_with_line_and_column() {
    let folder = folder();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&b"1,2,3,4,0\n".repeat(100)).unwrap();
    let packed = encoder.finish().unwrap();
    folder.file("cut.csv.gz", &packed[..packed.len() - 9]);
    folder.file("plain.csv.gz", "1,2,3,4,0\n");
    let wrong: [(&str, &[u8], &[&str]); 17] = [
        ("ragged", b"1,2,3,4,0\n1,2,3,0\n", &["line 2: 4 fields, but 5 in the lines before it"]),
        ("nan", b"1,2,3,4,0\n1,2,NaN,4,0\n", &["line 2, column 3", "finite number", "\"NaN\""]),
        ("inf", b"1,2,3,4,0\n-inf,2,3,4,0\n", &["line 2, column 1", "finite number", "\"-inf\""]),
        ("huge", b"1,1e39,3,4,0\n", &["column \"1\"", "1e39 is too large for binary32"]),
        ("text", b"a,b,c,d,class\n1,2,3,four,0\n", &["line 2, column 4", "finite number", "\"four\""]),
        ("gap", b"1,2,3,4,0\n\n\n1,,3,4,0\n", &["line 4, column 2", "finite number", "\"\""]),
        ("windows", b"a,b,c,d,e\r\n1,2,3,4,0\r\n\r\n1,2,3,x,0\r\n", &["line 4, column 4", "\"x\""]),
        ("fraction", b"1,2,3,4,0\n1,2,3,4,1.5\n", &["line 2, column 5", "label 1.5 is not one of the 3 classes"]),
        ("negative", b"1,2,3,4,-1\n", &["line 1, column 5", "label -1 is not one of the 3 classes"]),
        ("many", b"1,2,3,4,4294967296\n", &["line 1, column 5", "label 4294967296 is not one of the 3 classes"]),
        ("label", b"1,2,3,4,0\n1,2,3,4,3\n", &["sample 2", "label 3", "3 classes"]),
        ("short", b"1,2,3,0\n1,2,3,1\n", &["3 features", "takes 4"]),
        ("one", b"1\n2\n", &["line 1", "features and, last, a label"]),
        ("empty", b"", &["no samples"]),
        ("names", b"a,b,c,d,class\n", &["no samples"]),
        ("latin", b"1,2,3,4,0\n1,\xe9,3,4,0\n", &["line 2", "UTF-8"]),
        ("binary", &[0; 300], &["line 1", "contains a zero byte"]),
    ];
    for (name, text, words) in wrong {
        let file = format!("{name}.csv");
        folder.file(&file, text);
        let words = [&[file.as_str()], words].concat();
        all_fail(&folder, &[(&format!("eval good.safetensors --part all --data {file}"), &words)]);
    }
    all_fail(
        &folder,
        &[
            ("eval good.safetensors --data nowhere.csv", &["nowhere.csv", "No such file"]),
            ("eval good.safetensors --data cut.csv.gz", &["cut.csv.gz", "truncated gzip file", "download it again"]),
            ("eval good.safetensors --data plain.csv.gz", &["plain.csv.gz", "gzip file"]),
            ("eval good.safetensors --data model", &["model", "directory"]),
            ("eval good.safetensors --data ragged.csv", &["ragged.csv"]),
            ("age good.safetensors --data nan.csv --stream a.csv --test b.csv", &["nan.csv", "line 2, column 3"]),
            ("rehearse good.safetensors --data label.csv -o a.json", &["label.csv", "label 3"]),
        ],
    );
}

/// Writes a safetensors file with these tensors and metadata.
fn tensors(folder: &Folder, name: &str, tensors: &[(&str, Dtype, &[usize], &[u8])], about: Option<&str>) {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name.to_string(), TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    let metadata = about.map(|about| HashMap::from([("graftage".to_string(), about.to_string())]));
    folder.file(name, serialize(views, metadata).unwrap());
}

#[test]
fn a_wrong_checkpoint_is_named_with_what_is_wrong() {
    let folder = folder();
    let whole = std::fs::read(folder.path("good.safetensors")).unwrap();
    folder.file("cut.safetensors", &whole[..whole.len() - 1]);
    folder.file("head.safetensors", &whole[..20]);
    folder.file("empty.safetensors", "");
    folder.file("text.safetensors", "These are no weights.\n");
    let about = serde_json::to_string(&about(&[2, 2], 16.0, 40, 0)).unwrap();
    let about = about.as_str();
    let (weight, bias, half) = ([0; 16], [0; 8], [0; 8]);
    let bias: (&str, _, &[usize], &[u8]) = ("layers.0.bias", Dtype::F32, &[2], &bias);
    tensors(&folder, "other.safetensors", &[("x", Dtype::F32, &[4], &weight)], None);
    tensors(&folder, "lacks.safetensors", &[bias], Some(about));
    tensors(&folder, "shape.safetensors", &[("layers.0.weight", Dtype::F32, &[4, 1], &weight), bias], Some(about));
    tensors(&folder, "half.safetensors", &[("layers.0.weight", Dtype::F16, &[2, 2], &half), bias], Some(about));
    let nan = [1.0, f32::NAN, 1.0, 1.0].map(f32::to_le_bytes).concat();
    tensors(&folder, "nan.safetensors", &[("layers.0.weight", Dtype::F32, &[2, 2], &nan), bias], Some(about));
    tensors(&folder, "meta.safetensors", &[bias], Some("{"));
    let good: &[_] = &[("layers.0.weight", Dtype::F32, &[2usize, 2][..], &weight[..]), bias];
    for (name, scale) in [("zero", "0.0"), ("minus", "-1.0"), ("infinite", "1e39")] {
        tensors(&folder, &format!("{name}.safetensors"), good, Some(&about.replace("16.0", scale)));
    }
    tensors(&folder, "unfit.safetensors", good, Some(&about.replace("[2]", "[0]")));
    let cases: [(&str, &[&str]); 14] = [
        ("nowhere", &["No such file"]),
        ("cut", &["not a safetensors file"]),
        ("head", &["not a safetensors file"]),
        ("empty", &["not a safetensors file"]),
        ("text", &["not a safetensors file"]),
        ("other", &["not a checkpoint of graftage"]),
        ("lacks", &["layers.0.weight is missing"]),
        ("shape", &["layers.0.weight is F32 [4, 1]", "F32 [2, 2]"]),
        ("half", &["layers.0.weight is F16 [2, 2]", "F32 [2, 2]"]),
        ("nan", &["layers.0.weight", "not finite, at index 1"]),
        ("meta", &["damaged metadata"]),
        ("zero", &["normalisation", "must be finite and > 0"]),
        ("minus", &["normalisation", "must be finite and > 0"]),
        ("infinite", &["metadata"]),
    ];
    // The commands take turns: one module reads for all of them.
    let commands = [
        "eval FILE --data good.csv",
        "graft FILE -o other",
        "age FILE --data good.csv --stream a.csv --test b.csv",
        "rehearse FILE --data good.csv -o a.json",
    ];
    for ((name, words), command) in cases.into_iter().zip(commands.iter().cycle()) {
        let file = format!("{name}.safetensors");
        let words = [&[file.as_str()], words].concat();
        all_fail(&folder, &[(&command.replace("FILE", &file), &words)]);
    }
    all_fail(
        &folder,
        &[("graft unfit.safetensors -o other", &["unfit.safetensors", "at least one feature and two classes"])],
    );
}

#[test]
fn a_network_that_would_never_learn_or_never_fit_is_not_grafted() {
    let folder = folder();
    for (name, step) in [("minus", "-0.5"), ("zero", "0"), ("none", "null")] {
        folder.file(&format!("{name}.json"), format!("{{ \"methods\": [{{ \"step_size\": {step} }}] }}"));
    }
    all_fail(
        &folder,
        &[
            ("graft good.safetensors -o other --rehearsal minus.json", &["minus.json", "-0.5", "must be > 0"]),
            ("graft good.safetensors -o other --rehearsal zero.json", &["zero.json", "must be > 0"]),
            ("graft good.safetensors -o other --rehearsal none.json", &["none.json", "null"]),
            ("graft good.safetensors -o other --train-last 3", &["--train-last 3", "only 2 layers"]),
            ("graft good.safetensors -o other --train-last 0", &["--train-last 0", "at least 1"]),
            (
                "graft good.safetensors -o other --train-last 2 --pull zero",
                &[
                    "--train-last with a pull to zero",
                    "parameter 1 have norm",
                    "outside their ball of radius",
                    "--pull start",
                ],
            ),
            (
                "graft good.safetensors -o other --movement-budget 2 --pull zero=8 --step-size 0.01",
                &["--movement-budget with a pull to zero", "outside their ball of radius", "--pull start"],
            ),
            ("graft good.safetensors -o other --replay 70000", &["--replay", "at most 65536", "70000"]),
            ("graft good.safetensors -o other --hold-out 3,70000", &["--hold-out", "at most 65536", "70000"]),
        ],
    );
}

#[test]
fn a_number_out_of_its_range_is_named_with_its_range() {
    let folder = folder();
    let bounds: [(&str, &[&str]); 24] = [
        ("--step-size 0", &["step size must be > 0"]),
        ("--step-size -1", &["step size must be > 0"]),
        ("--schedule linear=0", &["schedule", "0 at every step"]),
        ("--schedule wsd=0,0,0", &["schedule", "0 at every step"]),
        ("--step-size=-1", &["step size"]),
        ("--step-size NaN", &["step size"]),
        ("--step-size inf", &["step size"]),
        ("--step-size 0.75 --pull zero=1.5", &["pull must be > 0, and pull times step size at most 1"]),
        ("--step-size 2", &["pull times step size at most 1"]),
        ("--pull start=0", &["pull must be > 0"]),
        ("--cap -1", &["cap must be > 0"]),
        ("--schedule inverse=0", &["schedule", "0 at every step"]),
        ("--transport theta=2", &["theta must be in [0, 1]"]),
        ("--transport theta=-0.1", &["theta"]),
        ("--transport theta=NaN", &["theta"]),
        ("--transport lag=0.95", &["memory of the lag feedback"]),
        ("--movement-budget 0", &["movement budget must be > 0"]),
        ("--momentum 1", &["momentum must be in [0, 1)"]),
        ("--momentum NaN", &["momentum"]),
        ("--batch 0", &["batch must be from 1 to 65536"]),
        ("--batch 65537", &["batch"]),
        ("--steps 0", &["steps per sample must be from 1 to 16"]),
        ("--steps 17", &["steps"]),
        ("--replay 0", &["replay must be at least 1"]),
    ];
    // The commands take turns: recipes are checked once for both.
    let commands =
        ["graft good.safetensors -o other", "rehearse good.safetensors --data good.csv --samples 5 -o a.json"];
    for ((option, words), command) in bounds.into_iter().zip(commands.iter().cycle()) {
        all_fail(&folder, &[(&format!("{command} {option}"), words)]);
    }
    all_fail(
        &folder,
        &[
            (
                "age good.safetensors --data good.csv --samples 41 --stream a.csv --test b.csv",
                &["--samples 41", "the training part has only 40"],
            ),
            ("age good.safetensors --data good.csv --samples 0 --stream a.csv --test b.csv", &["--samples 0"]),
            ("rehearse good.safetensors --data good.csv -o a.json --samples 41", &["--samples 41", "has only 40"]),
            ("rehearse good.safetensors --data good.csv -o a.json --samples 0", &["--samples 0"]),
            ("rehearse good.safetensors good.safetensors -o a.json", &["a single checkpoint", "--per-class"]),
            ("rehearse good.safetensors --per-class 0 -o a.json", &["--per-class 0"]),
            ("introduce good.safetensors --per-class 0 -o a", &["--per-class 0"]),
            ("introduce good.safetensors --data good.csv -o a", &["good.safetensors", "did not leave a group out"]),
            (
                "rehearse good.safetensors --per-class 2 -o a.json",
                &["good.safetensors", "did not leave a group out", "[split.group]"],
            ),
        ],
    );
    // This split asks for more samples than there are.
    checkpoint(&[4, 6, 3], 60).write(&folder.path("larger.safetensors")).unwrap();
    all_fail(&folder, &[("eval larger.safetensors --data good.csv --part test", &["60 samples", "split into 60"])]);
}

#[test]
fn an_output_that_cannot_be_written_is_named_and_leaves_no_part() {
    let folder = folder();
    let rehearse = "rehearse good.safetensors --data good.csv --samples 2 --tune 1 --report 2 --batch 1 --steps 1";
    all_fail(
        &folder,
        &[
            (
                "age good.safetensors --data good.csv --samples 5 --stream no/a.csv --test b.csv",
                &["no/a.csv", "there is no folder no"],
            ),
            (
                "age good.safetensors --data good.csv --samples 5 --stream a.csv --test no/b.csv",
                &["no/b.csv", "there is no folder no"],
            ),
            (
                // It fails before the board learns what could then not be recorded.
                "adapt --port tcp:127.0.0.1:1 --stream good.csv --image model/image.grft --record no/a.record",
                &["no/a.record", "there is no folder no"],
            ),
            ("graft good.safetensors -o good.csv", &["good.csv"]),
            ("graft good.safetensors -o good.csv/model", &["good.csv"]),
            ("graft good.safetensors -o other --rehearsal no.json", &["no.json", "No such file"]),
            ("graft good.safetensors -o other --rehearsal good.csv", &["good.csv"]),
            ("report model", &["model/training/training.json", "No such file"]),
            ("replay good.record --image model/image.grft -o no/a.json", &["no/a.json", "there is no folder no"]),
            ("size nowhere", &["nowhere", "No such file"]),
            ("size good.csv", &["good.csv"]),
        ],
    );
    let before = folder.files();
    let message = folder.graftage(&format!("{rehearse} -o no/a.json")).failed();
    assert!(message.contains("no/a.json") && message.contains("there is no folder no"), "{message}");
    assert_eq!(folder.files(), before);
}

#[test]
fn a_wrong_image_or_record_is_named_with_what_is_wrong() {
    let folder = folder();
    let image = std::fs::read(folder.path("model/image.grft")).unwrap();
    let record = std::fs::read(folder.path("good.record")).unwrap();
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    folder.file("cut.grft", &image[..image.len() - 1]);
    folder.file("flipped.grft", flipped(&image, image.len() / 2));
    folder.file("long.grft", [&image[..], &[0]].concat());
    folder.file("next.grft", flipped(&image, 4));
    let other = Recipe { seed: 2, replay: 16, ..Recipe::DEFAULT };
    graft::graft(&checkpoint(&[4, 6, 3], 40), other, usize::MAX, &folder.path("other")).unwrap();
    folder.file("headless.record", flipped(&record, 12));
    folder.file("next.record", flipped(&record, 4));
    folder.file("empty.record", "");
    all_fail(
        &folder,
        &[
            ("replay good.record --image cut.grft", &["cut.grft", "cut short"]),
            ("replay good.record --image flipped.grft", &["flipped.grft", "damaged (wrong checksum)"]),
            ("replay good.record --image long.grft", &["long.grft", "bytes follow the image and its names"]),
            ("replay good.record --image next.grft", &["next.grft", "version 5", "reads version 4"]),
            ("replay good.record --image good.csv", &["good.csv", "not a weights image"]),
            ("replay good.record --image nowhere.grft", &["nowhere.grft", "No such file"]),
            (
                "replay good.record --image other/image.grft",
                &["other/image.grft", "not the image", "good.record", "checksum"],
            ),
            ("replay headless.record --image model/image.grft", &["headless.record", "head of the record is damaged"]),
            (
                "replay next.record --image model/image.grft",
                &["next.record", "version 4", "reads version 5", "record again"],
            ),
            ("replay empty.record --image model/image.grft", &["empty.record", "too short"]),
            ("replay good.csv --image model/image.grft", &["good.csv", "not a record"]),
            ("replay nowhere --image model/image.grft -o a.json", &["nowhere", "No such file"]),
        ],
    );
}

#[test]
fn a_wrong_delta_is_named_with_what_is_wrong() {
    let folder = folder();
    // The record has no end of a session.
    let mut record = Record::read(&folder.path("good.record")).unwrap();
    let bytes = std::fs::read(folder.path("model/image.grft")).unwrap();
    let mut sessions = replay::with_core(&record, &common::parse(&bytes)).unwrap().sessions;
    let verdict = sessions.end();
    record.events.push(Event::End(Ended { verdict, digest: sessions.adaptation().digest() }));
    record.write(&folder.path("ended.record")).unwrap();
    let Event::Sample(lesson) = &mut record.events[3] else { panic!("no sample") };
    lesson.label = (lesson.label + 1) % 3;
    record.write(&folder.path("altered.record")).unwrap();
    let made = folder.graftage("delta make --image model/image.grft --record ended.record -o good.grfd").succeeded();
    assert!(made.contains("of 51 weights"), "{made}");
    let delta = std::fs::read(folder.path("good.grfd")).unwrap();
    folder.file("cut.grfd", &delta[..delta.len() - 1]);
    let other = Recipe { seed: 2, replay: 16, ..Recipe::DEFAULT };
    graft::graft(&checkpoint(&[4, 6, 3], 40), other, usize::MAX, &folder.path("other")).unwrap();
    graft::graft(&checkpoint(&[4, 7, 3], 40), other, usize::MAX, &folder.path("wide")).unwrap();
    all_fail(
        &folder,
        &[
            ("delta make --image model/image.grft --record good.record -o a", &["good.record", "no session has ended"]),
            ("delta make --image model/image.grft --record altered.record -o a", &["altered.record", "step 7"]),
            ("delta make --image other/image.grft --record ended.record -o a", &["other/image.grft", "not the image"]),
            ("delta make --image model/image.grft --record ended.record -o no/a", &["no/a", "there is no folder no"]),
            ("delta make --image model/image.grft --port tcp:127.0.0.1:1 -o a", &["tcp:127.0.0.1:1", "refused"]),
            ("delta apply --image other/image.grft good.grfd -o a", &["good.grfd", "for the image with checksum"]),
            ("delta apply --image wide/image.grft good.grfd -o a", &["good.grfd", "another network"]),
            ("delta apply --image model/image.grft cut.grfd -o a", &["cut.grfd", "truncated or damaged"]),
            ("delta apply --image model/image.grft good.csv -o a", &["good.csv", "not a delta"]),
            ("delta eval --image model/image.grft cut.grfd --test good.csv", &["cut.grfd", "truncated or damaged"]),
            ("delta eval --image model/image.grft good.grfd --test nowhere", &["nowhere", "No such file"]),
            ("monitor --port /dev/nowhere", &["/dev/nowhere", "there is no such port"]),
            ("monitor --port good.csv", &["good.csv", "a file, not a serial port"]),
            ("monitor --port model", &["model", "a folder, not a serial port"]),
            ("monitor --port /dev/null", &["/dev/null", "not a serial port"]),
        ],
    );
    folder.graftage("delta apply --image model/image.grft good.grfd -o adapted.grft").succeeded();
    let adapted = std::fs::read(folder.path("adapted.grft")).unwrap();
    let adapted: Vec<f32> = common::parse(&adapted).weights().collect();
    assert_eq!(bits(&adapted), bits(sessions.in_use()));
}

#[test]
fn a_board_that_cannot_be_reached_is_named_with_what_to_do() {
    let folder = folder();
    folder.file("firmware", firmware("mps2_an386"));
    all_fail(
        &folder,
        &[
            // Nothing listens on the port of tcpmux.
            ("adapt --port tcp:127.0.0.1:1 --stream good.csv -o a.json", &["tcp:127.0.0.1:1", "refused"]),
            ("adapt --port tcp:no.invalid:1 --stream good.csv", &["tcp:no.invalid:1"]),
            ("adapt --port /dev/nowhere --stream good.csv", &["/dev/nowhere", "there is no such port"]),
            ("adapt --port qemu:nowhere --stream good.csv", &["nowhere", "No such file"]),
            ("adapt --port qemu:firmware --stream good.csv --image nowhere.grft", &["nowhere.grft", "No such file"]),
            ("adapt --port qemu:firmware --stream good.csv --image good.csv", &["good.csv", "not a weights image"]),
        ],
    );
    let before = folder.files();
    let arguments = "adapt --port qemu:firmware --stream good.csv --image model/image.grft --record a --log b";
    let run = folder.run(Command::new(&*crate::common::GRAFTAGE).args(arguments.split(' ')).env("PATH", ""));
    assert_eq!(run.errors.lines().count(), 1, "{}", run.errors);
    let message = run.failed();
    assert!(message.contains("qemu-system-arm") && message.contains("`cargo xtask setup`"), "{message}");
    assert_eq!(folder.files(), before);
}

/// Checks the messages of the command-line parser: status 2, and the option's name.
#[test]
fn an_argument_that_is_none_is_named() {
    let folder = folder();
    let before = folder.files();
    for (arguments, words) in [
        ("eval good.safetensors --data good.csv --no-such", &["--no-such"][..]),
        ("eval", &["<CHECKPOINT>"]),
        ("eval good.safetensors --data good.csv --part none", &["none", "test"]),
        ("dance", &["dance"]),
        ("", &["Usage"]),
        ("adapt --port tcp:nowhere --stream good.csv", &["tcp:nowhere", "the port is missing"]),
        ("adapt --port tcp:localhost:1 --stream good.csv --record a", &["--image"]),
        ("graft good.safetensors -o other --step-size wide", &["--step-size", "wide"]),
        ("graft good.safetensors -o other --step-size 1 --rehearsal a.json", &["--rehearsal", "--step-size"]),
        ("rehearse good.safetensors -o a.json --per-class 2 --samples 3", &["--per-class", "--samples"]),
        ("graft good.safetensors -o other --batch=-1", &["--batch", "-1"]),
        ("monitor --port tcp:localhost:1 --every 0", &["--every", "0.01 to 86400"]),
        ("delta make --image model/image.grft -o a", &["--record", "--port"]),
        ("rehearse good.safetensors --data good.csv -o a.json --tune 5..4", &["--tune", "empty"]),
        ("rehearse good.safetensors --data good.csv -o a.json --tune a..b", &["--tune", "whole number"]),
        ("rehearse good.safetensors --data good.csv -o a.json --report 1..", &["--report", "whole number"]),
    ] {
        let run = folder.graftage(arguments);
        assert_eq!((run.status, run.output.as_str()), (Some(2), ""), "{arguments}");
        assert!(words.iter().all(|word| run.errors.contains(word)), "{arguments}: {}", run.errors);
        assert_eq!(folder.files(), before, "{arguments}");
    }
    // An invalid value gives one line that says which values are valid.
    for (option, words) in [
        ("--schedule linear=-1", ["'linear=-1'", "linear=STEPS"]),
        ("--schedule wsd=1,2", ["'wsd=1,2'", "wsd=WARMUP,STABLE,DECAY"]),
        ("--momentum ramp=1", ["'ramp=1'", "ramp=FROM,TO,STEPS"]),
        ("--hold-out 3", ["'3'", "EVERY,KEEP"]),
        ("--quintics jordon", ["'jordon'", "jordan"]),
    ] {
        let run = folder.graftage(&format!("graft good.safetensors -o other {option}"));
        assert_eq!((run.status, run.errors.lines().count()), (Some(2), 1), "{option}: {}", run.errors);
        assert!(words.iter().all(|word| run.errors.contains(word)), "{option}: {}", run.errors);
        assert_eq!(folder.files(), before, "{option}");
    }
    let run = folder.command(["adapt", "--port", "", "--stream", "good.csv"]);
    assert_eq!(run.status, Some(2), "{}", run.errors);
}

#[test]
fn eval_counts_what_is_predicted_rightly_of_each_class() {
    let folder = Folder::empty();
    // The predicted class is the place of the largest number.
    let identity = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let checkpoint = with_weights(about(&[3, 3], 10.0, 1, 0), vec![identity, vec![0.0; 3]]);
    checkpoint.write(&folder.path("a.safetensors")).unwrap();
    folder.file("a.csv", "9,0,0,0\n8,1,2,0\n0,7,0,0\n0,5,4,1\n9,0,0,1\n9,0,0,1\n3,0,4,1\n0,9,0,1\n");
    let lines: Vec<String> =
        folder.graftage("eval a.safetensors --data a.csv --part all").succeeded().lines().map(squeezed).collect();
    assert_eq!(lines, ["class samples correct", "0 3 66.7 %", "1 5 40.0 %", "all 8 50.0 %"]);
    // The training part is the first sample in the order of the split. The others are the test part.
    let count = |part: &str| {
        let output = folder.graftage(&format!("eval a.safetensors --data a.csv --part {part}")).succeeded();
        squeezed(output.lines().last().unwrap()).split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!((count("train"), count("test")), ("1".into(), "7".into()));
}

#[test]
fn graft_writes_what_the_library_writes() {
    let folder = folder();
    let arguments = "--step-size 0.5 --momentum 0.25 --transport theta=1 --schedule linear=9 --quintics you \
                     --pull zero=0.5 --cap none --batch 3 --steps 4 --replay 5 --seed 6";
    let output = folder.graftage(&format!("graft good.safetensors -o deep/model {arguments}")).succeeded();
    assert!(output.contains("deep/model/image.grft and deep/model/network.rs"), "{output}");
    let rule = Rule {
        step_size: 0.5,
        schedule: Schedule::Linear { steps: 9 },
        momentum: Momentum::Constant(0.25),
        transport: Transport::Fixed { theta: 1.0 },
        pull: Pull::Zero { strength: 0.5 },
        quintics: Quintics::You,
    };
    let recipe = Recipe { rule, batch: 3, steps: 4, replay: 5, seed: 6, cap: None, ..Recipe::DEFAULT };
    graft::graft(
        &Checkpoint::read(&folder.path("good.safetensors")).unwrap(),
        recipe,
        usize::MAX,
        &folder.path("library"),
    )
    .unwrap();
    for name in ["image.grft", "network.rs"] {
        let read = |model: &str| std::fs::read(folder.path(model).join(name)).unwrap();
        assert_eq!(read("deep/model"), read("library"), "{name}");
    }
}

#[test]
fn age_writes_a_stream_and_a_test_part_that_are_read_again_bit_for_bit() {
    let folder = folder();
    let age = "age good.safetensors --data good.csv --seed 9 --samples 25 --stream a.csv --test b.csv.gz";
    assert!(folder.graftage(&age.replace(".gz", "")).succeeded().contains("25 samples"));
    let (train, test) = samples(60, 4, 3).split(40, 3).unwrap();
    let sensor = AgedSensor::draw(4, 9);
    for (file, expected) in [("a.csv", train.arrive(25, 9).aged(&sensor)), ("b.csv", test.aged(&sensor))] {
        let read = Samples::read(&folder.path(file), 4, &Legend::numbered(3)).unwrap().divided(common::SCALE);
        assert_eq!((bits(read.features()), read.labels()), (bits(expected.features()), expected.labels()), "{file}");
    }
}

#[test]
fn rehearse_meets_the_people_whom_two_trainings_left_out() {
    let folder = folder();
    let (mut lines, mut table) = (String::from("length,width,colour,who,kind\n"), Vec::new());
    for (index, (input, label)) in samples(120, 3, 3).iter().enumerate() {
        // Each person's numbers are larger than those of the person before.
        let (who, more) = [("Ann", 1.0), ("Ben", 1.5), ("Cem", 2.0), ("Dia", 3.0)][index % 4];
        lines += &format!("{},{},{},{who},{label}\n", more * input[0], more * input[1], more * input[2]);
        table.push(input.iter().map(|x| more * x).collect::<Vec<f32>>());
    }
    folder.file("people.csv", lines);
    for (file, unseen) in [("first", vec!["Ann", "Ben"]), ("second", vec!["Cem"])] {
        let mut network = checkpoint(&[3, 5, 3], 40);
        network.about.data =
            serde_json::from_value(json!({ "csv": { "path": "people.csv", "group": "who" } })).unwrap();
        network.about.split = serde_json::from_value(json!({ "group": { "test": unseen } })).unwrap();
        network.about.normalisation =
            serde_json::from_value(json!({ "mean": [0.5, 0.5, 1.0], "deviation": [0.3, 0.25, 0.5] })).unwrap();
        network.write(&folder.path(&format!("{file}.safetensors"))).unwrap();
    }
    let options = "--per-class 4 --streams 1..2 --batch 2 --steps 1 -o people.json";
    let output = folder.graftage(&format!("rehearse first.safetensors second.safetensors {options}")).succeeded();
    let met: GroupRehearsal = files::read_json(&folder.path("people.json")).unwrap();
    assert_eq!((met.groups, met.samples), (vec!["Ann".into(), "Ben".into(), "Cem".into()], vec![(12, 18); 3]));
    for method in &met.methods {
        assert!(
            output.contains(&format!("{:.3} ± {:.3}", method.accuracy.mean, method.accuracy.deviation)),
            "{output}"
        );
    }
    folder.graftage("graft good.safetensors --rehearsal people.json -o other").succeeded();
    let bytes = std::fs::read(folder.path("other/image.grft")).unwrap();
    assert_eq!(common::parse(&bytes).header.recipe.rule.step_size, met.methods[0].step_size);
    // A board gets the same streams.
    let introduce = "introduce first.safetensors --per-class 4 --streams 1..2 -o streams";
    assert!(folder.graftage(introduce).succeeded().contains("Ben, stream 2: 12 labelled samples, 18 test samples"));
    let about = Checkpoint::read(&folder.path("first.safetensors")).unwrap().about;
    let (unseen, normalisation) = (about.unseen(Some(&folder.path("people.csv"))), about.normalisation.unwrap());
    let unseen = unseen.unwrap();
    for (name, samples) in &unseen {
        let (stream, test) = samples.introduce(4, 2);
        for (part, expected) in [("stream", stream), ("test", test)] {
            let path = folder.path(&format!("streams/{name}-2.{part}.csv"));
            let read = Samples::read(&path, 3, &Legend::numbered(3)).unwrap();
            let raw = normalisation.undo(&expected).unwrap();
            assert_eq!((bits(read.features()), read.labels()), (bits(raw.features()), expected.labels()), "{name}");
            // The numbers are in the units of the table.
            let close = |row: &Vec<f32>, input: &[f32]| row.iter().zip(input).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(raw.iter().all(|(input, _)| table.iter().any(|row| close(row, input))), "{name}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path("streams")).unwrap().count(), 2 * 2 * unseen.len());
}

#[test]
fn rehearse_writes_measurements_from_which_graft_takes_the_step_size() {
    let folder = folder();
    let options = "--samples 6 --tune 1..2 --report 3 --batch 2 --steps 1 --replay 8";
    let run = folder.graftage(&format!("rehearse good.safetensors --data good.csv {options} -o a.json"));
    let output = run.succeeded();
    let rehearsal: Rehearsal = files::read_json(&folder.path("a.json")).unwrap();
    assert_eq!((rehearsal.tuned_on, rehearsal.reported_on, rehearsal.samples), (vec![1, 2], vec![3], 6));
    assert_eq!(rehearsal.methods.len(), 6);
    for method in &rehearsal.methods {
        assert!(output.contains(&method.name), "{output}");
    }
    folder.graftage("graft good.safetensors --rehearsal a.json -o other").succeeded();
    let bytes = std::fs::read(folder.path("other/image.grft")).unwrap();
    assert_eq!(common::parse(&bytes).header.recipe.rule.step_size, rehearsal.methods[0].step_size);
}

#[test]
fn replay_agrees_with_a_right_record_and_names_the_first_step_that_differs() {
    let folder = folder();
    let replay = |record: &str| -> (Run, Verification) {
        let run = folder.graftage(&format!("replay {record} --image model/image.grft -o a.json --force"));
        (run, files::read_json(&folder.path("a.json")).unwrap())
    };
    let (run, found) = replay("good.record");
    let output = run.succeeded();
    let mut record = Record::read(&folder.path("good.record")).unwrap();
    let last = format!("{:016x}", record.digest());
    for target in &found.targets {
        assert_eq!((target.steps, target.differing, &target.first_difference), (40, 0, &None), "{}", target.target);
        let line = output.lines().find(|line| line.starts_with(&target.target)).unwrap();
        assert_eq!(squeezed(line), format!("{} 40 0 {last} none", target.target));
    }
    let targets: Vec<_> = found.targets.iter().map(|target| target.target.as_str()).collect();
    assert_eq!(targets[..2], ["mps2-an386", std::env::consts::ARCH]);

    let Event::Sample(lesson) = &mut record.events[6] else { panic!("no sample") };
    lesson.reports[1].digest ^= 1;
    record.write(&folder.path("other.record")).unwrap();
    let (run, found) = replay("other.record");
    assert!(
        run.output.lines().any(|line| line.ends_with("step 14: only its record, a later state agrees")),
        "{}",
        run.output
    );
    assert_eq!(found.targets[1].differing, 1);
    let message = run.failed();
    assert!(message.contains("other.record: it differs") && message.contains("step 14"), "{message}");

    // Damaged bytes are located, and the events before them are computed again all the same.
    let good = std::fs::read(folder.path("good.record")).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for (name, bytes, words) in [
        (
            "flipped.record",
            &flipped[..],
            "damaged in event 10 (wrong checksum); the 9 events before that are bit-identical",
        ),
        ("cut.record", &good[..good.len() - 1], "truncated in event 20"),
        ("long.record", &[&good[..], &[0]].concat(), "unexpected bytes after the last event"),
    ] {
        folder.file(name, bytes);
        let run = folder.graftage(&format!("replay {name} --image model/image.grft"));
        assert_eq!(run.errors.lines().count(), 1, "{}", run.errors);
        assert!(run.output.lines().skip(1).all(|line| line.ends_with("none")), "{}", run.output);
        let message = run.failed();
        assert!(message.contains(name) && message.contains(words), "{message}");
    }
}

#[test]
fn a_checkpoint_whose_data_are_elsewhere_says_how_to_go_on() {
    let folder = folder();
    // The training's data lie in another folder than the command runs in.
    all_fail(
        &folder,
        &[
            ("eval good.safetensors", &["samples.csv: not found", "folder in which `train` ran", "--data"]),
            ("rehearse good.safetensors -o a.json", &["samples.csv: not found", "--data"]),
            // If a file that the user has named is missing, no more is to be said.
            ("eval good.safetensors --data nowhere.csv", &["nowhere.csv: No such file"]),
        ],
    );
}

#[test]
fn weights_that_are_no_checkpoint_are_told_apart() {
    let folder = folder();
    let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    let metadata = HashMap::from([("graftage-training".to_string(), "{}".to_string())]);
    folder.file("state.safetensors", serialize([("x", view)], Some(metadata)).unwrap());
    all_fail(
        &folder,
        &[("eval state.safetensors", &["state.safetensors", "the state of a training", "model.safetensors"])],
    );
}
