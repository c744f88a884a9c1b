/** Findings for a person, and for programs. Knows both forms only. */
import { isFit, type Finding, type Verdict } from "./examine.ts";

const MARKS: Readonly<Record<Verdict, string>> = { ok: "ok", note: "note", missing: "MISSING" };

export function formatFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ name }) => name.length));
  const lines = findings.map(({ name, verdict, found, advice }) => {
    const tail = advice === "" ? found : `${found}: ${advice}`;
    return `${MARKS[verdict].padEnd(9)}${name.padEnd(width + 2)}${tail}`;
  });
  const end = isFit(findings) ? "a node can run here" : "no node can run here";
  return [...lines, end, ""].join("\n");
}

export function findingsJson(findings: readonly Finding[]): string {
  return JSON.stringify({ fit: isFit(findings), findings }) + "\n";
}
