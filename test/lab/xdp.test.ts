/** The xdp link in a service: handoffs and transfers through it at the forwarder, then at every node. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ClusterOptions } from "../../host/lab/cluster.ts";
import { patternSha256 } from "../../host/lab/pattern.ts";
import { FAMILIES, IS_FULL, MIB, withService, type TestService } from "../support/labservice.ts";
import { until } from "../support/lab.ts";
import { reasonAgainstXdp } from "../support/xdp.ts";

const xdp = suite("xdp in the lab");
const BULK = IS_FULL ? 256 * MIB : 16 * MIB;
const LINK = ["--link", "xdp:eth0"];

const SETUPS: readonly (readonly [string, Partial<ClusterOptions>])[] = [
  ["the forwarder", { forwarderFlags: LINK }],
  ["every node", { forwarderFlags: LINK, backendFlags: LINK }],
];

function test(name: string, body: () => Promise<void>): void {
  xdp(name, async () => {
    const missing = reasonAgainstXdp();
    if (missing === "") await body();
    else process.stdout.write(`SKIP ${name}: ${missing}\n`);
  });
}

async function transfer(service: TestService): Promise<void> {
  for (const family of FAMILIES) {
    const down = { host: "api.example", path: `/bytes/${BULK}` };
    const up = { host: "shop.example", path: "/static/upload", upload: BULK };
    const [downloaded, uploaded] = await Promise.all([
      service.visit({ family, asks: [down] }),
      service.visit({ family, asks: [up] }),
    ]);
    assert.equal([downloaded.error, uploaded.error], [undefined, undefined]);
    assert.is(downloaded.answers[0]?.sha256, patternSha256(BULK));
    const body = JSON.parse(uploaded.answers[0]?.text ?? "") as Record<string, unknown>;
    assert.equal([body["bytes"], body["sha256"]], [BULK, patternSha256(BULK)]);
  }
}

/** Names of the nodes' devices on which a program hangs. */
async function attached(service: TestService): Promise<string[]> {
  const nodes = [service.lab.nodes.forwarder, ...service.lab.backends];
  const found = await Promise.all(
    nodes.map(async (node) => {
      const { stdout } = await node.run("ip", ["link", "show", "dev", "eth0"]);
      return /\bxdp/.test(stdout) ? node.name : "";
    }),
  );
  return found.filter((name) => name !== "");
}

for (const [where, flags] of SETUPS) {
  test(`transfers arrive whole with the link at ${where}`, () =>
    withService(
      where,
      {},
      async (service) => {
        const all = where === "every node" ? ["forwarder", "b1", "b2"] : ["forwarder"];
        assert.equal(await attached(service), all);
        await transfer(service);
        const counters = await service.counters();
        for (const name of all) {
          const link = counters.get(name)?.["link"] ?? {};
          const { rxDropped = 0, rxNoFrame = 0, ...others } = link;
          const lost = Object.entries(others).filter(
            ([key, count]) => count > 0 && /Invalid|Refused|Unroutable|Errors/.test(key),
          );
          assert.equal(lost, [], name);
          // A busy processor may leave the kernel without a frame for a moment, however long that is; nothing may be
          // too long for one. That frames come back is for test/ring, that nodes keep reading for test/node/engine.
          assert.ok(
            rxDropped <= rxNoFrame,
            `${name}: ${rxDropped} dropped, ${rxNoFrame} for want of a frame`,
          );
          assert.ok((link["txPackets"] ?? 0) > 100 * (link["viaKernel"] ?? 0), "straight");
        }
        assert.equal(await attached(service), [], "nothing is left");
      },
      flags,
    ));
}

test("a killed node leaves no program behind, and the kernel's own services go on meanwhile", () =>
  withService(
    "killed",
    {},
    async (service) => {
      const { forwarder, client } = service.lab.nodes;
      const server = forwarder.exec(process.execPath, [
        "-e",
        `require("net").createServer((s) => s.end("kernel")).listen(2222, () => console.log("on"))`,
      ]);
      await new Promise((resolve) => server.stdout?.once("data", resolve));
      for (const address of [forwarder.address.address4, forwarder.address.address6]) {
        const { stdout } = await client.run(process.execPath, [
          "-e",
          `require("net").connect(2222, "${address}").pipe(process.stdout)`,
        ]);
        assert.is(stdout, "kernel");
      }
      server.kill("SIGKILL");
      const { cluster } = service;
      cluster.forwarder.child.kill("SIGKILL");
      await cluster.forwarder.ended;
      let left: string[] = ["unknown"];
      const look = setInterval(() => void attached(service).then((now) => (left = now)), 50);
      await until("the program to go", 5_000, () => left.length === 0).finally(() =>
        clearInterval(look),
      );
      await cluster.startForwarder().ready;
      assert.equal(await attached(service), ["forwarder"], "and a new one may come at once");
    },
    { forwarderFlags: LINK },
  ));

xdp.run();
