//! A board on its link: a serial port, a TCP address, or an emulator that this process starts.

mod serial;

use crate::error::{Error, Result};
use crate::image::ImageFile;
use crate::record::State;
use crate::signals;
use defmt_decoder::{DecodeError, Table};
use graftage_boards::elf::Firmware;
use graftage_boards::store::Store;
use graftage_core::network::Prediction;
use graftage_link::journal::{PIECE, Piece};
use graftage_link::{ANSWER, Answer, Array, Ended, FrameError, Hello, Learnt, NUMBERS, Numbered};
use graftage_link::{Receiver, Request, decode, encode, request};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::num::NonZeroU32;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// The longest that an answer is waited for before its request is sent again; a step of a small network takes milliseconds, of a
/// large one on a slow core a second.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Silence after which a board is given up, unless somebody has more [patience](Board::with_timeout).
pub const SILENCE: Duration = Duration::from_secs(9);
/// The most that a request waits which follows damage after damage.
const SLOWEST: Duration = Duration::from_secs(1);
/// A request is sent again at first once its answer takes so many times longer than the slowest to one of its kind did.
const PATIENCE: u32 = 4;
/// But no sooner: a workstation with other work keeps an answer waiting, too.
const SOONEST: Duration = Duration::from_millis(100);
/// The rate of a serial port; the emulated one does not care.
const BAUD: u32 = 115_200;

/// Where a board is.
#[derive(Clone, PartialEq, Debug)]
pub enum Port {
    /// A serial port, e.g. `/dev/ttyACM0`.
    Serial(String),
    /// `tcp:HOST:PORT`, e.g. a serial server.
    Tcp(String),
    /// `qemu:FIRMWARE` or `qemu:FIRMWARE,store=FILE`: the board of this firmware emulated, with it.
    Emulator {
        /// The firmware.
        firmware: PathBuf,
        /// The file that holds what its EEPROMs keep; without one it has none.
        store: Option<PathBuf>,
    },
}

impl Port {
    /// An emulated board without EEPROMs.
    pub fn emulator(firmware: impl Into<PathBuf>) -> Self {
        Self::Emulator { firmware: firmware.into(), store: None }
    }

    /// Files that the emulator uses.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let (firmware, store) = match self {
            Self::Emulator { firmware, store } => (Some(firmware), store.as_ref()),
            Self::Serial(_) | Self::Tcp(_) => (None, None),
        };
        firmware.into_iter().chain(store)
    }
}

impl std::str::FromStr for Port {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once(':') {
            Some(("tcp", address)) if address.contains(':') => Ok(Self::Tcp(address.into())),
            Some(("tcp", _)) => Err("tcp:HOST:PORT names no port".into()),
            Some(("qemu", emulated)) => match emulated.split_once(",store=") {
                Some(("", _)) => Err("qemu:FIRMWARE names no firmware".into()),
                None if emulated.is_empty() => Err("qemu:FIRMWARE names no firmware".into()),
                Some((_, "")) => Err("qemu:FIRMWARE,store=FILE names no file".into()),
                Some((firmware, store)) => Ok(Self::Emulator { firmware: firmware.into(), store: Some(store.into()) }),
                None => Ok(Self::emulator(emulated)),
            },
            _ if text.is_empty() => Err("no port".into()),
            _ => Ok(Self::Serial(text.into())),
        }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Serial(path) => write!(f, "{path} at {BAUD} baud"),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Emulator { firmware, .. } => write!(f, "the emulator with {}", firmware.display()),
        }
    }
}

/// A board that answers. Dropping it closes the line and ends an emulator.
pub struct Board {
    port: Port,
    writer: Box<dyn Write + Send>,
    incoming: mpsc::Receiver<Vec<u8>>,
    receiver: Receiver<ANSWER>,
    emulator: Option<Emulator>,
    /// Of the last request.
    number: u8,
    /// The last request, without its zeros: an echo is the same.
    sent: Vec<u8>,
    /// Silence after which it is given up.
    silence: Duration,
    /// Whether it has ever answered.
    known: bool,
    /// How long the slowest answer to each kind of request took.
    slowest: [Option<Duration>; 7],
    /// Frames from the board that were dropped here.
    pub damaged: u32,
    /// Requests that were sent again, as no answer came.
    pub repeated: u32,
}

