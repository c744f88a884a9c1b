/**
 * Node, Deno and Bun:   node run.mjs CORE.wasm SCENARIO.txt FOLDER
 *                       deno run --allow-read --allow-write run.mjs CORE.wasm SCENARIO.txt FOLDER
 *                       bun run.mjs CORE.wasm SCENARIO.txt FOLDER
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { play } from "./scenario.mjs";

const [core, scenario, folder] = process.argv.slice(2);
if (!folder) {
  console.error("usage: run.mjs CORE.wasm SCENARIO.txt FOLDER");
  process.exit(2);
}

const instance = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(core)));
const steps = play(readFileSync(scenario, "utf8"), instance.exports, {
  keep: (file, bytes) => writeFileSync(join(folder, file), bytes),
  give: (file) => new Uint8Array(readFileSync(join(folder, file))),
});
console.log(`${steps} steps equal`);
