/** The matrix as tables of docs/interoperation.md. Knows the table only. */
import {
  bytesOf,
  FULL_ROWS,
  mtuOf,
  QUICK_ROWS,
  SERVERS,
  talkOf,
  TALKS,
  TOOLS,
  type Row,
  type Talk,
} from "./table.ts";

/** Everything behind this line is made. */
export const MARK = "<!-- Made from test/support/interop/table.ts: UPDATE_INTEROP=1 renews it. -->";

export function renderMatrix(): string {
  const servers = Object.entries(SERVERS).map(([name, what]) => `| \`${name}\` | ${what} |`);
  const talks = Object.entries<Talk>(TALKS).map(
    ([name, { tool, over, servers: some }]) =>
      `| ${name} | ${TOOLS[tool]} | ${over} | ${some.map((each) => `\`${each}\``).join(", ")} |`,
  );
  const parts = [
    ["## Servers", "", "| server | what it is |", "| --- | --- |", ...servers],
    [
      "## Clients",
      "",
      "| what | package | over | servers |",
      "| --- | --- | --- | --- |",
      ...talks,
    ],
    [`## In every \`npm test\`: ${QUICK_ROWS.length} rows`, "", ...rowTable(QUICK_ROWS)],
    [`## With BATON_FULL=1: ${FULL_ROWS.length} rows`, "", ...rowTable(FULL_ROWS)],
  ];
  return parts.map((lines) => lines.join("\n")).join("\n\n") + "\n";
}

function rowTable(rows: readonly Row[]): string[] {
  const head = "| client | server | IP | loss | delay | order | MTU | its window | ours | bytes |";
  const rule = `|${" --- |".repeat(10)}`;
  return [head, rule, ...rows.map(rowLine)];
}

function rowLine(row: Row): string {
  const { name, talk, server } = talkOf(row);
  const isTimed = talk.over === "iperf3" || talk.tool === "wrk";
  const cells = [
    name,
    server,
    row.family,
    `${row.lossPercent} %`,
    `${row.delayMs} ms`,
    row.disorder === "none" ? "kept" : row.disorder,
    mtuOf(row),
    row.window,
    row.ours,
    isTimed ? "for seconds" : bytesOf(row),
  ];
  return `| ${cells.join(" | ")} |`;
}
