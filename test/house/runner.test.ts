/** The runner itself: what must fail a run, and what its last line says. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const runner = suite("runner");

const BUILD = join(dirname(fileURLToPath(import.meta.url)), "..");
const RUN = join(BUILD, "run.js");
const HEAD = `import { suite } from "uvu";\nconst tests = suite("tests");\n`;

/** Runs files given by name in a folder of their own. */
function run(files: Readonly<Record<string, string>>, temporary = tmpdir()) {
  const folder = mkdtempSync(join(BUILD, "..", "runner-"));
  try {
    for (const [name, code] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), code);
    }
    const { stdout, status } = spawnSync(process.execPath, [RUN, "--folder", folder], {
      encoding: "utf8",
      env: { ...process.env, TMPDIR: temporary },
    });
    return { status, last: stdout.trim().split("\n").at(-1), stdout };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const GOOD = `${HEAD}tests("passes", () => {});\ntests.run();\n`;

runner("closes with the counts alone on a line", () => {
  const { status, last } = run({ "a.test.js": GOOD, "room/b.test.js": GOOD });
  assert.equal([status, last], [0, "2 passed, 0 failed"]);
});

runner("fails when a test fails, and shows its name", () => {
  const bad = `${HEAD}tests("breaks", () => { throw new Error("why"); });\ntests.run();\n`;
  const { status, last, stdout } = run({ "a.test.js": GOOD, "b.test.js": bad });
  assert.equal([status, last], [1, "1 passed, 1 failed"]);
  assert.match(stdout, "breaks");
});

runner("fails for a file that forgets to run its tests, has none, or cannot be loaded", () => {
  const files = {
    "forgets.test.js": `${HEAD}tests("is never run", () => {});\n`,
    "empty.test.js": `${HEAD}tests.run();\n`,
    "broken.test.js": `import "./nowhere.js"; // .run()\n`,
  };
  for (const [name, code] of Object.entries(files)) {
    const { status, last } = run({ "good.test.js": GOOD, [name]: code });
    assert.equal([status, last], [1, "1 passed, 1 failed"], name);
  }
});

runner("fails when it finds no test at all", () => {
  const { status, last } = run({ "notes.txt": "" });
  assert.equal([status, last], [1, "0 passed, 1 failed"]);
});

runner("sweeps away what killed tests left, and nothing of a living process", () => {
  const temporary = mkdtempSync(join(BUILD, "..", "runner-"));
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  try {
    const [kept, gone] = [process.pid, pid].map((each) => {
      return [`baton-${each}-Abc123`, `baton-interop-${each}-Abc123`];
    });
    const foreign = ["baton-measuring", `baton-${pid}`, `other-${pid}-Abc123`];
    for (const name of [...(kept ?? []), ...(gone ?? []), ...foreign]) {
      mkdirSync(join(temporary, name));
    }
    assert.is(run({ "a.test.js": GOOD }, temporary).status, 0);
    assert.equal(readdirSync(temporary).sort(), [...(kept ?? []), ...foreign].sort());
  } finally {
    rmSync(temporary, { recursive: true });
  }
});

runner("counts and names what was skipped", () => {
  const skips = `${HEAD}tests("looks", () => console.log("SKIP tcpdump: not installed"));\ntests.run();\n`;
  const { status, last, stdout } = run({ "a.test.js": skips });
  assert.equal([status, last], [0, "1 passed, 0 failed, 1 skipped"]);
  assert.match(stdout, "skipped: tcpdump: not installed");
});

runner.run();
