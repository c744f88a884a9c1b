/**
 * The recording is true: the running kernel does what test/fixtures/linux.json says, script by script. Run it with
 * UPDATE_LINUX=1, as root and on an idle machine, to record anew. A busy machine makes the peer late, and so another
 * peer of it: a script is played again until the kernel does what was recorded, and judged by the attempts in which
 * the peer was in time. A kernel of another version is not judged.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { privileged } from "../support/namespace.ts";
import { type Difference, compare } from "./compare.ts";
import { Kernel } from "./linux.ts";
import { kernelVersion, readRecording, writeRecording } from "./recording.ts";
import { type Script, play } from "./script.ts";
import { SCRIPTS } from "./scripts/index.ts";

const linux = suite("differential/linux");
const check = await privileged(import.meta.url, linux);

/** A peer that is later than this may meet the kernel's shortest timer: two ticks, between 4 and 8 ms. */
const LATE_MS = 4;
const ATTEMPTS = 12;
const SIDE_BY_SIDE = 8;
/** Scripts that take no longer than this are played each time, all of them with BATON_FULL=1. */
const QUICK_MS = 250;
/** Two clocks that are not virtual. */
const SLACK = 2.5;

interface Played {
  script: Script;
  lines: string[];
  latest: number;
}

const recording = readRecording();
const isUpdate = process.env["UPDATE_LINUX"] !== undefined;

/** How what was played departs from what was recorded. */
function departure({ script, lines }: Played): Difference | undefined {
  return compare(recording.scripts[script.name] ?? [], lines, SLACK);
}

/** Plays scripts against the kernel, several side by side. */
async function playAll(chosen: readonly Script[]): Promise<Played[]> {
  const kernel = await Kernel.open();
  const once = async (script: Script): Promise<Played> => {
    const stack = kernel.stack(script.family ?? 4, script.socket ?? {});
    const lines = await play(script, stack);
    return { script, lines, latest: stack.latest };
  };
  const untilSure = async (script: Script) => {
    let best = await once(script);
    for (let at = 1; at < ATTEMPTS && departure(best) && LATE_MS < best.latest; at++) {
      const next = await once(script);
      if (next.latest < best.latest || !departure(next)) best = next;
    }
    return best;
  };
  try {
    // Code that runs for the first time is slow: not in a script whose times count.
    for (const script of chosen.slice(-30)) await once(script);
    const queue = [...chosen];
    const played: Played[] = [];
    const worker = async () => {
      for (let script = queue.shift(); script; script = queue.shift()) {
        played.push(await untilSure(script));
      }
    };
    await Promise.all(Array.from({ length: SIDE_BY_SIDE }, worker));
    return played;
  } finally {
    kernel.close();
  }
}

/** What is to be recorded: what stood there, where that is still true. */
function renewed(one: Played): readonly string[] {
  const known = recording.scripts[one.script.name];
  if (known && !departure(one)) return known;
  assert.ok(one.latest <= LATE_MS, `${one.script.name}: an idle machine is needed to record`);
  return one.lines;
}

/** Ms that a script lasted when it was recorded. */
function lasted({ name }: Script): number {
  const waits = recording.scripts[name]?.map((line) =>
    Number(/^-- (\d+) ms$/.exec(line)?.[1] ?? 0),
  );
  return waits?.reduce((sum, ms) => sum + ms, 0) ?? Infinity;
}

check("does what was recorded", async () => {
  if (!isUpdate && recording.kernel !== kernelVersion()) {
    const reason = `recorded on Linux ${recording.kernel}, this is ${kernelVersion()}`;
    process.stdout.write(`SKIP differential/linux: ${reason}\n`);
    return;
  }
  const isFull = isUpdate || process.env["BATON_FULL"] === "1";
  const longestFirst = [...SCRIPTS].sort((a, b) => lasted(b) - lasted(a));
  const played = await playAll(
    longestFirst.filter((script) => isFull || lasted(script) <= QUICK_MS),
  );
  if (isUpdate) {
    const scripts = Object.fromEntries(
      SCRIPTS.map(({ name }) => {
        return [name, renewed(played.find(({ script }) => script.name === name)!)] as const;
      }),
    );
    writeRecording({ kernel: kernelVersion(), scripts });
    return;
  }
  const departed = played.filter((one) => departure(one));
  const late = departed.filter(({ latest }) => LATE_MS < latest);
  if (late.length > 0) {
    const names = late.map(({ script }) => script.name).join("; ");
    process.stdout.write(
      `SKIP ${late.length} scripts, for which the machine is too busy: ${names}\n`,
    );
  }
  const wrong = departed.filter((one) => !late.includes(one));
  assert.equal(
    wrong.map((one) => ({ script: one.script.name, ...departure(one), lines: one.lines })),
    [],
  );
});

linux.run();
