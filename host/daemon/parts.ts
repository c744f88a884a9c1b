/**
 * What every daemon has: a core, a link, a socket, a transport, a loop. Knows how the adapters are put
 * together; must not know what a role does with them.
 */
import { readFileSync } from "node:fs";
import type { NodeConfig, PeerSpec } from "../config/config.ts";
import { readKeyFile, type KeyFile } from "../config/key.ts";
import { parseAddress } from "../core/address.ts";
import { Core } from "../core/core.ts";
import type { CoreParameters } from "../core/parameters.ts";
import { BatonError } from "../errors.ts";
import { createCipher } from "../link/cipher.ts";
import { SystemClock } from "../link/clock.ts";
import type { Link } from "../link/link.ts";
import { Loop } from "../link/loop.ts";
import { systemRandom } from "../link/random.ts";
import { openUdp, type UdpSocket } from "../link/udp.ts";
import type { Route } from "../linux/route.ts";
import { Engine, type Role } from "../node/engine.ts";
import type { Clock, Cipher, Log, Random } from "../node/environment.ts";
import type { Patience } from "../node/patience.ts";
import { createTransport, nodeId } from "../transport/create.ts";
import type { NodeId, Transport, TransportEvents } from "../transport/transport.ts";
import { openLinks, sizesFor, type DeviceQueue, type Links } from "./links.ts";
import { TablePages } from "./pages.ts";
import { warmUp } from "./warmup.ts";
import { CORE_WASM } from "./wasm.ts";

export type CoreSizes = Omit<CoreParameters, "hashSecret" | "isnSecret" | "wallMs">;

/** What a role is made of. */
export interface Parts {
  readonly id: NodeId;
  readonly core: Core;
  readonly clock: Clock;
  readonly random: Random;
  readonly cipher: Cipher;
  readonly transport: Transport;
  readonly engine: Engine;
  readonly log: Log;
  /** Asks for a turn. */
  readonly wake: () => void;
}

/** A role as the engine and the transport see it. */
export interface DaemonRole extends Role, TransportEvents {
  /** The kernel of a peer says that nobody listens there. */
  unreachable(peer: NodeId): void;
}

/** Taken before what they cause leaves: a blob that is passed on goes on while the rest of it comes. */
const DATAGRAMS_PER_TURN = 64;

export interface RunningNode {
  readonly parts: Parts;
  readonly link: Link;
  readonly counters: () => Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Rejects when the node breaks: a trap, a link that is gone. */
  readonly failed: Promise<never>;
  /** Reads the key file again; one that cannot be used changes nothing, and is logged. */
  reloadKeys(): void;
  close(): void;
}

export interface OpenOptions {
  readonly config: NodeConfig;
  readonly peers: readonly PeerSpec[];
  /** Addresses whose packets belong to this node's link. */
  readonly routes: readonly Route[];
  readonly sizes: CoreSizes;
  /** The device outlives this process: established connections survive a restart. */
  readonly persist: boolean;
  readonly log: Log;
  readonly role: (parts: Parts) => DaemonRole;
  /** A queue to read instead of a device of its own. */
  readonly queue?: DeviceQueue | undefined;
  /** Who holds the keys, when it is not the file of the configuration. */
  readonly readKeys?: (() => KeyFile) | undefined;
}

export async function openNode(options: OpenOptions): Promise<RunningNode> {
  const { config, log } = options;
  const readKeys = options.readKeys ?? ((): KeyFile => readKeyFile(config.keyFile));
  const keyFile = readKeys();
  const { keys } = keyFile;
  const clock = new SystemClock();
  const cipher = createCipher();
  const core = openCore(options, cipher, keyFile, clock);
  const pages = new TablePages(core, config.hugePages, log);
  const udp = await openUdp({ listen: config.listen });
  try {
    const links = await openLinks(config, {
      core,
      persist: options.persist,
      routes: options.routes,
      queue: options.queue,
    });
    const opened = { core, clock, cipher, keys, readKeys, pages, udp, ...links };
    return assemble(options, opened, log);
  } catch (error) {
    udp.close();
    throw error;
  }
}

interface Opened extends Links {
  readonly core: Core;
  readonly clock: SystemClock;
  readonly cipher: Cipher;
  readonly keys: readonly Uint8Array[];
  readonly readKeys: () => KeyFile;
  readonly pages: TablePages;
  readonly udp: UdpSocket;
}

