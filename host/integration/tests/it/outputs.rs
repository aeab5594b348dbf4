//! Tests that outputs have one owner: a command loses nothing that it did not write, and whatever ends it, the old
//! files or the new ones are whole.

use crate::common::{self, Folder, emulated, parse, samples};
use graftage::data::Legend;
use graftage::image::identity;
use graftage::network::Layers;
use graftage::record::{Event, Record};
use graftage::session::Session;
use graftage::workstation::{self, Sessions};
use graftage_core::adapt::STEPS;
use graftage_link::journal::{Entry, PIECE, Piece, largest, seal};
use graftage_link::{ANSWER, Answer, Array, Ended, Hello, Learnt, NUMBERS, Numbered, Receiver, Request, Status};
use graftage_link::{decode, encode, request};
use graftage_train::trainer::Saved;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Time limit, longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Creates a folder with samples of three classes by four people, and with the trainings on them.
fn workshop() -> Folder {
    let folder = Folder::empty();
    let mut table = String::from("a,b,c,d,who,kind\n");
    for (index, (input, label)) in samples(80, 4, 3).iter().enumerate() {
        let numbers: Vec<_> = input.iter().map(|x| (16.0 * x).to_string()).collect();
        table += &format!("{},{},{label}\n", numbers.join(","), ["Ann", "Ben", "Cem", "Dia"][index % 4]);
    }
    folder.file("samples.csv", table);
    folder.file("one.toml", config(1, 6, 40));
    folder.file("two.toml", config(2, 7, 40));
    folder.file("long.toml", config(3, 6, 2_000_000));
    samples(30, 4, 3).write(&folder.path("stream.csv"), 16.0, &Legend::numbered(3)).unwrap();
    samples(20, 4, 3).write(&folder.path("short.csv"), 16.0, &Legend::numbered(3)).unwrap();
    folder
}

fn config(seed: u64, hidden: usize, steps: u64) -> String {
    format!(
        "output = \"leaves\"\nthreads = 1\ndevice = \"cpu\"\nseed = {seed}\n\
         [data.csv]\npath = \"samples.csv\"\nlabel = \"kind\"\ngroup = \"who\"\n\
         [split.group]\ntest = [\"Dia\"]\n[normalise]\ndivide = 16.0\n[model.mlp]\nhidden = [{hidden}]\n\
         [optimizer]\nstep-size = 0.02\n\
         [training]\nsteps = {steps}\nbatch = 8\ncheckpoint-every = 8\nevaluate-every = 4\n"
    )
}

/// Files of a training.
const TRAINING: [&str; 5] = [
    "leaves/state.safetensors",
    "leaves/metrics.jsonl",
    "leaves/model.safetensors",
    "leaves/training.json",
    "leaves/report.html",
];

const COMPARE: &str = "--optimizers scion,theta=0.5 --seeds 1,2 --tuning-seeds 11 --step-sizes 0.02 --momenta 0.9 \
                       --target 0.5 --jobs 1 --output compared";
const REHEARSE: &str = "--samples 6 --tune 1 --report 2 --batch 2 --steps 1 --replay 8";

/// Returns the bytes of every file below a folder, including hidden ones.
fn contents(folder: &Folder) -> BTreeMap<String, Vec<u8>> {
    let root = folder.path("");
    let files = folder.files().into_iter().map(|(path, _)| path).filter(|path| path.is_file());
    let named =
        files.map(|path| (path.strip_prefix(&root).unwrap().display().to_string(), std::fs::read(path).unwrap()));
    named.collect()
}

/// Runs a board in this process and returns its port. Each connection finds the board as it starts.
fn board(image: &Path) -> String {
    simulated(image, true)
}

/// Like [`board`], with flash that may refuse to forget.
fn simulated(image: &Path, forgets: bool) -> String {
    let bytes = std::fs::read(image).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("tcp:{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let bytes = bytes.clone();
            // The line may be closed at any time.
            std::thread::spawn(move || Simulated::new(&bytes, forgets).serve(stream.unwrap()));
        }
    });
    port
}

struct Simulated<'i> {
    image: &'i [u8],
    forgets: bool,
    sessions: Sessions<'i, Layers>,
    hello: Hello,
    learnt: (u64, u64),
    entries: u32,
    journal: Vec<u8>,
}

