/** `--announce`: a neighbour finds service addresses that nobody owns and no route leads to. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Cluster } from "../../host/lab/cluster.ts";
import type { OwnLab } from "../../host/lab/lab.ts";
import { withLab } from "../support/lab.ts";
import { askRaw } from "../support/labraw.ts";

const announce = suite("announce");

const REQUEST = "GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n";

async function ip(lab: OwnLab, node: string, line: string): Promise<string> {
  const { status, stdout, stderr } = await lab.node(node).run("ip", line.split(" "));
  assert.is(status, 0, `ip ${line}: ${stderr}`);
  return stdout;
}

/** From now on the router takes the service addresses for neighbours on the forwarder's network. */
async function unroute(lab: OwnLab): Promise<void> {
  await ip(lab, "router", "route del 10.0.0.0/24");
  await ip(lab, "router", "-6 route del fd00::/64");
  await ip(lab, "router", `route add ${lab.plan.service4}/32 dev forwarder`);
  await ip(lab, "router", `-6 route add ${lab.plan.service6}/128 dev forwarder`);
}

async function answers(lab: OwnLab): Promise<string[]> {
  const { service4, service6 } = lab.plan;
  const requests = [service4, service6].map((address) => ({ address, port: 80, parts: [REQUEST] }));
  const results = await askRaw(lab.nodes.client, requests);
  return results.map(({ received, end }) => received.split("\r\n")[0] || end);
}

async function start(lab: OwnLab, forwarderFlags: readonly string[]): Promise<Cluster> {
  const routes = ["host=api.example -> b1"];
  const cluster = new Cluster(lab, { routes, upstream: "127.0.0.1:8080", forwarderFlags });
  await cluster.ready();
  return cluster;
}

const NAME = "answers ARP and NDP for the service addresses, and no longer than it runs";

announce(NAME, () =>
  withLab(NAME, { needTun: true, backends: 1 }, async (lab) => {
    await unroute(lab);
    const silent = await start(lab, []);
    assert.equal(await answers(lab), ["EHOSTUNREACH", "EHOSTUNREACH"]);
    assert.equal(await silent.stop(), []);
    const cluster = await start(lab, ["--announce", "eth0"]);
    const notFound = "HTTP/1.1 404 Not Found";
    assert.equal(await answers(lab), [notFound, notFound]);
    const link = JSON.parse(await ip(lab, "forwarder", "-json link show dev eth0")) as Link[];
    for (const address of [lab.plan.service4, lab.plan.service6]) {
      const text = await ip(lab, "router", `-json neigh show to ${address} dev forwarder`);
      assert.is((JSON.parse(text) as Neighbour[])[0]?.lladdr, link[0]?.address, address);
    }
    assert.equal(await cluster.stop(), []);
    assert.is((await ip(lab, "forwarder", "neigh show proxy")).trim(), "");
    await ip(lab, "router", "neigh flush dev forwarder");
    assert.equal(await answers(lab), ["EHOSTUNREACH", "EHOSTUNREACH"]);
  }),
);

interface Link {
  readonly address: string;
}

interface Neighbour {
  readonly lladdr?: string;
}

announce.run();
