//! Helpers of the tests: small networks and samples, a temporary folder, and the command line in it.

pub mod data;

use graftage::board::{self, Board, Port};
use graftage::checkpoint::{About, Checkpoint, Tensor};
use graftage::data::Samples;
use graftage::network::Layers;
use graftage_boards::BOARDS;
use graftage_boards::store::{EEPROM, Store};
use graftage_core::image::Image;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Kind, Layer, initialise, scratch_length};
use graftage_core::random::Generator;
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SymbolFlags, SymbolKind, SymbolScope};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Path of the command `graftage`, which cargo puts into the folder above that of this program.
pub static GRAFTAGE: LazyLock<PathBuf> = LazyLock::new(|| {
    let this = std::env::current_exe().unwrap();
    let command = this.ancestors().nth(2).unwrap().join("graftage");
    assert!(command.is_file(), "there is no {}: `cargo build --release --package graftage-cli`", command.display());
    command
});

/// Returns the project folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Divisor of the features: a power of two, so that multiplying again gives the same bits.
pub const SCALE: f32 = 16.0;

/// Returns dense layers of these widths with ReLU between them.
pub fn layers(widths: &[u32]) -> Vec<Kind> {
    let mut layers = Vec::new();
    for pair in widths.windows(2) {
        if !layers.is_empty() {
            layers.push(Kind::Relu { width: pair[0] });
        }
        layers.push(Kind::Dense { inputs: pair[0], outputs: pair[1] });
    }
    layers
}

/// Returns a network of these widths with random weights. Its training part is the first `train` samples of its split.
pub fn checkpoint(widths: &[u32], train: usize) -> Checkpoint {
    let layers = layers(widths);
    let mut network = Layers::new(&layers).unwrap();
    let mut scratch = vec![0.0; scratch_length(&mut network)];
    initialise(&mut network, &mut Generator::new(1, 0), &mut scratch);
    let mut weights = Vec::new();
    network.parameters(&mut |parameter| weights.push(parameter.state.x.elements().to_vec()));
    with_weights(about(widths, SCALE, train, 3), weights)
}

/// Returns what a checkpoint says about an MLP of these widths, trained on the first `train` samples of a split of
/// samples.csv.
pub fn about(widths: &[u32], scale: f32, train: usize, seed: u64) -> About {
    let [inputs, hidden @ .., classes] = widths else { panic!("a network has inputs and outputs") };
    let about = serde_json::json!({
        "model": { "mlp": { "hidden": hidden } },
        "shape": { "features": { "shape": [inputs], "classes": classes } },
        "data": { "csv": { "path": "samples.csv" } },
        "split": { "seed": { "seed": seed, "train": train } },
        "normalisation": { "mean": [0.0], "deviation": [scale] },
        "classes": (0..*classes).map(|class| class.to_string()).collect::<Vec<_>>(),
    });
    serde_json::from_value(about).unwrap()
}

/// Returns a checkpoint with these weights, parameter by parameter.
pub fn with_weights(about: About, weights: Vec<Vec<f32>>) -> Checkpoint {
    let parameters = about.model.mlp().unwrap().parameters(&about.shape).unwrap();
    let tensors = parameters.into_iter().zip(weights);
    let tensors = tensors.map(|(parameter, elements)| Tensor { name: parameter.name, shape: parameter.size, elements });
    Checkpoint { tensors: tensors.collect(), about }
}

/// Returns samples around one centre per class, as they are after scaling.
pub fn samples(count: usize, inputs: usize, classes: u32) -> Samples {
    let mut generator = Generator::new(2, 0);
    let centres: Vec<Vec<f32>> = (0..classes).map(|_| (0..inputs).map(|_| generator.uniform()).collect()).collect();
    let mut samples = Samples::new(inputs);
    for index in 0..count {
        let class = index as u32 % classes;
        let input: Vec<f32> = centres[class as usize].iter().map(|c| c + 0.2 * generator.uniform()).collect();
        samples.push(&input, class);
    }
    samples
}

/// Parses the image in `bytes`.
pub fn parse(bytes: &[u8]) -> Image<'_> {
    Image::parse(bytes).unwrap()
}

/// Returns the bits of the numbers.
pub fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|e| e.to_bits()).collect()
}

/// Returns an ELF file that names itself the firmware of a board, without a program.
pub fn firmware(board: &str) -> Vec<u8> {
    let mut file = Object::new(BinaryFormat::Elf, Architecture::Arm, Endianness::Little);
    for name in [&format!("_board_{board}"), "_image_start", "_image_size", "_flash_size", "_ram_size"] {
        file.add_symbol(Symbol {
            name: name.as_bytes().into(),
            value: 0,
            size: 0,
            kind: SymbolKind::Data,
            scope: SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Absolute,
            flags: SymbolFlags::None,
        });
    }
    file.write().unwrap()
}

