//! Runs a WebAssembly module of the conformance program and prints its output.

use std::io::{self, BufWriter, Write};

use anyhow::{Context, Result};
use wasmi::{Caller, Engine, Error, Extern, Linker, Module, Store};

type Out = BufWriter<io::Stdout>;

fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("the module is to be named")?;
    let engine = Engine::default();
    let module = Module::new(&engine, std::fs::read(&path).context(path)?)?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "print", print)?;
    let mut store = Store::new(&engine, BufWriter::new(io::stdout()));
    let instance = linker.instantiate_and_start(&mut store, &module)?;
    instance.get_typed_func::<(), ()>(&store, "conformance")?.call(&mut store, ())?;
    Ok(store.into_data().flush()?)
}

/// Prints `length` bytes of the module's memory.
fn print(mut caller: Caller<Out>, text: u32, length: u32) -> Result<(), Error> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    let memory = memory.ok_or_else(|| Error::new("the module has no memory"))?;
    let (memory, out) = memory.data_and_store_mut(&mut caller);
    let text = memory.get(text as usize..).and_then(|rest| rest.get(..length as usize));
    let text = text.ok_or_else(|| Error::new("the text lies outside the memory"))?;
    out.write_all(text).map_err(|error| Error::new(error.to_string()))
}