impl<'i> Simulated<'i> {
    fn new(bytes: &'i [u8], forgets: bool) -> Self {
        let image = parse(bytes);
        let (first, last) = (&image.header.layers[0], image.header.layers.last().unwrap());
        let (network, recipe) = (workstation::network(&image).unwrap(), image.header.recipe);
        let sessions = workstation::start_sessions(network, recipe, image.start()).unwrap();
        let memory = graftage_link::Memory {
            weights: 0,
            query_points: 0,
            momenta: 0,
            in_use: 0,
            replay: 0,
            held_out: 0,
            scratch: 0,
            link: 0,
        };
        let status = Status {
            scale: image.header.scale,
            steps: image.header.recipe.steps,
            counts: sessions.counts(),
            learnt: 0,
            correct: 0,
            latest: None,
            loss: None,
            step: 0,
            digest: sessions.adaptation().digest(),
            image: identity(bytes),
            movement: 0.0,
            budget: None,
            saved: None,
            slots: [None; 2],
        };
        let hello = Hello {
            board: "simulated".try_into().unwrap(),
            schema: image.header.schema,
            inputs: first.shape().inputs,
            classes: last.shape().outputs,
            dropped: 0,
            memory,
            status: Ok(status),
        };
        let mut new = Self { image: bytes, forgets, sessions, hello, learnt: (0, 0), entries: 0, journal: Vec::new() };
        new.note(&Entry::Start { digest: status.digest, life: 0 });
        new
    }

    fn note(&mut self, entry: &Entry<&[f32], &Learnt>) {
        let mut memory = vec![0; largest(self.hello.inputs as usize, STEPS)];
        let used = seal(self.hello.status.unwrap().image, self.entries, entry, &mut memory).unwrap();
        memory.truncate(used.next_multiple_of(4));
        self.journal.extend(memory);
        self.entries += 1;
    }

    fn answer(&mut self, request: Request<Vec<f32>>) -> Answer {
        match request {
            Request::Hello => {
                let status = self.hello.status.as_mut().unwrap();
                status.counts = self.sessions.counts();
                (status.learnt, status.step) = (self.learnt.0, self.learnt.0 * u64::from(status.steps));
                status.digest = self.sessions.adaptation().digest();
                Answer::Hello(self.hello.clone())
            }
            Request::Predict { sample } => Answer::Predicted(self.sessions.predict(&sample).unwrap()),
            Request::Learn { label, sample, .. } => {
                let mut reports = graftage_link::Vec::new();
                let taken = self.sessions.learn(&sample, label, |report| reports.push(report).unwrap()).unwrap();
                self.learnt.0 += 1;
                self.learnt.1 += u64::from(taken.prediction.class == label);
                let learnt = Learnt { taken, learnt: self.learnt.0, correct: self.learnt.1, reports };
                self.note(&Entry::Sample { label, sample: &sample, learnt: &learnt });
                // A board takes some time to answer.
                std::thread::sleep(Duration::from_millis(5));
                Answer::Learnt(learnt)
            }
            Request::End { .. } => {
                let verdict = self.sessions.end();
                let ended = Ended { verdict, digest: self.sessions.adaptation().digest() };
                self.note(&Entry::End(ended));
                Answer::Ended(ended)
            }
            Request::Read { array, first } => {
                let mut all = Vec::new();
                if array == Array::InUse {
                    all.extend_from_slice(self.sessions.in_use());
                } else {
                    use graftage_core::{matrix::RowMajor, network::Layer};
                    self.sessions.network_mut().parameters(&mut |parameter| {
                        all.extend_from_slice(match array {
                            Array::QueryPoints => parameter.state.y.elements(),
                            Array::Momenta => parameter.state.m.elements(),
                            _ => parameter.state.x.elements(),
                        });
                    });
                }
                let rest = &all[first as usize..];
                Answer::Numbers(graftage_link::Vec::from_slice(&rest[..rest.len().min(NUMBERS)]).unwrap())
            }
            Request::Journal { first } => {
                let rest = &self.journal[first as usize..];
                let bytes = graftage_link::Vec::from_slice(&rest[..rest.len().min(PIECE)]).unwrap();
                Answer::Journal(Piece { unit: NonZeroU32::new(4), bytes })
            }
            Request::Reset if self.forgets => {
                *self = Self::new(self.image, true);
                Answer::Reset { digest: self.sessions.adaptation().digest() }
            }
            Request::Reset => Answer::NotReset,
        }
    }

    fn serve(mut self, mut stream: TcpStream) {
        const INPUTS: usize = 64;
        let mut receiver = Receiver::<{ request(INPUTS) }>::new();
        let mut bytes = BufReader::new(stream.try_clone().unwrap()).bytes();
        while let Some(Ok(byte)) = bytes.next() {
            let Some(frame) = receiver.push(byte) else { continue };
            let (number, request): Numbered<Request<Vec<f32>>> = decode(frame.unwrap()).unwrap();
            let (mut plain, mut wire) = ([0; ANSWER], [0; ANSWER]);
            let used = encode(&(number, self.answer(request)), &mut plain, &mut wire).unwrap();
            if stream.write_all(&wire[..used]).is_err() {
                return;
            }
        }
    }
}

