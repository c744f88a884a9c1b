/** Renders the conformance table as a page. Knows rows; must not know where they come from. */
export interface Row {
  readonly id: string;
  readonly level: string;
  /** The requirement in own words. */
  readonly text: string;
  readonly verdict: Verdict;
  /** `room/file.test.ts: name of the test`, as the source has it, without the build it runs on. */
  readonly tests: readonly string[];
  readonly note: string;
}

export const VERDICTS = ["met", "met-by-config", "not-applicable", "deviates", "not-met"] as const;
export type Verdict = (typeof VERDICTS)[number];

const HEAD = `# Conformance with RFC 9293

Every numbered requirement of Appendix B of RFC 9293, in own words, with the tests that show it. Each test runs on the
debug and the release build of the core. This page is made from test/conformance/rfc9293.json, and its last part, on
differences from Linux, from linux.json beside it: change those files, then run
\`UPDATE_CONFORMANCE=1 node build/test/run.js --only conformance\`.

`;

export function render(rows: readonly Row[]): string {
  const counts = VERDICTS.map((verdict) => {
    const count = rows.filter((row) => row.verdict === verdict).length;
    return `${count} ${verdict}`;
  });
  const argued = rows.filter(({ verdict }) => verdict === "deviates" || verdict === "not-met");
  return (
    HEAD +
    `${rows.length} requirements: ${counts.join(", ")}.\n\n` +
    "## Where it deviates, and what it does not have\n\n" +
    argued
      .map(({ id, text, verdict, note }) => `- ${id} (${verdict}), ${text}: ${note}\n`)
      .join("") +
    "\n## All of them\n\n| id | requirement | verdict | tests | note |\n| --- | --- | --- | --- | --- |\n" +
    rows.map(line).join("")
  );
}

function line({ id, text, verdict, tests, note }: Row): string {
  const cell = (value: string) => value.replaceAll("|", "\\|");
  return `| ${id} | ${cell(text)} | ${verdict} | ${cell(tests.join("<br>"))} | ${cell(note)} |\n`;
}