/// A child process that ends with its owner, and its EEPROMs.
struct Emulator {
    child: Arc<Mutex<Child>>,
    /// Nobody else uses the file meanwhile.
    _store: Option<Store>,
}

impl Emulator {
    /// How it ended, if it has.
    fn ended(&mut self) -> Option<String> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let status = child.try_wait().ok()??;
        let mut said = String::new();
        if let Some(stderr) = &mut child.stderr {
            // What can be read of it is enough.
            let _ = stderr.read_to_string(&mut said);
        }
        Some(format!("the emulator ended with {status}: {}", said.trim().replace('\n', "; ")))
    }
}

/// A connection that ends when it is dropped, for the thread that reads it as well: the board then is free for the next.
struct Line(TcpStream);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Board {
    /// Opens the line. An emulator is started with `image` in its flash and writes its raw log to `log`.
    ///
    /// # Errors
    /// Where the port cannot be opened, or the emulator not be started.
    pub fn open(port: Port, image: Option<&Path>, log: Option<&File>) -> Result<Self> {
        let failed = |what: String| Error::Board(format!("{port}: {what}"));
        let (reader, writer, emulator): (Box<dyn Read + Send>, Box<dyn Write + Send>, _) = match &port {
            Port::Serial(path) => {
                // The reading thread waits this long at a time; a longer silence is no error.
                let serial = serial::open(path, BAUD, Duration::from_millis(100)).map_err(failed)?;
                (Box::new(serial.try_clone().map_err(|e| failed(e.to_string()))?), Box::new(serial), None)
            }
            Port::Tcp(address) => {
                let stream = connect(address).map_err(|e| failed(e.to_string()))?;
                (Box::new(stream.try_clone().map_err(|e| failed(e.to_string()))?), Box::new(Line(stream)), None)
            }
            Port::Emulator { firmware, store } => {
                let (emulator, stream) = emulate(firmware, store.as_deref(), image, log)?;
                (
                    Box::new(stream.try_clone().map_err(|e| failed(e.to_string()))?),
                    Box::new(Line(stream)),
                    Some(emulator),
                )
            }
        };
        let (sender, incoming) = mpsc::channel();
        std::thread::spawn(move || listen(reader, &sender));
        Ok(Self {
            port,
            writer,
            incoming,
            receiver: Receiver::new(),
            emulator,
            number: 0,
            sent: Vec::new(),
            silence: SILENCE,
            known: false,
            slowest: [None; 7],
            damaged: 0,
            repeated: 0,
        })
    }

    /// Waits so long for a board that is silent, and does not say that it is busy, before it is given up.
    pub fn with_timeout(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// Who it is and where it stands.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn hello(&mut self) -> Result<Hello> {
        match self.ask(&Request::Hello)? {
            Answer::Hello(hello) => Ok(hello),
            answer => Err(self.unexpected(&answer)),
        }
    }

    /// Which class a sample is; `Err` inside where the board refuses it.
    ///
    /// # Errors
    /// Where it does not answer, or has no network.
    pub fn predict(
        &mut self,
        sample: &[f32],
    ) -> Result<std::result::Result<Prediction, graftage_core::error::Refusal>> {
        match self.ask(&Request::Predict { sample })? {
            Answer::Predicted(prediction) => Ok(Ok(prediction)),
            Answer::Refused(refusal) => Ok(Err(refusal)),
            answer => Err(self.unexpected(&answer)),
        }
    }

