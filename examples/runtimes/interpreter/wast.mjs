/**
 * Turns a scenario into a script for a bare WebAssembly interpreter that has no host language at all: the
 * reference interpreter's .wast, which wabt runs as well.
 *
 *   node wast.mjs CORE.wasm SCENARIO.txt FOLDER > scenario.wast
 *   wast2json scenario.wast -o scenario.json && spectest-interp scenario.json
 *
 * Pointers are numbers in such a script: they are taken from an instance in this process, and the script asserts
 * that the interpreter's instance answers the same.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

const [core, scenario, folder] = process.argv.slice(2);
if (!folder) {
  console.error("usage: wast.mjs CORE.wasm SCENARIO.txt FOLDER > OUT.wast");
  process.exit(2);
}

const wasm = readFileSync(core);
const signatures = signaturesOf(wasm);
const { exports } = new WebAssembly.Instance(new WebAssembly.Module(wasm));
const names = new Map();
const escaped = Array.from(wasm, (byte) => `\\${byte.toString(16).padStart(2, "0")}`).join("");
const out = [
  `(module $core binary "${escaped}")`,
  `(register "core" $core)`,
  `(module $memory`,
  `  (import "core" "memory" (memory 0))`,
  `  (func (export "put8") (param i32 i64) (i64.store (local.get 0) (local.get 1)))`,
  `  (func (export "put1") (param i32 i64) (i64.store8 (local.get 0) (local.get 1)))`,
  `  (func (export "get8") (param i32) (result i64) (i64.load (local.get 0)))`,
  `  (func (export "get4") (param i32) (result i64) (i64.load32_u (local.get 0)))`,
  `  (func (export "get1") (param i32) (result i64) (i64.load8_u (local.get 0))))`,
];
const steps = { get, load, write, call, read, keep, give };
for (const line of readFileSync(scenario, "utf8").split("\n")) {
  if (line === "" || line.startsWith("#")) continue;
  const [verb, ...words] = line.split(" ");
  steps[verb](...words);
}
process.stdout.write(out.join("\n") + "\n");

function get(name, exported) {
  names.set(name, invoke(exported, []) >>> 0);
}

function load(name, place) {
  const ptr = address(place);
  const value = view().getUint32(ptr, true);
  names.set(name, value);
  expect("get4", ptr, value);
}

function call(exported, ...words) {
  const end = words.indexOf("=");
  invoke(exported, words.slice(0, end).map(argument), words[end + 1]);
}

function write(place, hex) {
  put(address(place), Buffer.from(hex, "hex"));
}

function read(place, hex) {
  compare(address(place), Buffer.from(hex, "hex"));
}

function keep(file, place, length) {
  const ptr = address(place);
  const bytes = Buffer.from(exports.memory.buffer, ptr, Number(length));
  writeFileSync(join(folder, file), bytes);
  compare(ptr, bytes);
}

function give(file, place) {
  put(address(place), readFileSync(join(folder, file)));
}

/** Calls here and in the script, which expects what the scenario says, or else what came here. */
function invoke(exported, args, expected) {
  const { parameters, result } = signatures.get(exported);
  const value = exports[exported](...args);
  const words = args.map((arg, index) => `(${parameters[index]}.const ${arg})`).join(" ");
  const wanted = (expected ?? String(value)).replace("Infinity", "inf");
  out.push(`(assert_return (invoke $core "${exported}" ${words}) (${result}.const ${wanted}))`);
  return value;
}

/** Writes bytes here and in the script. */
function put(ptr, bytes) {
  new Uint8Array(exports.memory.buffer).set(bytes, ptr);
  for (const { at, width, value } of wordsOf(bytes)) {
    out.push(`(invoke $memory "put${width}" (i32.const ${ptr + at}) (i64.const ${value}))`);
  }
}

function compare(ptr, bytes) {
  for (const { at, width, value } of wordsOf(bytes)) expect(`get${width}`, ptr + at, value);
}

function expect(accessor, ptr, value) {
  out.push(
    `(assert_return (invoke $memory "${accessor}" (i32.const ${ptr})) (i64.const ${value}))`,
  );
}

/** Eight bytes at a time, the rest one by one. */
function wordsOf(bytes) {
  const wide = bytes.length - (bytes.length % 8);
  const words = [];
  for (let at = 0; at < wide; at += 8) {
    words.push({ at, width: 8, value: bytes.readBigUInt64LE(at) });
  }
  for (let at = wide; at < bytes.length; at++) words.push({ at, width: 1, value: bytes[at] });
  return words;
}

function address(place) {
  const [name, off] = place.split("+");
  return names.get(name) + Number(off ?? 0);
}

function argument(word) {
  return word.startsWith("p:") ? address(word.slice(2)) : Number(word.slice(2));
}

function view() {
  return new DataView(exports.memory.buffer);
}

/** Parameter and result types of every exported function, from the sections of the module (core spec 5.5). */
function signaturesOf(bytes) {
  const kinds = { 0x7f: "i32", 0x7e: "i64", 0x7d: "f32", 0x7c: "f64" };
  let at = 8;
  const unsigned = () => {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  };
  const list = (item) => Array.from({ length: unsigned() }, item);
  let types = [];
  let functions = [];
  let found = [];
  while (at < bytes.length) {
    const section = bytes[at++];
    const end = unsigned() + at;
    if (section === 1) {
      types = list(() => {
        at++; // 0x60
        const parameters = list(() => kinds[bytes[at++]]);
        return { parameters, result: list(() => kinds[bytes[at++]])[0] };
      });
    } else if (section === 3) {
      functions = list(unsigned);
    } else if (section === 7) {
      found = list(() => {
        const length = unsigned();
        const name = bytes.subarray(at, at + length).toString();
        at += length;
        const kind = bytes[at++];
        return { name, kind, index: unsigned() };
      });
    }
    at = end;
  }
  // The core imports nothing, so the first function of its own has index 0.
  return new Map(
    found
      .filter(({ kind }) => kind === 0)
      .map(({ name, index }) => [name, types[functions[index]]]),
  );
}
