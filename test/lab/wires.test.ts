/** The lab's own wiring, with kernel TCP at both ends: no daemon of ours runs here. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startServer, supportScript, withLab } from "../support/lab.ts";
import { patternSha256 } from "../../host/lab/pattern.ts";
import type { LabNode, OwnLab } from "../../host/lab/lab.ts";

const MIB = 1 << 20;
const wires = suite("lab wires");

interface Fetched {
  status: number;
  bytes: number;
  sha256: string;
  text: string;
  ms: number;
}

async function fetchFrom(node: LabNode, url: string, upload = 0): Promise<Fetched> {
  const args = [supportScript("labclient"), url, String(upload)];
  const { stdout, stderr, status } = await node.run(process.execPath, args);
  assert.is(status, 0, stderr);
  return JSON.parse(stdout) as Fetched;
}

function urls(lab: OwnLab, backend: string): string[] {
  const { address4, address6 } = lab.node(backend).address;
  return [`http://${address4}:8080`, `http://[${address6}]:8080`];
}

for (const [offloads, bytes] of [
  ["on", 64 * MIB],
  ["off", 16 * MIB],
] as const) {
  wires(`kernel TCP carries ${bytes / MIB} MiB both ways, offloads ${offloads}`, async () => {
    await withLab(`offloads ${offloads}`, {}, async (lab) => {
      await lab.offload(offloads === "on");
      await startServer(lab.node("b1"), 8080);
      const expected = patternSha256(bytes);
      for (const url of urls(lab, "b1")) {
        const down = await fetchFrom(lab.nodes.client, `${url}/${bytes}`);
        assert.equal([down.status, down.bytes, down.sha256], [200, bytes, expected]);
        const up = await fetchFrom(lab.nodes.client, `${url}/`, bytes);
        assert.equal(JSON.parse(up.text), { bytes, sha256: expected });
        // A sanity bound, far below what even a busy machine does; figures belong to bench/.
        const gbit = (bytes * 8) / down.ms / 1e6;
        assert.ok(gbit > 0.1, `${gbit.toFixed(2)} Gbit/s is no wire`);
      }
    });
  });
}

wires("a server sees the client's own address, in both families", async () => {
  await withLab("addresses", { backends: 1 }, async (lab) => {
    await startServer(lab.node("b1"), 8080);
    const { address4, address6 } = lab.nodes.client.address;
    const seen = urls(lab, "b1").map((url) => fetchFrom(lab.nodes.client, `${url}/peer`));
    assert.equal(
      (await Promise.all(seen)).map((fetched) => fetched.text),
      [`::ffff:${address4}`, address6],
    );
  });
});

wires("service and tunnel addresses lead to their node and belong to no kernel", async () => {
  await withLab("routes", { backends: 2 }, async (lab) => {
    const { plan } = lab;
    const route = async (where: LabNode, to: string) =>
      (await where.run("ip", ["-oneline", "route", "get", to])).stdout;
    for (const address of [plan.service4, plan.service6]) {
      assert.match(await route(lab.nodes.router, address), / dev forwarder /);
    }
    for (const node of plan.nodes) {
      for (const address of [node.tunnel4, node.tunnel6]) {
        assert.match(await route(lab.nodes.router, address), new RegExp(` dev ${node.name} `));
        const local = await lab.node(node.name).run("ip", ["-oneline", "route", "get", address]);
        assert.match(local.stderr, /Network is unreachable|No route to host/);
      }
    }
    const error = await fetchFrom(lab.nodes.client, `http://${plan.service4}:80/`).catch(String);
    assert.match(String(error), /EHOSTUNREACH|ENETUNREACH/);
  });
});

wires("backends are as many as asked for, more nodes by name", async () => {
  await withLab("many", { backends: 5, more: ["classifier"], mtu: 9000 }, async (lab) => {
    assert.equal(
      lab.backends.map((node) => node.name),
      ["b1", "b2", "b3", "b4", "b5"],
    );
    const { stdout } = await lab.node("classifier").run("ip", ["link", "show", "eth0"]);
    assert.match(stdout, /mtu 9000/);
  });
});

wires.run();