    /// Lets it take a labelled sample, its `number`-th from 0; `Err` inside where the board refuses it.
    ///
    /// # Errors
    /// Where it does not answer, has no network, or waits for another number.
    pub fn learn(
        &mut self,
        number: u64,
        sample: &[f32],
        label: u32,
    ) -> Result<std::result::Result<Learnt, graftage_core::error::Refusal>> {
        match self.ask(&Request::Learn { number, label, sample })? {
            Answer::Learnt(learnt) => Ok(Ok(learnt)),
            Answer::Refused(refusal) => Ok(Err(refusal)),
            answer => Err(self.unexpected(&answer)),
        }
    }

    /// Ends its session, its `number`-th from 0.
    ///
    /// # Errors
    /// Where it does not answer, has no network, or waits for another number.
    pub fn end(&mut self, number: u32) -> Result<Ended> {
        match self.ask(&Request::End { number })? {
            Answer::Ended(ended) => Ok(ended),
            answer => Err(self.unexpected(&answer)),
        }
    }

    /// Lets it forget what it has learnt and start again from its image; the digest of that state.
    ///
    /// # Errors
    /// Where it does not answer, has no network, or its flash refuses: then it is where a restart would have brought it.
    pub fn reset(&mut self) -> Result<u64> {
        match self.ask(&Request::Reset)? {
            Answer::Reset { digest } => Ok(digest),
            Answer::NotReset => Err(Error::Board(format!(
                "{}: the board's flash refuses, and what it has learnt is not forgotten: it is where a restart would have brought it; ask again, or flash it anew",
                self.port
            ))),
            answer => Err(self.unexpected(&answer)),
        }
    }

