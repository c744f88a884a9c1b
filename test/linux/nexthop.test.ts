/** From the kernel's routes and neighbours to the list of next hops. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseAddress } from "../../host/core/address.ts";
import { nextHops } from "../../host/linux/nexthop.ts";
import {
  parseMessages,
  parseNeighbour,
  parseRoute,
  type KernelRoute,
  type Neighbour,
} from "../../host/linux/netlink.ts";

const nexthop = suite("linux/nexthop");
const ETH = 2;
const OTHER = 3;
const MAC = Uint8Array.of(2, 0, 0, 0, 0, 9);

function bytes(address: string): Uint8Array {
  const found = parseAddress(address);
  assert.ok(found, address);
  return found;
}

/** "10.0.0.0/8", by a gateway or on the link. */
function route(prefix: string, via?: string, fields: Partial<KernelRoute> = {}): KernelRoute {
  const [address = "", length = ""] = prefix.split("/");
  const family = address.includes(":") ? 6 : 4;
  const gateway = via === undefined ? undefined : bytes(via);
  const rest = { device: ETH, gateway, metric: 0, plain: true, ...fields };
  return { family, address: bytes(address), length: Number(length), ...rest };
}

function neighbour(address: string, fields: Partial<Neighbour> = {}): Neighbour {
  const family = address.includes(":") ? 6 : 4;
  return { family, device: ETH, address: bytes(address), mac: MAC, stale: false, ...fields };
}

/** "10.0.0.1/32 mac ask 10.0.0.1", in order. */
function list(routes: readonly KernelRoute[], neighbours: readonly Neighbour[]): string[] {
  return nextHops(ETH, routes, neighbours).map(({ address, length, mac, ask }) => {
    const question = ask === undefined ? "" : ` ask ${ask.join(".")}`;
    return `${address.join(".")}/${length} ${mac ? "mac" : "kernel"}${question}`;
  });
}

nexthop("a gateway's address serves every destination behind it", () => {
  const routes = [route("0.0.0.0/0", "10.1.0.1"), route("10.1.0.0/24")];
  assert.equal(list(routes, [neighbour("10.1.0.1")]), [
    "10.1.0.1/32 mac",
    "10.1.0.0/24 kernel",
    "0.0.0.0/0 mac",
  ]);
});

nexthop("a gateway that nobody has heard of is asked for, a stale one confirmed", () => {
  const routes = [route("0.0.0.0/0", "10.1.0.1"), route("10.1.0.0/24")];
  assert.equal(list(routes, []), ["10.1.0.0/24 kernel", "0.0.0.0/0 kernel ask 10.1.0.1"]);
  assert.equal(list(routes, [neighbour("10.1.0.1", { mac: undefined })]), [
    "10.1.0.0/24 kernel",
    "0.0.0.0/0 kernel ask 10.1.0.1",
  ]);
  assert.equal(list(routes, [neighbour("10.1.0.1", { stale: true })]), [
    "10.1.0.1/32 mac ask 10.1.0.1",
    "10.1.0.0/24 kernel",
    "0.0.0.0/0 mac ask 10.1.0.1",
  ]);
});

nexthop("another device, several paths and no way at all are the kernel's", () => {
  const routes = [
    route("10.2.0.0/16", "10.1.0.1", { device: OTHER }),
    route("10.3.0.0/16", undefined, { plain: false, device: 0 }),
    route("0.0.0.0/0", "10.1.0.1"),
    route("10.1.0.0/24"),
  ];
  assert.equal(list(routes, [neighbour("10.1.0.1")]), [
    "10.1.0.1/32 mac",
    "10.1.0.0/24 kernel",
    "10.2.0.0/16 kernel",
    "10.3.0.0/16 kernel",
    "0.0.0.0/0 mac",
  ]);
});

nexthop("of several routes for a prefix the smallest metric counts", () => {
  const routes = [
    route("0.0.0.0/0", "10.1.0.2", { metric: 200 }),
    route("0.0.0.0/0", "10.1.0.1", { metric: 100 }),
    route("10.1.0.0/24"),
  ];
  const hops = nextHops(ETH, routes, [neighbour("10.1.0.1")]);
  assert.equal(
    hops.filter(({ length }) => length === 0).map(({ mac }) => mac),
    [MAC],
  );
});

nexthop("a neighbour that is routed elsewhere, or seen on another device, is none", () => {
  const routes = [route("10.1.0.7/32", "10.1.0.1"), route("10.1.0.0/24")];
  const found = [
    neighbour("10.1.0.1"),
    neighbour("10.1.0.7"),
    neighbour("10.1.0.8", { device: OTHER }),
  ];
  assert.equal(list(routes, found), ["10.1.0.1/32 mac", "10.1.0.7/32 mac", "10.1.0.0/24 kernel"]);
  assert.equal(list([], [neighbour("10.1.0.1")]), [], "nor without a route");
});

