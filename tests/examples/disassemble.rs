//! Checks the machine code of programs, and fails on a fused multiply-add: it rounds once where the contract of
//! arithmetic requires rounding twice.

use std::path::{Path, PathBuf};

use addr2line::Loader;
use anyhow::{Context, Result, bail, ensure};
use capstone::Capstone;
use capstone::arch::{arm, arm64, riscv, x86};
use capstone::prelude::*;
use object::{Architecture, Object, ObjectSection, ObjectSymbol, SectionKind};

/// Parts of the source path of code that may fuse: libm's fused multiply-add on processors that have one. Only the
/// negative control calls it.
const MAY_FUSE: [&str; 2] = ["libm", "/src/math/arch/"];

fn main() -> Result<()> {
    let files: Vec<_> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    ensure!(!files.is_empty(), "the programs are to be named");
    let mut clean = true;
    for file in &files {
        clean &= check(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    ensure!(clean, "a fused multiply-add rounds once: these programs do not compute the same bits everywhere");
    Ok(())
}

/// Reports on a program; returns whether it is free of forbidden instructions.
fn check(file: &Path) -> Result<bool> {
    let program = std::fs::read(file)?;
    let loader = Loader::new(file).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut code = Code::default();
    let parsed = object::File::parse(&*program)?;
    for section in parsed.sections().filter(|section| section.kind() == SectionKind::Text) {
        for (set, address, bytes) in pieces(&parsed, &section)? {
            code.read(set, address, bytes)?;
        }
    }
    let places = code.fused.iter().map(|(address, words)| (place(&loader, *address), words));
    let (allowed, fused): (Vec<_>, Vec<_>) =
        places.partition(|(place, _)| MAY_FUSE.iter().all(|part| place.contains(part)));
    let (instructions, allowed) = (code.instructions, allowed.len());
    println!("{instructions:>7} instructions, {} fused and {allowed} in libm's fma: {}", fused.len(), file.display());
    fused.iter().for_each(|(place, words)| println!("        {words} in {place}"));
    Ok(fused.is_empty())
}

/// Returns the function from which an instruction comes, inlined or not, and its line in the source.
fn place(loader: &Loader, address: u64) -> String {
    let frame = loader.find_frames(address).ok().and_then(|mut frames| frames.next().ok()?);
    let (function, line) = frame.map_or((None, None), |frame| (frame.function, frame.location));
    let function = function.and_then(|function| Some(function.demangle().ok()?.into_owned()));
    let function = function.or_else(|| loader.find_symbol(address).map(str::to_owned));
    let line = line.and_then(|line| Some(format!(" ({}:{})", line.file?, line.line?)));
    format!("{}{}", function.unwrap_or_else(|| format!("{address:#x}")), line.unwrap_or_default())
}

/// Statistics of machine code.
#[derive(Default)]
struct Code {
    instructions: usize,
    /// Fused multiply-adds, each with its address and text.
    fused: Vec<(u64, String)>,
}

impl Code {
    fn read(&mut self, set: Set, address: u64, bytes: &[u8]) -> Result<()> {
        let decoder = set.decoder()?;
        let decoded = decoder.disasm_all(bytes, address)?;
        let length: usize = decoded.iter().map(|instruction| instruction.bytes().len()).sum();
        // The decoder stops at unknown instructions, and code that it has not seen is not known to be clean.
        ensure!(length == bytes.len(), "the decoder does not know the instruction at {:#x}", address + length as u64);
        self.instructions += decoded.len();
        for instruction in decoded.iter() {
            let mnemonic = instruction.mnemonic().unwrap_or_default();
            if is_fused(mnemonic) {
                let words = format!("{mnemonic} {}", instruction.op_str().unwrap_or_default());
                self.fused.push((instruction.address(), words));
            }
        }
        Ok(())
    }
}

/// Instruction set.
#[derive(Clone, Copy)]
enum Set {
    A32,
    T32,
    A64,
    Riscv32,
    Riscv64,
    X86,
}

impl Set {
    fn decoder(self) -> Result<Capstone, capstone::Error> {
        let capstone = Capstone::new();
        match self {
            Set::A32 => {
                capstone.arm().mode(arm::ArchMode::Arm).extra_mode([arm::ArchExtraMode::V8].into_iter()).build()
            }
            Set::T32 => {
                let extra = [arm::ArchExtraMode::MClass, arm::ArchExtraMode::V8];
                capstone.arm().mode(arm::ArchMode::Thumb).extra_mode(extra.into_iter()).build()
            }
            Set::A64 => capstone.arm64().mode(arm64::ArchMode::Arm).build(),
            Set::Riscv32 => riscv_decoder(riscv::ArchMode::RiscV32),
            Set::Riscv64 => riscv_decoder(riscv::ArchMode::RiscV64),
            Set::X86 => capstone.x86().mode(x86::ArchMode::Mode64).build(),
        }
    }
}

fn riscv_decoder(mode: riscv::ArchMode) -> Result<Capstone, capstone::Error> {
    Capstone::new().riscv().mode(mode).extra_mode([riscv::ArchExtraMode::RiscVC].into_iter()).build()
}

/// Returns whether an instruction multiplies and adds with a single rounding, judged by its name in any of the sets.
fn is_fused(mnemonic: &str) -> bool {
    // Vector instructions of x86 and Arm, then scalar ones of RISC-V and AArch64, then vector ones of AArch64.
    // 32-bit Arm's vmla rounds twice, and AArch64's fnmul does not add.
    const BEGINNINGS: [&str; 10] =
        ["vfma", "vfms", "vfnm", "fmad", "fmsub", "fnmad", "fnmsub", "fmla", "fmls", "fcmla"];
    BEGINNINGS.iter().any(|beginning| mnemonic.starts_with(beginning))
}

/// Returns the code of a section without embedded data, which compilers mark with symbols named `$…`.
fn pieces<'a>(file: &object::File<'a>, section: &object::Section<'a, '_>) -> Result<Vec<(Set, u64, &'a [u8])>> {
    let data = section.data()?;
    let start = section.address();
    if file.architecture() == Architecture::X86_64 {
        return Ok(vec![(Set::X86, start, data)]);
    }
    let inside = start..start + section.size();
    let symbols = file.symbols().filter(|symbol| inside.contains(&symbol.address()));
    let mark = |symbol: object::Symbol| symbol.name().ok()?.strip_prefix('$')?.chars().next();
    let mut marks: Vec<_> = symbols.filter_map(|symbol| Some((symbol.address(), mark(symbol)?))).collect();
    marks.sort_unstable();
    let all = data.is_empty() || marks.first().is_some_and(|(first, _)| *first == start);
    ensure!(all, "what lies at {start:#x} is not marked as code or data");
    let ends = marks.iter().skip(1).map(|(address, _)| *address).chain([inside.end]);
    let mut pieces = Vec::new();
    for ((address, mark), end) in marks.iter().zip(ends) {
        let set = match (mark, file.architecture()) {
            ('d', _) => continue,
            ('a', _) => Set::A32,
            ('t', _) => Set::T32,
            ('x', Architecture::Aarch64) => Set::A64,
            ('x', Architecture::Riscv32) => Set::Riscv32,
            ('x', Architecture::Riscv64) => Set::Riscv64,
            (mark, architecture) => bail!("what is ${mark} of {architecture:?}?"),
        };
        pieces.push((set, *address, &data[(address - start) as usize..(end - start) as usize]));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fused(set: Set, bytes: &[u8]) -> Vec<String> {
        let mut code = Code::default();
        code.read(set, 0, bytes).unwrap();
        code.fused.into_iter().map(|(_, words)| words).collect()
    }

    #[test]
    fn a_fused_instruction_of_every_set_is_found() {
        assert_eq!(fused(Set::A32, &0xeea1_0a82_u32.to_le_bytes()), ["vfma.f32 s0, s3, s4"]);
        assert_eq!(fused(Set::T32, &[0xa1, 0xee, 0x82, 0x0a]), ["vfma.f32 s0, s3, s4"]);
        assert_eq!(fused(Set::A64, &0x1f02_0c20_u32.to_le_bytes()), ["fmadd s0, s1, s2, s3"]);
        assert_eq!(fused(Set::A64, &0x4e22_cc20_u32.to_le_bytes()), ["fmla v0.4s, v1.4s, v2.4s"]);
        for set in [Set::Riscv32, Set::Riscv64] {
            assert_eq!(fused(set, &0x1820_f043_u32.to_le_bytes()), ["fmadd.s ft0, ft1, ft2, ft3"]);
        }
        assert_eq!(fused(Set::X86, &[0xc4, 0xe2, 0x71, 0xb9, 0xc2]), ["vfmadd231ss xmm0, xmm1, xmm2"]);
        assert_eq!(fused(Set::X86, &[0x62, 0xf2, 0x75, 0x48, 0xb8, 0xc2]), ["vfmadd231ps zmm0, zmm1, zmm2"]);
    }

    #[test]
    fn two_roundings_are_not_fused() {
        assert_eq!(fused(Set::T32, &[0x01, 0xee, 0x82, 0x0a]), [""; 0], "vmla.f32 s0, s3, s4");
        assert_eq!(fused(Set::A64, &0x1e22_8820_u32.to_le_bytes()), [""; 0], "fnmul s0, s1, s2");
        assert_eq!(fused(Set::X86, &[0xf3, 0x0f, 0x59, 0xc1]), [""; 0], "mulss xmm0, xmm1");
    }

    #[test]
    fn data_between_instructions_is_not_passed_over() {
        assert!(Code::default().read(Set::X86, 0, &[0x06]).is_err());
    }
}
