/** What the package depends on, and what of it is written down. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { importsOf, read, sourceFiles } from "./source.ts";

const manifest = suite("package");

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly scripts: Readonly<Record<string, string>>;
}

interface Lock {
  readonly packages: Readonly<Record<string, { hasInstallScript?: boolean; resolved?: string }>>;
}

const PACKAGE = JSON.parse(read("package.json")) as Manifest;
const LOCK = JSON.parse(read("package-lock.json")) as Lock;

manifest("pins every dependency to one version", () => {
  const { dependencies, devDependencies } = PACKAGE;
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
    assert.match(version, /^\d+\.\d+\.\d+$/, name);
  }
});

manifest("justifies each dependency in CONTRIBUTING.md", () => {
  const text = read("CONTRIBUTING.md");
  for (const name of Object.keys(PACKAGE.dependencies)) {
    assert.ok(text.includes(`| \`${name}\` |`), name);
  }
});

manifest("imports at run time only what it depends on", () => {
  const known = new Set(Object.keys(PACKAGE.dependencies));
  const found = sourceFiles("host").flatMap((file) =>
    importsOf(read(file))
      .map(({ target }) => target)
      .filter((target) => !/^(?:\.|node:)/.test(target) && !known.has(target))
      .map((target) => `${file} imports ${target}`),
  );
  assert.equal(found, []);
});

manifest("has no script of its own that runs when it is installed", () => {
  for (const name of ["preinstall", "install", "postinstall", "prepare"]) {
    assert.is(PACKAGE.scripts[name], undefined, name);
  }
  assert.match(read(".npmrc"), /^ignore-scripts=true$/m);
});

manifest("knows every dependency that would like to run a script", () => {
  const wishing = Object.entries(LOCK.packages)
    .filter(([, { hasInstallScript }]) => hasInstallScript === true)
    .map(([path]) => path.replace(/.*node_modules\//, ""));
  // koffi looks for the binary that its optional packages bring; fsevents exists on macOS only.
  assert.equal(
    wishing.filter((name) => name !== "fsevents"),
    ["koffi"],
  );
});

manifest("locks no address of a registry", () => {
  const found = Object.entries(LOCK.packages).filter(([, { resolved }]) => resolved !== undefined);
  assert.equal(found, []);
});

manifest.run();
