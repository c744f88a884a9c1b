/**
 * The table of RFC 9293's requirements is whole and true: every id of its Appendix B stands in it once, what is met
 * names tests that exist, what is not is argued, and docs/conformance.md says the same.
 * UPDATE_CONFORMANCE=1 writes that page anew.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readArguments, renderDifferences } from "../differential/differences.ts";
import { readRecording } from "../differential/recording.ts";
import { SCRIPTS } from "../differential/scripts/index.ts";
import { type Row, VERDICTS, render } from "./render.ts";

const table = suite("conformance");
const ROOT = new URL("../../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, ROOT), "utf8");
const rows = JSON.parse(read("test/conformance/rfc9293.json")) as Row[];

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

table("names only tests that exist, by file and name, and none is skipped", () => {
  const missing: string[] = [];
  for (const { id, tests } of rows) {
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

table("has a test for all that is met, and an argument for all that is not", () => {
  for (const { id, verdict, tests, note } of rows) {
    if (verdict === "met" || verdict === "met-by-config") assert.ok(tests.length > 0, id);
    if (verdict !== "met") assert.ok(note.length > 5, `${id} needs a note`);
    if (verdict === "not-met") assert.not.match(id, /^MUST/, `${id} must be met or argued`);
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
  const text = render(rows) + renderDifferences(readArguments(), kernel, SCRIPTS.length);
  if (process.env["UPDATE_CONFORMANCE"]) writeFileSync(page, text);
  assert.is(readFileSync(page, "utf8"), text);
});

table.run();
