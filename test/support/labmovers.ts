/** A lab with a forwarder and, on each backend, the application of labmover.ts; and what those say. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { writeKeyFile } from "../../host/config/key.ts";
import type { OwnLab } from "../../host/lab/lab.ts";
import { visit } from "../../host/lab/peers.ts";
import type { Ask, VisitResult } from "../../host/lab/visitor.ts";
import { firstLine, supportScript, withLab } from "./lab.ts";
import type { Moved, Part } from "./labmover.ts";

const CLI = fileURLToPath(new URL("../../host/cli/main.js", import.meta.url));
const VISIT_LIMIT_MS = 400_000;

export interface Movers {
  readonly parts: Part[];
  readonly moved: Moved[];
}

/** A forwarder and an application on each backend, which give connections to each other. */
async function start(lab: OwnLab, keyFile: string): Promise<Movers> {
  const { address4, tunnel4, tunnel6 } = lab.nodes.forwarder.address;
  const backends = lab.backends.flatMap(({ address: { name, ...it } }) => {
    return ["--backend", `${name}=${it.address4},tunnel=${it.tunnel4},tunnel=${it.tunnel6}`];
  });
  const vips = ["--vip", `${lab.plan.service4}:80`, "--vip", `[${lab.plan.service6}]:80`];
  const tunnels = ["--tunnel", tunnel4, "--tunnel", tunnel6];
  const flags = [...vips, ...tunnels, ...backends, "--route", "default -> b1,b2"];
  const control = ["--control", `${keyFile}.sock`];
  const own = ["forwarder", "--name", "lb", "--key-file", keyFile, "--json"];
  const words = [CLI, ...own, ...flags, ...control];
  const forwarder = lab.nodes.forwarder.exec(process.execPath, words);
  const said: Movers = { parts: [], moved: [] };
  for (const node of lab.backends) {
    const options = {
      name: node.name,
      tunnel: [node.address.tunnel4, node.address.tunnel6],
      forwarder: [`lb=${address4},tunnel=${tunnel4},tunnel=${tunnel6}`],
      keyFile,
    };
    const script = [supportScript("labmover"), JSON.stringify(options)];
    const app = node.exec(process.execPath, ["--enable-source-maps", ...script]);
    app.stderr?.on("data", (chunk: Buffer) => process.stdout.write(`${node.name}: ${chunk}`));
    assert.match(await firstLine(app), "ready");
    if (!app.stdout) continue;
    createInterface({ input: app.stdout }).on("line", (line) => {
      const one = JSON.parse(line) as Part | Moved;
      if (one.event === "part") said.parts.push(one);
      else said.moved.push(one);
    });
  }
  assert.match(await firstLine(forwarder), "ready");
  return said;
}

export async function ask(lab: OwnLab, family: 4 | 6, one: Ask): Promise<VisitResult> {
  const address = family === 4 ? lab.plan.service4 : lab.plan.service6;
  const visits = [{ id: 0, address, port: 80, tls: false, asks: [one] }];
  const options = { visits, certificate: "", timeoutMs: VISIT_LIMIT_MS };
  const results: VisitResult[] = [];
  await visit(lab.nodes.client, options, (result) => results.push(result));
  return results[0] as VisitResult;
}

/** Until the nodes have met; each backend's turn comes. */
async function meet(lab: OwnLab): Promise<void> {
  const untilMs = performance.now() + 60_000;
  for (let met = 0; met < 4;) {
    const { answers } = await ask(lab, 4, { host: "a.example", path: "/bytes/8/moves/0" });
    met = answers[0]?.status === 200 ? met + 1 : 0;
    assert.ok(performance.now() < untilMs, "the nodes meet");
  }
}

export async function withMovers(
  name: string,
  body: (lab: OwnLab, said: Movers) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), `baton-moving-${process.pid}-`));
  const keyFile = join(folder, "key");
  writeKeyFile(keyFile);
  try {
    await withLab(name, { needTun: true }, async (lab) => {
      const said = await start(lab, keyFile);
      await meet(lab);
      await body(lab, said);
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