#[test]
fn a_board_that_is_reset_is_at_its_image_or_says_that_it_is_not() {
    let folder = workshop();
    folder.graftage("train one.toml --output base").succeeded();
    folder.graftage("graft base/model.safetensors --output model").succeeded();
    let image = folder.path("model/image.grft");
    let port = board(&image);
    let mut asked = graftage::board::Board::open(port.parse().unwrap(), None, None).unwrap();
    let status = |board: &mut graftage::board::Board| board.hello().unwrap().status.unwrap();
    let new = status(&mut asked);
    for (number, (input, label)) in (0..5).zip(samples(5, 4, 3).iter()) {
        asked.learn(number, input, label).unwrap().unwrap();
    }
    assert_ne!(status(&mut asked).digest, new.digest);
    assert_eq!(asked.reset().unwrap(), new.digest);
    assert_eq!(status(&mut asked), new);
    let lines = folder.graftage(&format!("reset --port {port}")).succeeded();
    let digest = format!("{:016x}", new.digest);
    assert!(
        lines.contains(&format!("simulated: had taken 0 samples in 0 sessions and 0 steps, digest {digest}")),
        "{lines}"
    );
    assert!(lines.contains(&format!("is back at its image {:08x}, digest {digest}", new.image)), "{lines}");
    let refused = folder.graftage(&format!("reset --port {}", simulated(&image, false))).failed();
    assert!(refused.contains("has not forgotten what it learnt"), "{refused}");
}

/// Command, the files that it writes, and a flag for one that takes longer than a test should.
struct Case {
    line: String,
    writes: Vec<String>,
    long: bool,
}

/// Returns every command that writes, after running once what comes before it.
fn cases(folder: &Folder) -> Vec<Case> {
    folder.graftage("train one.toml --output base").succeeded();
    folder.graftage("graft base/model.safetensors --output model").succeeded();
    let port = board(&folder.path("model/image.grft"));
    let adapt = format!("adapt --port {port} --image model/image.grft --stream stream.csv");
    folder.graftage(&format!("{adapt} --record base.record --output session.json")).succeeded();
    folder.graftage("delta make --image model/image.grft --record base.record --output base.grfd").succeeded();
    let rehearse = format!("rehearse base/model.safetensors {REHEARSE}");
    folder.graftage(&format!("{rehearse} --output rehearsal.json")).succeeded();
    folder.graftage("replay base.record --image model/image.grft --output verification.json").succeeded();
    std::fs::create_dir_all(folder.path("story/training")).unwrap();
    std::fs::copy(folder.path("base/training.json"), folder.path("story/training/training.json")).unwrap();
    for file in ["rehearsal.json", "session.json", "verification.json"] {
        std::fs::copy(folder.path(file), folder.path("story").join(file)).unwrap();
    }
    folder.file("story/memory.json", r#"{"flash": 1, "image": 1, "ram": 1, "parts": []}"#);
    let case = |line: &str, writes: &[&str]| Case {
        line: line.into(),
        writes: writes.iter().map(|&file| file.into()).collect(),
        long: line.starts_with("theory"),
    };
    vec![
        case("train one.toml", &TRAINING),
        case(&format!("compare one.toml {COMPARE}"), &["compared/comparison.json", "compared/report.html"]),
        case(
            "transfer one.toml --widths 6,8 --optimizers theta=0.5 --seeds 1 --step-sizes 0.02 --jobs 1 --output moved",
            &["moved/transfer.json", "moved/report.html"],
        ),
        case("graft base/model.safetensors --output board", &["board/image.grft", "board/network.rs"]),
        case("age base/model.safetensors --samples 9 --stream a.csv --test b.csv", &["a.csv", "b.csv"]),
        case(
            "introduce base/model.safetensors --per-class 2 --streams 1..2 --output people",
            &["people/Dia-1.stream.csv", "people/Dia-1.test.csv", "people/Dia-2.stream.csv", "people/Dia-2.test.csv"],
        ),
        case(&format!("{rehearse} --output c.json"), &["c.json"]),
        case(&format!("{adapt} --record d.record --output d.json"), &["d.record", "d.json"]),
        case(&format!("record --port {port} --output e.record"), &["e.record"]),
        case("replay base.record --image model/image.grft --html f.html --output f.json", &["f.html", "f.json"]),
        case("delta make --image model/image.grft --record base.record --output g.grfd", &["g.grfd"]),
        case("delta apply --image model/image.grft base.grfd --output h.grft", &["h.grft"]),
        case(
            "theory --quick --threads 1 --output laws",
            &["laws/results.json", "laws/results.txt", "laws/report.html"],
        ),
        case("report story", &["story/report.html", "story/summary.json"]),
    ]
}

#[test]
fn no_command_replaces_what_it_did_not_write_unless_it_is_told_to() {
    let folder = workshop();
    let cases = cases(&folder);
    assert_complete(&cases, &folder);
    for Case { line, writes, long } in cases {
        let place = |file: &str| {
            std::fs::create_dir_all(folder.path(file).parent().unwrap()).unwrap();
            folder.file(file, format!("mine, {file}"));
        };
        let notes = Path::new(&writes[0]).with_file_name("notes.txt").display().to_string();
        place(&notes);
        // Each file alone, then all of them.
        for alone in writes.iter().map(Some).chain((writes.len() > 1).then_some(None)) {
            let placed: Vec<_> = writes.iter().filter(|file| alone.is_none_or(|alone| alone == *file)).collect();
            placed.iter().for_each(|file| place(file));
            let before = contents(&folder);
            let run = folder.graftage(&line);
            assert_eq!((run.errors.lines().count(), run.output.as_str()), (1, ""), "{line}: {}", run.errors);
            let message = run.failed();
            let folder_of = Path::new(&writes[0]).parent().unwrap().display().to_string();
            let named = placed.iter().any(|file| message.contains(file.as_str())) || message.contains(&folder_of);
            assert!(
                named && message.contains("--force") && message.contains("name another output"),
                "{line}: {message}"
            );
            assert!(contents(&folder) == before, "{line}");
            if alone.is_some() {
                placed.iter().for_each(|file| std::fs::remove_file(folder.path(file)).unwrap());
            }
        }
        if long {
            continue;
        }
        let before = contents(&folder);
        folder.graftage(&format!("{line} --force")).succeeded();
        let after = contents(&folder);
        for (file, bytes) in &after {
            let written = writes.contains(file);
            assert_eq!(written, before.get(file) != Some(bytes), "{line}: {file}");
        }
        assert!(before.keys().all(|file| after.contains_key(file)), "{line}");
        writes.iter().for_each(|file| std::fs::remove_file(folder.path(file)).unwrap());
    }
}

/// Returns the commands below `words`, as the help lists them.
fn commands(folder: &Folder, words: &[&str]) -> Vec<String> {
    let help = folder.command(words.iter().copied().chain(["--help"])).succeeded();
    let listed =
        help.split_once("Commands:\n").map_or("", |(_, rest)| rest).lines().map_while(|line| line.strip_prefix("  "));
    let names = listed.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(' ').next());
    let names: Vec<_> = names.filter(|name| *name != "help").collect();
    match &names[..] {
        [] => vec![words.join(" ")],
        names => names.iter().flat_map(|name| commands(folder, &[words, &[name]].concat())).collect(),
    }
}

