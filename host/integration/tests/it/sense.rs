//! Tests that the emulated board learns from a thermometer on its own bus, whose temperature the test sets, and loses
//! no reading silently.

use crate::common::{self, Emulator, Folder, SCALE, checkpoint, emulated, parse};
use graftage::board::{Board, Log};
use graftage::graft::{IMAGE, graft};
use graftage::workstation;
use graftage_core::adapt::Recipe;
use graftage_core::error::Refusal;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const RECIPE: Recipe = Recipe { batch: 4, steps: 2, replay: 8, seed: 3, ..Recipe::DEFAULT };
/// Widths of the network that the firmware is built for: five features, three classes.
const WIDTHS: [u32; 3] = [5, 16, 3];
/// Time between two readings, in milliseconds.
const PERIOD: u32 = 20;
/// Readings per window, and readings that the program may be behind.
const WINDOW: u32 = 16;
const BEHIND: u32 = 7;

/// The emulator's monitor, which speaks JSON.
struct Monitor(BufReader<TcpStream>);

impl Monitor {
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn execute(&mut self, command: &Value) {
        writeln!(self.0.get_mut(), "{command}").unwrap();
        // Events may come between command and answer.
        loop {
            let line = self.line();
            assert!(line.get("error").is_none(), "{command}: {line}");
            if line.get("return").is_some() {
                return;
            }
        }
    }

    /// Sets the thermometer's temperature.
    fn celsius(&mut self, celsius: f32) {
        let milli = (celsius * 1000.0) as i32;
        let arguments = json!({ "path": "/machine/peripheral/thermometer", "property": "temperature", "value": milli });
        self.execute(&json!({ "execute": "qom-set", "arguments": arguments }));
    }
}

/// Report of the board about its readings, at the end of a window.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Line {
    celsius: f32,
    readings: u32,
    used: u32,
    dropped: u32,
    faults: u32,
    /// Time since the first reading was due.
    milliseconds: u32,
}

struct Sensing {
    folder: Folder,
    firmware: PathBuf,
    image: PathBuf,
    _emulator: Emulator,
    board: Board,
    monitor: Monitor,
}

impl Sensing {
    /// Starts the board, with or without a thermometer, and with these EEPROMs; `None` if it is not built here.
    fn start(recipe: Recipe, thermometer: bool, store: Option<&Path>) -> Option<Self> {
        let firmware =
            emulated().into_iter().find(|board| board.name == "mps2-an386")?.firmware.with_file_name("sense");
        let folder = Folder::empty();
        graft(&checkpoint(&WIDTHS, 100), recipe, usize::MAX, &folder.path("model")).unwrap();
        let image = folder.path("model").join(IMAGE);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Each instruction takes 32 ns of the board's time, so that a busy workstation makes no reading late.
        let mut arguments = vec!["-icount".to_owned(), "shift=5".into()];
        arguments.extend(["-qmp".into(), format!("tcp:{}", listener.local_addr().unwrap())]);
        if thermometer {
            arguments.extend(["-device".into(), "tmp105,bus=i2c,address=0x48,id=thermometer".into()]);
        }
        let (emulator, board) = common::start(&firmware, &image, store, &arguments, &folder.path("log"));
        let mut monitor = Monitor(BufReader::new(listener.accept().unwrap().0));
        monitor.line();
        monitor.execute(&json!({ "execute": "qmp_capabilities" }));
        Some(Self { folder, firmware, image, _emulator: emulator, board, monitor })
    }

    fn log(&self) -> Vec<String> {
        Log::open(&self.firmware, &std::fs::File::open(self.folder.path("log")).unwrap()).unwrap().lines().unwrap()
    }

    /// Returns the windows so far.
    fn windows(&self) -> Vec<Line> {
        let line = |line: String| {
            let (celsius, rest) = line.split_once(" °C; ")?;
            let numbers: Vec<u32> = rest.split(' ').filter_map(|word| word.parse().ok()).collect();
            let [readings, used, dropped, faults, milliseconds] = numbers[..] else { panic!("{line}") };
            let celsius = celsius.rsplit(' ').next().unwrap().parse().unwrap();
            Some(Line { celsius, readings, used, dropped, faults, milliseconds })
        };
        self.log().into_iter().filter_map(line).collect()
    }

