/** A simulated network for transports: virtual clock, seeded loss, duplication, reordering, corruption. */
import * as assert from "uvu/assert";
import { createNodeCipher } from "../../host/link/cipher.ts";
import type { Clock, Endpoint, Random } from "../../host/node/environment.ts";
import { createTransport, nodeId, type TransportOptions } from "../../host/transport/create.ts";
import type { TransportLimits } from "../../host/transport/limits.ts";
import type { Epoch, NodeId, SendOptions, Transport } from "../../host/transport/transport.ts";

export const cipher = createNodeCipher();
export const KEY = new Uint8Array(32).fill(7);
export const OTHER_KEY = new Uint8Array(32).fill(9);

/** mulberry32: small, seeded, good enough to choose fates. */
export function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** What a path of 1,500 bytes carries behind IPv6 and UDP headers, with room for a tunnel (docs/transport.md). */
const DATAGRAM_BYTES_MAX = 1_400;

export interface Fate {
  loss?: number;
  duplicate?: number;
  /** Share of datagrams that are held back, by up to `reorderUs`. */
  reorder?: number;
  corrupt?: number;
  /** One way. */
  delayUs?: number;
  reorderUs?: number;
  /** Bytes in a microsecond that the path carries; what waits longer than `queueUs` is dropped. */
  rate?: number;
  queueUs?: number;
}

export interface Carried {
  readonly from: Endpoint;
  readonly to: Endpoint;
  readonly bytes: Uint8Array;
  readonly sentUs: number;
}

export interface Received {
  readonly peer: NodeId;
  readonly epoch: Epoch;
  readonly bytes: Uint8Array;
  readonly atUs: number;
}

export class Station {
  readonly name: string;
  readonly id: NodeId;
  readonly endpoint: Endpoint;
  transport: Transport;
  /** Raised by restart; messages are kept with the epoch they came to. */
  received: Received[] = [];
  epochs: { peer: NodeId; epoch: Epoch; previous: Epoch | undefined }[] = [];
  outcomes: Record<string, number> = { delivered: 0, unknown: 0 };
  private readonly network: Network;
  private readonly options: Partial<TransportOptions>;

  constructor(network: Network, name: string, options: Partial<TransportOptions>) {
    this.network = network;
    this.name = name;
    this.id = nodeId(cipher, name);
    this.endpoint = { address: name, port: 4_000 };
    this.options = options;
    this.transport = this.boot();
  }

  boot(): Transport {
    return createTransport({
      id: this.id,
      name: this.name,
      keys: [KEY],
      clock: this.network.clock,
      random: this.network.random,
      cipher,
      log: { write: () => undefined },
      events: {
        message: (peer, epoch, bytes) => {
          this.received.push({ peer, epoch, bytes, atUs: this.network.nowUs });
        },
        peerEpoch: (peer, epoch, previous) => this.epochs.push({ peer, epoch, previous }),
      },
      ...this.options,
    });
  }

  /** The process ends without a word and a new one begins. */
  restart(peers: readonly Station[]): void {
    this.transport.close();
    this.transport = this.boot();
    for (const peer of peers) this.knows(peer);
  }

  knows(peer: Station): void {
    this.transport.addPeer({ id: peer.id, name: peer.name, endpoint: peer.endpoint });
  }

  send(to: Station, bytes: Uint8Array, options: SendOptions = {}): void {
    this.transport.send(to.id, bytes, {
      ...options,
      onOutcome: (outcome) => {
        this.outcomes[outcome]! += 1;
        options.onOutcome?.(outcome);
      },
    });
  }
}

export class Network {
  nowUs = 1_000;
  readonly clock: Clock = { nowUs: () => this.nowUs, wallMs: () => 1_700_000_000_000 };
  readonly random: Random;
  readonly fate: Fate;
  /** Everything that any station sent, in order. */
  readonly carried: Carried[] = [];
  stations: Station[] = [];
  /** Looks at each datagram before its fate is drawn; false: it is lost. */
  filter: (datagram: Carried) => boolean = () => true;
  private readonly draw: () => number;
  private inFlight: { atUs: number; order: number; datagram: Carried; bytes: Uint8Array }[] = [];
  private order = 0;
  private readonly busyUntilUs = new Map<string, number>();

