/** Runs docs/model/run.sh where spin and gcc are installed; prints a named skip elsewhere. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";

const RUN = fileURLToPath(new URL("../../../docs/model/run.sh", import.meta.url));
const LIMIT_MS = 250_000;

function missing(): string | undefined {
  return ["spin", "gcc", "bash"].find((tool) => {
    return spawnSync(tool, ["--version"], { stdio: "ignore" }).error !== undefined;
  });
}

/** @param least how many checks there are at least: the protocol as it is, and each rule broken on purpose */
export function expectAsSpecified(wanted: string, least: number): void {
  const tool = missing();
  if (tool !== undefined) {
    process.stdout.write(`SKIP model ${wanted}: ${tool} is not installed\n`);
    return;
  }
  const { status, stdout, stderr } = spawnSync("bash", [RUN, wanted], {
    encoding: "utf8",
    timeout: LIMIT_MS,
  });
  assert.is(status, 0, stdout + stderr);
  const verdicts = stdout.split("\n").filter((line) => /^(ok|FAIL) /.test(line));
  assert.ok(verdicts.length >= least, stdout);
  assert.ok(
    verdicts.every((line) => line.startsWith("ok ")),
    stdout,
  );
}
