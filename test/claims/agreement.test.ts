/** docs/claims.md and the tests of this folder name the same things. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { read, sourceFiles } from "../house/source.ts";

const agreement = suite("claims and their page");

/** Every claim that the application has a requirement in (DESIGN section 9). */
const CLAIMS = [1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 14, 16, 17, 18, 19, 20, 88, 89, 91];

interface Row {
  readonly claims: readonly number[];
  readonly requirement: string;
  readonly test: string;
}

function numbers(text: string): number[] {
  return [...text.matchAll(/C(\d+)/g)].map((match) => Number(match[1]));
}

function rows(): Row[] {
  const lines = read("docs/claims.md").matchAll(/^\| (C\d[^|]*) \| ([^|]+) \| `([^`]+)` *\|$/gm);
  return [...lines].map((match) => {
    const [, claims = "", requirement = "", test = ""] = match;
    return { claims: numbers(claims), requirement: requirement.trim(), test };
  });
}

/** Names of the tests whose names begin with a claim. */
function tests(): string[] {
  return sourceFiles("test/claims").flatMap((path) => {
    const names = read(path).matchAll(/\bclaims\(\s*"(C\d[^"]+)",/g);
    return [...names].map((match) => match[1] ?? "");
  });
}

agreement("every test of a claim stands on the page, and every test on the page exists", () => {
  const named = [...new Set(rows().map(({ test }) => test))].sort();
  assert.equal(tests().sort(), named);
  assert.ok(named.length >= 20);
});

agreement("every claim has a line, and a line's tests are about its claims", () => {
  const found = rows();
  assert.equal(
    [...new Set(found.flatMap(({ claims }) => claims))].sort((a, b) => a - b),
    CLAIMS,
  );
  for (const { claims, test, requirement } of found) {
    const about = numbers(test.slice(0, test.indexOf(":")));
    assert.ok(
      claims.every((claim) => about.includes(claim)),
      `${requirement}: ${test}`,
    );
  }
  const requirements = found.map(({ requirement }) => requirement);
  assert.is(new Set(requirements).size, requirements.length);
});

agreement.run();