  constructor(seed: number, fate: Fate = {}) {
    this.draw = seeded(seed);
    this.fate = { delayUs: 100, reorderUs: 2_000, ...fate };
    const bytes = seeded(seed + 1);
    this.random = {
      bytes: (length) => Uint8Array.from({ length }, () => Math.floor(bytes() * 256)),
    };
  }

  station(name: string, options: Partial<TransportOptions> = {}): Station {
    const station = new Station(this, name, options);
    this.stations.push(station);
    return station;
  }

  /** Lets every station do what is due now. */
  turn(): void {
    for (const station of this.stations) {
      if (station.transport.nextTimeoutUs() <= this.nowUs) station.transport.handleTimeout();
      for (
        let datagram = station.transport.pollDatagram();
        datagram;
        datagram = station.transport.pollDatagram()
      ) {
        this.carry({
          from: station.endpoint,
          to: datagram.to,
          bytes: datagram.bytes,
          sentUs: this.nowUs,
        });
      }
    }
  }

  /** Runs until `isDone`, or until the time is over; returns whether it was done. */
  run(limitUs: number, isDone: () => boolean = () => false): boolean {
    const endUs = this.nowUs + limitUs;
    this.turn();
    while (!isDone()) {
      let next = this.inFlight[0]?.atUs ?? Infinity;
      for (const { transport } of this.stations) next = Math.min(next, transport.nextTimeoutUs());
      if (next > endUs) {
        this.nowUs = endUs;
        return isDone();
      }
      this.nowUs = Math.max(this.nowUs, next);
      this.deliverDue();
      this.turn();
    }
    return true;
  }

  private deliverDue(): void {
    while (this.inFlight.length > 0 && this.inFlight[0]!.atUs <= this.nowUs) {
      const { datagram, bytes } = this.inFlight.shift()!;
      const station = this.stations.find(({ name }) => name === datagram.to.address);
      station?.transport.handleDatagram(datagram.from, bytes);
    }
  }

  private carry(datagram: Carried): void {
    const { length } = datagram.bytes;
    assert.ok(length <= DATAGRAM_BYTES_MAX, `a datagram of ${length} bytes`);
    this.carried.push(datagram);
    if (!this.filter(datagram)) return;
    const { loss = 0, duplicate = 0 } = this.fate;
    if (this.draw() < loss) return;
    this.depart(datagram);
    if (this.draw() < duplicate) this.depart(datagram);
  }

  private depart(datagram: Carried): void {
    const {
      reorder = 0,
      corrupt = 0,
      delayUs = 0,
      reorderUs = 0,
      rate,
      queueUs = 5_000,
    } = this.fate;
    let atUs = this.nowUs + delayUs;
    if (rate !== undefined) {
      const path = `${datagram.from.address}>${datagram.to.address}`;
      const begin = Math.max(this.nowUs, this.busyUntilUs.get(path) ?? 0);
      if (begin - this.nowUs > queueUs) return;
      const end = begin + datagram.bytes.length / rate;
      this.busyUntilUs.set(path, end);
      atUs = Math.ceil(end) + delayUs;
    }
    if (this.draw() < reorder) atUs += Math.floor(this.draw() * reorderUs);
    let bytes = datagram.bytes;
    if (this.draw() < corrupt) {
      bytes = bytes.slice();
      const at = Math.floor(this.draw() * bytes.length);
      bytes[at]! ^= 1 << Math.floor(this.draw() * 8);
    }
    const entry = { atUs, order: this.order, datagram, bytes };
    this.order += 1;
    let low = 0;
    for (let high = this.inFlight.length; low < high;) {
      const middle = (low + high) >> 1;
      if (this.inFlight[middle]!.atUs <= atUs) low = middle + 1;
      else high = middle;
    }
    this.inFlight.splice(low, 0, entry);
  }
}

/** Two stations that know each other. */
export function pair(
  seed: number,
  fate: Fate = {},
  limits: Partial<TransportLimits> = {},
): { network: Network; a: Station; b: Station } {
  const network = new Network(seed, fate);
  const a = network.station("a", { limits });
  const b = network.station("b", { limits });
  a.knows(b);
  b.knows(a);
  return { network, a, b };
}

/** Bytes that tell a message from every other: its number, then a pattern that depends on it. */
export function numbered(number: number, length: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(4, length));
  for (let i = 4; i < bytes.length; i += 1) bytes[i] = (number * 31 + i * 7 + (i >> 8)) & 255;
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

export function numberOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}