    /// All numbers of an array, parameter by parameter, row by row.
    ///
    /// # Errors
    /// Where it does not answer, or has no network.
    pub fn array(&mut self, array: Array) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        loop {
            match self.ask(&Request::Read { array, first: all.len() as u32 })? {
                Answer::Numbers(numbers) => {
                    all.extend_from_slice(&numbers);
                    if numbers.len() < NUMBERS {
                        return Ok(all);
                    }
                }
                answer => return Err(self.unexpected(&answer)),
            }
        }
    }

    /// The state of its adaptation: what learns, not what is in use.
    ///
    /// # Errors
    /// As [`Board::array`].
    pub fn state(&mut self) -> Result<State> {
        Ok(State { x: self.array(Array::Weights)?, y: self.array(Array::QueryPoints)?, m: self.array(Array::Momenta)? })
    }

    /// Its journal: the bytes, and what an entry begins at a multiple of; none where it keeps no journal.
    ///
    /// # Errors
    /// Where it does not answer, or has no network.
    pub fn journal(&mut self) -> Result<Option<(NonZeroU32, Vec<u8>)>> {
        let mut all = Vec::new();
        loop {
            match self.ask(&Request::Journal { first: all.len() as u32 })? {
                Answer::Journal(Piece { unit: Some(unit), bytes }) => {
                    all.extend_from_slice(&bytes);
                    if bytes.len() < PIECE {
                        return Ok(Some((unit, all)));
                    }
                }
                Answer::Journal(Piece { unit: None, .. }) => return Ok(None),
                answer => return Err(self.unexpected(&answer)),
            }
        }
    }

    fn unexpected(&self, answer: &Answer) -> Error {
        let what = match answer {
            Answer::NoNetwork(error) => format!("the board has no network: {error}"),
            Answer::OtherVersion => {
                format!("the board refuses link version {}: flash a firmware of this version", graftage_link::VERSION)
            }
            Answer::OutOfOrder { expected } => {
                format!("the board waits for number {expected}: it was reset or learns from somebody else, too")
            }
            _ => "the board's answer does not fit the question".into(),
        };
        Error::Board(format!("{}: {what}", self.port))
    }

    /// Sends a request, again where nothing comes back, and returns the answer.
    fn ask(&mut self, question: &Request<&[f32]>) -> Result<Answer> {
        let (kind, length) = match question {
            Request::Hello => (0, 0),
            Request::Predict { sample } => (1, sample.len()),
            Request::Learn { sample, .. } => (2, sample.len()),
            Request::End { .. } => (3, 0),
            Request::Read { .. } => (4, 0),
            Request::Journal { .. } => (5, 0),
            Request::Reset => (6, 0),
        };
        let (mut plain, mut wire) = (vec![0; request(length)], vec![0; request(length) + 2]);
        self.number = self.number.wrapping_add(1);
        let used = encode(&(self.number, question), &mut plain, &mut wire).map_err(|e| Error::Board(e.to_string()))?;
        self.sent = wire[1..used - 1].to_vec();
        let (mut since, mut requests, mut heard) = (Instant::now(), 0, Heard::default());
        // A signal ends this, unless an answer is on its way.
        let mut end = signals::stopping().then_some(since);
        let mut patience = self.slowest[kind].map_or(TIMEOUT, |slowest| (PATIENCE * slowest).clamp(SOONEST, TIMEOUT));
        'requests: while since.elapsed() < self.silence {
            self.repeated += u32::from(requests > 0);
            requests += 1;
            let mut asked = Instant::now();
            let sent = self.writer.write_all(&wire[..used]).and_then(|()| self.writer.flush());
            sent.map_err(|e| self.gone(&e.to_string()))?;
            while let Some(left) = patience.min(self.silence).checked_sub(asked.elapsed()) {
                if end.is_some_and(|end| end <= Instant::now()) {
                    return Err(Error::Board(format!("{}: no more is asked, as a signal says to stop", self.port)));
                }
                if signals::stopping() {
                    end.get_or_insert_with(|| Instant::now() + TIMEOUT / 3);
                }
                match self.incoming.recv_timeout(left.min(SOONEST)) {
                    Ok(bytes) => match self.take(&bytes, &mut heard)? {
                        Taken::Answer(answer) => {
                            // What it did besides says nothing of the next time.
                            if !heard.busy {
                                self.slowest[kind] = self.slowest[kind].max(Some(asked.elapsed()));
                            }
                            self.known = true;
                            return Ok(answer);
                        }
                        Taken::Damage => {
                            std::thread::sleep(heard.pause());
                            continue 'requests;
                        }
                        Taken::Busy => {
                            (heard.busy, patience) = (true, TIMEOUT);
                            (asked, since) = (Instant::now(), Instant::now());
                        }
                        Taken::Nothing => {}
                    },
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => {
                        return Err(
                            self.gone("the line was closed by the other side: is it a board's, and has that power?")
                        );
                    }
                }
            }
            // Where it is slow, and not lost, asking more often does not make it faster.
            patience = (2 * patience).min(TIMEOUT);
        }
        let what = heard.silence(self.known, requests, since.elapsed().as_secs());
        Err(self.gone(&what))
    }

    /// The board does not go on; an emulator that has ended says why.
    fn gone(&mut self, what: &str) -> Error {
        let ended = self.emulator.as_mut().and_then(|emulator| {
            // It closes the line a moment before it has ended.
            (0..20).find_map(|_| {
                std::thread::sleep(Duration::from_millis(50));
                emulator.ended()
            })
        });
        let what = ended.as_deref().unwrap_or(what);
        Error::Board(format!("{}: {what}", self.port))
    }

    /// Takes the frames that end in these bytes; damaged ones are counted, echoes and late answers to earlier questions
    /// are dropped.
    fn take(&mut self, bytes: &[u8], heard: &mut Heard) -> Result<Taken> {
        let mut taken = Taken::Nothing;
        heard.bytes += bytes.len();
        for byte in bytes {
            let Some(frame) = self.receiver.push(*byte) else { continue };
            if frame.as_ref().is_ok_and(|frame| **frame == *self.sent) {
                heard.echoes += 1;
                continue;
            }
            match frame.and_then(decode::<Numbered<Answer>>) {
                // Their number is none of a request.
                Ok((_, Answer::OtherVersion)) => taken = Taken::Answer(Answer::OtherVersion),
                Ok((_, Answer::Damaged)) => {
                    heard.damaged += 1;
                    taken = taken.or(Taken::Damage);
                }
                Ok((_, Answer::Busy)) => taken = taken.or(Taken::Busy),
                Ok((number, answer)) if number == self.number => taken = Taken::Answer(answer),
                Ok(_) => {}
                Err(error @ FrameError::Version(_)) => return Err(Error::Board(format!("{}: {error}", self.port))),
                Err(_) => {
                    (self.damaged, heard.damaged) = (self.damaged + 1, heard.damaged + 1);
                    taken = taken.or(Taken::Damage);
                }
            }
        }
        Ok(taken)
    }
}

