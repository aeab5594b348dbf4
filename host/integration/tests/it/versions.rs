//! Tests of files of this version and of earlier ones. Each file is read to what it holds, or refused by a line that
//! names its version and the one that this software reads.
//!
//! `fixtures/` keeps a file of each format and version, as the software of its time wrote it, and `KEPT` says what it
//! holds. A format that changes gets a new version. Then
//! `cargo test --package graftage-integration --no-default-features versions -- --ignored --nocapture`
//! writes the files that are missing, and prints their lines of `KEPT`.

use crate::common::{self, Folder, checkpoint, layers, parse, samples};
use graftage::data::Legend;
use graftage::delta::{self, Delta};
use graftage::image::{ImageFile, identity, with_names};
use graftage::record::{self, Event, Lesson, Record, Refused, State};
use graftage::replay::with_core;
use graftage_core::adapt::{HoldOut, Recipe, Ring};
use graftage_core::arithmetic::Functions;
use graftage_core::chain;
use graftage_core::image::{self, Header};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Dense, Fixed, Kind, Layer, Relu};
use graftage_core::norm::Norm;
use graftage_core::polar;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Geometry, Pull, Rule};
use graftage_core::session::Session;
use graftage_core::snapshot;
use graftage_core::transport::Transport;
use graftage_link::Ended;
use std::path::{Path, PathBuf};

/// Contents of each file: the digest of the state that it starts from or ends in; for a delta, the identity of the
/// adapted image.
const KEPT: [(&str, u64); 8] = [
    ("image-3.grft", 0x9874_9570_476d_5be6),
    ("image-4.grft", 0x9874_9570_476d_5be6),
    ("record-3.grfr", 0x25ea_ff0f_cfdf_37d1),
    ("record-4.grfr", 0x25ea_ff0f_cfdf_37d1),
    ("record-5.grfr", 0x5a56_0137_bb23_0dca),
    ("snapshot-3.grfs", 0x25ea_ff0f_cfdf_37d1),
    ("snapshot-4.grfs", 0x5a56_0137_bb23_0dca),
    ("delta-1.grfd", 0x1bbb_a49e),
];

/// Name, ending and current version of each format.
const FORMATS: [(&str, &str, u16); 4] = [
    ("image", "grft", image::VERSION),
    ("record", "grfr", record::VERSION),
    ("snapshot", "grfs", snapshot::VERSION),
    ("delta", "grfd", delta::VERSION),
];

/// Recipe that is written out in full, so that the contents of a file do not follow a default.
const RECIPE: Recipe = Recipe {
    rule: Rule {
        step_size: 0.01,
        schedule: Schedule::WarmupStableDecay { warmup: 2, stable: 30, decay: 40 },
        momentum: Momentum::Ramp { from: 0.5, to: 0.9, steps: 20 },
        transport: Transport::Alignment { damping: 1.5 },
        pull: Pull::Start { strength: 2.0 },
        quintics: polar::Quintics::PolarExpress8,
    },
    batch: 4,
    steps: 2,
    replay: 6,
    seed: 8,
    budget: Some(50.0),
    hold_out: Some(HoldOut { every: 5, keep: 2 }),
    cap: Some(0.5),
    functions: Functions::Libm,
};

type Network = chain![Dense<5, 8>, Relu<8>, Dense<8, 3>];
type Sessions<'i> = Session<'i, Network, Ring<5, 6>, [f32; Network::SCRATCH], [f32; Network::WEIGHTS], Ring<5, 2>>;

/// Returns sessions that have not started.
fn fresh<'i>() -> Sessions<'i> {
    let (scratch, in_use) = ([0.0; Network::SCRATCH], [0.0; Network::WEIGHTS]);
    Sessions::new(Network::ZERO, Ring::new(), scratch, in_use, Ring::new())
}

/// Returns sessions that have started from an image.
fn started(image: &[u8]) -> Sessions<'_> {
    let (mut board, image) = (fresh(), parse(image));
    image.load(Network::SCHEMA, board.network_mut()).unwrap();
    board.set_start(image.start());
    board.start(image.header.recipe).unwrap();
    board
}

