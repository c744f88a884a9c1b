/**
 * Interoperation: programs that everybody has, against servers on our stack, over good and bad paths. The
 * rows are data (test/support/interop/table.ts), docs/interoperation.md lists them. With BATON_FULL=1 any two
 * values of different columns meet, beside the same server on the kernel's stack.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { findProgram } from "../../host/linux/programs.ts";
import { Bed, type Ours } from "../support/interop/bed.ts";
import { runRow, type Outcome } from "../support/interop/run.ts";
import {
  FULL_ROWS,
  nameOf,
  QUICK_ROWS,
  talkOf,
  TOOLS,
  type Row,
  type Tool,
} from "../support/interop/table.ts";
import { withLab } from "../support/lab.ts";
import { IS_FULL } from "../support/labservice.ts";

const LANES = 4;
/** With the kernel beside it each lane has two clients. */
const CLIENTS = [
  "client",
  ...Array.from({ length: (IS_FULL ? 2 : 1) * LANES - 1 }, (_, at) => `k${at + 1}`),
];
/** Slower than the kernel's own server, over the same path at the same time, by more than this: not right. */
const SLOWER_MAX = 10;
/** Of what a row takes at least; below that it is the programs' start that is compared. */
const SLOW_SECONDS = 1;
const ONLY = process.env["BATON_ROWS"] ?? "";

const interop = suite("interoperation");

const rows = (IS_FULL ? FULL_ROWS : QUICK_ROWS).filter((row) => nameOf(row).includes(ONLY));
const missing = (Object.keys(TOOLS) as Tool[]).filter((tool) => findProgram(tool) === undefined);

async function runAll(bed: Bed, todo: readonly Row[]): Promise<Outcome[]> {
  const queue = [...todo];
  const outcomes: Outcome[] = [];
  const lanes = Array.from({ length: LANES }, async (_, lane) => {
    const [client, other] = bed.clients.filter((_, at) => at % LANES === lane);
    if (client === undefined) return;
    for (let row = queue.shift(); row !== undefined; row = queue.shift()) {
      const outcome = await runRow(bed, row, rows.indexOf(row), client, other);
      process.stdout.write(line(outcome));
      outcomes.push(outcome);
    }
  });
  await Promise.all(lanes);
  return outcomes;
}

function line({ name, rate, kernelRate, seconds, complaints }: Outcome): string {
  const speed = `${(rate / 1000).toFixed(0).padStart(7)} kB/s`;
  const beside =
    kernelRate === undefined
      ? ""
      : ` ${(rate / kernelRate).toFixed(2).padStart(5)} of the kernel's`;
  const mark = complaints.length === 0 ? "ok  " : "FAIL";
  const more = complaints.map((complaint) => `       ${complaint}\n`).join("");
  return `${mark} ${seconds.toFixed(1).padStart(5)} s ${speed}${beside}  ${name}\n${more}`;
}

/**
 * Where our window is a segment the kernel's is not. Where the client's is, and there is no delay, each segment
 * waits until two processes have woken up; the kernel's two ends need 3 us for a round trip.
 */
function isSlow({ row, rate, kernelRate, seconds }: Outcome): boolean {
  if (row.ours === "segment" || (row.window === "segment" && row.delayMs === 0)) return false;
  return kernelRate !== undefined && kernelRate > SLOWER_MAX * rate && seconds > SLOW_SECONDS;
}

for (const ours of ["default", "segment", "16 MiB"] satisfies Ours[]) {
  const todo = rows.filter((row) => row.ours === ours && !missing.includes(talkOf(row).talk.tool));
  const skipped = rows.filter((row) => row.ours === ours && !todo.includes(row));
  if (todo.length + skipped.length === 0) continue;
  interop(
    `${todo.length} rows, our window ${ours}: every byte, no reset, every end in order`,
    async () => {
      for (const tool of new Set(skipped.map((row) => talkOf(row).talk.tool))) {
        process.stdout.write(
          `SKIP interoperation with ${tool}: expected the program of Debian's ${TOOLS[tool]}, got none\n`,
        );
      }
      const more = CLIENTS.slice(1);
      await withLab(
        "interoperation",
        { backends: 4, more, mtu: 9000, needTun: true },
        async (lab) => {
          const bed = await Bed.open(lab, ours, CLIENTS);
          try {
            const outcomes = await runAll(bed, todo);
            assert.equal(await bed.stop(), [], "the daemons end well");
            assert.equal(outcomes.filter(isSlow).map(line), [], "as fast as the kernel's");
            const failed = outcomes.filter(({ complaints }) => complaints.length > 0);
            assert.equal(
              failed.map(({ name, complaints }) => ({ name, complaints })),
              [],
            );
          } finally {
            await bed.close();
          }
        },
      );
    },
  );
}

interop.run();