/// Counts of all that came on the line since a request was sent for the first time.
#[derive(Default)]
struct Heard {
    bytes: usize,
    /// Frames that were damaged, or say that the request was.
    damaged: u32,
    /// Frames that were sent from here.
    echoes: u32,
    /// Whether the board has said that it is busy.
    busy: bool,
}

impl Heard {
    /// Pause before asking again after damage: none at first, then twice as long each time.
    fn pause(&self) -> Duration {
        let doublings = self.damaged.saturating_sub(4);
        if doublings == 0 { Duration::ZERO } else { (SOONEST / 16 * (1 << doublings.min(8))).min(SLOWEST) }
    }

    /// Message about a silence after this, so many requests and seconds.
    fn silence(&self, known: bool, requests: u32, seconds: u64) -> String {
        let silence = format!("no answer to {requests} request{} in {seconds} s", if requests == 1 { "" } else { "s" });
        if known {
            return format!(
                "{silence}, though the board has answered before: is it still plugged in and powered? (--timeout waits longer)"
            );
        }
        match (self.damaged, self.echoes, self.bytes) {
            (1.., _, _) => {
                format!("{silence}, only damaged frames: is something else on this line, or at another rate?")
            }
            (0, 1.., _) => {
                format!(
                    "{silence}: what is sent comes back, and nothing else; are RX and TX joined, or is this another device?"
                )
            }
            (0, 0, 1..) => {
                format!(
                    "{silence}: what comes is none; does it run this project's firmware, at {BAUD} baud on a serial port?"
                )
            }
            (0, 0, 0) => {
                format!("{silence}; does it run this project's firmware, and has no other program the port open?")
            }
        }
    }
}

/// What came on the line.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
enum Taken {
    /// The answer.
    Answer(Answer),
    /// What may have been the request or its answer, damaged.
    Damage,
    /// The board says that the answer will come.
    Busy,
    Nothing,
}

impl Taken {
    /// After it, something else: an answer that came before is still one.
    fn or(self, other: Self) -> Self {
        if let Self::Answer(_) = self { self } else { other }
    }
}

/// Hands on what comes in, until the line or its owner is gone.
fn listen(mut reader: Box<dyn Read + Send>, sender: &mpsc::Sender<Vec<u8>>) {
    let mut buffer = [0; 4096];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
            Err(e) if matches!(e.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::Interrupted) => {}
            Err(_) => return,
        }
    }
}