/// Fails unless there is a case for every command that writes, which is one that takes `--force`.
fn assert_complete(cases: &[Case], folder: &Folder) {
    let (mut with, mut all) = (0, 0);
    for command in commands(folder, &[]) {
        let help = folder.command(command.split(' ').chain(["--help"])).succeeded();
        let writes = help.contains("--force");
        assert_eq!(writes, cases.iter().any(|case| case.line.starts_with(&format!("{command} "))), "{command}");
        assert!(writes || !["--output", "--html", "--log"].iter().any(|option| help.contains(option)), "{command}");
        (with, all) = (with + usize::from(writes), all + 1);
    }
    assert_eq!((with, all), (cases.len(), 22));
}

#[test]
fn an_output_that_is_none_is_refused_with_what_it_is() {
    let folder = workshop();
    folder.graftage("train one.toml --output base").succeeded();
    folder.graftage("graft base/model.safetensors --output model").succeeded();
    folder.file("afile", "mine");
    std::os::unix::fs::symlink("nowhere", folder.path("link")).unwrap();
    let before = contents(&folder);
    let graft = "graft base/model.safetensors --output";
    let age = "age base/model.safetensors --samples 9 --stream";
    for (line, words) in [
        (format!("{graft} afile"), "afile: is a file, but the output must be a folder"),
        (format!("{graft} afile/in/it"), "afile: is a file, but the output must be a folder"),
        (format!("{graft} /dev/full"), "/dev/full: is a device, but the output must be a folder"),
        (format!("{graft} link"), "link: is a broken link, but the output must be a folder"),
        ("train one.toml --output afile".into(), "afile: is a file, but the output must be a folder"),
        (format!("{age} model --test b.csv"), "model: is a folder, but the output must be a file"),
        (format!("{age} new/ --test b.csv"), "new/: is a folder, but the output must be a file"),
        (
            format!("{age} link --test b.csv"),
            "link: is a broken link; use --force to replace it, or name another output",
        ),
        (format!("{age} none/a.csv --test b.csv"), "none/a.csv: there is no folder none: create it first"),
        (format!("{age} a.csv --test ./a.csv"), "./a.csv: cannot hold two outputs of this command"),
        (
            format!("{age} model/../samples.csv --test a.csv --data samples.csv --force"),
            "samples.csv: is also an input of this command",
        ),
        (
            format!("{age} a.csv --test base/model.safetensors --force"),
            "base/model.safetensors: is also an input of this command",
        ),
    ] {
        let run = folder.graftage(&line);
        assert_eq!(run.errors.lines().count(), 1, "{line}: {}", run.errors);
        let message = run.failed();
        assert!(message.contains(words), "{line}: {message}");
        assert!(contents(&folder) == before, "{line}");
    }
    folder.file("unnamed.toml", config(1, 6, 40).replace("\"leaves\"", "\"\""));
    let message = folder.graftage("train unnamed.toml").failed();
    assert!(message.contains("the name of the output is empty; name a folder"), "{message}");
    // Devices and pipes are written to directly.
    let printed = folder.graftage(&format!("{age} /dev/stdout --test /dev/null")).succeeded();
    // Names, a line for each sample, and the message of the command.
    assert_eq!(printed.lines().count(), 1 + 9 + 1, "{printed}");
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn a_training_that_cannot_start_changes_nothing() {
    let folder = workshop();
    folder.graftage("train one.toml").succeeded();
    let before = contents(&folder);
    let mlp = "[model.mlp]\nhidden = [6]";
    for (name, from, to) in [
        ("model", mlp, "[model.vit]\npatch = [2, 2]\nlayers = 1\nwidth = 8\nheads = 2"),
        ("data", "samples.csv", "nowhere.csv"),
        ("split", "[\"Dia\"]", "[\"Eve\"]"),
        ("constants", "step-size = 0.02", "step-size = -1.0"),
    ] {
        let text = config(1, 6, 40);
        assert!(text.contains(from));
        let file = folder.file(&format!("{name}.toml"), text.replace(from, to));
        for options in ["--force", "--output new"] {
            folder.graftage(&format!("train {name}.toml {options}")).failed();
        }
        std::fs::remove_file(file).unwrap();
        assert!(contents(&folder) == before, "{name}");
        assert!(!folder.path("new").exists(), "{name}");
    }
    // A finished model whose state was deleted to save space still counts as an output.
    std::fs::remove_file(folder.path("leaves/state.safetensors")).unwrap();
    let message = folder.graftage("train two.toml").failed();
    assert!(message.contains("leaves/metrics.jsonl: already exists; use --force to replace it"), "{message}");
    std::fs::remove_file(folder.path("leaves/metrics.jsonl")).unwrap();
    let message = folder.graftage("train two.toml").failed();
    assert!(message.contains("leaves/model.safetensors: already exists"), "{message}");
}

#[test]
fn a_training_that_goes_on_replaces_its_own_results_alone() {
    let folder = workshop();
    folder.graftage("train one.toml").succeeded();
    let model = std::fs::read(folder.path("leaves/model.safetensors")).unwrap();
    // A finished training gives its results again.
    folder.graftage("train one.toml --resume").succeeded();
    assert!(std::fs::read(folder.path("leaves/model.safetensors")).unwrap() == model);
    folder.file("leaves/report.html", "mine");
    let before = contents(&folder);
    let message = folder.graftage("train one.toml --resume").failed();
    assert!(message.contains("leaves/report.html: has changed since this run wrote it; move it away"), "{message}");
    assert!(contents(&folder) == before);
    std::fs::remove_file(folder.path("leaves/report.html")).unwrap();
    folder.graftage("train one.toml --resume").succeeded();
    // A file that appears during the training is not replaced either, and the last step is kept.
    let mut child = Running::start(&folder, "train long.toml --output late");
    child.wait_for("\nstep ");
    folder.file("late/report.html", "mine");
    child.signal("TERM");
    child.ended(143);
    let message = folder.graftage("train long.toml --output late --resume").failed();
    assert!(message.contains("late/report.html: has changed since this run wrote it"), "{message}");
    assert_eq!(std::fs::read(folder.path("late/report.html")).unwrap(), b"mine");
}

/// Running command, killed when it is dropped.
struct Running {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
    said: String,
}

impl Running {
    /// Starts a command, and waits until signals reach it.
    fn start(folder: &Folder, line: &str) -> Self {
        let mut child = command(folder, line).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (running, started) = (Self { child, errors, said: String::new() }, Instant::now());
        let status = format!("/proc/{}/status", running.child.id());
        loop {
            let status = std::fs::read_to_string(&status).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            // Bits 1 and 14 are SIGINT and SIGTERM.
            if u64::from_str_radix(caught.trim(), 16).unwrap() & 0x4002 == 0x4002 {
                return running;
            }
            assert!(started.elapsed() < PATIENCE, "{line}: {status}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the command prints these words.
    fn wait_for(&mut self, words: &str) {
        while !self.said.contains(words) {
            assert!(self.errors.read_line(&mut self.said).unwrap() > 0, "without {words:?}: {}", self.said);
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Checks that it ends soon, with one line of its own, and returns its status.
    fn end(&mut self) -> Option<i32> {
        let started = Instant::now();
        let found = loop {
            match self.child.try_wait().unwrap() {
                Some(found) => break found,
                None if started.elapsed() > Duration::from_secs(20) => panic!("it does not end: {}", self.said),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        self.errors.read_to_string(&mut self.said).unwrap();
        let lines = self.said.lines().filter(|line| line.starts_with("graftage: ")).count();
        assert_eq!(lines, 1, "{}", self.said);
        found.code()
    }

    /// Checks that it ends soon, with that status, and that its last line says so.
    fn ended(&mut self, status: i32) {
        assert_eq!(self.end(), Some(status), "{}", self.said);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Folder, line: &str) -> Command {
    let mut command = Command::new(&*crate::common::GRAFTAGE);
    command.args(line.split_whitespace()).current_dir(folder.path(".")).env("TMPDIR", folder.path("."));
    command
}

/// Returns the names of the files and folders that are not in `before`.
fn new_names(folder: &Folder, before: &BTreeSet<String>) -> Vec<String> {
    names(folder).difference(before).cloned().collect()
}

fn names(folder: &Folder) -> BTreeSet<String> {
    let root = folder.path("");
    folder.files().into_iter().map(|(path, _)| path.strip_prefix(&root).unwrap().display().to_string()).collect()
}

#[test]
fn exactly_one_of_two_runs_into_one_folder_goes_on() {
    let folder = workshop();
    let mut first = Running::start(&folder, "train long.toml");
    first.wait_for("\nstep ");
    for line in ["train long.toml", "train long.toml --force", "train long.toml --resume", "graft none --output leaves"]
    {
        let message = folder.graftage(line).failed();
        let words = format!("leaves: another graftage process ({}) is writing here", first.child.id());
        assert!(message.contains(&words), "{line}: {message}");
    }
    first.signal("TERM");
    first.ended(143);
    // Two commands start at the same moment; the folder exists, or does not.
    for output in ["leaves", "new", "newer"] {
        let line = format!("train long.toml --force --output {output}");
        let mut runs: Vec<_> =
            (0..2).map(|_| command(&folder, &line).stderr(Stdio::piped()).spawn().unwrap()).collect();
        let started = Instant::now();
        let loser = loop {
            if let Some(at) = runs.iter_mut().position(|run| run.try_wait().unwrap().is_some()) {
                break runs.remove(at);
            }
            assert!(started.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        };
        let Output { status, stderr, .. } = loser.wait_with_output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(status.code() == Some(1) && said.contains("is writing here"), "{said}");
        let mut other = runs.pop().unwrap();
        let state = folder.path(output).join("state.safetensors");
        while !state.exists() {
            assert!(other.try_wait().unwrap().is_none() && started.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
        other.kill().unwrap();
        other.wait().unwrap();
    }
    // A dead process holds no lock.
    folder.graftage("train one.toml --force").succeeded();
}

#[test]
fn a_signal_ends_every_command_and_nothing_temporary_stays() {
    let folder = workshop();
    cases(&folder);
    let fifo = folder.path("fifo.csv");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    folder.file("reading.toml", config(1, 6, 40).replace("samples.csv", "fifo.csv"));
    let port = board(&folder.path("model/image.grft"));
    let mut rows = String::new();
    for _ in 0..40 {
        rows += &std::fs::read_to_string(folder.path("stream.csv")).unwrap();
    }
    folder.file("endless.csv", rows);
    let before = names(&folder);
    let adapt =
        format!("adapt --port {port} --image model/image.grft --stream endless.csv --record a.record --output a.json");
    let compare = COMPARE.replace("--seeds 1,2", "--seeds 1,2 --jobs 2").replace("--jobs 1", "");
    let rehearse = "rehearse base/model.safetensors --tune 1..900 --report 1..900 --samples 40 --output b.json";
    for (line, words, leaves) in [
        // In the middle of a training, which leaves a checkpoint.
        ("train long.toml", "\nstep ", &["leaves", "leaves/metrics.jsonl", "leaves/state.safetensors"][..]),
        // While the training waits for its data.
        ("train reading.toml", "", &[]),
        // The comparison leaves the trainings that have ended so far, and continues from them.
        (&format!("compare long.toml {compare}"), "", &["compared", "compared/trainings.jsonl"]),
        ("theory --quick --output laws", "", &[]),
        (rehearse, "", &[]),
        (&adapt, "learning ", &["a.record"]),
    ] {
        for (signal, status) in [("INT", 130), ("TERM", 143)] {
            let mut running = Running::start(&folder, line);
            match words {
                // These files are there as soon as the command has begun.
                "" if leaves.len() > 1 => {
                    let last = folder.path(leaves[leaves.len() - 1]);
                    while !last.exists() {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
                "" => std::thread::sleep(Duration::from_millis(300)),
                words => running.wait_for(words),
            }
            running.signal(signal);
            running.ended(status);
            assert_eq!(new_names(&folder, &before), leaves, "{line}: {signal}, {}", running.said);
            if line == adapt {
                // It holds what the board answered, and no more.
                let record = Record::salvage(&folder.path("a.record")).unwrap().record;
                assert!(
                    record.lessons().count() > 50 && !record.events.iter().any(|event| matches!(event, Event::End(_)))
                );
                folder.graftage("replay a.record --image model/image.grft").succeeded();
            }
            for name in leaves.iter().rev() {
                let path = folder.path(name);
                if path.is_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) }.unwrap();
            }
        }
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = workshop();
    // A step takes longer than two signals take to arrive.
    let large = config(1, 6, 40).replace("hidden = [6]", "hidden = [900, 900]");
    folder.file("slow.toml", large.replace("every = 8", "every = 50").replace("every = 4", "every = 1"));
    let before = names(&folder);
    let mut running = Running::start(&folder, "train slow.toml");
    running.wait_for("step 1/");
    // Both signals are pending when the process continues, so the first one cannot end it before the second one comes.
    // Two of the same kind would count as one.
    for signal in ["STOP", "INT", "TERM", "CONT"] {
        running.signal(signal);
    }
    // Two threads may take them, so either can be the second.
    let (status, said) = (running.end(), &running.said);
    let by = |number, name| status == Some(128 + number) && said.ends_with(&format!("graftage: ended by {name}\n"));
    assert!(by(2, "SIGINT") || by(15, "SIGTERM"), "{status:?}: {said}");
    let left = new_names(&folder, &before);
    assert!(left.iter().all(|name| !name.contains(".graftage")), "{left:?}");
}

#[test]
fn an_emulator_ends_with_the_command_that_started_it() {
    // Nothing here depends on the board, and one without a binary32 unit takes minutes.
    for board in emulated().into_iter().take(1) {
        let folder = Folder::empty();
        let recipe = graftage_core::adapt::Recipe::DEFAULT;
        let network = common::checkpoint(&[64, 32, 10], 100);
        graftage::graft::graft(&network, recipe, usize::MAX, &folder.path("model")).unwrap();
        samples(500, 64, 10).write(&folder.path("stream.csv"), common::SCALE, &Legend::numbered(10)).unwrap();
        let before = names(&folder);
        for (command, words, status, signal, leaves) in [
            (
                "adapt --stream stream.csv --record a.record --log a.log --output a.json",
                "learning ",
                143,
                "TERM",
                &["a.log", "a.record"][..],
            ),
            (
                "adapt --stream stream.csv --record a.record --log a.log --output a.json",
                "learning ",
                130,
                "INT",
                &["a.log", "a.record"],
            ),
            ("monitor", "", 130, "INT", &[]),
        ] {
            let port = format!("--port qemu:{} --image model/image.grft", board.firmware.display());
            let mut running = Running::start(&folder, &format!("{command} {port}"));
            match words {
                "" => std::thread::sleep(Duration::from_millis(500)),
                words => running.wait_for(words),
            }
            running.signal(signal);
            running.ended(status);
            assert_eq!(new_names(&folder, &before), leaves, "{}", running.said);
            leaves.iter().for_each(|file| std::fs::remove_file(folder.path(file)).unwrap());
            // Only the command line of this emulator names this folder's image.
            let processes = std::fs::read_dir("/proc")
                .unwrap()
                .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok());
            let model = folder.path("model").display().to_string();
            let own = |line: &Vec<u8>| {
                let line = String::from_utf8_lossy(line);
                line.contains("qemu")
                    && (line.contains(&model) || line.contains(&format!("{}", folder.path("").display())))
            };
            assert_eq!(processes.filter(own).count(), 0);
        }
    }
}

/// Kills a command `times` times, at moments spread over its whole run. `before` runs before each time, and `after`
/// looks at what is left.
fn killed(folder: &Folder, line: &str, times: u32, mut before: impl FnMut(), mut after: impl FnMut(u32)) {
    before();
    let started = Instant::now();
    assert!(command(folder, line).output().unwrap().status.success(), "{line}");
    let whole = started.elapsed();
    for time in 0..times {
        before();
        let mut child = command(folder, line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // A run begins with loading the program and does its work at the end.
        let share = f64::from(time + 1) / f64::from(times);
        std::thread::sleep(whole.mul_f64(share.sqrt() * 1.02));
        let signal = if time % 4 == 3 { "-TERM" } else { "-KILL" };
        // The command may have ended.
        let _ = Command::new("kill").args([signal, &child.id().to_string()]).stderr(Stdio::null()).status().unwrap();
        child.wait().unwrap();
        after(time);
    }
}

/// Returns the bytes of the files; `None` for one that does not exist.
fn bytes(folder: &Folder, files: &[&str]) -> Vec<Option<Vec<u8>>> {
    files.iter().map(|file| std::fs::read(folder.path(file)).ok()).collect()
}

fn restore(folder: &Folder, files: &[&str], old: &[Option<Vec<u8>>]) {
    for (file, bytes) in files.iter().zip(old) {
        folder.file(file, bytes.as_ref().unwrap());
    }
}

/// Asserts that the next run removes what a kill left over.
fn tidy(folder: &Folder, line: &str) {
    folder.graftage(line).succeeded();
    let hidden: Vec<_> =
        names(folder).into_iter().filter(|name| name.contains("/.") || name.starts_with('.')).collect();
    assert_eq!(hidden, [""; 0], "{line}");
}

#[test]
fn killed_at_any_moment_a_training_leaves_the_old_files_or_the_new_ones() {
    let folder = workshop();
    folder.graftage("train one.toml").succeeded();
    let old = bytes(&folder, &TRAINING);
    folder.graftage("train two.toml --output new").succeeded();
    let model = std::fs::read(folder.path("new/model.safetensors")).unwrap();
    let (mut olds, mut partial, mut news) = (0, 0, 0);
    killed(
        &folder,
        "train two.toml --force",
        14,
        || restore(&folder, &TRAINING, &old),
        |_| {
            // A reader completes a replacement that was decided.
            folder.graftage("eval leaves/model.safetensors");
            let found = bytes(&folder, &TRAINING);
            if found == old {
                olds += 1;
                return;
            }
            let seed = Saved::read(&folder.path("leaves/state.safetensors")).unwrap().0.config.seed;
            let metrics = String::from_utf8(found[1].clone().unwrap()).unwrap();
            assert!(seed == 2 && metrics.lines().all(|line| line.ends_with('}')), "{seed}, {metrics}");
            match &found[2..] {
                [None, None, None] => partial += 1,
                [Some(found), Some(result), Some(page)] => {
                    let result: serde_json::Value = serde_json::from_slice(result).unwrap();
                    assert!(*found == model && result["seed"] == 2 && page.ends_with(b"</html>"));
                    news += 1;
                }
                _ => panic!("results of two trainings"),
            }
        },
    );
    println!("{olds} times the old training, {partial} times a checkpoint of the new one, {news} times its result");
    assert_eq!(olds + partial + news, 14);
    tidy(&folder, "train two.toml --force");
}

#[test]
fn killed_at_any_moment_a_comparison_and_a_graft_leave_the_old_files_or_the_new_ones() {
    let folder = workshop();
    folder.graftage("train one.toml --output one").succeeded();
    folder.graftage("train two.toml --output two").succeeded();
    for (line, files, times) in [
        (format!("compare CONFIG.toml {COMPARE} --force"), ["compared/comparison.json", "compared/report.html"], 12),
        ("graft CONFIG/model.safetensors --output board --force".into(), ["board/image.grft", "board/network.rs"], 12),
    ] {
        let sets = ["one", "two"].map(|name| {
            folder.graftage(&line.replace("CONFIG", name)).succeeded();
            bytes(&folder, &files)
        });
        assert!(sets[0].iter().zip(&sets[1]).all(|(old, new)| old != new), "{line}");
        let line = line.replace("CONFIG", "two");
        let mut counts = [0; 2];
        killed(
            &folder,
            &line,
            times,
            || restore(&folder, &files, &sets[0]),
            |_| {
                // A reader completes a replacement that was decided.
                let read = if files[0].starts_with("board") {
                    "replay board/none --image board/image.grft"
                } else {
                    "graft compared/none -o x"
                };
                folder.graftage(read).failed();
                let found = bytes(&folder, &files);
                let which = sets.iter().position(|set| *set == found);
                counts[which.unwrap_or_else(|| panic!("{line}: files of two runs"))] += 1;
            },
        );
        println!("{line}: {counts:?} times the old and the new files");
        tidy(&folder, &line);
    }
}

#[test]
fn killed_at_any_moment_an_adaptation_leaves_whole_files() {
    let folder = workshop();
    folder.graftage("train one.toml --output base").succeeded();
    folder.graftage("graft base/model.safetensors --output model").succeeded();
    let port = board(&folder.path("model/image.grft"));
    let files = ["a.record", "a.json"];
    let line =
        format!("adapt --port {port} --image model/image.grft --record a.record --output a.json --force --stream");
    let sets = ["stream.csv", "short.csv"].map(|stream| {
        folder.graftage(&format!("{line} {stream}")).succeeded();
        bytes(&folder, &files)
    });
    let [old, new] = &sets;
    let whole = Record::read(&folder.path("a.record")).unwrap();
    let mut counts = [0; 2];
    killed(
        &folder,
        &format!("{line} short.csv"),
        12,
        || restore(&folder, &files, old),
        |_| {
            let found = bytes(&folder, &files);
            if found[0] == old[0] {
                counts[0] += 1;
                assert!(found[1] == old[1]);
                return;
            }
            counts[1] += 1;
            // This is the new record, up to the last answer.
            let part = Record::salvage(&folder.path("a.record")).unwrap();
            assert!(part.damage.is_none() && whole.events.starts_with(&part.record.events));
            assert_eq!(part.finished, part.record.events.len() == whole.events.len() && found[0] == new[0]);
            if found[1] != old[1] {
                let session: Session = graftage::files::read_json(&folder.path("a.json")).unwrap();
                assert!(session.samples == 20 && found[0] == new[0]);
            }
        },
    );
    println!("{counts:?} times the old and the new record");
    tidy(&folder, &format!("{line} short.csv"));
}
