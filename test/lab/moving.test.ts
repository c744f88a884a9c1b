/**
 * Acceptance: a library application gives its connections to another backend in the middle of a download and
 * of an upload, ten times each. Every byte arrives, in order and once, and nothing is reset.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writeKeyFile } from "../../host/config/key.ts";
import type { OwnLab } from "../../host/lab/lab.ts";
import { patternChunks, patternSha256 } from "../../host/lab/pattern.ts";
import { visit } from "../../host/lab/peers.ts";
import type { Ask, VisitResult } from "../../host/lab/visitor.ts";
import { firstLine, supportScript, withLab } from "../support/lab.ts";
import { IS_FULL, MIB } from "../support/labservice.ts";
import type { Moved, Part } from "../support/labmover.ts";

const moving = suite("moving in the lab");

const CLI = fileURLToPath(new URL("../../host/cli/main.js", import.meta.url));
const BYTES = IS_FULL ? 1024 * MIB : 24 * MIB;
const MOVES = 10;
const VISIT_LIMIT_MS = 400_000;

interface Applications {
  readonly parts: Part[];
  readonly moved: Moved[];
}

/** A forwarder and an application on each backend, which give connections to each other. */
async function start(lab: OwnLab, keyFile: string): Promise<Applications> {
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
  const said: Applications = { parts: [], moved: [] };
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

async function ask(lab: OwnLab, family: 4 | 6, one: Ask): Promise<VisitResult> {
  const address = family === 4 ? lab.plan.service4 : lab.plan.service6;
  const visits = [{ id: 0, address, port: 80, tls: false, asks: [one] }];
  const options = { visits, certificate: "", timeoutMs: VISIT_LIMIT_MS };
  const results: VisitResult[] = [];
  await visit(lab.nodes.client, options, (result) => results.push(result));
  return results[0] as VisitResult;
}

/** Until the nodes have met; each backend's turn comes. */
async function meet(lab: OwnLab): Promise<void> {
  const untilMs = performance.now() + 10_000;
  for (let met = 0; met < 4;) {
    const { answers } = await ask(lab, 4, { host: "a.example", path: "/bytes/8/moves/0" });
    met = answers[0]?.status === 200 ? met + 1 : 0;
    assert.ok(performance.now() < untilMs, "the nodes meet");
  }
}

async function withApplications(
  name: string,
  body: (lab: OwnLab, said: Applications) => Promise<void>,
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

function expectMoves(said: Applications, count: number): void {
  const outcomes = said.moved.map(({ outcome }) => outcome);
  assert.equal(outcomes, Array<string>(count).fill("moved"));
}

/** SHA-256 of a part of the pattern. */
function partSha256(from: number, to: number): string {
  const hash = createHash("sha256");
  let at = 0;
  for (const chunk of patternChunks(to)) {
    hash.update(chunk.subarray(Math.max(0, Math.min(chunk.length, from - at))));
    at += chunk.length;
  }
  return hash.digest("hex");
}

moving(`${MOVES} moves in the middle of a download of ${BYTES / MIB} MiB`, async () => {
  await withApplications("moving download", async (lab, said) => {
    for (const family of [4, 6] as const) {
      if (family === 6 && IS_FULL) continue; // The size is the point there.
      said.moved.length = 0;
      const path = `/bytes/${BYTES}/moves/${MOVES}`;
      const { answers, error } = await ask(lab, family, { host: "a.example", path });
      assert.is(error, undefined);
      const [answer] = answers;
      assert.equal([answer?.status, answer?.bytes], [200, BYTES]);
      assert.is(answer?.sha256, patternSha256(BYTES));
      expectMoves(said, MOVES);
    }
  });
});

moving(`${MOVES} moves in the middle of an upload of ${BYTES / MIB} MiB`, async () => {
  await withApplications("moving upload", async (lab, said) => {
    const one = { host: "a.example", path: `/moves/${MOVES}`, upload: BYTES };
    const { answers, error } = await ask(lab, 4, one);
    assert.is(error, undefined);
    assert.is(answers[0]?.status, 200);
    expectMoves(said, MOVES);
    const parts = [...said.parts].sort((a, b) => a.from - b.from).filter(({ to }) => to > 0);
    assert.is(parts.length, MOVES + 1);
    let at = 0;
    for (const { from, to, sha256 } of parts) {
      assert.is(from, at, "each part begins where the last one ended");
      assert.is(sha256, partSha256(from, to), `bytes ${from} to ${to}`);
      at = to;
    }
    assert.is(at, BYTES);
  });
});

moving.run();
