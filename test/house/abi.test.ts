/** The shipped module against the table of the ABI in docs/architecture.md. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { read, ROOT } from "./source.ts";

const abi = suite("abi");

/** The little of WebAssembly's types that is used here. */
declare const WebAssembly: {
  Module: {
    new (bytes: Uint8Array): object;
    imports(module: object): { module: string; name: string }[];
    exports(module: object): { name: string; kind: string }[];
  };
};

const MODULE = new WebAssembly.Module(readFileSync(join(ROOT, "build", "core.wasm")));

function exported(kind: string): string[] {
  return WebAssembly.Module.exports(MODULE)
    .filter((item) => item.kind === kind)
    .map(({ name }) => name);
}

/** Names in the first column of the ABI's table, and the scratch addresses named above it. */
function documented(): string[] {
  const section = /### ABI\n([\s\S]*?)\n### /.exec(read("docs/architecture.md"))?.[1] ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("| `"));
  const cells = rows.map((row) => row.split("|")[1] ?? "");
  const named = cells.flatMap((cell) =>
    [...cell.matchAll(/`([^`]*)`/g)].map(([, code = ""]) => code),
  );
  const names = named.flatMap((code) =>
    [...code.matchAll(/(\w+)\s*\(/g)].map(([, name = ""]) => name),
  );
  const scratch = /Scratch structures[^`]*`([\w ]+)`/.exec(section)?.[1]?.split(" ") ?? [];
  const modes = [...section.matchAll(/Modes \(`(\w+)`\)/g)].map(([, name = ""]) => name);
  return [...names, ...scratch, ...modes];
}

abi("needs no import", () => {
  assert.equal(WebAssembly.Module.imports(MODULE), []);
});

abi("exports its memory and nothing else that can be written", () => {
  assert.equal(exported("memory"), ["memory"]);
  assert.equal(exported("table"), []);
});

abi("documents every exported function", () => {
  const known = new Set(documented());
  assert.ok(known.size > 40, "the table is found");
  assert.equal(
    exported("function").filter((name) => !known.has(name)),
    [],
  );
});

abi.run();
