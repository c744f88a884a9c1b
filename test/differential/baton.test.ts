/**
 * The core does what the kernel was recorded to do, script by script; every difference is listed with an argument in
 * test/conformance/linux.json, and every listed one exists. UPDATE_CONFORMANCE=1 takes what was found into that file:
 * the arguments are to be written by hand.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BUILDS, type BuildName } from "../support/core.ts";
import { BatonStack } from "./baton.ts";
import { type Difference, compare } from "./compare.ts";
import { readArguments, update, writeArguments } from "./differences.ts";
import { readRecording } from "./recording.ts";
import { play } from "./script.ts";
import { SCRIPTS } from "./scripts/index.ts";

const baton = suite("differential/baton");
const recording = readRecording();

async function differences(build: BuildName): Promise<Map<string, Difference>> {
  const found = new Map<string, Difference>();
  for (const script of SCRIPTS) {
    const { family = 4, socket = {}, silent = false } = script;
    const lines = await play(script, new BatonStack(build, family, socket, !silent));
    const difference = compare(recording.scripts[script.name] ?? [], lines);
    if (difference) found.set(script.name, difference);
  }
  return found;
}

baton("has recordings of all scripts and no others, each name once", () => {
  const names = SCRIPTS.map(({ name }) => name);
  assert.is(new Set(names).size, names.length);
  assert.equal(Object.keys(recording.scripts).sort(), [...names].sort());
  assert.ok(names.length >= 40);
});

for (const build of BUILDS) {
  baton(`differs from the kernel only where it is argued (${build})`, async () => {
    const found = await differences(build);
    if (process.env["UPDATE_CONFORMANCE"]) writeArguments(update(readArguments(), found));
    const listed = readArguments().flatMap(({ scripts }) => scripts);
    for (const [name, difference] of found) {
      const entry = listed.find((one) => one.name === name);
      assert.ok(entry, `not listed: ${name}\n${JSON.stringify(difference, null, 1)}`);
      assert.equal({ linux: entry.linux, baton: entry.baton }, difference, name);
    }
    for (const { name } of listed) assert.ok(found.has(name), `listed, but gone: ${name}`);
  });
}

baton("argues every difference", () => {
  for (const { what, why, scripts } of readArguments()) {
    const names = scripts.map(({ name }) => name).join(", ");
    assert.ok(what.length > 5 && why.length > 40, `no argument: ${names}`);
  }
});

baton("notices a line that is missing, one too many, another order and another time", () => {
  const lines = ["> . 1 ack 1", "200 < . 1:101 ack 1", "read: 10 bytes"];
  assert.is(compare(lines, lines), undefined);
  assert.is(compare(lines, lines.with(1, "230 < . 1:101 ack 1")), undefined);
  const late = lines.with(1, "300 < . 1:101 ack 1");
  assert.equal(compare(lines, late), { linux: [lines[1]], baton: [late[1]] });
  assert.equal(compare(lines, lines.slice(1)), { linux: [lines[0]], baton: [] });
  assert.equal(compare(lines.slice(0, 2), lines), { linux: [], baton: [lines[2]] });
  const turned = [lines[1]!, lines[0]!, lines[2]!];
  assert.equal(compare(lines, turned), { linux: [lines[0]], baton: [lines[0]] });
});

baton.run();
