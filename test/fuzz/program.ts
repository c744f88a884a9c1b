/**
 * Plays programs of the core's fuzzer (assembly/fuzz) in this process: in which build, from which scene, with what
 * digest. Knows the entry's three functions, nothing of what a program means.
 */
import { readFileSync } from "node:fs";
import { instantiateSync } from "@assemblyscript/loader";

export const FUZZ_BUILDS = ["debug", "release"] as const;
export type FuzzBuild = (typeof FUZZ_BUILDS)[number];

type Entry = {
  memory: { readonly buffer: ArrayBuffer };
  inputPtr: () => number;
  inputMax: () => number;
  begin: (scene: number) => void;
  run: (length: number) => number;
};

const FIXTURE = new URL("../../../test/fixtures/fuzz-core.txt", import.meta.url);
type Module = ReturnType<typeof instantiateSync>["module"];
const modules = new Map<FuzzBuild, Module>();

/** Every program of the fixture, in hex. */
export function programs(): string[] {
  const lines = readFileSync(FIXTURE, "utf8").split("\n");
  return lines.filter((line) => line !== "" && !line.startsWith("#"));
}

/** Plays a program in an instance of its own. @returns the digest @throws Error where a rule was broken */
export function play(build: FuzzBuild, hex: string): number {
  const data = Buffer.from(hex, "hex");
  const path = new URL(`../../testing/fuzz-${build}.wasm`, import.meta.url);
  // The loader's own `abort` throws with file and line.
  const { module, instance } = instantiateSync(modules.get(build) ?? readFileSync(path), {});
  modules.set(build, module);
  const entry = instance.exports as unknown as Entry;
  entry.begin((data[0] ?? 0) % 16);
  const program = data.subarray(1, 1 + entry.inputMax());
  new Uint8Array(entry.memory.buffer, entry.inputPtr()).set(program);
  return entry.run(program.length) >>> 0;
}
