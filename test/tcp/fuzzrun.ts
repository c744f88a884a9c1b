/** `npm run fuzz -- --seed N --count M [--rounds R]`: the fuzzer for as long as one likes. */
import { parseArgs } from "node:util";
import { fuzzAll } from "./fuzzer.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: String(Date.now() & 0xffffff) },
    count: { type: "string", default: "200" },
    rounds: { type: "string", default: "10" },
  },
});
const seed = Number(values.seed);
const count = Number(values.count);
for (let round = 0; round < Number(values.rounds); round++) {
  fuzzAll("release", seed + round, count);
  process.stdout.write(`seed ${seed + round}: ${count} segments in each state, both families\n`);
}
