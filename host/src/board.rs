//! A board and the link to it: a serial port, a TCP address, or an emulator that this process starts.

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

/// Longest wait for an answer before its request is repeated. A step of a small network takes milliseconds; a step of a
/// large one on a slow core takes up to a second.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Silence after which a board is given up, unless it is changed by [`Board::with_timeout`].
pub const SILENCE: Duration = Duration::from_secs(9);
/// Longest pause before a request is repeated after successive damaged frames.
const SLOWEST: Duration = Duration::from_secs(1);
/// A request is first repeated once its answer takes this many times longer than the slowest answer so far to a request
/// of its kind.
const PATIENCE: u32 = 4;
/// Lower bound of that wait: other work on the workstation also delays answers.
const SOONEST: Duration = Duration::from_millis(100);
/// Baud rate of a serial port; the emulator ignores it.
const BAUD: u32 = 115_200;

/// Location of a board.
#[derive(Clone, PartialEq, Debug)]
pub enum Port {
    /// A serial port, e.g. `/dev/ttyACM0`.
    Serial(String),
    /// `tcp:HOST:PORT`, e.g. a serial server.
    Tcp(String),
    /// `qemu:FIRMWARE` or `qemu:FIRMWARE,store=FILE`: the emulated board that this firmware is built for.
    Emulator {
        /// Path of the firmware.
        firmware: PathBuf,
        /// File that holds the content of the EEPROMs; without it there are none.
        store: Option<PathBuf>,
    },
}

impl Port {
    /// Creates an emulated board without EEPROMs.
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
            Some(("tcp", _)) => Err("tcp:HOST:PORT: the port is missing".into()),
            Some(("qemu", emulated)) => match emulated.split_once(",store=") {
                Some(("", _)) => Err("qemu:FIRMWARE: the firmware is missing".into()),
                None if emulated.is_empty() => Err("qemu:FIRMWARE: the firmware is missing".into()),
                Some((_, "")) => Err("qemu:FIRMWARE,store=FILE: the file is missing".into()),
                Some((firmware, store)) => Ok(Self::Emulator { firmware: firmware.into(), store: Some(store.into()) }),
                None => Ok(Self::emulator(emulated)),
            },
            _ if text.is_empty() => Err("the port is empty".into()),
            _ => Ok(Self::Serial(text.into())),
        }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Serial(path) => write!(f, "{path} at {BAUD} baud"),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Emulator { firmware, .. } => write!(f, "the emulator running {}", firmware.display()),
        }
    }
}

/// A board that answers. Dropping it closes the line and ends the emulator.
pub struct Board {
    port: Port,
    writer: Box<dyn Write + Send>,
    incoming: mpsc::Receiver<Vec<u8>>,
    receiver: Receiver<ANSWER>,
    emulator: Option<Emulator>,
    /// Number of the last request.
    number: u8,
    /// The last request, without the delimiting zeros; an echo is identical to it.
    sent: Vec<u8>,
    /// Silence after which the board is given up.
    silence: Duration,
    /// `true` once the board has answered.
    known: bool,
    /// Duration of the slowest answer to each kind of request.
    slowest: [Option<Duration>; 7],
    /// Number of frames from the board that were damaged and dropped.
    pub damaged: u32,
    /// Number of requests that were repeated because no answer came.
    pub repeated: u32,
}

/// A board's journal.
pub struct Journal {
    /// Unit to which entries are aligned, in bytes.
    pub unit: NonZeroU32,
    /// Content.
    pub bytes: Vec<u8>,
}

/// A child process that ends with its owner, and its EEPROMs.
struct Emulator {
    child: Arc<Mutex<Child>>,
    /// Keeps the store locked while the emulator uses it.
    store: Option<Store>,
}

impl Emulator {
    /// Describes how the emulator ended; `None` if it still runs.
    fn ended(&mut self) -> Option<String> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let status = child.try_wait().ok()??;
        let mut said = String::new();
        if let Some(stderr) = &mut child.stderr {
            // A partial message is good enough.
            let _ = stderr.read_to_string(&mut said);
        }
        Some(format!("the emulator ended with {status}: {}", said.trim().replace('\n', "; ")))
    }
}

