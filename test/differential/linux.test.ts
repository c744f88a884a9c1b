/**
 * The recording is true: the running kernel does what test/fixtures/linux.json says, script by script. Run it with
 * UPDATE_LINUX=1, as root and on an idle machine, to record anew. A script for which the machine was too busy is
 * played again; a kernel of another version is not judged.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { privileged } from "../support/namespace.ts";
import { compare } from "./compare.ts";
import { Kernel } from "./linux.ts";
import { kernelVersion, readRecording, writeRecording } from "./recording.ts";
import { type Script, play } from "./script.ts";
import { SCRIPTS } from "./scripts/index.ts";

const linux = suite("differential/linux");
const check = await privileged(import.meta.url, linux);

/** A loop that is later than this may have made the peer late, and so another peer of it. */
const LATE_MS = 15;
const LATE_MS_RECORDING = 8;
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

/** Plays scripts against the kernel, several side by side. */
async function playAll(chosen: readonly Script[]): Promise<Played[]> {
  const kernel = await Kernel.open();
  const once = async (script: Script) => {
    const stack = kernel.stack(script.family ?? 4, script.socket ?? {});
    const lines = await play(script, stack);
    return { script, lines, latest: stack.latest };
  };
  const inTime = async (script: Script) => {
    let best = await once(script);
    for (let at = 1; at < ATTEMPTS && LATE_MS_RECORDING < best.latest; at++) {
      const next = await once(script);
      if (next.latest < best.latest) best = next;
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
        played.push(await inTime(script));
      }
    };
    await Promise.all(Array.from({ length: SIDE_BY_SIDE }, worker));
    return played;
  } finally {
    kernel.close();
  }
}

/** What is to be recorded: what stood there, where that is still true. */
function renewed(script: Script, played: readonly Played[]): readonly string[] {
  const { lines, latest } = played.find((one) => one.script === script)!;
  const known = recording.scripts[script.name];
  if (known && !compare(known, lines, SLACK)) return known;
  assert.ok(latest <= LATE_MS_RECORDING, `${script.name}: an idle machine is needed to record`);
  return lines;
}

/** Ms that a script lasted when it was recorded. */
function lasted({ name }: Script): number {
  const waits = recording.scripts[name]?.map((line) =>
    Number(/^-- (\d+) ms$/.exec(line)?.[1] ?? 0),
  );
  return waits?.reduce((sum, ms) => sum + ms, 0) ?? Infinity;
}

const recording = readRecording();
const isUpdate = process.env["UPDATE_LINUX"] !== undefined;

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
  const late = played.filter(({ latest }) => LATE_MS < latest);
  if (isUpdate) {
    const scripts = Object.fromEntries(
      SCRIPTS.map((script) => [script.name, renewed(script, played)] as const),
    );
    writeRecording({ kernel: kernelVersion(), scripts });
    return;
  }
  if (late.length > 0) {
    const names = late.map(({ script }) => script.name).join("; ");
    process.stdout.write(
      `SKIP ${late.length} scripts, for which the machine is too busy: ${names}\n`,
    );
  }
  const wrong = played.flatMap(({ script, lines, latest }) => {
    const found = compare(recording.scripts[script.name] ?? [], lines, SLACK);
    return found && latest <= LATE_MS ? [{ script: script.name, ...found, lines }] : [];
  });
  assert.equal(wrong, []);
});

linux.run();
