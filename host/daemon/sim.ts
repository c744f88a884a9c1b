/** `baton sim` with the real core and cipher: runs seeds and says what came of them. */
import { readFileSync } from "node:fs";
import { createNodeCipher } from "../link/nodecipher.ts";
import { jsonLine } from "../observe/json.ts";
import { run } from "../sim/run.ts";
import { CORE_WASM } from "./wasm.ts";

/** True: every seed kept every invariant. */
export function simulate(first: number, count: number, json: boolean): boolean {
  const wasm = readFileSync(CORE_WASM);
  const cipher = createNodeCipher();
  const startedMs = Date.now();
  let packets = 0;
  let failed = 0;
  for (let seed = first; seed < first + count; seed++) {
    const result = run({ wasm, cipher, log: { write: () => undefined }, seed });
    packets += result.packets;
    if (json) process.stdout.write(jsonLine({ ...result }));
    if (result.problems.length === 0) continue;
    failed++;
    if (json) continue;
    process.stdout.write(`seed ${seed} failed; again with: baton sim --seed ${seed}\n`);
    for (const problem of result.problems) process.stdout.write(`  ${problem}\n`);
  }
  const minutes = (Date.now() - startedMs) / 60_000;
  const rate = Math.round(packets / Math.max(minutes, 1e-6));
  if (!json) {
    process.stdout.write(
      `${count} seeds, ${failed} failed, ${packets} packets, ${rate} packets a minute\n`,
    );
  }
  return failed === 0;
}