/// Returns a line with single spaces between its words.
pub fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Temporary folder, removed when it is dropped.
pub struct Folder(tempfile::TempDir);

/// Output and exit status of a command.
pub struct Run {
    /// Exit status; `None` if a signal ended the command.
    pub status: Option<i32>,
    /// All of its standard output.
    pub output: String,
    /// All of its standard error.
    pub errors: String,
}

impl Folder {
    /// Creates an empty folder.
    pub fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Returns the path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Returns every file and folder below this one, with its length in bytes, sorted by path.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        fn walk(folder: &Path, files: &mut Vec<(PathBuf, u64)>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let (path, data) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
                files.push((path.clone(), data.len()));
                if data.is_dir() {
                    walk(&path, files);
                }
            }
        }
        let mut files = Vec::new();
        walk(self.0.path(), &mut files);
        files.sort();
        files
    }

    /// Runs `graftage` in this folder. Arguments are separated by spaces. Temporary files would lie in the folder, too.
    pub fn graftage(&self, arguments: &str) -> Run {
        self.command(arguments.split_whitespace())
    }

    /// Like [`graftage`](Self::graftage), with separate arguments.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.run(Command::new(&*GRAFTAGE).args(arguments))
    }

    /// Runs a command in this folder.
    pub fn run(&self, command: &mut Command) -> Run {
        let done = command.current_dir(self.0.path()).env("TMPDIR", self.0.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Run { status: done.status.code(), output: text(done.stdout), errors: text(done.stderr) }
    }
}

impl Run {
    /// Returns the output of a command, which must succeed.
    pub fn succeeded(self) -> String {
        assert_eq!(self.status, Some(0), "{}", self.errors);
        self.output
    }

    /// Returns the message of a command, which must fail with status 1: its last line, beginning with the program's
    /// name.
    pub fn failed(self) -> String {
        assert_eq!(self.status, Some(1), "{}{}", self.output, self.errors);
        let line = self.errors.trim_end().lines().last().unwrap_or_default();
        assert!(line.starts_with("graftage: "), "{}", self.errors);
        line.into()
    }
}

/// Board that is emulated here.
pub struct Emulated {
    /// Name of the board.
    pub name: &'static str,
    /// Path of the firmware `adapt` for the board.
    pub firmware: PathBuf,
}

/// Returns every emulated board whose firmware is built and whose emulator is installed. For any other one, a line says
/// what to do.
///
/// With `GRAFTAGE_REQUIRE_BOARD=1`, nothing is skipped: a missing board panics.
pub fn emulated() -> Vec<Emulated> {
    let folder = root().join("firmware/target/boards");
    let boards = BOARDS.iter().filter_map(|board| {
        let (name, program) = (board.name, board.machine()?.program);
        let firmware = folder.join(name).join("adapt");
        let emulator = Command::new(program).arg("--version").stdout(Stdio::null()).status();
        let lack = match (firmware.is_file(), emulator) {
            (true, Ok(_)) => return Some(Emulated { name, firmware }),
            (false, _) => format!("{} is no file", firmware.display()),
            (_, Err(error)) => format!("{program} cannot be started ({error})"),
        };
        let line = format!("skipped on {name}: {lack}; run `cargo xtask test`");
        assert!(std::env::var("GRAFTAGE_REQUIRE_BOARD").map_or(true, |required| required != "1"), "{line}");
        // Bypasses the test harness, which would capture the line.
        let _ = writeln!(std::io::stderr(), "{line}");
        None
    });
    boards.collect()
}

/// Running emulator and its port. Dropping it kills the emulator, as kill -9 does.
pub struct Emulator(pub Child, pub String);

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes a file of `count` erased EEPROMs.
pub fn eeproms(folder: &Folder, count: usize) -> PathBuf {
    folder.file("eeproms", vec![0xff; count * EEPROM as usize])
}

/// Starts an emulated board with a store and further arguments for QEMU, and connects to it.
pub fn start(
    firmware: &Path,
    image: &Path,
    store: Option<&Path>,
    arguments: &[String],
    log: &Path,
) -> (Emulator, Board) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Frees the port for the emulator to listen on.
    drop(listener);
    let said = board::firmware(firmware).unwrap();
    let store = store.map(|store| Store::open(store, &said, None).unwrap());
    let serial = format!("tcp:{address},server=on,wait=on,nodelay=on");
    let mut command = said.board.machine().unwrap().linked(&said, firmware, &serial, Some(image), store.as_ref());
    let log = std::fs::File::create(log).unwrap();
    let child = command.args(arguments).stdout(log).spawn().unwrap();
    let emulator = Emulator(child, format!("tcp:{address}"));
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match Board::open(Port::Tcp(address.to_string()), None, None) {
            Ok(board) => return (emulator, board),
            Err(error) if Instant::now() > deadline => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
