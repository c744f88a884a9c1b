/** Compares every import with the list of arrows in docs/architecture.md. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { importsOf, read, resolveImport, roomOf, sourceFiles, withoutComments } from "./source.ts";
import type { Import } from "./source.ts";

const arrows = suite("arrows");

const LAW = readLaw(read("docs/architecture.md"));
const FILES = [...sourceFiles("assembly"), ...sourceFiles("host")];

interface Law {
  readonly rooms: ReadonlyMap<string, readonly string[]>;
  readonly shared: readonly string[];
  readonly contracts: readonly string[];
  readonly sansIo: readonly string[];
}

function readLaw(document: string): Law {
  const block = /```arrows\n([\s\S]*?)```/.exec(document)?.[1] ?? "";
  const rooms = new Map<string, readonly string[]>();
  const lists = new Map<string, readonly string[]>();
  for (const line of block.split("\n").filter((line) => line.trim() !== "")) {
    const [name = "", ...rest] = line.trim().split(/\s+/);
    if (rest[0] === "->") rooms.set(name, rest.slice(1));
    else lists.set(name, rest);
  }
  const list = (name: string): readonly string[] => lists.get(name) ?? [];
  const { shared, contracts, sansIo } = {
    ...{ shared: list("shared"), contracts: list("contracts"), sansIo: list("sans-io") },
  };
  return { rooms, shared, contracts, sansIo };
}

/** Why `file` may not import this; undefined when it may. */
function complaint(file: string, { target, typesOnly }: Import): string | undefined {
  const path = resolveImport(file, target);
  if (path === undefined) return undefined;
  const room = roomOf(file);
  const other = roomOf(path);
  const isFree = room === other || LAW.shared.includes(path) || LAW.rooms.get(room)?.includes("*");
  if (isFree || LAW.rooms.get(room)?.includes(other)) return undefined;
  if (!LAW.contracts.includes(path)) return `${file} imports ${path}`;
  return typesOnly ? undefined : `${file} imports more than types of the contract ${path}`;
}

arrows("are read from the architecture's list", () => {
  assert.ok(LAW.rooms.size > 10 && LAW.contracts.length > 3 && LAW.sansIo.length > 2);
  assert.ok(LAW.shared.includes("host/errors"));
});

arrows("lead from every room that exists, and from no other", () => {
  const rooms = new Set(FILES.map(roomOf));
  const unknown = [...rooms].filter((room) => !LAW.rooms.has(room) && !LAW.shared.includes(room));
  assert.equal(unknown, [], "rooms without a line in the list");
});

arrows("are the only imports between rooms", () => {
  const found = FILES.flatMap((file) => {
    return importsOf(read(file)).map((item) => complaint(file, item) ?? "");
  });
  assert.ok(found.length > 100, "imports are found at all");
  assert.equal(
    found.filter((text) => text !== ""),
    [],
  );
});

arrows("make no circle between rooms", () => {
  const visit = (room: string, path: readonly string[]): void => {
    assert.not.ok(path.includes(room), `circle ${[...path, room].join(" -> ")}`);
    for (const next of LAW.rooms.get(room) ?? []) visit(next, [...path, room]);
  };
  for (const room of LAW.rooms.keys()) visit(room, []);
});

arrows("lead from no sans-IO room to Node or a package", () => {
  const found: string[] = [];
  for (const file of FILES.filter((path) => LAW.sansIo.includes(roomOf(path)))) {
    for (const { target } of importsOf(read(file))) {
      const isLoader = roomOf(file) === "host/core" && target === "@assemblyscript/loader";
      if (!target.startsWith(".") && !isLoader) found.push(`${file} imports ${target}`);
    }
    const globals =
      /\b(?:process|Buffer|setTimeout|setInterval|setImmediate|Date\.now|performance|Math\.random)\b/;
    const code = withoutComments(read(file)).replace(/"[^"\n]*"|`[^`]*`/g, "");
    const used = globals.exec(code)?.[0];
    if (used !== undefined) found.push(`${file} names ${used}`);
  }
  assert.equal(found, []);
});

