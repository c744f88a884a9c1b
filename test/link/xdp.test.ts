/** The xdp link on a veth pair: an echo that reads and writes frames, beside the kernel's own services. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Core } from "../../host/core/core.ts";
import { SMALL_PARAMETERS } from "../../host/core/parameters.ts";
import { CORE_WASM } from "../../host/daemon/wasm.ts";
import type { BatonError } from "../../host/errors.ts";
import { openXdp, xdpParameters, type XdpLink, type XdpOptions } from "../../host/link/xdp.ts";
import type { XdpMode } from "../../host/linux/bpf.ts";
import { deviceMac } from "../../host/linux/device.ts";
import * as errno from "../../host/linux/errno.ts";
import { ipJson } from "../../host/linux/ip.ts";
import { getOffloads, setGro } from "../../host/linux/offload.ts";
import { ip, Peer, privileged, until } from "../support/namespace.ts";

const xdp = suite("xdp");
const check = await privileged(import.meta.url, xdp);
const MODES: readonly XdpMode[] = ["native", "generic"];
const DEVICE = "batonx0";
const SERVICES = ["10.99.0.50", "fd99::50"];
const OFFLOAD = fileURLToPath(new URL("../../host/linux/offload.js", import.meta.url));

function newCore(): Core {
  const secret = new Uint8Array(16);
  const parameters = {
    ...SMALL_PARAMETERS,
    ...xdpParameters(DEVICE),
    hashSecret: secret,
    isnSecret: secret,
    wallMs: 1,
  };
  return new Core(readFileSync(CORE_WASM), parameters, 1);
}

/** A peer on the other end of the device, with routes to the services; its checksums are finished. */
async function openPeer(): Promise<Peer> {
  const peer = await Peer.open(DEVICE, "batonx1");
  ip(`address add 10.99.1.1/24 dev ${DEVICE}`, `address add fd99:1::1/64 dev ${DEVICE} nodad`);
  peer.ip(
    "address add 10.99.1.2/24 dev batonx1",
    "address add fd99:1::2/64 dev batonx1 nodad",
    "route add 10.99.0.0/24 via 10.99.1.1",
    "route add fd99::/64 via fd99:1::1",
  );
  const script = `import { setOffloads } from ${JSON.stringify(OFFLOAD)}; setOffloads("batonx1", false);`;
  peer.run(process.execPath, ["--input-type=module", "-e", script]);
  return peer;
}

/** Opens the link, or prints a named skip where this system cannot. */
async function open(
  name: string,
  options: Partial<XdpOptions> = {},
): Promise<[XdpLink, Core] | undefined> {
  const core = newCore();
  try {
    const link = await openXdp({
      device: DEVICE,
      core,
      mtu: 1500,
      addresses: SERVICES,
      ...options,
    });
    return [link, core];
  } catch (error) {
    if (!errno.isUnavailable(error)) throw error;
    process.stdout.write(`SKIP ${name}: ${(error as BatonError).message}\n`);
    return undefined;
  }
}

/** Turns UDP round in place; the sums stay as they are because sums do not know order. */
function turnRound(packet: Uint8Array): void {
  const v4 = packet[0]! >> 4 === 4;
  const [at, size, udp] = v4 ? [12, 4, 20] : [8, 16, 40];
  for (const [left, length] of [
    [at, size],
    [udp, 2],
  ] as const) {
    const kept = packet.slice(left, left + length);
    packet.copyWithin(left, left + length, left + 2 * length);
    packet.set(kept, left + length);
  }
}

/** Echoes whatever arrives. */
function echo(link: XdpLink, core: Core): void {
  link.onReadable(() => {
    do {
      const count = link.receive(core.rx);
      for (let index = 0; index < count; index++) {
        const ptr = core.rx.ptr(index);
        turnRound(core.rx.memory.subarray(ptr, ptr + core.rx.len(index)));
        link.transmit(core.rx, index);
      }
      link.flush();
    } while (!link.drained);
  });
}

/** In the peer: sends `count` datagrams to each service, one after the answer of the other; prints what came. */
const asker = (count: number): string => `
  import { createSocket } from "node:dgram";
  for (const [type, address] of [["udp4", "10.99.0.50"], ["udp6", "fd99::50"]]) {
    const socket = createSocket(type);
    for (let index = 0; index < ${count}; index++) {
      const text = type + " " + index + "x".repeat(index * 7);
      socket.send(text, 7, address);
      const got = await new Promise((resolve) => {
        const timer = setTimeout(() => resolve("nothing"), 60_000);
        socket.once("message", (bytes) => (clearTimeout(timer), resolve(bytes.toString())));
      });
      if (got !== text) console.log("expected", text.length, "got", got.length, got.slice(0, 20));
    }
    socket.close();
  }
  console.log("done");`;

/** Asks until an answer of each family has gone straight. */
async function untilStraight(link: XdpLink, peer: Peer): Promise<void> {
  for (let round = 0; round < 50; round++) {
    const before = link.counters["txPackets"] ?? 0;
    assert.is(await peer.start(asker(1)).line(), "done");
    if ((link.counters["txPackets"] ?? 0) === before + 2) return;
  }
  throw new Error("expected frames to go straight within 50 rounds");
}

/** What hangs on the device: [] or [native or generic]. */
function attached(): string[] {
  const [device] = ipJson(["link", "show", "dev", DEVICE]);
  const state = device?.xdp as { mode?: number } | undefined;
  return state?.mode === undefined ? [] : [state.mode === 1 ? "native" : "generic"];
}

