/**
 * Where the core does something else than the kernel, and why: test/conformance/linux.json. Knows the file and how
 * it is rendered; must not know how differences are found.
 */
import { readFileSync, writeFileSync } from "node:fs";
import type { Difference } from "./compare.ts";

const FILE = new URL("../../../test/conformance/linux.json", import.meta.url);

export interface Argument {
  /** Heading. */
  readonly what: string;
  /** Why the core does otherwise. */
  readonly why: string;
  readonly scripts: readonly (Difference & { readonly name: string })[];
}

export function readArguments(): Argument[] {
  return JSON.parse(readFileSync(FILE, "utf8")) as Argument[];
}

export function writeArguments(all: readonly Argument[]): void {
  writeFileSync(FILE, JSON.stringify(all, null, 2) + "\n");
}

/** Puts what was found where it is argued; what nobody has argued yet goes to an entry without a reason. */
export function update(
  known: readonly Argument[],
  found: ReadonlyMap<string, Difference>,
): Argument[] {
  const left = new Map(found);
  const kept = known
    .map((argument) => ({
      ...argument,
      scripts: argument.scripts.flatMap(({ name }) => {
        const difference = left.get(name);
        left.delete(name);
        return difference ? [{ name, ...difference }] : [];
      }),
    }))
    .filter(({ scripts }) => scripts.length > 0);
  const fresh = [...left].map(([name, difference]) => ({ name, ...difference }));
  return fresh.length === 0 ? kept : [...kept, { what: "", why: "", scripts: fresh }];
}

/** The section of docs/conformance.md. */
export function renderDifferences(
  all: readonly Argument[],
  kernel: string,
  scripts: number,
): string {
  const differing = all.reduce((sum, { scripts }) => sum + scripts.length, 0);
  return (
    "\n## Where it differs from Linux\n\n" +
    `${scripts} scripted peers (test/differential/scripts) are played against the core and against Linux ${kernel} ` +
    `on a TUN device: ${scripts - differing} get the same segments from both, at about the same times. The others ` +
    "follow, with what only Linux and only the core did; a test fails when a difference is not listed, or a listed " +
    "one is gone. Numbers are relative, `200 <` means sent 200 ms after the last thing that happened. The value of " +
    "the window, but for zero, and PSH on data are not compared: buffers are each stack's own affair, and Linux " +
    "pushes at the end of each of its own.\n" +
    all.map(section).join("")
  );
}

function section({ what, why, scripts }: Argument): string {
  const rows = scripts.map(({ name, linux, baton }) => {
    const cell = (lines: readonly string[]) =>
      lines.map((line) => `\`${line.replaceAll("|", "\\|")}\``).join("<br>");
    return `| ${name} | ${cell(linux)} | ${cell(baton)} |\n`;
  });
  return `\n### ${what}\n\n${why}\n\n| script | Linux only | core only |\n| --- | --- | --- |\n${rows.join("")}`;
}
