/** The interoperation matrix covers what it says, and docs/interoperation.md says what it covers. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { MARK, renderMatrix } from "../support/interop/document.ts";
import { coverPairs, missingPairs } from "../support/interop/pairs.ts";
import {
  DIMENSIONS,
  FULL_ROWS,
  nameOf,
  QUICK_ROWS,
  talkOf,
  TALKS,
} from "../support/interop/table.ts";
import { ROOT } from "./source.ts";

const PAGE = join(ROOT, "docs/interoperation.md");
const matrix = suite("interoperation matrix");

matrix("any two values of different columns meet in a row of the whole matrix", () => {
  assert.equal(missingPairs(DIMENSIONS, FULL_ROWS), []);
  const [first, ...rest] = FULL_ROWS;
  assert.ok(missingPairs(DIMENSIONS, rest).length > 0, `the first is needed: ${nameOf(first!)}`);
});

matrix("pairs of any dimensions meet, in fewer rows than all there could be", () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 2, maxLength: 6 });
  fc.assert(
    fc.property(sizes, (each) => {
      const entries = each.map((size, at) => [`d${at}`, Array.from({ length: size }, (_, v) => v)]);
      const dimensions = Object.fromEntries(entries) as Record<string, readonly number[]>;
      const rows = coverPairs(dimensions);
      assert.equal(missingPairs(dimensions, rows), []);
      const all = each.reduce((product, size) => product * size, 1);
      assert.ok(rows.length <= all, `${rows.length} rows`);
    }),
    { numRuns: 50 },
  );
});

matrix(
  "the selection for every run has each value of a path, each program and each direction",
  () => {
    for (const [name, values] of Object.entries(DIMENSIONS)) {
      if (name === "meeting" || name === "ours") continue;
      const seen = new Set(QUICK_ROWS.map((row) => row[name as keyof typeof row]));
      assert.equal(
        values.filter((value) => !seen.has(value)),
        [],
        name,
      );
    }
    const talks = new Set(QUICK_ROWS.map((row) => talkOf(row).name));
    assert.equal(
      Object.keys(TALKS).filter((name) => !talks.has(name as never)),
      [],
    );
    for (const rows of [QUICK_ROWS, FULL_ROWS]) {
      assert.is(new Set(rows.map(nameOf)).size, rows.length, "names are of one row each");
    }
  },
);

matrix("docs/interoperation.md lists these rows", () => {
  const page = readFileSync(PAGE, "utf8");
  const at = page.indexOf(MARK);
  assert.ok(at > 0, `docs/interoperation.md: expected the line ${MARK}`);
  const wanted = `${page.slice(0, at)}${MARK}\n\n${renderMatrix()}`;
  if (process.env["UPDATE_INTEROP"] === "1") writeFileSync(PAGE, wanted);
  assert.is(readFileSync(PAGE, "utf8"), wanted);
});

matrix.run();