    /// Waits for a new window that meets a condition.
    fn until(&self, right: impl Fn(&Line) -> bool) -> Line {
        let (before, deadline) = (self.windows().len(), Instant::now() + Duration::from_secs(120));
        loop {
            if let Some(line) = self.windows().into_iter().skip(before).find(&right) {
                return line;
            }
            assert!(Instant::now() < deadline, "{:#?}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_board_learns_from_its_own_thermometer_what_core_learns_from_these_temperatures() {
    let Some(mut sensing) = Sensing::start(RECIPE, true, None) else { return };
    let bytes = std::fs::read(&sensing.image).unwrap();
    let mut core =
        workstation::start(workstation::network(&parse(&bytes)).unwrap(), RECIPE, parse(&bytes).start()).unwrap();
    let hello = sensing.board.hello().unwrap();
    assert_eq!((hello.inputs, hello.classes, hello.status.unwrap().scale), (5, 3, SCALE));
    // A cold, a mild and a hot temperature. They are exact in half degrees, and so are their squares.
    let temperatures = [-12.5, 21.5, 80.0];
    let mut number = 0;
    for round in 0..3 {
        for (label, celsius) in (0..).zip(temperatures) {
            sensing.monitor.celsius(celsius);
            sensing.until(|line| line.celsius == celsius);
            // Features of a constant signal: mean, deviation, energy, peak, crossings.
            let sample = [celsius, 0.0, celsius * celsius, 0.0, 0.0].map(|feature| feature / SCALE);
            if round == 0 {
                assert_eq!(sensing.board.predict(&[]).unwrap(), sensing.board.predict(&sample).unwrap());
            }
            let mut digest = 0;
            let prediction = core.learn(&sample, label, |report| digest = report.digest).unwrap();
            let learnt = sensing.board.learn(number, &[], label).unwrap().unwrap();
            assert_eq!((learnt.reports.last().unwrap().digest, learnt.taken.prediction), (digest, prediction));
            number += 1;
        }
    }
    // No step took long enough to drop a reading, and each reading was on time.
    let windows = sensing.windows();
    for (line, before) in windows.iter().skip(1).zip(&windows) {
        assert_eq!((line.readings, line.used, line.dropped), (before.readings + WINDOW, before.used + WINDOW, 0));
        assert_eq!(line.faults, 0);
        let late = line.milliseconds.checked_sub(PERIOD * line.readings).expect("a reading before it was due");
        assert!(late <= PERIOD, "{line:?}");
    }
    assert!(sensing.log().iter().any(|line| line.contains("class ")), "{:#?}", sensing.log());
}

#[test]
fn while_a_board_learns_for_long_readings_are_dropped_and_all_are_counted() {
    // A step over so many samples takes the board longer than the readings that it may be behind.
    let Some(mut sensing) = Sensing::start(Recipe { batch: 2048, steps: 4, ..RECIPE }, true, None) else { return };
    sensing.monitor.celsius(21.5);
    let before = sensing.until(|line| line.celsius == 21.5);
    assert_eq!(before.dropped, 0);
    for number in 0..4 {
        sensing.board.learn(number, &[], 1).unwrap().unwrap();
    }
    let after = sensing.until(|line| line.dropped > 0);
    // The clock, another timer, tells how many readings were due.
    for line in sensing.windows() {
        assert_eq!(line.used + line.dropped, line.readings, "{line:?}");
        let due = line.milliseconds / PERIOD;
        assert!(line.readings <= due && due <= line.readings + BEHIND + 1, "{line:?}");
    }
    println!("{before:?}\n{after:?}");
    assert!(sensing.log().iter().any(|line| line.ends_with("readings dropped")), "{:#?}", sensing.log());
    // Windows have no gap between readings: their mean is the temperature. Once the board has caught up, none is
    // dropped.
    let caught_up = sensing.until(|line| line.milliseconds < PERIOD * (line.readings + 1));
    let later = sensing.until(|line| line.readings > caught_up.readings + WINDOW);
    assert_eq!(later.dropped, caught_up.dropped);
}

#[test]
fn a_board_without_its_thermometer_says_so_and_serves_its_link() {
    let Some(mut sensing) = Sensing::start(RECIPE, false, None) else { return };
    let missing = Refusal::Length { expected: 5, found: 0 };
    assert_eq!(sensing.board.predict(&[]).unwrap(), Err(missing));
    assert_eq!(sensing.board.learn(0, &[], 1).unwrap(), Err(missing));
    // Samples from the workstation are still taken.
    assert_eq!(sensing.board.learn(0, &[0.5; 5], 1).unwrap().unwrap().learnt, 1);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !sensing.log().iter().any(|line| line.contains("no reading, 8 so far: bus: NoAcknowledge(Address)")) {
        assert!(Instant::now() < deadline, "{:#?}", sensing.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(sensing.windows(), []);
}

#[test]
fn a_sensor_and_a_store_share_the_bus() {
    let folder = Folder::empty();
    let eeprom = common::eeproms(&folder, 1);
    let Some(mut sensing) = Sensing::start(RECIPE, true, Some(&eeprom)) else { return };
    sensing.monitor.celsius(21.5);
    sensing.until(|line| line.celsius == 21.5);
    // A save takes longer than a period. Its transactions and those of the interrupt take turns.
    for number in 0..24 {
        sensing.board.learn(number, &[], 1).unwrap().unwrap();
    }
    let digest = sensing.board.hello().unwrap().status.unwrap().digest;
    let after = sensing.until(|line| line.milliseconds < PERIOD * (line.readings + 1));
    assert_eq!(after.faults, 0);
    // No reading was disturbed, or a mean would differ.
    let first = sensing.windows().iter().position(|line| line.celsius == 21.5).unwrap();
    assert!(sensing.windows()[first..].iter().all(|line| line.celsius == 21.5), "{:#?}", sensing.log());
    let log = sensing.log();
    assert!(log.iter().any(|line| line.contains("saved as generation 3")), "{log:#?}");
    drop(sensing);
    let mut sensing = Sensing::start(RECIPE, true, Some(&eeprom)).unwrap();
    assert_eq!(sensing.board.hello().unwrap().status.unwrap().digest, digest);
}