arrows("lead from the core to nothing outside of it", () => {
  const found = sourceFiles("assembly").flatMap((file) =>
    importsOf(read(file))
      .filter(({ target }) => !resolveImport(file, target)?.startsWith("assembly/"))
      .map(({ target }) => `${file} imports ${target}`),
  );
  assert.equal(found, []);
});

arrows("leave WebAssembly, the loader and unsigned numbers to host/core", () => {
  // sim is a TCP of its own and does its own sequence arithmetic; it never sees the core's numbers.
  const foreign = FILES.filter((path) => path.startsWith("host/") && roomOf(path) !== "host/core");
  const found: string[] = [];
  for (const file of foreign) {
    const code = withoutComments(read(file));
    if (/\bWebAssembly\b|assemblyscript\/loader/.test(code))
      found.push(`${file} names WebAssembly`);
    const isSim = roomOf(file) === "host/sim";
    if (/>>>\s*0\b/.test(code) && !isSim) found.push(`${file} makes numbers unsigned`);
  }
  assert.equal(found, []);
});

/** Every file that is loaded with this one. */
function loadedWith(start: string): ReadonlySet<string> {
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const { target, typesOnly, dynamic } of importsOf(read(file))) {
      if (typesOnly || dynamic) continue;
      assert.is.not(target, "koffi", `${file} imports koffi`);
      const path = resolveImport(file, target);
      if (path !== undefined) visit(`${path}.ts`);
    }
  };
  visit(start);
  return seen;
}

arrows("lead from the rehearsal to nothing of Linux", () => {
  const seen = loadedWith("host/rehearsal/demo.ts");
  assert.ok(seen.size > 50, "imports are followed at all");
  assert.equal(
    [...seen].filter((file) => roomOf(file) === "host/linux"),
    [],
  );
});

arrows("lead from the start of the command line to no native module", () => {
  const seen = loadedWith("host/cli/main.ts");
  assert.ok(seen.size > 5, "imports are followed at all");
  const heavy = ["lab", "node", "transport", "link", "sim", "app", "daemon", "rehearsal"].map(
    (room) => `host/${room}`,
  );
  const loaded = [...seen].filter((file) => heavy.includes(roomOf(file)));
  assert.equal(loaded, [], "commands import their rooms when they run");
});

arrows("are seen in every form an import takes", () => {
  const source = `
    import "./a.ts"; import b from "./b.ts"; import { c, type D } from "./c.ts";
    import type { E } from "./e.ts"; import { type F, type G } from "./f.ts";
    export * from "./g.ts"; export { h } from './h.ts'; import * as i from "./i.ts";
    const j = await import("./j.ts"); // import "./comment.ts"
    /* import k from "./comment.ts" */ const text = "// import";
    import {
      l,
    } from "node:fs";`;
  const found = importsOf(source).map(({ target, typesOnly, dynamic }) => {
    return `${target}${typesOnly ? " types" : ""}${dynamic ? " dynamic" : ""}`;
  });
  const expected = [
    "./a.ts",
    "./b.ts",
    "./c.ts",
    "./e.ts types",
    "./f.ts types",
    "./g.ts",
    "./h.ts",
  ];
  expected.push("./i.ts", "./j.ts dynamic", "node:fs");
  assert.equal(found.sort(), expected.sort());
});

arrows("are refused where the list has none", () => {
  const typed = { typesOnly: true, dynamic: false };
  const valued = { typesOnly: false, dynamic: false };
  const of = (file: string, target: string, kind: Omit<Import, "target">) =>
    complaint(file, { target, ...kind });
  assert.ok(of("assembly/tcp/x.ts", "../blob/format", valued));
  assert.ok(of("host/routing/x.ts", "../core/core.ts", typed));
  assert.ok(of("host/routing/x.ts", "../node/connection.ts", valued));
  assert.not(of("host/routing/x.ts", "../node/connection.ts", typed));
  assert.not(of("host/node/x.ts", "../routing/router.ts", valued));
  assert.not(of("host/cli/x.ts", "../lab/lab.ts", valued));
});

arrows.run();
