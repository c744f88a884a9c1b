//! Rust through wasmtime: cargo run -- CORE.wasm SCENARIO.txt FOLDER

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

use anyhow::{anyhow, bail, Context, Result};
use wasmtime::{Engine, Instance, Memory, Module, Store, Val, ValType};

struct Player {
    store: Store<()>,
    core: Instance,
    memory: Memory,
    folder: PathBuf,
    names: HashMap<String, u32>,
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let [wasm, scenario, folder] = args.as_slice() else {
        eprintln!("usage: batoncore CORE.wasm SCENARIO.txt FOLDER");
        process::exit(2);
    };
    match run(wasm, scenario, folder) {
        Ok(steps) => println!("{steps} steps equal"),
        Err(error) => {
            eprintln!("{error:#}");
            process::exit(1);
        }
    }
}

fn run(wasm: &str, scenario: &str, folder: &str) -> Result<usize> {
    let engine = Engine::default();
    let module = Module::from_file(&engine, wasm)?;
    let mut store = Store::new(&engine, ());
    let core = Instance::new(&mut store, &module, &[])?;
    let memory = core.get_memory(&mut store, "memory").context("no memory")?;
    let folder = Path::new(folder).to_path_buf();
    let mut player = Player { store, core, memory, folder, names: HashMap::new() };
    let mut steps = 0;
    for (number, line) in fs::read_to_string(scenario)?.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        player.step(&words).with_context(|| format!("line {}: {line}", number + 1))?;
        steps += 1;
    }
    Ok(steps)
}

impl Player {
    fn step(&mut self, words: &[&str]) -> Result<()> {
        match words {
            ["get", name, exported] => {
                let value = self.call(exported, &[])? as i64 as u32;
                self.names.insert(name.to_string(), value);
            }
            ["load", name, place] => {
                let bytes = self.bytes(self.address(place)?, 4)?;
                let value = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
                self.names.insert(name.to_string(), value);
            }
            ["write", place, data] => self.put(place, &decode(data)?)?,
            ["read", place, data] => {
                let expected = decode(data)?;
                let found = self.bytes(self.address(place)?, expected.len())?;
                if found != expected {
                    bail!("got {found:02x?}");
                }
            }
            ["call", exported, args @ .., "=", expected] => {
                let numbers = args.iter().map(|word| self.argument(word)).collect::<Result<Vec<f64>>>()?;
                let result = self.call(exported, &numbers)?;
                if result != number(expected)? {
                    bail!("got {result}");
                }
            }
            ["keep", file, place, length] => {
                let bytes = self.bytes(self.address(place)?, length.parse()?)?;
                fs::write(self.folder.join(file), bytes)?;
            }
            ["give", file, place] => {
                let bytes = fs::read(self.folder.join(file))?;
                self.put(place, &bytes)?;
            }
            _ => bail!("no such step"),
        }
        Ok(())
    }

    fn call(&mut self, name: &str, args: &[f64]) -> Result<f64> {
        let function = self.core.get_func(&mut self.store, name).ok_or_else(|| anyhow!("no export {name}"))?;
        let kinds: Vec<ValType> = function.ty(&self.store).params().collect();
        let values: Vec<Val> = args
            .iter()
            .zip(&kinds)
            .map(|(&arg, kind)| match kind {
                ValType::F64 => Val::F64(arg.to_bits()),
                _ => Val::I32(arg as i64 as u32 as i32),
            })
            .collect();
        let mut results = [Val::I32(0)];
        function.call(&mut self.store, &values, &mut results)?;
        Ok(match results[0] {
            Val::F64(bits) => f64::from_bits(bits),
            Val::I32(value) => value.into(),
            _ => bail!("{name} returns neither i32 nor f64"),
        })
    }

    fn argument(&self, word: &str) -> Result<f64> {
        match word.split_once(':') {
            Some(("p", place)) => Ok(self.address(place)?.into()),
            Some((_, value)) => number(value),
            None => bail!("{word} is no argument"),
        }
    }

    fn address(&self, place: &str) -> Result<u32> {
        let (name, off) = place.split_once('+').unwrap_or((place, "0"));
        let base = self.names.get(name).ok_or_else(|| anyhow!("nothing is named {name}"))?;
        Ok(base + off.parse::<u32>()?)
    }

    fn bytes(&self, ptr: u32, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.memory.read(&self.store, ptr as usize, &mut bytes)?;
        Ok(bytes)
    }

    fn put(&mut self, place: &str, bytes: &[u8]) -> Result<()> {
        let ptr = self.address(place)? as usize;
        Ok(self.memory.write(&mut self.store, ptr, bytes)?)
    }
}

fn number(text: &str) -> Result<f64> {
    Ok(if text == "Infinity" { f64::INFINITY } else { text.parse()? })
}

fn decode(text: &str) -> Result<Vec<u8>> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(Into::into))
        .collect()
}
