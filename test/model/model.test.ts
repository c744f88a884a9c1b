/** Runs the models of the handoff protocol (docs/model) where spin and gcc are installed. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const model = suite("model");

const RUN = fileURLToPath(new URL("../../../docs/model/run.sh", import.meta.url));
const LIMIT_MS = 250_000;
/** Checks of each model at least: the protocol as it is, and each rule broken on purpose. */
const CHECKS = { reset: 4, flowid: 6, tuple: 8 } as const;
/** The larger ones take half a minute each. */
const WANTED: readonly (keyof typeof CHECKS)[] =
  process.env["BATON_FULL"] === "1" ? ["reset", "flowid", "tuple"] : ["reset"];

function missing(): string | undefined {
  return ["spin", "gcc", "bash"].find((tool) => {
    return spawnSync(tool, ["--version"], { stdio: "ignore" }).error !== undefined;
  });
}

for (const name of WANTED) {
  model(`${name} holds as specified, and objects to every rule that is broken on purpose`, () => {
    const tool = missing();
    if (tool !== undefined) {
      process.stdout.write(`SKIP model ${name}: ${tool} is not installed\n`);
      return;
    }
    const { status, stdout, stderr } = spawnSync("bash", [RUN, name], {
      encoding: "utf8",
      timeout: LIMIT_MS,
    });
    assert.is(status, 0, stdout + stderr);
    const verdicts = stdout.split("\n").filter((line) => /^(ok|FAIL) /.test(line));
    assert.ok(verdicts.length >= CHECKS[name], stdout);
    assert.ok(
      verdicts.every((line) => line.startsWith("ok ")),
      stdout,
    );
  });
}

model.run();
