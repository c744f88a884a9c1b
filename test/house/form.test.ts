/** The style guide's numbers, and tests that would quietly not run. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { read, sourceFiles, withoutComments } from "./source.ts";

const form = suite("form");

const SOURCE_LINES_MAX = 400;
const TEST_LINES_MAX = 600;

/** Files above the limit, with the lines they may have for now: to be cut up. */
const OVERSIZED: Readonly<Record<string, number>> = {
  "assembly/tcp/tcb.ts": 540,
};

function lines(path: string): number {
  return read(path).split("\n").length - 1;
}

form("keeps source files below 400 lines and tests below 600", () => {
  const found: string[] = [];
  const check = (path: string, max: number): void => {
    const limit = OVERSIZED[path] ?? max;
    if (lines(path) > limit) found.push(`${path} has ${lines(path)} lines, the limit is ${limit}`);
  };
  for (const path of [...sourceFiles("assembly"), ...sourceFiles("host")])
    check(path, SOURCE_LINES_MAX);
  for (const path of sourceFiles("test")) check(path, TEST_LINES_MAX);
  assert.equal(found, []);
});

form("forgets no exception that is no longer needed", () => {
  for (const path of Object.keys(OVERSIZED)) assert.ok(lines(path) > SOURCE_LINES_MAX, path);
});

form("keeps comments, which no formatter wraps, within 120 characters", () => {
  const found = [...sourceFiles("assembly"), ...sourceFiles("host")].flatMap((path) =>
    read(path)
      .split("\n")
      .flatMap((line, index) => (line.length > 120 ? [`${path}:${index + 1}`] : [])),
  );
  assert.equal(found, []);
});

form("leaves no test out by .only or .skip", () => {
  const found = sourceFiles("test").filter((path) => {
    const code = withoutComments(read(path)).replace(/"(?:[^"\\\n]|\\.)*"/g, '""');
    return path.endsWith(".test.ts") && /\.\s*(?:only|skip)\s*\(/.test(code);
  });
  assert.equal(found, []);
});

form("ends every test file by running each of its suites", () => {
  for (const path of sourceFiles("test").filter((name) => name.endsWith(".test.ts"))) {
    const code = withoutComments(read(path));
    const suites = [...code.matchAll(/\bconst (\w+) = suite(?:<[^(]*>)?\(/g)].map(
      ([, name]) => name,
    );
    assert.ok(suites.length > 0, `${path} has no suite`);
    for (const name of suites) assert.match(code, new RegExp(`\\b${name}\\.run\\(\\)`), path);
  }
});

form("opens every source file with what it is", () => {
  const found = [...sourceFiles("assembly"), ...sourceFiles("host")].filter((path) => {
    return !read(path)
      .replace(/^#!.*\n/, "")
      .startsWith("/**");
  });
  assert.equal(found, []);
});

form.run();