nexthop("both families stand side by side", () => {
  const routes = [route("::/0", "fd00::1"), route("fd00::/64"), route("10.1.0.0/24")];
  const hops = nextHops(ETH, routes, [neighbour("fd00::1"), neighbour("10.1.0.1")]);
  const facts = hops.map(({ family, length, mac }) => [family, length, mac !== undefined]);
  assert.equal(facts, [
    [6, 128, true],
    [6, 64, false],
    [4, 32, true],
    [4, 24, false],
    [6, 0, true],
  ]);
});

/** struct nlmsghdr, a fixed part, attributes of [type, value]. */
function message(
  type: number,
  fixed: number[],
  attributes: readonly [number, number[]][],
): number[] {
  const body = [...fixed];
  for (const [name, value] of attributes) {
    body.push(4 + value.length, 0, name, 0, ...value);
    while (body.length % 4 !== 0) body.push(0);
  }
  const length = 16 + body.length;
  return [length, 0, 0, 0, type, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, ...body];
}

nexthop("routes are read from the kernel's messages", () => {
  const main = [2, 24, 0, 0, 254, 2, 253, 1, 0, 0, 0, 0];
  const datagram = Uint8Array.from([
    ...message(24, main, [
      [15, [254, 0, 0, 0]],
      [1, [10, 1, 3, 0]],
      [4, [7, 0, 0, 0]],
    ]),
    ...message(
      24,
      [2, 0, ...main.slice(2)],
      [
        [5, [10, 1, 3, 1]],
        [4, [7, 0, 0, 0]],
        [6, [100, 0, 0, 0]],
      ],
    ),
    ...message(24, [2, 32, 0, 0, 255, 2, 0, 2, 0, 0, 0, 0], [[1, [10, 1, 3, 2]]]),
    ...message(24, [2, 8, 0, 0, 254, 2, 0, 7, 0, 0, 0, 0], [[1, [10, 0, 0, 0]]]),
    ...message(
      24,
      [2, 9, ...main.slice(2)],
      [
        [1, [10, 0, 0, 0]],
        [9, [8, 0, 0, 0, 7, 0, 0, 0]],
      ],
    ),
  ]);
  const found = parseMessages(datagram).map(({ bytes }) => parseRoute(bytes));
  assert.equal(
    found.map(
      (one) => one && [one.address.join("."), one.length, one.device, one.metric, one.plain],
    ),
    [
      ["10.1.3.0", 24, 7, 0, true],
      ["0.0.0.0", 0, 7, 100, true],
      undefined,
      ["10.0.0.0", 8, 0, 0, false],
      ["10.0.0.0", 9, 0, 0, false],
    ],
  );
  assert.equal(found[1]?.gateway, Uint8Array.of(10, 1, 3, 1));
});

nexthop("neighbours are read from the kernel's messages, an unanswered one without a MAC", () => {
  const head = (state: number): number[] => [2, 0, 0, 0, 7, 0, 0, 0, state, 0, 0, 1];
  const of = (state: number, attributes: readonly [number, number[]][]): Neighbour | undefined =>
    parseNeighbour(parseMessages(Uint8Array.from(message(28, head(state), attributes)))[0]!.bytes);
  const address: [number, number[]] = [1, [10, 1, 3, 1]];
  const mac: [number, number[]] = [2, [...MAC]];
  assert.equal(of(2, [address, mac])?.mac, MAC);
  assert.is(of(2, [address, mac])?.stale, false);
  assert.equal(of(4, [address, mac])?.mac, MAC);
  assert.is(of(4, [address, mac])?.stale, true);
  assert.is(of(1, [address])?.mac, undefined);
  assert.is(of(0x20, [address, mac])?.mac, undefined, "failed");
  assert.is(of(2, [mac]), undefined);
  assert.is(of(2, [address, [2, [1, 2, 3]]])?.mac, undefined, "not Ethernet");
});

nexthop("cut messages are no messages", () => {
  const whole = Uint8Array.from(message(28, new Array<number>(12).fill(2), [[1, [10, 1, 3, 1]]]));
  for (let length = 0; length < whole.length; length++) {
    assert.equal(parseMessages(whole.subarray(0, length)), []);
  }
  for (let length = 0; length < 24; length++) {
    parseNeighbour(whole.subarray(16, 16 + length));
    parseRoute(whole.subarray(16, 16 + length));
  }
});

nexthop.run();
