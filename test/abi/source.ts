/**
 * The ABI as the sources of the core write it down: exported functions, structures, enums and constants with
 * their comments. Knows how assembly/ is written (one declaration a line, a comment before it); must not know
 * what anything means.
 */
import { read, sourceFiles } from "../house/source.ts";

export interface AbiFunction {
  readonly name: string;
  /** `mapSet(action: u32, peer: u32, flow: u32) -> i32` */
  readonly signature: string;
  readonly doc: string;
}

export interface AbiGroup {
  readonly title: string;
  readonly functions: readonly AbiFunction[];
}

export interface AbiStructure {
  readonly name: string;
  /** Lines of the comment: what it is, then its fields by offset. */
  readonly doc: readonly string[];
}

export interface AbiValue {
  readonly name: string;
  readonly doc: string;
}

export interface AbiEnum extends AbiValue {
  readonly members: readonly AbiValue[];
}

/** The files that export functions, in the order of the page, and the title of what comes first in each. */
const FUNCTION_FILES: readonly (readonly [string, string])[] = [
  ["assembly/index.ts", "start and scratch structures"],
  ["assembly/tables.ts", ""],
  ["assembly/connections.ts", "connections of the own stack"],
  ["assembly/migration.ts", "blobs"],
  ["assembly/xdp.ts", "rings of the xdp link"],
];

const COMMENT = String.raw`(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\n)?`;

export function functionGroups(): AbiGroup[] {
  return FUNCTION_FILES.flatMap(([file, first]) => {
    const parts = read(file).split(/^\/\/ ---- (.*)$/m);
    const titled: AbiGroup[] = [{ title: first, functions: functionsOf(parts[0] ?? "") }];
    for (let at = 1; at < parts.length; at += 2) {
      titled.push({ title: parts[at] ?? "", functions: functionsOf(parts[at + 1] ?? "") });
    }
    return titled.filter(({ functions }) => functions.length > 0);
  });
}

function functionsOf(source: string): AbiFunction[] {
  const pattern = new RegExp(`^${COMMENT}export function (\\w+)\\(([^)]*)\\): (\\w+) \\{`, "gm");
  const isCalledByHost = (name: string): boolean => name !== "blobReserve";
  return [...source.matchAll(pattern)]
    .filter(([, , name = ""]) => isCalledByHost(name))
    .map(([, comment = "", name = "", parameters = "", result = ""]) => ({
      name,
      signature: `${name}(${parameters.replace(/\s+/g, " ").trim()})${result === "void" ? "" : ` -> ${result}`}`,
      doc: lines(comment).join(" ").trim(),
    }));
}

export function structures(names: readonly string[]): AbiStructure[] {
  const sources = sourceFiles("assembly").map(read);
  return names.map((name) => {
    const pattern = new RegExp(`^${COMMENT}@unmanaged\\nexport class ${name} `, "m");
    const comment = sources.map((source) => pattern.exec(source)?.[1]).find((found) => found);
    if (comment === undefined) throw new Error(`assembly/: no commented class ${name}`);
    return { name, doc: lines(comment) };
  });
}

export function enums(names: readonly string[]): AbiEnum[] {
  const sources = sourceFiles("assembly").map(read);
  return names.map((name) => {
    const pattern = new RegExp(`^${COMMENT}export enum ${name} \\{\\n([\\s\\S]*?)^\\}`, "m");
    const found = sources.map((source) => pattern.exec(source)).find((match) => match);
    if (!found) throw new Error(`assembly/: no enum ${name}`);
    return { name, doc: lines(found[1] ?? "").join(" "), members: membersOf(found[2] ?? "") };
  });
}

/** A comment before several members is of them all: it stands with the first. */
function membersOf(body: string): AbiValue[] {
  const pattern = /(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*)?^ {2}(\w+)(?: = [^,]+)?,?$/gm;
  return [...body.matchAll(pattern)].map(([, comment = "", name = ""]) => ({
    name,
    doc: lines(comment).join(" ").trim(),
  }));
}

export function constants(names: readonly string[]): AbiValue[] {
  const sources = sourceFiles("assembly").map(read);
  return names.map((name) => {
    const pattern = new RegExp(`^${COMMENT}export const ${name}\\b`, "m");
    const found = sources.map((source) => pattern.exec(source)).find((match) => match);
    if (!found) throw new Error(`assembly/: no constant ${name}`);
    return {
      name,
      doc: lines(found[1] ?? "")
        .join(" ")
        .trim(),
    };
  });
}

/** The text of a comment without its frame; indentation of tables is kept. */
function lines(comment: string): string[] {
  const all = comment.split("\n").map((line) => line.replace(/^\s*\* ?/, "").trimEnd());
  while (all[0]?.trim() === "") all.shift();
  while (all.at(-1)?.trim() === "") all.pop();
  if (all.length === 1) all[0] = (all[0] ?? "").trim();
  return all;
}
