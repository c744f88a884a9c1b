/**
 * The judge of a simulated run: sees every packet as it is emitted, before any fault, and objects to
 * what DESIGN section 5 forbids. Knows RFC 9293 and the invariants; shares no code with the core.
 *
 * I1  one stack at a time: once a node has spoken for a connection, an earlier owner is silent for good
 * I2  bytes: each client compares what it gets with what was sent; here: nothing beyond its window,
 *     no acknowledgement of what it never sent, a TSval never lower, a window edge never back
 * I3  a RST to a client only for a listed cause
 */
import { ACK, FIN, RST, SYN, flagText, parseTcp, type TcpPacket } from "./packet.ts";
import { add, after, distance, word32 } from "./sequence.ts";

export interface Violation {
  readonly invariant: string;
  readonly what: string;
  readonly atUs: number;
}

interface Flow {
  /** Nodes that have emitted for it, in the order of their first segment. */
  readonly owners: string[];
  /** From the client: its window's right edge as last offered and SND.NXT as seen. */
  clientEdge: number | undefined;
  clientShift: number;
  clientNxt: number;
  /** From the service. */
  serverShift: number;
  serverEdge: number | undefined;
  tsVal: number | undefined;
  hasScale: boolean;
  /** One beyond the FIN of each side, once it was seen, and whether the other side acknowledged it. */
  clientFin: number | undefined;
  clientFinAcked: boolean;
  serverFin: number | undefined;
  serverFinAcked: boolean;
  resetAllowed: string | undefined;
}

export class Oracle {
  readonly violations: Violation[] = [];
  packets = 0;
  readonly #flows = new Map<string, Flow>();
  readonly #services: ReadonlySet<string>;

  /** `services`: the service addresses, in text form. */
  constructor(services: Iterable<string>) {
    this.#services = new Set(services);
  }

  /** From now on a RST to this client is legitimate. */
  allowReset(address: string, port: number, cause: string): void {
    const flow = this.#flows.get(`${address} ${port}`);
    if (flow) flow.resetAllowed = cause;
  }

  /** Watches one packet as `from` emits it. Packets between nodes are none of the oracle's. */
  watch(from: string, bytes: Uint8Array, atUs: number): void {
    this.packets++;
    let segment: TcpPacket;
    try {
      segment = parseTcp(bytes);
    } catch {
      return;
    }
    if (this.#services.has(segment.source)) this.#fromService(from, segment, atUs);
    else if (this.#services.has(segment.destination)) this.#fromClient(segment);
  }

  #fromClient(segment: TcpPacket): void {
    const key = `${segment.source} ${segment.sourcePort}`;
    if (segment.flags & SYN) {
      this.#flows.set(key, newFlow(segment));
      return;
    }
    const flow = this.#flows.get(key);
    if (!flow || segment.flags & RST) return;
    const end = add(segment.seq, segment.payload.length + (segment.flags & FIN ? 1 : 0));
    if (after(end, flow.clientNxt)) flow.clientNxt = end;
    if (segment.flags & FIN) flow.clientFin = end;
    if (segment.ack === flow.serverFin) flow.serverFinAcked = true;
    const edge = add(segment.ack, segment.window << flow.clientShift);
    if (flow.clientEdge === undefined || after(edge, flow.clientEdge)) flow.clientEdge = edge;
  }

  #fromService(from: string, segment: TcpPacket, atUs: number): void {
    const key = `${segment.destination} ${segment.destinationPort}`;
    const flow = this.#flows.get(key);
    const object = (invariant: string, what: string): void => {
      const text = `${from} to ${key}: ${flagText(segment.flags)} seq ${segment.seq}: ${what}`;
      this.violations.push({ invariant, what: text, atUs });
    };
    if (!segment.ipChecksumOk || !segment.tcpChecksumOk) object("wire", "wrong checksum");
    if (!flow) return object("I6", "segment to a client that never sent a SYN");
    if (segment.flags & RST) {
      // RFC 9293 3.10.7.1: what comes late for a connection that is over gets a RST from anybody.
      const isOver = flow.clientFinAcked && flow.serverFinAcked;
      if (!isOver && flow.resetAllowed === undefined) object("I3", "RST without a cause");
      return;
    }
    this.#owner(flow, from, object);
    if (segment.flags & SYN) return noteSyn(flow, segment);
    this.#timestamps(flow, segment, object);
    if (!(segment.flags & ACK)) return object("I2", "segment without ACK");
    if (after(segment.ack, flow.clientNxt)) {
      object("I2", `acknowledges ${segment.ack}, the client sent up to ${flow.clientNxt}`);
    }
    const end = add(segment.seq, segment.payload.length);
    if (segment.flags & FIN) flow.serverFin = add(end, 1);
    if (segment.ack === flow.clientFin) flow.clientFinAcked = true;
    const isProbe = segment.payload.length <= 1;
    if (flow.clientEdge !== undefined && after(end, flow.clientEdge) && !isProbe) {
      object("I2", `data up to ${end}, the client's window ends at ${flow.clientEdge}`);
    }
    const edge = add(segment.ack, segment.window << flow.serverShift);
    if (flow.serverEdge !== undefined && after(flow.serverEdge, edge)) {
      const back = distance(edge, flow.serverEdge);
      // An edge lies on a multiple of the scale (RFC 7323 2.4); a late ACK may be older than the newest.
      if (back >= 1 << flow.serverShift) object("I2", `window edge steps back by ${back}`);
    } else {
      flow.serverEdge = edge;
    }
  }

  #owner(flow: Flow, from: string, object: (invariant: string, what: string) => void): void {
    const last = flow.owners.at(-1);
    if (last === from) return;
    if (flow.owners.includes(from)) object("I1", `${last ?? "nobody"} has taken over from it`);
    else flow.owners.push(from);
  }

  #timestamps(
    flow: Flow,
    segment: TcpPacket,
    object: (invariant: string, what: string) => void,
  ): void {
    const found = segment.options.find(({ kind }) => kind === 8);
    if (!found) {
      if (flow.tsVal !== undefined) object("I2", "segment without timestamps");
      return;
    }
    const tsVal = word32(found.bytes);
    if (flow.tsVal !== undefined && after(flow.tsVal, tsVal)) {
      object("I2", `TSval ${tsVal} after ${flow.tsVal}`);
    }
    flow.tsVal = tsVal;
  }
}

function newFlow(segment: TcpPacket): Flow {
  const scale = segment.options.find(({ kind }) => kind === 3);
  return {
    owners: [],
    clientEdge: undefined,
    clientShift: scale?.bytes[0] ?? 0,
    clientNxt: add(segment.seq, 1),
    serverShift: 0,
    serverEdge: undefined,
    tsVal: undefined,
    hasScale: scale !== undefined,
    clientFin: undefined,
    clientFinAcked: false,
    serverFin: undefined,
    serverFinAcked: false,
    resetAllowed: undefined,
  };
}

function noteSyn(flow: Flow, segment: TcpPacket): void {
  const scale = segment.options.find(({ kind }) => kind === 3);
  flow.serverShift = flow.hasScale ? (scale?.bytes[0] ?? 0) : 0;
  if (!scale) flow.clientShift = 0;
}
