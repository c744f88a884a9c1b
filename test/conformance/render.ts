/** Renders the conformance tables as a page. Knows rows; must not know where they come from. */
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

/** What is checked of one RFC beside 9293. */
export interface Chapter {
  readonly rfc: number;
  readonly title: string;
  /** `section` instead of an id: these RFCs number no requirements. */
  readonly rows: readonly (Omit<Row, "id"> & { readonly section: string })[];
}

export const VERDICTS = ["met", "met-by-config", "not-applicable", "deviates", "not-met"] as const;
export type Verdict = (typeof VERDICTS)[number];

const HEAD = `# Conformance

Every numbered requirement of Appendix B of RFC 9293, in own words, with the tests that show it; the rules of the other
RFCs of TCP; and where the core differs from Linux. Each test runs on the debug and the release build of the core. This
page is made from rfc9293.json, others.json and linux.json in test/conformance: change those files, then run
\`UPDATE_CONFORMANCE=1 node build/test/run.js --only conformance\`.

`;

export function render(rows: readonly Row[], chapters: readonly Chapter[]): string {
  return (
    HEAD +
    "## RFC 9293\n\n" +
    summary(rows, "### Where it deviates, and what it does not have") +
    "\n### All of them\n\n" +
    TABLE +
    rows.map(line).join("") +
    "\n## The other RFCs\n\nTheir rules have no numbers: each is named by its section.\n\n" +
    summary(chapters.flatMap(rowsOf), "### Where the core departs from them") +
    chapters.map(chapter).join("")
  );
}

/** The rows of a chapter, their RFC and section for an id. */
export function rowsOf({ rfc, rows }: Chapter): Row[] {
  return rows.map(({ section, ...row }) => ({ id: `RFC ${rfc} ${section}`, ...row }));
}

const TABLE = "| id | requirement | verdict | tests | note |\n| --- | --- | --- | --- | --- |\n";

function summary(rows: readonly Row[], heading: string): string {
  const counts = VERDICTS.map((verdict) => {
    const count = rows.filter((row) => row.verdict === verdict).length;
    return `${count} ${verdict}`;
  });
  const argued = rows.filter(({ verdict }) => verdict === "deviates" || verdict === "not-met");
  const list = argued.map(
    ({ id, text, verdict, note }) => `- ${id} (${verdict}), ${text}: ${note}\n`,
  );
  return `${rows.length} requirements: ${counts.join(", ")}.\n\n${heading}\n\n${list.join("")}`;
}

function chapter({ rfc, title, rows }: Chapter): string {
  const lines = rows.map(({ section, level, ...row }) =>
    line({ id: section, ...row, level, text: `${level}: ${row.text}` }),
  );
  return `\n### RFC ${rfc}: ${title}\n\n${TABLE.replace("| id ", "| section ")}${lines.join("")}`;
}

function line({ id, text, verdict, tests, note }: Row): string {
  const cell = (value: string) => value.replaceAll("|", "\\|");
  return `| ${id} | ${cell(text)} | ${verdict} | ${cell(tests.join("<br>"))} | ${cell(note)} |\n`;
}
