/**
 * The transport of one node: peers, datagrams in, datagrams out, time. Knows which peer a datagram is of;
 * leaves the rest to peer.ts and session.ts. docs/transport.md is the whole protocol.
 */
import { BatonError } from "../errors.ts";
import type { Cipher, Clock, Endpoint, Log, Random } from "../node/environment.ts";
import { fromHex, getU48, getU64, toHex } from "./bytes.ts";
import { createCounters, type TransportCounters } from "./counters.ts";
import {
  HELLO_BYTES,
  MAGIC,
  TYPE_HELLO,
  TYPE_SEALED,
  helloIsAuthentic,
  readHello,
} from "./hello.ts";
import { ReassemblyPool, type Passing } from "./incoming.ts";
import { CLUSTER_KEY_BYTES, NONCE_BYTES_GCM, helloKey } from "./keys.ts";
import {
  CHUNK_BYTES,
  DATAGRAM_BYTES_MAX,
  DEFAULT_LIMITS,
  HEADER_BYTES,
  TAG_BYTES,
  type TransportLimits,
} from "./limits.ts";
import type { Arriving } from "./message.ts";
import { Peer, type PeerShared } from "./peer.ts";
import type { Opener, Session } from "./session.ts";
import type {
  Epoch,
  NodeId,
  OutgoingDatagram,
  PeerConfig,
  SendOptions,
  Transport,
  TransportEvents,
} from "./transport.ts";
import { Writer } from "./writer.ts";

export interface TransportOptions {
  readonly id: NodeId;
  readonly name: string;
  /** One or two cluster keys of 32 bytes: the first seals, any opens. */
  readonly keys: readonly Uint8Array[];
  readonly clock: Clock;
  readonly random: Random;
  readonly cipher: Cipher;
  readonly log: Log;
  readonly events: TransportEvents;
  /** Number of the worker pair; both ends must agree. */
  readonly worker?: number;
  readonly limits?: Partial<TransportLimits>;
}

/** First 8 bytes of SHA-256 of a node's name. */
export function nodeId(cipher: Cipher, name: string): NodeId {
  return toHex(cipher.sha256(new TextEncoder().encode(name)), 0, 8);
}

/** Draws a fresh boot epoch. A node that resets itself creates another transport. */
export function createTransport(options: TransportOptions): Transport {
  return new DatagramTransport(options);
}

class DatagramTransport implements Transport {
  readonly epoch: Epoch;
  readonly counters: TransportCounters & Readonly<Record<string, number>>;
  private readonly clock: Clock;
  private readonly limits: TransportLimits;
  private readonly shared: PeerShared;
  private readonly peers = new Map<NodeId, Peer>();
  /** Who opens what, by session tag. */
  private readonly openers = new Map<number, Opener>();
  /** Peers that may have something to send, in turn. */
  private awake: Peer[] = [];
  private keys: readonly Uint8Array[] = [];
  private helloKeys: readonly Uint8Array[] = [];

  constructor(options: TransportOptions) {
    const { cipher, random } = options;
    checkId(options.id);
    this.clock = options.clock;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.counters = createCounters() as TransportCounters & Record<string, number>;
    const epochBytes = random.bytes(16);
    this.epoch = toHex(epochBytes);
    this.shared = {
      cipher,
      random,
      limits: this.limits,
      counters: this.counters,
      pool: new ReassemblyPool(this.limits.reassemblyBytesMax, this.counters),
      writer: new Writer(),
      id: options.id,
      idBytes: fromHex(options.id),
      epoch: this.epoch,
      epochBytes,
      worker: options.worker ?? 0,
      plain: new Uint8Array(DATAGRAM_BYTES_MAX),
      nonce: new Uint8Array(NONCE_BYTES_GCM),
      log: options.log,
      events: options.events,
      keys: () => this.keys,
      helloKeys: () => this.helloKeys,
      wake: (peer) => this.wake(peer),
      passOn: (peer, epoch, message) => this.passOn(peer, epoch, message),
      opened: (session) => this.listOpeners(session),
      closed: (session) => this.forgetOpeners(session),
    };
    this.setKeys(options.keys);
  }

  setKeys(keys: readonly Uint8Array[]): void {
    if (
      keys.length < 1 ||
      keys.length > 2 ||
      keys.some((key) => key.length !== CLUSTER_KEY_BYTES)
    ) {
      const lengths = keys.map((key) => key.length).join(" and ") || "none";
      throw new BatonError(
        "ERR_BATON_KEY",
        `cluster keys: expected one or two of ${CLUSTER_KEY_BYTES} bytes, got ${lengths}`,
      );
    }
    this.keys = keys.map((key) => key.slice());
    this.helloKeys = this.keys.map((key) => helloKey(this.shared.cipher, key));
    for (const peer of this.peers.values()) peer.setKeys();
  }

  addPeer(config: PeerConfig): void {
    checkId(config.id);
    if (config.id === this.shared.id) {
      throw new BatonError(
        "ERR_BATON_CONFIG",
        `peer ${config.name}: expected another node's id, got this node's own`,
      );
    }
    const known = this.peers.get(config.id);
    if (known) known.configure(config);
    else this.peers.set(config.id, new Peer(this.shared, config));
  }

  peerEpoch(peer: NodeId): Epoch | undefined {
    return this.peers.get(peer)?.session?.epoch;
  }

  peerRttUs(peer: NodeId): number | undefined {
    return this.peers.get(peer)?.rttUs;
  }

