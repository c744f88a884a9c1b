import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const inspect = suite("inspect");

const MAIN = fileURLToPath(new URL("../../host/cli/main.js", import.meta.url));
const GOLDEN = fileURLToPath(new URL("../../../test/fixtures/blob-v1-ipv4.bin", import.meta.url));

function baton(...args: string[]) {
  return spawnSync(process.execPath, [MAIN, "inspect", ...args], { encoding: "utf8" });
}

inspect("prints the golden blob for a person and as one JSON object", () => {
  const text = baton(GOLDEN);
  assert.is(text.status, 0, text.stderr);
  assert.match(text.stdout, "ESTABLISHED");
  const json = baton(GOLDEN, "--json");
  assert.is(json.status, 0, json.stderr);
  assert.type(JSON.parse(json.stdout), "object");
});

inspect("says in one line what is wrong with a damaged blob, or that there is none", () => {
  const folder = mkdtempSync(join(tmpdir(), "baton-inspect-"));
  try {
    const damaged = join(folder, "blob");
    const bytes = readFileSync(GOLDEN);
    bytes[40] = (bytes[40] ?? 0) ^ 1;
    writeFileSync(damaged, bytes);
    for (const file of [damaged, join(folder, "none")]) {
      const { status, stderr } = baton(file);
      assert.is(status, 1);
      assert.is(stderr.trim().split("\n").length, 1, stderr);
      assert.match(stderr, /^baton: /);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

inspect.run();
