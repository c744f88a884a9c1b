/**
 * A whole connection played by a script: both sides write, read and close while the wire does its worst, and
 * every step is checked. Shared by the tests of streams and of migration.
 */
import fc from "fast-check";
import * as assert from "uvu/assert";
import type { BuildName } from "../support/core.ts";
import { Pair, pattern } from "./pair.ts";

export interface Script {
  seed: number;
  loss: number;
  duplicate: number;
  jitterUs: number;
  delayUs: number;
  upload: number;
  download: number;
  writeMax: number;
  readMax: number;
  mtu: number;
  segmenting: number;
  family: 4 | 6;
  startUs: number;
}

export const script: fc.Arbitrary<Script> = fc.record({
  seed: fc.integer(),
  loss: fc.constantFrom(0, 0.01, 0.05, 0.2),
  duplicate: fc.constantFrom(0, 0.05, 0.3),
  jitterUs: fc.constantFrom(0, 500, 30_000),
  delayUs: fc.constantFrom(50, 1000, 50_000),
  upload: fc.integer({ min: 0, max: 120_000 }),
  download: fc.integer({ min: 0, max: 120_000 }),
  writeMax: fc.constantFrom(1_000, 20_000, 1_000_000),
  readMax: fc.constantFrom(700, 10_000, 1_000_000),
  mtu: fc.constantFrom(1280, 1500, 9000),
  segmenting: fc.constantFrom(0, 1),
  family: fc.constantFrom(4 as const, 6 as const),
  startUs: fc.constantFrom(1, 1_000_000, 4_294_967_295_000 - 50_000, 4_294_967_295 - 5_000),
});

export interface Hook {
  trace?: boolean;
  begin?: (pair: Pair, handles: { a: number; b: number }) => void;
  before?: (pair: Pair, handles: { a: number; b: number }) => void;
  step?: (pair: Pair, handles: { a: number; b: number }) => void;
}

/** Runs a whole connection and checks what no step may break. */
export function play(build: BuildName, script: Script, hook?: Hook): Pair {
  const { seed, loss, duplicate, jitterUs, delayUs, mtu, segmenting, family, startUs } = script;
  const end = { mtu, segmenting, startUs };
  const wire = { seed, loss, duplicate, jitterUs, delayUs };
  const pair = new Pair({ build, family, a: end, b: end, wire });
  pair.keepTrace = hook?.trace ?? false;
  const handles = { a: pair.a.connect(pair.now), b: 0 };
  const sent = { a: pattern(script.upload), b: pattern(script.download, 7) };
  const got = { a: [] as Uint8Array[], b: [] as Uint8Array[] };
  const progress = { a: { wrote: 0, shut: false }, b: { wrote: 0, shut: false } };
  const work = (name: "a" | "b") => {
    const end = pair[name];
    const handle = handles[name];
    if (handle === 0 || end.core.f.connectionState!(handle) < 0) return;
    const mine = progress[name];
    if (mine.wrote < sent[name].length) {
      const part = sent[name].subarray(mine.wrote, mine.wrote + script.writeMax);
      mine.wrote += end.write(handle, part, pair.now);
    } else if (!mine.shut && end.state(handle) !== "SYN_SENT") {
      mine.shut = end.shutdown(handle, pair.now) === 0;
    }
    got[name].push(end.read(handle, pair.now, script.readMax));
    const una = end.info(handle, "SND_UNA");
    const nxt = end.info(handle, "SND_NXT");
    assert.ok(((nxt - una) | 0) >= 0, "SND.UNA <= SND.NXT");
  };
  hook?.begin?.(pair, handles);
  pair.onStep = () => {
    hook?.before?.(pair, handles);
    if (handles.b === 0) handles.b = pair.b.handles("ACCEPTED")[0] ?? 0;
    work("a");
    work("b");
    hook?.step?.(pair, handles);
  };
  const closed = (name: "a" | "b") => pair[name].handles("CLOSED").length === 1;
  pair.runUntil(() => closed("a") && closed("b"), 3600);
  for (let i = 0; i < 1000; i++) pair.onStep();
  for (const name of ["a", "b"] as const) {
    const other = name === "a" ? "b" : "a";
    assert.is(Buffer.compare(Buffer.concat(got[name]), Buffer.from(sent[other])), 0, "same bytes");
    assert.equal(pair[name].events.find(({ type }) => type === "CLOSED")?.code, 0);
    pair[name].release(handles[name]);
    pair[name].pollEvents();
    assert.is(pair[name].core.f.tcbCount!(), 0);
    assert.is(pair[name].core.f.chunksUsed!(), 0);
    assert.is(pair[name].core.f.nodesUsed!(), 0);
  }
  return pair;
}
