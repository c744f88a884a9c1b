/** Acceptance: createBackend in an application of its own, on real packets. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writeKeyFile } from "../../host/config/key.ts";
import type { OwnLab } from "../../host/lab/lab.ts";
import { firstLine, supportScript, withLab } from "../support/lab.ts";

const library = suite("library");

const CLI = fileURLToPath(new URL("../../host/cli/main.js", import.meta.url));
const ANSWER_LIMIT_MS = 60_000;
/** Until the nodes have met. */
const NOT_YET = "503";

/** The forwarder's process and the application's, ready. */
async function start(lab: OwnLab, keyFile: string) {
  const b1 = lab.node("b1").address;
  const { address4, tunnel4, tunnel6 } = lab.nodes.forwarder.address;
  const flags = {
    name: "lb",
    tunnel: tunnel4,
    vip: `${lab.plan.service4}:80`,
    backend: `b1=${b1.address4},tunnel=${b1.tunnel4},tunnel=${b1.tunnel6}`,
    route: "default -> b1",
    "key-file": keyFile,
  };
  const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
  const more = ["--json", "--tunnel", tunnel6, "--vip", `[${lab.plan.service6}]:80`];
  const forwarder = lab.nodes.forwarder.exec(process.execPath, [
    CLI,
    "forwarder",
    ...words,
    ...more,
  ]);
  const options = {
    name: "b1",
    tunnel: [b1.tunnel4, b1.tunnel6],
    forwarder: [`lb=${address4},tunnel=${tunnel4},tunnel=${tunnel6}`],
    keyFile,
  };
  const script = [supportScript("labapp"), JSON.stringify(options)];
  const app = lab.node("b1").exec(process.execPath, ["--enable-source-maps", ...script]);
  assert.match(await firstLine(forwarder), "ready");
  assert.is(await firstLine(app), "attached");
  return app;
}

library(
  "an HTTP server that never listens serves migrated connections of both families",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), `baton-library-${process.pid}-`));
    const keyFile = join(folder, "key");
    writeKeyFile(keyFile);
    try {
      await withLab("library", { backends: 1, needTun: true }, async (lab) => {
        const app = await start(lab, keyFile);
        const { client } = lab.nodes;
        const { address4, address6 } = client.address;
        for (const [url, address, path] of [
          [`http://${lab.plan.service4}/four`, address4, "/four"],
          [`http://[${lab.plan.service6}]/six`, address6, "/six"],
        ] as const) {
          const untilMs = performance.now() + ANSWER_LIMIT_MS;
          let text = NOT_YET;
          while (text.startsWith(NOT_YET) && performance.now() < untilMs) {
            text = (await client.run("curl", ["-sS", "-m", "60", url])).stdout;
          }
          assert.is(text, `${address} ${path}`, "the real client's address");
        }
        app.kill("SIGINT");
        assert.is((await once(app, "exit"))[0], 0);
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

library.run();