function assemble(options: OpenOptions, opened: Opened, log: Log): RunningNode {
  const { config } = options;
  const { core, clock, cipher, keys, pages, udp, link, egress } = opened;
  const id = nodeId(cipher, config.name);
  const transport = createTransport({
    id,
    name: config.name,
    keys,
    clock,
    random: systemRandom,
    cipher,
    log,
    events: {
      message: (peer, epoch, bytes) => role.message(peer, epoch, bytes),
      passOn: (...beginning) => role.passOn?.(...beginning),
      peerEpoch: (peer, epoch, previous) => role.peerEpoch(peer, epoch, previous),
    },
  });
  for (const { name, endpoint } of options.peers) {
    transport.addPeer({ id: nodeId(cipher, name), name, endpoint });
  }
  const engine = new Engine({
    core,
    clock,
    link,
    egress,
    transport,
    receiveDatagrams: (take) => {
      udp.receive(take, DATAGRAMS_PER_TURN);
      return udp.waiting > 0;
    },
    sendDatagrams: (next) => udp.sendAll(next),
  });
  let fail: (error: unknown) => void = () => undefined;
  const failed = new Promise<never>((_resolve, reject) => (fail = reject));
  failed.catch(() => undefined); // Whoever runs the node awaits it; nobody else must.
  const loop = new Loop(engine, clock, fail);
  const parts: Parts = {
    id,
    core,
    clock,
    random: systemRandom,
    cipher,
    transport,
    engine,
    log,
    wake: () => loop.wake(),
  };
  const role = options.role(parts);
  engine.setRole(role);
  watchPeers(options.peers, cipher, udp, role, loop, log);
  link.onReadable(() => loop.runNow());
  link.onError(fail);
  // One turn for all that has arrived: acknowledgements share a datagram.
  udp.onReadable(() => loop.wake());
  loop.wake();
  pages.start();
  const warmup = warmUp({ cipher, log });
  return {
    parts,
    link,
    failed,
    counters: () => ({
      core: core.counters(),
      pages: { ...pages.counters },
      link: { ...link.counters },
      ...(egress === undefined ? {} : { egress: { ...egress.counters } }),
      udp: { ...udp.counters },
      transport: { ...transport.counters },
    }),
    reloadKeys: () => reloadKeys(opened.readKeys, transport, log),
    close: () => {
      warmup.close();
      pages.close();
      loop.close();
      egress?.close();
      link.close();
      udp.close();
      transport.close();
    },
  };
}

function reloadKeys(readKeys: () => KeyFile, transport: Transport, log: Log): void {
  try {
    const { keys } = readKeys();
    transport.setKeys(keys);
    log.write("info", "cluster keys read again", { keys: keys.length });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    log.write("error", `cluster keys not changed: ${message}`);
  }
}

function watchPeers(
  peers: readonly PeerSpec[],
  cipher: Cipher,
  udp: UdpSocket,
  role: DaemonRole,
  loop: Loop,
  log: Log,
): void {
  const byEndpoint = new Map<string, NodeId>();
  for (const { name, endpoint } of peers) {
    byEndpoint.set(`${endpoint.address} ${endpoint.port}`, nodeId(cipher, name));
    // Without it silence alone has to tell.
    udp.watch(endpoint).catch((error: unknown) => {
      log.write("warn", `peer ${name}: port unreachable will not be noticed`, { error });
    });
  }
  udp.onUnreachable(({ address, port }) => {
    const peer = byEndpoint.get(`${address} ${port}`);
    if (peer === undefined) return;
    role.unreachable(peer);
    loop.wake();
  });
}

function openCore(
  options: OpenOptions,
  cipher: Cipher,
  { secret }: KeyFile,
  clock: SystemClock,
): Core {
  const { config, sizes } = options;
  const text = new TextEncoder();
  const isnSecret = cipher.hkdf(secret, new Uint8Array(0), text.encode(ISN_INFO), 16);
  const parameters: CoreParameters = {
    ...sizes,
    ...config.limits,
    ...sizesFor(config, sizes.segmenting),
    ...(config.mtu === undefined ? {} : { mtu: config.mtu }),
    hashSecret: systemRandom.bytes(16),
    isnSecret,
    wallMs: clock.wallMs(),
  };
  const core = newCore(parameters, clock.nowUs(), Object.keys(config.limits).length > 0);
  for (const { address } of config.tunnels) core.setTunnel(addressBytes(address));
  for (const [index, peer] of options.peers.entries()) {
    for (const { address } of peer.tunnels) core.setPeer(index + 1, addressBytes(address));
  }
  return core;
}

/** The defaults fit; what a user asked for may not. */
function newCore(parameters: CoreParameters, nowUs: number, isUsers: boolean): Core {
  try {
    return new Core(readFileSync(CORE_WASM), parameters, nowUs);
  } catch (error) {
    if (!isUsers || !(error instanceof BatonError)) throw error;
    const message = `--limit: expected limits that fit into 4 GiB together, got ${error.message}`;
    throw new BatonError("ERR_BATON_CONFIG", message, { cause: error });
  }
}

/**
 * Initial sequence numbers, SYN cookies and timestamp offsets agree across classifiers and restarts: they
 * derive from what all nodes share. A node keeps its own from start to end, whatever SIGHUP brings.
 */
const ISN_INFO = "baton isn 1";

/** Bytes of an address that the configuration has checked. */
export function addressBytes(text: string): Uint8Array {
  const bytes = parseAddress(text);
  if (!bytes) throw new BatonError("ERR_BATON_CONFIG", `expected an IP address, got "${text}"`);
  return bytes;
}

/** What `--timeout keep-alive` and `--timeout user` say. */
export function patienceOf(config: NodeConfig): Patience {
  const us = (ms: number | undefined): number | undefined => (ms === undefined ? ms : ms * 1000);
  const { keepAliveMs, userMs } = config.timeouts;
  return { keepAliveUs: us(keepAliveMs), userTimeoutUs: us(userMs) };
}