/// Returns the bytes of the current file of each format, in the order of [`FORMATS`].
fn written() -> [Vec<u8>; 4] {
    let layers = layers(&[5, 8, 3]);
    let hidden = Geometry { norm: Norm::Spectral, radius: 3.0 };
    let head = Geometry { norm: Norm::Sign, radius: 10.0 };
    let geometries = [hidden, hidden, head, head].into_iter().collect();
    let header = Header {
        schema: Kind::schema(&layers),
        layers: layers.into_iter().collect(),
        geometries,
        recipe: RECIPE,
        scale: common::SCALE,
        centred: false,
    };
    let factory: Vec<f32> = checkpoint(&[5, 8, 3], 20).weights().flatten().copied().collect();
    let mut memory = [0; 1024];
    let image = image::write(&header, factory, &mut memory).unwrap().to_vec();
    let classes = ["oak", "lime", "elm"].map(String::from).to_vec();
    let legend = Legend { features: vec![], label: None, others: vec![], classes };

    let mut board = started(&image);
    let start = board.adaptation().digest();
    let mut events = Vec::new();
    for (input, label) in samples(12, 5, 3).iter() {
        let mut reports = Vec::new();
        let taken = board.learn(input, label, |report| reports.push(report)).unwrap();
        events.push(Event::Sample(Lesson { input: input.to_vec(), label, taken, reports }));
    }
    let (input, label) = (vec![0.5; 5], 3);
    let why = board.learn(&input, label, |_| ()).unwrap_err();
    events.push(Event::Refused(Refused { input, label, why }));
    let mut memory = [0; 4096];
    let snapshot = snapshot::write(&mut board, Network::SCHEMA, &mut memory).unwrap().to_vec();
    let (mut x, mut y, mut m) = (vec![], vec![], vec![]);
    board.network_mut().parameters(&mut |parameter| {
        x.extend(parameter.state.x.elements());
        y.extend(parameter.state.y.elements());
        m.extend(parameter.state.m.elements());
    });
    let delta = Delta::between(&parse(&image), identity(&image), &x).unwrap().to_bytes();
    events.push(Event::State(State { x, y, m }));
    let verdict = board.end();
    events.push(Event::End(Ended { verdict, digest: board.adaptation().digest() }));
    let record = Record { board: "a board".into(), schema: Network::SCHEMA, image: identity(&image), start, events };
    let folder = Folder::empty();
    record.write(&folder.path("record")).unwrap();
    [with_names(&image, &legend), std::fs::read(folder.path("record")).unwrap(), snapshot, delta]
}

/// Returns what the file of a format holds, as in [`KEPT`].
fn held(format: &str, path: &Path) -> Result<u64, String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let [image, ..] = written();
    Ok(match format {
        "image" => {
            let file = ImageFile::read(path).map_err(|error| say(&error))?;
            assert_eq!(file.legend().classes, ["oak", "lime", "elm"]);
            started(file.bytes()).adaptation().digest()
        }
        "record" => {
            let record = Record::read(path).map_err(|error| say(&error))?;
            let target = with_core(&record, &parse(&image)).map_err(|error| say(&error))?.target;
            assert_eq!((target.steps > 0, target.differing), (true, 0), "{:?}", target.first_difference);
            record.digest()
        }
        "snapshot" => {
            let (bytes, mut board) = (std::fs::read(path).unwrap(), fresh());
            board.set_start(parse(&image).start());
            snapshot::restore(&mut board, Network::SCHEMA, &bytes[..]).map_err(|error| say(&error))?;
            board.adaptation().digest()
        }
        "delta" => {
            let delta = Delta::read(path).map_err(|error| say(&error))?;
            u64::from(identity(&delta.apply(&parse(&image), identity(&image)).map_err(|error| say(&error))?))
        }
        _ => panic!("{format} is no format"),
    })
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Returns the name of the current file of a format.
fn name((format, ending, version): (&str, &str, u16)) -> String {
    format!("{format}-{version}.{ending}")
}

/// True if a line names both versions.
fn names(line: &str, found: u16, reads: u16) -> bool {
    line.contains(&format!("version {found},")) && line.contains(&format!("reads version {reads}"))
}

#[test]
fn kept_files_are_read_or_refused_by_their_version() {
    for (file, holds) in KEPT {
        let (format, rest) = file.split_once('-').unwrap();
        let version: u16 = rest.split_once('.').unwrap().0.parse().unwrap();
        let (.., today) = FORMATS.into_iter().find(|(known, ..)| *known == format).unwrap();
        match held(format, &fixture(file)) {
            Ok(found) => assert_eq!(found, holds, "{file}"),
            Err(line) => assert!(version != today && names(&line, version, today), "{file}: {line}"),
        }
    }
}

#[test]
fn a_format_has_a_new_version_once_a_byte_changes() {
    for (format, bytes) in FORMATS.into_iter().zip(written()) {
        let (file, folder) = (name(format), Folder::empty());
        assert!(KEPT.iter().any(|(kept, _)| *kept == file), "{file} is not kept: see the top of this test");
        let kept = std::fs::read(fixture(&file)).unwrap();
        // The quality of a delta's compression does not belong to its version.
        if format.0 == "delta" {
            assert_eq!(Delta::parse(&kept), Delta::parse(&bytes));
        } else {
            assert!(kept == bytes, "{file} would be written otherwise");
        }
        // A file of the next version is refused.
        let (mut next, version) = (bytes, format.2 + 1);
        next[4..6].copy_from_slice(&version.to_le_bytes());
        let line = held(format.0, &folder.file("next", next)).unwrap_err();
        assert!(names(&line, version, format.2), "{line}");
    }
}

#[test]
#[ignore = "writes the files of today's versions that are missing"]
fn write_what_is_missing() {
    for (format, bytes) in FORMATS.into_iter().zip(written()) {
        let path = fixture(&name(format));
        if !path.exists() {
            std::fs::write(&path, bytes).unwrap();
        }
        println!("    (\"{}\", {:#x}),", name(format), held(format.0, &path).unwrap());
    }
}