  send(peer: NodeId, bytes: Uint8Array, options?: SendOptions): void {
    if (bytes.length > this.limits.messageBytesMax) {
      throw new BatonError(
        "ERR_BATON_TRANSPORT",
        `message: expected at most ${this.limits.messageBytesMax} bytes, got ${bytes.length}`,
      );
    }
    const nowUs = this.clock.nowUs();
    const to = this.known(peer);
    to.send(bytes, deadlineOf(options, nowUs), options?.onOutcome, nowUs);
    this.wake(to);
  }

  sendUnreliable(peer: NodeId, bytes: Uint8Array): void {
    const to = this.known(peer);
    to.sendUnreliable(bytes, this.clock.nowUs());
    this.wake(to);
  }

  hello(peer: NodeId): void {
    this.known(peer).hello(this.clock.nowUs());
  }

  handleDatagram(from: Endpoint, bytes: Uint8Array): void {
    const { counters } = this;
    counters.datagramsIn += 1;
    counters.bytesIn += bytes.length;
    const isPlausible =
      bytes.length >= HEADER_BYTES + TAG_BYTES &&
      bytes.length <= DATAGRAM_BYTES_MAX &&
      bytes[0] === MAGIC;
    if (isPlausible && bytes[1] === TYPE_SEALED) this.handleSealed(from, bytes);
    else if (isPlausible && bytes[1] === TYPE_HELLO && bytes.length === HELLO_BYTES) {
      this.handleHello(from, bytes);
    } else counters.malformed += 1;
  }

  pollDatagram(): OutgoingDatagram | undefined {
    const nowUs = this.clock.nowUs();
    for (let peer = this.awake[0]; peer; peer = this.awake[0]) {
      const datagram = peer.poll(nowUs);
      if (datagram) return datagram;
      this.awake.shift();
      peer.isAwake = false;
    }
    return undefined;
  }

  nextTimeoutUs(): number {
    const nowUs = this.clock.nowUs();
    if (this.awake.length > 0) return nowUs;
    let next = Infinity;
    for (const peer of this.peers.values()) next = Math.min(next, peer.nextTimeoutUs(nowUs));
    return next;
  }

  pacedUntilUs(): number {
    let next = Infinity;
    for (const peer of this.peers.values()) next = Math.min(next, peer.pacedUntilUs);
    return next;
  }

  handleTimeout(): void {
    const nowUs = this.clock.nowUs();
    for (const peer of this.peers.values()) {
      if (peer.nextTimeoutUs(nowUs) <= nowUs) peer.handleTimeout(nowUs);
    }
  }

  close(): void {
    for (const peer of this.peers.values()) peer.close();
    this.awake = [];
  }

  private handleSealed(from: Endpoint, bytes: Uint8Array): void {
    const nowUs = this.clock.nowUs();
    const opener = this.openers.get(getU48(bytes, 2));
    const counter = getU64(bytes, 16);
    if (opener && counter < Infinity) {
      opener.session.handleDatagram(opener, counter, bytes, nowUs);
      const peer = this.peers.get(opener.session.peer);
      if (peer) this.wake(peer);
      return;
    }
    this.counters.unknownSession += 1;
    this.peers.get(toHex(bytes, 8, 8))?.handleStray(from, bytes.length, nowUs);
  }

  private handleHello(from: Endpoint, bytes: Uint8Array): void {
    const { counters, shared } = this;
    if (!helloIsAuthentic(shared.cipher, this.helloKeys, bytes)) {
      counters.forged += 1;
      return;
    }
    const hello = readHello(bytes);
    const peer = this.peers.get(hello.sender);
    if (!peer || hello.receiver !== shared.id || hello.worker !== shared.worker) {
      counters.helloStray += 1;
      return;
    }
    peer.handleHello(hello, from, this.clock.nowUs());
  }

  private passOn(peer: Peer, epoch: Epoch, message: Arriving): Passing | undefined {
    const { events } = this.shared;
    const { bytes } = message;
    const passage = events.passOn?.(peer.id, epoch, bytes.subarray(0, CHUNK_BYTES), bytes.length);
    if (!passage) return undefined;
    const nowUs = this.clock.nowUs();
    const { to, isWanted, onOutcome } = passage;
    this.counters.messagesPassed += 1;
    return this.known(to).pass(message, deadlineOf(passage, nowUs), onOutcome, isWanted, nowUs);
  }

  private known(peer: NodeId): Peer {
    const known = this.peers.get(peer);
    if (!known) {
      throw new BatonError("ERR_BATON_TRANSPORT", `peer: expected one that was added, got ${peer}`);
    }
    return known;
  }

  private wake(peer: Peer): void {
    if (peer.isAwake) return;
    peer.isAwake = true;
    this.awake.push(peer);
  }

  private listOpeners(session: Session): void {
    this.forgetOpeners(session);
    for (const opener of session.openers) this.openers.set(opener.ring.tag, opener);
  }

  private forgetOpeners(session: Session): void {
    for (const [tag, opener] of this.openers) {
      if (opener.session === session) this.openers.delete(tag);
    }
  }
}

function deadlineOf(options: SendOptions | undefined, nowUs: number): number {
  return options?.limitUs === undefined ? Infinity : nowUs + options.limitUs;
}

function checkId(id: NodeId): void {
  if (/^[0-9a-f]{16}$/.test(id)) return;
  throw new BatonError("ERR_BATON_CONFIG", `node id: expected 16 hexadecimal digits, got '${id}'`);
}