/// Connects to an address, whose machine may be switched off.
fn connect(address: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("no such address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                last = std::io::Error::other("connection refused: does the board, or its emulator, run?");
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Starts the emulated board: its link on a connection to this process, the log by semihosting on its standard output.
fn emulate(
    elf: &Path,
    store: Option<&Path>,
    image: Option<&Path>,
    log: Option<&File>,
) -> Result<(Emulator, TcpStream)> {
    let image = image.map(|path| std::fs::metadata(path).map_err(Error::file(path)).map(|_| path)).transpose()?;
    let firmware = firmware(elf)?;
    let name = firmware.board.name;
    let machine = firmware.board.machine().ok_or_else(|| Error::content(elf, format!("{name} is not emulated")))?;
    // Of another image a board would begin its store anew.
    let identity = || image.and_then(|path| Some(ImageFile::read(path).ok()?.identity()));
    let store = store.map(|path| Store::open(path, &firmware, identity()));
    let store = store.transpose().map_err(|e| Error::Board(e.to_string()))?;
    let failed = |e: std::io::Error| Error::Board(format!("no connection to the emulator: {e}"));
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut command = machine.linked(&firmware, elf, &format!("tcp:{address},nodelay=on"), image, store.as_ref());
    let output = match log {
        Some(log) => Stdio::from(log.try_clone().map_err(|e| Error::Board(format!("no log of the emulator: {e}")))?),
        None => Stdio::null(),
    };
    command.stdout(output).stderr(Stdio::piped());
    let child = signals::spawn(&mut command).map_err(|e| {
        let program = machine.program;
        Error::Board(format!("{program} cannot be started ({e}): run `cargo xtask setup` or install QEMU"))
    })?;
    let mut emulator = Emulator { child, _store: store };
    listener.set_nonblocking(true).map_err(failed)?;
    let deadline = Instant::now() + SILENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).and_then(|()| stream.set_nodelay(true)).map_err(failed)?;
                return Ok((emulator, stream));
            }
            Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => return Err(failed(e)),
            Err(_) => {}
        }
        if let Some(ended) = emulator.ended() {
            return Err(Error::Board(ended));
        }
        if Instant::now() > deadline {
            return Err(Error::Board("the emulator does not open its serial port".into()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A board's raw log, decoded while it grows.
pub struct Log {
    table: Table,
    raw: File,
    /// Bytes that were decoded.
    done: u64,
}

impl Log {
    /// An anonymous file for the raw log of an emulated board: whatever ends the process, nothing of it stays.
    ///
    /// # Errors
    /// Where the system has no place for temporary files.
    pub fn file() -> Result<File> {
        tempfile::tempfile().map_err(Error::file(&std::env::temp_dir()))
    }

    /// The log in a file, by the firmware that writes it.
    ///
    /// # Errors
    /// Where the firmware cannot be read, or is none that logs.
    pub fn open(firmware: &Path, raw: &File) -> Result<Self> {
        let table = Table::parse(&crate::files::read(firmware)?);
        let table = table.map_err(|e| Error::content(firmware, format!("{e:#}")))?;
        let table = table.ok_or_else(|| Error::content(firmware, "a firmware without a log"))?;
        let raw = raw.try_clone().map_err(Error::file(firmware))?;
        Ok(Self { table, raw, done: 0 })
    }

    /// The lines that came since the last time. An incomplete one is what the board is writing, or was when it was stopped.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        let (mut new, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            // The emulator writes through the same file, from another place.
            let at = self.done + new.len() as u64;
            match self.raw.read_at(&mut piece, at).map_err(|e| Error::Board(format!("no log of the emulator: {e}")))? {
                0 => break,
                read => new.extend_from_slice(&piece[..read]),
            }
        }
        // A frame ends with a zero, and has no other.
        let whole = new.iter().rposition(|byte| *byte == 0).map_or(0, |last| last + 1);
        self.done += whole as u64;
        let mut decoder = self.table.new_stream_decoder();
        decoder.received(&new[..whole]);
        let mut lines = Vec::new();
        loop {
            match decoder.decode() {
                Ok(frame) => lines.push(frame.display(false).to_string()),
                Err(DecodeError::Malformed) => {}
                Err(DecodeError::UnexpectedEof) => return Ok(lines),
            }
        }
    }
}

/// What the ELF file of a firmware says.
///
/// # Errors
/// Where it cannot be read, or is no firmware of this project.
pub fn firmware(elf: &Path) -> Result<Firmware> {
    if std::fs::metadata(elf).is_ok_and(|found| !found.is_file()) {
        return Err(Error::content(elf, "is no file, so no firmware"));
    }
    Firmware::read(&crate::files::read(elf)?).map_err(|e| Error::content(elf, e))
}