function withPeer(name: string, body: (peer: Peer) => Promise<void>): void {
  check(name, async () => {
    const peer = await openPeer();
    try {
      await body(peer);
    } finally {
      peer.close();
      await until("the device to go", () => ipJson(["link", "show"]).every(isAnother));
    }
  });
}

function isAnother(link: Record<string, unknown>): boolean {
  return link.ifname !== DEVICE;
}

for (const mode of MODES) {
  withPeer(
    `${mode}: reads and writes frames of both families, the kernel keeps the rest`,
    async (peer) => {
      setGro(DEVICE, true);
      const opened = await open(mode, { mode });
      if (!opened) return;
      const [link, core] = opened;
      const server = createServer((socket) => socket.end("kernel"));
      try {
        assert.equal(attached(), [mode]);
        assert.is(link.mode, mode);
        if (mode === "generic") assert.not(getOffloads(DEVICE).gro, "no frame holds what it makes");
        echo(link, core);
        server.listen(8080, "10.99.1.1");
        await once(server, "listening");
        await untilStraight(link, peer);
        const before = link.counters;
        assert.is(await peer.start(asker(40)).line(), "done");
        const tcp = peer.start(`
        import { connect } from "node:net";
        connect(8080, "10.99.1.1").on("data", (bytes) => console.log(bytes.toString()));`);
        assert.is(await tcp.line(), "kernel");
        const { counters } = link;
        const grown = (name: string): number => (counters[name] ?? 0) - (before[name] ?? 0);
        assert.is(grown("rxPackets"), 80);
        assert.is(grown("txPackets") + grown("viaKernel"), 80);
        assert.ok(grown("txPackets") > 40, "most go straight");
        for (const name of [
          "txFull",
          "txRefused",
          "rxDropped",
          "kernelErrors",
          "kernelUnroutable",
        ]) {
          assert.is(counters[name], 0, name);
        }
      } finally {
        server.close();
        link.close();
      }
      assert.equal(attached(), []);
      if (mode === "generic") assert.ok(getOffloads(DEVICE).gro, "as it was before");
    },
  );
}

withPeer(
  "goes by the kernel until a neighbour is known, and straight again after that",
  async (peer) => {
    const opened = await open("by the kernel");
    if (!opened) return;
    const [link, core] = opened;
    try {
      echo(link, core);
      assert.is(await peer.start(asker(1)).line(), "done");
      const made = link.counters["hopsMade"] ?? 0;
      // The peer asks for nobody by itself meanwhile: its question would tell its own address.
      const mac = deviceMac(DEVICE);
      for (const address of ["10.99.1.1", "fd99:1::1"]) {
        peer.ip(`neigh replace ${address} lladdr ${mac} dev batonx1 nud permanent`);
      }
      ip(`neigh flush dev ${DEVICE}`);
      await until("the list to be made anew", () => (link.counters["hopsMade"] ?? 0) > made);
      const before = link.counters["viaKernel"] ?? 0;
      assert.is(await peer.start(asker(1)).line(), "done");
      assert.ok((link.counters["viaKernel"] ?? 0) > before, "nobody's address was known");
      await untilStraight(link, peer);
    } finally {
      link.close();
    }
  },
);

withPeer("leaves nothing attached when it is killed", async () => {
  const probe = await open("killed");
  if (!probe) return;
  probe[0].close();
  const self = fileURLToPath(import.meta.url);
  const child = spawn(process.execPath, [self], {
    env: { ...process.env, BATON_TEST_HOLD: "1" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  assert.equal(attached(), ["native"]);
  child.kill("SIGKILL");
  await once(child, "exit");
  await until("the program to go", () => attached().length === 0);
});

withPeer("says when the device is taken away, or is another one", async (peer) => {
  const opened = await open("device");
  if (!opened) return;
  const [link] = opened;
  try {
    const failed = new Promise<Error>((resolve) => link.onError(resolve));
    ip(`link set dev ${DEVICE} address 02:00:00:00:77:77`);
    const error = (await failed) as BatonError;
    assert.is(error.code, "ERR_BATON_DEVICE_GONE");
    assert.match(error.message, "02:00:00:00:77:77");
  } finally {
    link.close();
  }
  const again = await open("device");
  assert.ok(again);
  const gone = new Promise<Error>((resolve) => again[0].onError(resolve));
  peer.ip("link del batonx1");
  assert.is(((await gone) as BatonError).code, "ERR_BATON_DEVICE_GONE");
  again[0].close();
});

withPeer("refuses what it cannot serve, in one line, and leaves nothing", async () => {
  const core = newCore();
  const complaint = async (options: Partial<XdpOptions>): Promise<string> => {
    try {
      (await openXdp({ device: DEVICE, core, mtu: 1500, addresses: SERVICES, ...options })).close();
      return "nothing";
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.match(await complaint({ device: "lo" }), /Ethernet/);
  assert.match(await complaint({ device: "nosuch0" }), /ENODEV/);
  assert.match(await complaint({ addresses: ["10.99.1.1"] }), /expected one that no device has/);
  assert.match(await complaint({ mtu: 1501 }), /expected an MTU of at least 1501, got 1500/);
  ip(`link set dev ${DEVICE} down`);
  assert.match(await complaint({}), /up/);
  ip(`link set dev ${DEVICE} mtu 9000`);
  assert.throws(() => xdpParameters(DEVICE), /expected an MTU of at most 3826, got 9000/);
  assert.equal(attached(), []);
});

if (process.env["BATON_TEST_HOLD"]) {
  await open("held");
  process.stdout.write("attached\n");
  setInterval(() => undefined, 1000);
} else {
  xdp.run();
}
