/**
 * The tables of requirements are whole and true: every id of RFC 9293's Appendix B stands in the one once, every RFC
 * that TCP is made of in the other, what is met names tests that exist, what is not is argued, and docs/conformance.md
 * says the same.
 * UPDATE_CONFORMANCE=1 writes that page anew.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readArguments, renderDifferences } from "../differential/differences.ts";
import { readRecording } from "../differential/recording.ts";
import { SCRIPTS } from "../differential/scripts/index.ts";
import { type Chapter, type Row, VERDICTS, render, rowsOf } from "./render.ts";

const table = suite("conformance");
const ROOT = new URL("../../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, ROOT), "utf8");
const rows = JSON.parse(read("test/conformance/rfc9293.json")) as Row[];
const chapters = JSON.parse(read("test/conformance/others.json")) as Chapter[];
const all = [...rows, ...chapters.flatMap(rowsOf)];

/** The RFCs beside 9293 that the core is held to. */
const OTHERS = [
  7323, 2018, 2883, 8985, 6675, 6298, 5681, 6582, 9438, 9406, 6928, 3042, 9937, 5961, 6528, 4987,
  6691, 1191, 8201, 4821, 3168, 1122, 896, 5482, 6191, 7413, 8684, 2385, 5925,
];

/** How many ids of each kind Appendix B has. */
const COUNTS = { MUST: 69, SHLD: 31, MAY: 18, REC: 1 } as const;
const LEVELS = { MUST: "MUST", SHLD: "SHOULD", MAY: "MAY", REC: "RECOMMENDED" } as const;

/** Whether a file declares a test of that name: a call whose first argument is that text. */
function declares(source: string, name: string): boolean {
  const text = name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`\\w\\(\\s*(title\\(\\s*)?["'\`]${text}(["'\`]| \\(\\$\\{build\\}\\))`).test(
    source,
  );
}

table("has every id of Appendix B once, in its order, with its level", () => {
  const wanted = Object.entries(COUNTS).flatMap(([kind, count]) =>
    Array.from({ length: count }, (_, index) => `${kind}-${index + 1}`),
  );
  assert.equal(
    rows.map(({ id }) => id),
    wanted,
  );
  for (const { id, level, text, verdict } of rows) {
    assert.is(level, LEVELS[id.split("-")[0] as keyof typeof LEVELS], id);
    assert.ok(text.length > 10, id);
    assert.ok(VERDICTS.includes(verdict), `${id}: ${verdict}`);
  }
});

table("has a chapter for every other RFC, each rule in it once, with a level", () => {
  assert.equal(
    chapters.map(({ rfc }) => rfc),
    OTHERS,
  );
  const seen = new Set<string>();
  for (const { id, level, text, verdict } of chapters.flatMap(rowsOf)) {
    assert.ok(["MUST", "SHOULD", "MAY"].includes(level), `${id}: ${level}`);
    assert.ok(VERDICTS.includes(verdict), `${id}: ${verdict}`);
    assert.ok(text.length > 10, id);
    assert.not.ok(seen.has(`${id} ${text}`), `${id}: ${text} stands there twice`);
    seen.add(`${id} ${text}`);
  }
});

table("names only tests that exist, by file and name, and none is skipped", () => {
  const missing: string[] = [];
  for (const { id, tests } of all) {
    for (const test of tests) {
      const [file, ...name] = test.split(": ");
      const path = `test/${file}`;
      const found = existsSync(new URL(path, ROOT)) && declares(read(path), name.join(": "));
      if (!found) missing.push(`${id}: ${test}`);
      else assert.not.match(read(path), /\.(skip|only)\(/, path);
    }
  }
  assert.equal(missing, []);
});

table("rests on no test that a machine without some program or privilege would skip", () => {
  const files = new Set(all.flatMap(({ tests }) => tests.map((test) => test.split(": ")[0] ?? "")));
  const skippable = [...files].filter((file) =>
    /SKIP|OrSkip|support\/lab/.test(read(`test/${file}`)),
  );
  assert.equal(skippable, []);
  assert.match(read("test/lab/flood.test.ts"), /support\/lab/, "the lab's tests would be noticed");
});

table("has a test for all that is met, and an argument for all that is not", () => {
  for (const { id, level, verdict, tests, note } of all) {
    if (verdict === "met" || verdict === "met-by-config") assert.ok(tests.length > 0, id);
    if (verdict !== "met") assert.ok(note.length > 5, `${id} needs a note`);
    if (verdict === "not-met") assert.is.not(level, "MUST", `${id} must be met or argued`);
  }
});

table("would notice a name that no test has", () => {
  const source = read("test/tcp/urgent.test.ts");
  assert.ok(declares(source, "processes the urgent pointer while its window is zero"));
  assert.not.ok(declares(source, "processes the urgent pointer while its window"));
  assert.not.ok(declares(source, "the same pointer is no news"), "a message is no test");
});

table("is what docs/conformance.md shows", () => {
  const page = new URL("docs/conformance.md", ROOT);
  const { kernel } = readRecording();
  const text = render(rows, chapters) + renderDifferences(readArguments(), kernel, SCRIPTS.length);
  if (process.env["UPDATE_CONFORMANCE"]) writeFileSync(page, text);
  assert.is(readFileSync(page, "utf8"), text);
});

table.run();
