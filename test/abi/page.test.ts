/**
 * docs/abi.md against the sources and the built module. `UPDATE_ABI=1` writes the page's generated parts.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { instantiateCore } from "../../host/core/module.ts";
import { read, ROOT } from "../house/source.ts";
import {
  renderConstants,
  renderEnums,
  renderFunctions,
  renderStructures,
  splice,
} from "./render.ts";
import { constants, enums, functionGroups, structures } from "./source.ts";

const page = suite("abi page");

const PAGE = "docs/abi.md";
const BUILDS = ["core.wasm", "core-baseline.wasm"].map((name) =>
  instantiateCore(readFileSync(join(ROOT, "build", name))),
);
const [CORE] = BUILDS;
const STRUCTURES = ["Parameters", "Descriptor", "Tuple", "Event", "Info", "MapInfo", "Mapping"];

function value(name: string): number {
  const [group = "", member] = name.split(".");
  const found = member === undefined ? CORE?.numbers[group] : CORE?.enums[group]?.[member];
  if (found === undefined) throw new Error(`core.wasm exports no ${name}`);
  return found;
}

/** What the module exports, as the page names it: functions, constants, `Enum.MEMBER`. */
function exported(build = CORE): string[] {
  if (!build) throw new Error("there is no build");
  const members = Object.entries(build.enums).flatMap(([name, group]) =>
    Object.keys(group).map((member) => `${name}.${member}`),
  );
  return [...Object.keys(build.functions), ...Object.keys(build.numbers), ...members].sort();
}

function made(): string {
  const enumNames = Object.keys(CORE?.enums ?? {});
  const numberNames = Object.keys(CORE?.numbers ?? {});
  let text = splice(read(PAGE), "functions", renderFunctions(functionGroups()));
  text = splice(text, "structures", renderStructures(structures(STRUCTURES)));
  text = splice(text, "constants", renderConstants(constants(numberNames), value));
  return splice(text, "enums", renderEnums(enums(enumNames), value));
}

page("says what the sources say", () => {
  const text = made();
  if (process.env["UPDATE_ABI"] === "1") writeFileSync(join(ROOT, PAGE), text);
  assert.ok(read(PAGE) === text, `${PAGE} is out of date: UPDATE_ABI=1 writes it`);
});

page("lists exactly the exports of the built module, each once", () => {
  const rows = read(PAGE)
    .split("\n")
    .filter((line) => /^\| `\w+(\.\w+|\()?/.test(line));
  const named = rows.flatMap((row) => /^\| `(\w+(?:\.\w+)?)[`(]/.exec(row)?.[1] ?? []);
  // The module's one export that is neither a function nor a number; files are no exports.
  assert.equal(named.filter((name) => !name.startsWith("core")).sort(), exported());
});

page("explains every function", () => {
  const silent = functionGroups().flatMap(({ functions }) =>
    functions.filter(({ doc }) => doc.length < 10).map(({ name }) => name),
  );
  assert.equal(silent, []);
});

page("has one ABI in both builds", () => {
  const [, baseline] = BUILDS;
  assert.equal(exported(baseline), exported());
  assert.equal(baseline?.enums, CORE?.enums);
  assert.equal(baseline?.numbers, CORE?.numbers);
});

page.run();
