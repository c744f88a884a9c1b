/** A TUN device with several queues on the real kernel: which queue gets a packet, and what stays when a reader goes. */
import * as net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BatonError } from "../../host/errors.ts";
import { openTunQueues, type TunQueues } from "../../host/link/queues.ts";
import { openTun, openTunQueue, type TunLink } from "../../host/link/tun.ts";
import { AF_UNIX, libc, SOCK_STREAM } from "../../host/linux/libc.ts";
import { sendPacket } from "../../host/linux/packet.ts";
import { removeDevice } from "../../host/linux/setup.ts";
import { ip, privileged, until } from "../support/namespace.ts";
import { buildIcmp, buildTcp, parseTcp, toAddress } from "../support/packet.ts";
import { Reader } from "../support/reader.ts";
import { clientQueue } from "../support/steering.ts";

const queues = suite("link/queues");
const check = await privileged(import.meta.url, queues);

const NAME = "batonq0";
const KEY = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const SERVICES = { 4: "10.99.0.50", 6: "fd99::50" };
const CLIENTS = { 4: "10.99.9.1", 6: "fd99:9::1" };
const CONNECTIONS = 100;
const ETH_P_IP = 0x0800;

const TUNNELS = [1, 2, 3].map((queue) => [
  toAddress(`10.99.2.${queue}`),
  toAddress(`fd99:2::${queue}`),
]);
const STEERING = { tunnels: TUNNELS, key: KEY };

const opened: { close(): void }[] = [];
queues.after.each(() => opened.splice(0).forEach((each) => each.close()));

if (process.env["BATON_TEST_NAMESPACE"]) {
  ip(`address add ${CLIENTS[4]}/32 dev lo`, `address add ${CLIENTS[6]}/128 dev lo nodad`);
}

/** Undefined, and a named skip, without bpf(2). */
async function open(name: string, persist = false): Promise<TunQueues | undefined> {
  const routes = Object.values(SERVICES).map((to) => ({ to }));
  try {
    const device = await openTunQueues({
      ...{ name: NAME, persist, offload: true, routes, tunnels: TUNNELS, key: KEY },
    });
    opened.push(device);
    return device;
  } catch (error) {
    if (!(error instanceof BatonError) || error.code !== "EPERM") throw error;
    process.stdout.write(`SKIP ${name}: ${error.message}\n`);
    return undefined;
  }
}

/** A reader of a queue, with a descriptor of its own as a process that inherits one. */
async function reader({ fds, mtu }: TunQueues, queue: number): Promise<Reader<TunLink>> {
  const [fd, other] = libc().socketpair(AF_UNIX, SOCK_STREAM, 0);
  libc().close(other);
  libc().dup3(fds[queue]!, fd);
  const link = await openTunQueue({ fd, queue, name: NAME, mtu, offload: true });
  opened.push(link);
  return new Reader(link);
}

/** Source port and queue of every SYN. */
function synsOf(readers: readonly Reader<TunLink>[]): Map<string, Set<number>> {
  const seen = new Map<string, Set<number>>();
  for (const [queue, { packets }] of readers.entries()) {
    for (const packet of packets) {
      const isTcp = packet[0]! >> 4 === 4 ? packet[9] === 6 : packet[6] === 6;
      if (!isTcp) continue;
      const { source, sourcePort } = parseTcp(packet);
      const key = `${source} ${sourcePort}`;
      seen.set(key, (seen.get(key) ?? new Set()).add(queue));
    }
  }
  return seen;
}

function connect(family: 4 | 6): void {
  const socket = net.connect({ host: SERVICES[family], port: 80, localAddress: CLIENTS[family] });
  socket.on("error", () => undefined);
  opened.push({ close: () => socket.destroy() });
}

