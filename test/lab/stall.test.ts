/**
 * What a client sees of a move in the middle of a download, in its own capture: the longest gap between new
 * data bytes. The limits are the requirement's where the machine has nothing else to do (BATON_MEASURE=1); a
 * busy one may add its own pauses to each of four processes, so the default ones are wide.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startCapture } from "../../host/lab/capture.ts";
import { ask, withMovers } from "../support/labmovers.ts";
import { MIB } from "../support/labservice.ts";

const stall = suite("stall of a move in the lab");

const IS_MEASURED = process.env["BATON_MEASURE"] === "1";
const DELAY_MS = 10;
const RTT_MS = 2 * DELAY_MS;
const MOVES = IS_MEASURED ? 200 : 20;
/** Far enough apart that each move finds the connection as a long download has it, not as the last move left it. */
const ROUND_TRIPS_PER_MOVE = 4;
/** A gap that begins later than this after a move has another cause. */
const WINDOW_MS = 300;

interface Gap {
  readonly fromMs: number;
  readonly ms: number;
}

/** Gaps between segments that carry bytes beyond all before them. */
class Gaps {
  readonly all: Gap[] = [];
  #edge: number | undefined;
  #lastMs = 0;

  take(timeMs: number, seq: number, length: number): void {
    const end = (seq + length) % 2 ** 32;
    const isNew = this.#edge === undefined || ((end - this.#edge) | 0) > 0;
    if (!isNew) return;
    if (this.#edge !== undefined)
      this.all.push({ fromMs: this.#lastMs, ms: timeMs - this.#lastMs });
    this.#edge = end;
    this.#lastMs = timeMs;
  }

  /** The longest one that a move at this time can have caused; it is the next one's from `nextMs` on. */
  after(atMs: number, nextMs: number): number {
    const untilMs = Math.min(atMs + WINDOW_MS, nextMs);
    const near = this.all.filter(({ fromMs, ms }) => fromMs + ms >= atMs && fromMs <= untilMs);
    return Math.max(0, ...near.map(({ ms }) => ms));
  }
}

async function measure(flight: number): Promise<{ p50: number; p99: number; max: number }> {
  const stalls: number[] = [];
  await withMovers("stall", async (lab, said) => {
    await lab.middlebox("client", { delayMs: DELAY_MS });
    const gaps = new Gaps();
    const service = lab.plan.service4;
    const capture = await startCapture(
      lab.nodes.client,
      ({ source, tcp, time }) => {
        if (source === service && tcp && tcp.payloadLen > 0)
          gaps.take(time, tcp.seq, tcp.payloadLen);
      },
      { snapLen: 128 },
    );
    said.moved.length = 0;
    const bytes = flight * ROUND_TRIPS_PER_MOVE * (MOVES + 1);
    const path = `/bytes/${bytes}/moves/${MOVES}/flight/${flight}`;
    const { answers, error } = await ask(lab, 4, { host: "a.example", path });
    assert.is(error, undefined);
    assert.is(answers[0]?.bytes, bytes);
    await capture.stop();
    assert.equal(
      said.moved.map(({ outcome }) => outcome),
      Array<string>(MOVES).fill("moved"),
    );
    for (const [index, { atMs }] of said.moved.entries()) {
      stalls.push(gaps.after(atMs, said.moved[index + 1]?.atMs ?? Infinity));
    }
  });
  if (stalls.length === 0) return { p50: 0, p99: 0, max: 0 }; // The named skip has been printed.
  stalls.sort((a, b) => a - b);
  const at = (share: number): number => stalls[Math.ceil(share * stalls.length) - 1] ?? NaN;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

/** Milliseconds beyond one round trip. */
async function expectStall(flight: number, more: number): Promise<void> {
  const { p50, p99, max } = await measure(flight);
  const show = [p50, p99, max].map((ms) => ms.toFixed(1)).join(", ");
  const text = `${flight / 1024} KiB in flight, ${MOVES} moves: p50, p99, max ${show} ms`;
  process.stdout.write(`${text}, round trip ${RTT_MS} ms\n`);
  const slack = IS_MEASURED ? 0 : 400;
  assert.ok(p50 < RTT_MS + 5 + more + slack, text);
  assert.ok(p99 < RTT_MS + 20 + more + 2 * slack, text);
}

for (const [flight, more] of [
  [64 * 1024, 0],
  [192 * 1024, 0],
  [MIB, 10],
] as const) {
  if (!IS_MEASURED && flight !== 192 * 1024) continue;
  stall(`${flight / 1024} KiB in flight: about one round trip`, () => expectStall(flight, more));
}

stall.run();
