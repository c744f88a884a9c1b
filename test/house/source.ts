/** The repository's own sources as the house's tests see them: files, rooms, imports. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";

/** Tests run from build/test/house. */
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");

export interface Import {
  /** As it is written. */
  readonly target: string;
  /** Only types: nothing is left of it at run time. */
  readonly typesOnly: boolean;
  readonly dynamic: boolean;
}

/** Paths of TypeScript files below a folder, from the root, with forward slashes. */
export function sourceFiles(folder: string): string[] {
  return readdirSync(join(ROOT, folder)).flatMap((name) => {
    const path = posix.join(folder, name);
    if (statSync(join(ROOT, path)).isDirectory()) return sourceFiles(path);
    return name.endsWith(".ts") ? [path] : [];
  });
}

export function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/** Without comments; strings that hold comment signs are kept whole. */
export function withoutComments(source: string): string {
  const pattern =
    /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;
  return source.replace(pattern, (match) => (match.startsWith("/") ? " " : match));
}

export function importsOf(source: string): Import[] {
  const code = withoutComments(source);
  const declared =
    /(?:^|[;\n])\s*(import|export)\s+(type\s+)?([\w$*{}\s,]*?)\s*\bfrom\s*["']([^"']+)["']/g;
  const found: Import[] = [...code.matchAll(declared)].map(
    ([, , type, names = "", target = ""]) => {
      const list = /^\{([^}]*)\}$/.exec(names.trim())?.[1];
      const parts = list?.split(",").filter((part) => part.trim() !== "") ?? [];
      const inline = parts.length > 0 && parts.every((part) => /^\s*type\s/.test(part));
      return { target, typesOnly: type !== undefined || inline, dynamic: false };
    },
  );
  for (const [, target = ""] of code.matchAll(/(?:^|[;\n])\s*import\s*["']([^"']+)["']/g)) {
    found.push({ target, typesOnly: false, dynamic: false });
  }
  for (const [, target = ""] of code.matchAll(/\b(?:import|require)\s*\(\s*["']([^"']+)["']/g)) {
    found.push({ target, typesOnly: false, dynamic: true });
  }
  return found;
}

/** "host/routing/http.ts" -> "host/routing"; "host/errors.ts" -> "host/errors". */
export function roomOf(path: string): string {
  return path.split("/").slice(0, 2).join("/").replace(/\.ts$/, "");
}

/** The path that a relative import of `file` means, without ".ts"; undefined for packages. */
export function resolveImport(file: string, target: string): string | undefined {
  if (!target.startsWith(".")) return undefined;
  return posix.join(posix.dirname(file), target).replace(/\.[jt]s$/, "");
}
