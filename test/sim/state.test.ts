/** Long simulations: what is remembered of seeds, who runs which, and of what code it is. */
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { codeDigest, imports } from "../../host/daemon/simcode.ts";
import { SimState, type SeedResult, type Surroundings } from "../../host/daemon/simstate.ts";

const states = suite<{ home: string }>("state of a long simulation");

states.before.each((context) => {
  context.home = mkdtempSync(join(tmpdir(), "baton-state-"));
});
states.after.each(({ home }) => rmSync(home, { recursive: true, force: true }));

const KEY = { code: "c0de", given: "[]" };

/** A process among others, all of them on one clock. */
function machine() {
  const around = { ms: 0, dead: new Set<number>() };
  const as = (pid: number): Surroundings => ({
    pid,
    nowMs: () => around.ms,
    isAlive: (other) => !around.dead.has(other),
  });
  return { around, as };
}

const result = (seed: number, problems: readonly string[] = []): SeedResult => {
  return { seed, packets: 10, cpuMs: 5, problems, again: `--seed ${seed}` };
};

states("gives each seed to one process only", ({ home }) => {
  const { as } = machine();
  const path = join(home, "state");
  const [one, two] = [new SimState(path, KEY, as(1)), new SimState(path, KEY, as(2))];
  const first = one.claim(1, 25);
  const second = two.claim(1, 25);
  assert.equal(first, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.equal(second, [11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
  for (const seed of first) one.add(result(seed));
  assert.equal(one.claim(1, 25), [21, 22, 23, 24, 25]);
  assert.equal(two.claim(1, 20), second, "who asks again has not done them");
  for (const seed of second) two.add(result(seed));
  assert.equal(two.claim(1, 25), [], "the rest is under way");
  assert.is(two.results.size, 20);
});

states("takes over what a process left that is gone, or that is too slow", ({ home }) => {
  const { around, as } = machine();
  const path = join(home, "state");
  const [one, two] = [new SimState(path, KEY, as(1)), new SimState(path, KEY, as(2))];
  one.claim(1, 3);
  one.add(result(1));
  assert.equal(two.claim(1, 3), []);
  around.dead.add(1);
  assert.equal(two.claim(1, 3), [2, 3]);
  around.dead.clear();
  const three = new SimState(path, KEY, as(3));
  assert.equal(three.claim(1, 3), []);
  around.ms += 3_600_000;
  assert.equal(three.claim(1, 3), [2, 3]);
});

states("counts only what is of this code under these options", ({ home }) => {
  const { as } = machine();
  const path = join(home, "state");
  new SimState(path, { ...KEY, code: "other" }, as(1)).add(result(1));
  const faulty = new SimState(path, { ...KEY, given: '[["faultPercentMax",3]]' }, as(1));
  faulty.add(result(1, ["I1: two owners"]));
  faulty.add(result(2));
  const state = new SimState(path, KEY, as(1));
  assert.is(state.results.size, 0);
  assert.equal(state.others, { seeds: 2, failed: 1 });
  assert.equal(state.claim(1, 2), [1, 2]);
});

states(
  "goes on after a line that was cut off, and refuses a file of something else",
  ({ home }) => {
    const { as } = machine();
    const path = join(home, "state");
    const state = new SimState(path, KEY, as(1));
    state.add(result(1));
    appendFileSync(path, '{"code":"c0de","given":"[]","seed":2,"pack');
    state.add(result(3));
    state.add(result(4));
    const again = new SimState(path, KEY, as(1));
    assert.equal([...again.results.keys()], [1, 4], "the line after it is lost with it");
    assert.is(again.unread, 1);
    assert.equal(again.claim(1, 4), [2, 3]);
    const other = join(home, "notes");
    writeFileSync(other, "something else\n");
    assert.throws(() => new SimState(other, KEY, as(1)), /expected a file of simulated seeds/);
    assert.is(readFileSync(other, "utf8"), "something else\n");
  },
);

states("skips lines of another hand, and counts them", ({ home }) => {
  const { as } = machine();
  const path = join(home, "state");
  const state = new SimState(path, KEY, as(1));
  state.add(result(1));
  const claim = { seeds: [3, 4], pid: 2, atMs: 0 };
  const wrong: unknown[] = [
    ...[5, "7", null, [], {}, { seeds: 5 }, { ...KEY }, { ...result(2) }],
    ...[5, null, [1], [1, "2"], [1, 2, 3], {}].map((seeds) => ({ ...KEY, ...claim, seeds })),
    ...["pid", "atMs"].map((name) => ({ ...KEY, ...claim, [name]: "1" })),
    ...Object.keys(result(2)).map((name) => ({ ...KEY, ...result(2), [name]: {} })),
    { ...KEY, ...result(2), problems: [1] },
  ];
  for (const line of wrong) appendFileSync(path, `${JSON.stringify(line)}\n`);
  appendFileSync(path, `${JSON.stringify({ ...KEY, ...claim })}\n`);
  state.refresh();
  assert.is(state.unread, wrong.length);
  assert.equal([...state.results.keys()], [1]);
  assert.equal(state.claim(1, 5), [2], "3 and 4 are another's, 5 comes after them");
  state.refresh();
  assert.is(state.unread, wrong.length, "what this one writes is understood");
});

states("names the code by every file that takes part, and by no other", ({ home }) => {
  const url = (name: string): URL => pathToFileURL(join(home, name));
  const write = (name: string, text: string): void => writeFileSync(join(home, name), text);
  mkdirSync(join(home, "room"));
  write("run.js", 'import { a } from "./room/a.js";\nexport { x } from "node:fs";\n');
  write("room/a.js", 'export * from "../b.js";\nconst later = () => import("./c.js");\n');
  write("b.js", 'import { run } from "./run.js";\n');
  write("room/c.js", "");
  write("other.js", "1");
  write("core.wasm", "core");
  const digest = (): string => codeDigest([url("run.js")], [url("core.wasm")]);
  assert.equal(
    imports([url("run.js")])
      .map(({ pathname }) => pathname.slice(home.length + 1))
      .sort(),
    ["b.js", "room/a.js", "room/c.js", "run.js"],
  );
  const before = digest();
  write("other.js", "2");
  assert.is(digest(), before);
  for (const name of ["run.js", "room/a.js", "b.js", "room/c.js", "core.wasm"]) {
    const text = readFileSync(join(home, name), "utf8");
    write(name, `${text} `);
    assert.is.not(digest(), before, name);
    write(name, text);
  }
  assert.is(digest(), before);
});

const MAIN = fileURLToPath(new URL("../../host/cli/main.js", import.meta.url));

states("runs seeds in several processes, and none of them twice", ({ home }) => {
  const path = join(home, "state");
  const small =
    "--clients 1 --faults 0 --troubles none --body 10 --connections 1 --moves 0 --plain";
  const sim = (...more: string[]) => {
    const args = [MAIN, "sim", ...small.split(" "), "--state", path, ...more];
    return spawnSync(process.execPath, args, { encoding: "utf8", timeout: 120_000 });
  };
  const lines = (): string[] => readFileSync(path, "utf8").trim().split("\n");
  const first = sim("--seed", "5", "--seeds", "3", "--jobs", "2");
  assert.is(first.status, 0, first.stderr);
  assert.match(first.stdout, /^3 of 3 seeds, 0 failed, \d+ packets, \d+ packets a minute/);
  const count = lines().length;
  const second = sim("--seed", "5", "--seeds", "3");
  assert.is(second.stdout, first.stdout);
  assert.is(lines().length, count, "nothing was run again");
  const more = sim("--seed", "4", "--seeds", "4");
  assert.match(more.stdout, /^4 of 4 seeds, 0 failed/);
  assert.is(lines().filter((line) => line.includes('"seed":')).length, 4);
});

states.run();