/// A connection that is shut down on drop, also for the reading thread, so that the board is free for the next client.
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
        // The connection may be closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // The emulator may have ended already.
        let _ = child.kill();
        let _ = child.wait();
        if let Some(store) = &self.store {
            store.release();
        }
    }
}

impl Board {
    /// Opens the link to a board. An emulator starts with `image` in its flash and writes its raw log to `log`.
    ///
    /// # Errors
    /// If the port cannot be opened, or the emulator cannot be started.
    pub fn open(port: Port, image: Option<&Path>, log: Option<&File>) -> Result<Self> {
        let failed = |what: String| Error::Board(format!("{port}: {what}"));
        let (reader, writer, emulator): (Box<dyn Read + Send>, Box<dyn Write + Send>, _) = match &port {
            Port::Serial(path) => {
                // Read timeout of the reading thread; a longer silence is not an error.
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

    /// Sets how long a board may be silent, without reporting that it is busy, before it is given up.
    pub fn with_timeout(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// Asks the board for its identity and status.
    ///
    /// # Errors
    /// If the board does not answer.
    pub fn hello(&mut self) -> Result<Hello> {
        match self.ask(&Request::Hello)? {
            Answer::Hello(hello) => Ok(hello),
            answer => Err(self.unexpected(&answer)),
        }
    }

    /// Asks the board to classify a sample. The inner `Err` is the board's refusal.
    ///
    /// # Errors
    /// If the board does not answer, or has no network.
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

    /// Sends labelled sample `number`, counted from 0, to be learnt. The inner `Err` is the board's refusal.
    ///
    /// # Errors
    /// If the board does not answer, has no network, or expects another number.
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

    /// Ends session `number`, counted from 0.
    ///
    /// # Errors
    /// If the board does not answer, has no network, or expects another number.
    pub fn end(&mut self, number: u32) -> Result<Ended> {
        match self.ask(&Request::End { number })? {
            Answer::Ended(ended) => Ok(ended),
            answer => Err(self.unexpected(&answer)),
        }
    }

    /// Makes the board forget what it has learnt and start again from its image. Returns the digest of the new state.
    ///
    /// # Errors
    /// If the board does not answer, has no network, or its flash refuses. In the last case, the board is in the state
    /// that a restart would have restored.
    pub fn reset(&mut self) -> Result<u64> {
        match self.ask(&Request::Reset)? {
            Answer::Reset { digest } => Ok(digest),
            Answer::NotReset => Err(Error::Board(format!(
                "{}: the board's flash failed, so the board has not forgotten what it learnt: it is in the state that a restart would restore; try again, or flash the board again",
                self.port
            ))),
            answer => Err(self.unexpected(&answer)),
        }
    }

    /// Reads all numbers of an array, parameter by parameter, row by row.
    ///
    /// # Errors
    /// If the board does not answer, or has no network.
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

    /// Reads the state of the board's adaptation: the weights that learn, not the weights in use.
    ///
    /// # Errors
    /// Same as [`Board::array`].
    pub fn state(&mut self) -> Result<State> {
        Ok(State { x: self.array(Array::Weights)?, y: self.array(Array::QueryPoints)?, m: self.array(Array::Momenta)? })
    }

    /// Reads the board's journal; `None` if the board keeps none.
    ///
    /// # Errors
    /// If the board does not answer, or has no network.
    pub fn journal(&mut self) -> Result<Option<Journal>> {
        let mut all = Vec::new();
        loop {
            match self.ask(&Request::Journal { first: all.len() as u32 })? {
                Answer::Journal(Piece { unit: Some(unit), bytes }) => {
                    all.extend_from_slice(&bytes);
                    if bytes.len() < PIECE {
                        return Ok(Some(Journal { unit, bytes: all }));
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
                format!(
                    "the board does not accept link version {}: flash a firmware of this version",
                    graftage_link::VERSION
                )
            }
            Answer::OutOfOrder { expected } => {
                format!("the board expects number {expected}: it was reset, or another program is teaching it, too")
            }
            _ => "the board's answer does not match the request".into(),
        };
        Error::Board(format!("{}: {what}", self.port))
    }

    /// Sends a request, repeats it while no answer comes, and returns the answer.
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
        // A signal ends the wait: at once if it came before the request, else after a short grace period for the
        // answer.
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
                    return Err(Error::Board(format!(
                        "{}: stopped by a signal, so the board is sent no more requests",
                        self.port
                    )));
                }
                if signals::stopping() {
                    end.get_or_insert_with(|| Instant::now() + TIMEOUT / 3);
                }
                match self.incoming.recv_timeout(left.min(SOONEST)) {
                    Ok(bytes) => match self.take(&bytes, &mut heard)? {
                        Taken::Answer(answer) => {
                            // Time spent on other work says nothing about the next answer.
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
                        return Err(self.gone("the other side closed the line: is it a board, and is it powered?"));
                    }
                }
            }
            // If the board is slow rather than lost, asking more often does not help.
            patience = (2 * patience).min(TIMEOUT);
        }
        let what = heard.silence(self.known, requests, since.elapsed().as_secs());
        Err(self.gone(&what))
    }

    /// Error for a board that has stopped responding. If an emulator has ended, it says why.
    fn gone(&mut self, what: &str) -> Error {
        let ended = self.emulator.as_mut().and_then(|emulator| {
            // The emulator closes the line a moment before it ends.
            (0..20).find_map(|_| {
                std::thread::sleep(Duration::from_millis(50));
                emulator.ended()
            })
        });
        let what = ended.as_deref().unwrap_or(what);
        Error::Board(format!("{}: {what}", self.port))
    }

    /// Processes the frames that end in these bytes. Damaged frames are counted; echoes and late answers to earlier
    /// requests are dropped.
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
                // This answer does not carry the number of a request.
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

/// Counts of everything received since a request was first sent.
#[derive(Default)]
struct Heard {
    bytes: usize,
    /// Frames that are damaged, or report that the request was.
    damaged: u32,
    /// Frames that are echoes of the request.
    echoes: u32,
    /// `true` once the board has reported that it is busy.
    busy: bool,
}

impl Heard {
    /// Pause before repeating a request after damage: none for the first four damaged frames, then doubling each time.
    fn pause(&self) -> Duration {
        let doublings = self.damaged.saturating_sub(4);
        if doublings == 0 { Duration::ZERO } else { (SOONEST / 16 * (1 << doublings.min(8))).min(SLOWEST) }
    }

    /// Error message for a board that stays silent for `seconds` after `requests` requests.
    fn silence(&self, known: bool, requests: u32, seconds: u64) -> String {
        let silence = format!("no answer to {requests} request{} in {seconds} s", if requests == 1 { "" } else { "s" });
        if known {
            return format!(
                "{silence}, though the board answered before: is it still plugged in and powered? (--timeout makes the wait longer)"
            );
        }
        match (self.damaged, self.echoes, self.bytes) {
            (1.., _, _) => {
                format!(
                    "{silence}, only damaged frames: is another device on this line, or is the baud rate different?"
                )
            }
            (0, 1.., _) => {
                format!(
                    "{silence}: only the bytes that were sent came back; are RX and TX connected, or is this another device?"
                )
            }
            (0, 0, 1..) => {
                format!(
                    "{silence}: the bytes received are not an answer; does the device run this project's firmware, at {BAUD} baud if on a serial port?"
                )
            }
            (0, 0, 0) => {
                format!(
                    "{silence}; does the device run this project's firmware, and does another program have the port open?"
                )
            }
        }
    }
}

/// Result of processing received bytes.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
enum Taken {
    /// The answer to the request.
    Answer(Answer),
    /// A damaged frame, which may have been the request or its answer.
    Damage,
    /// The board is busy and will answer later.
    Busy,
    Nothing,
}

impl Taken {
    /// Returns `self` if it is an answer, else `other`: an answer that came first stays valid.
    fn or(self, other: Self) -> Self {
        if let Self::Answer(_) = self { self } else { other }
    }
}

/// Forwards received bytes until the line is closed or its owner is gone.
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

/// Connects to an address, with a timeout in case its machine is switched off.
fn connect(address: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("no such address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                last = std::io::Error::other("connection refused: is the board, or its emulator, running?");
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Starts the emulated board. Its link connects to this process; its log goes by semihosting to its standard output.
fn emulate(
    elf: &Path,
    store: Option<&Path>,
    image: Option<&Path>,
    log: Option<&File>,
) -> Result<(Emulator, TcpStream)> {
    let image = image.map(|path| std::fs::metadata(path).map_err(Error::file(path)).map(|_| path)).transpose()?;
    let firmware = firmware(elf)?;
    let name = firmware.board.name;
    let machine = firmware.board.machine().ok_or_else(|| Error::content(elf, format!("{name} cannot be emulated")))?;
    // For another image, a board would start its store anew.
    let identity = || image.and_then(|path| Some(ImageFile::read(path).ok()?.identity()));
    let store = store.map(|path| Store::open(path, &firmware, identity()));
    let store = store.transpose().map_err(|e| Error::Board(e.to_string()))?;
    let failed = |e: std::io::Error| Error::Board(format!("cannot connect to the emulator: {e}"));
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut command = machine.linked(&firmware, elf, &format!("tcp:{address},nodelay=on"), image, store.as_ref());
    let output = match log {
        Some(log) => {
            Stdio::from(log.try_clone().map_err(|e| Error::Board(format!("cannot read the emulator's log: {e}")))?)
        }
        None => Stdio::null(),
    };
    command.stdout(output).stderr(Stdio::piped());
    let child = signals::spawn(&mut command).map_err(|e| {
        let program = machine.program;
        Error::Board(format!("cannot start {program} ({e}): run `cargo xtask setup` or install QEMU"))
    })?;
    let mut emulator = Emulator { child, store };
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
            return Err(Error::Board("the emulator did not open its serial port".into()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A board's raw log, decoded while it grows.
pub struct Log {
    table: Table,
    raw: File,
    /// Number of bytes decoded so far.
    done: u64,
}

impl Log {
    /// Creates an anonymous file for the raw log of an emulated board. It disappears however the process ends.
    ///
    /// # Errors
    /// If the system has no place for temporary files.
    pub fn file() -> Result<File> {
        tempfile::tempfile().map_err(Error::file(&std::env::temp_dir()))
    }

    /// Opens the log in a file, with the firmware that writes it.
    ///
    /// # Errors
    /// If the firmware cannot be read, or has no log.
    pub fn open(firmware: &Path, raw: &File) -> Result<Self> {
        let table = Table::parse(&crate::files::read(firmware)?);
        let table = table.map_err(|e| Error::content(firmware, format!("{e:#}")))?;
        let table = table.ok_or_else(|| Error::content(firmware, "this firmware has no log"))?;
        let raw = raw.try_clone().map_err(Error::file(firmware))?;
        Ok(Self { table, raw, done: 0 })
    }

    /// Returns the lines added since the last call. An incomplete frame at the end is left: the board is still writing
    /// it, or was stopped.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        let (mut new, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            // The emulator writes through the same file description at another offset, so positioned reads are used.
            let at = self.done + new.len() as u64;
            match self
                .raw
                .read_at(&mut piece, at)
                .map_err(|e| Error::Board(format!("cannot read the emulator's log: {e}")))?
            {
                0 => break,
                read => new.extend_from_slice(&piece[..read]),
            }
        }
        // A frame ends with a zero and contains no other.
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

/// Reads the ELF file of a firmware.
///
/// # Errors
/// If the file cannot be read, or is not a firmware of this project.
pub fn firmware(elf: &Path) -> Result<Firmware> {
    if std::fs::metadata(elf).is_ok_and(|found| !found.is_file()) {
        return Err(Error::content(elf, "is not a file, so it cannot be a firmware"));
    }
    Firmware::read(&crate::files::read(elf)?).map_err(|e| Error::content(elf, e))
}