check("the kernel's own connections come by the queue that the hash names", async () => {
  const device = await open("connections");
  if (!device) return;
  const readers = await Promise.all([0, 1, 2].map((queue) => reader(device, queue)));
  for (let index = 0; index < CONNECTIONS; index += 1) connect(index % 2 === 0 ? 4 : 6);
  await until("a SYN of each", () => synsOf(readers).size === CONNECTIONS);
  const used = new Set<number>();
  for (const [client, queuesSeen] of synsOf(readers)) {
    const [address = "", port] = client.split(" ");
    const want = clientQueue(toAddress(address), Number(port), STEERING);
    assert.equal([...queuesSeen], [want], client);
    used.add(want);
  }
  assert.is(used.size, 3, "100 connections use all three");
});

check(
  "an error about a packet comes by its client's queue, one to a tunnel by its reader's",
  async () => {
    const device = await open("errors");
    if (!device) return;
    const readers = await Promise.all([0, 1, 2].map((queue) => reader(device, queue)));
    const error = (port: number, source: string): Uint8Array => {
      const ends = { source, destination: "192.0.2.9", sourcePort: 80, destinationPort: port };
      const router = { source: "198.51.100.1", destination: source };
      return buildIcmp({ ...router, type: 3, code: 4, rest: 1400, body: buildTcp(ends) });
    };
    const ports = Array.from({ length: 30 }, (_, index) => 40_000 + index);
    const send = (packet: Uint8Array): void =>
      sendPacket(NAME, ETH_P_IP, new Uint8Array(0), packet);
    for (const port of ports) send(error(port, SERVICES[4]));
    for (const queue of [0, 1, 2]) send(error(99, `10.99.2.${queue + 1}`));
    const errors = (queue: number): Uint8Array[] =>
      readers[queue]!.packets.filter((packet) => packet[0]! >> 4 === 4 && packet[9] === 1);
    const total = (): number => [0, 1, 2].reduce((sum, queue) => sum + errors(queue).length, 0);
    await until("every error", () => total() === ports.length + 3);
    for (const queue of [0, 1, 2]) {
      const mine = ports.filter(
        (port) => clientQueue(toAddress("192.0.2.9"), port, STEERING) === queue,
      );
      assert.is(errors(queue).length, mine.length + 1, `queue ${queue}`);
    }
  },
);

check("a reader that goes takes no queue along, and its successor finds what waits", async () => {
  const device = await open("successor");
  if (!device) return;
  const [zero, one, two] = (await Promise.all([0, 1, 2].map((queue) => reader(device, queue)))) as [
    Reader<TunLink>,
    Reader<TunLink>,
    Reader<TunLink>,
  ];
  one.link.close();
  for (let index = 0; index < CONNECTIONS; index += 1) connect(4);
  const after = await reader(device, 1);
  await until("a SYN of each", () => synsOf([zero, after, two]).size === CONNECTIONS);
  for (const [client, queuesSeen] of synsOf([zero, after, two])) {
    const [address = "", port] = client.split(" ");
    assert.equal([...queuesSeen], [clientQueue(toAddress(address), Number(port), STEERING)]);
  }
  assert.ok(after.packets.length > 0);
});

check("counts what names no client", async () => {
  const device = await open("counters");
  if (!device) return;
  const before = device.counters;
  const packet = buildTcp({
    ...{ source: "192.0.2.9", destination: SERVICES[4], fragment: 0x2000 },
    ...{ sourcePort: 1, destinationPort: 80 },
  });
  for (let index = 0; index < 5; index += 1) sendPacket(NAME, ETH_P_IP, new Uint8Array(0), packet);
  assert.is(device.counters.fragments - before.fragments, 5);
});

check(
  "a persistent device is found again; one that is in use, or has one queue, is not taken",
  async () => {
    const device = await open("persistence", true);
    if (!device) return;
    try {
      assert.is(await failure(() => openTun({ name: NAME })), "EBUSY");
      device.close();
      opened.length = 0;
      const again = await open("persistence", true);
      assert.is(again?.fds.length, 3);
      const read = await reader(again!, 2);
      assert.ok(read.link.watcher);
    } finally {
      opened.splice(0).forEach((each) => each.close());
      removeDevice(NAME);
    }
  },
);

async function failure(action: () => Promise<unknown>): Promise<string> {
  try {
    await action();
    return "none";
  } catch (error) {
    return (error as BatonError).code;
  }
}

queues.run();
