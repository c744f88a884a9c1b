/**
 * The judge of a simulated run: sees every packet as it is emitted, before any fault, and objects to
 * what DESIGN section 5 forbids. Knows RFC 9293 and the invariants; shares no code with the core.
 *
 * I1  one stack at a time: once a node has spoken for a connection, an earlier owner is silent for good;
 *     only the forwarder's stack opens a connection, and a new one on old ports ends the old one
 * I2  bytes: each client compares what it gets with what was sent; here: nothing beyond its window,
 *     no acknowledgement of what it never sent, a TSval never lower, a window edge never back
 * I3  a RST to a client only for a listed cause
 */
import { ACK, FIN, RST, SYN, flagText, viewTcp, type TcpPacket } from "./packet.ts";
import { add, after, distance, word32 } from "./sequence.ts";

export interface Violation {
  readonly invariant: string;
  readonly what: string;
  readonly atUs: number;
}

/** Who emitted: a node's name and which of its lives. */
export interface Emitter {
  readonly name: string;
  readonly life: number;
  readonly isForwarder: boolean;
  /** Its stack accepts connections. */
  readonly opens: boolean;
}

/** One connection of a client, from its SYN to the SYN-ACK of the next one on the same ports. */
export interface Flow {
  readonly iss: number;
  /** Lives of nodes that have emitted for it, in the order of their first segment. */
  readonly owners: string[];
  /** The forwarder crashed while the connection was its own: no later life may have it. */
  isLost: boolean;
  /** From the client: its window's right edge as last offered and SND.NXT as seen. */
  clientEdge: number | undefined;
  clientShift: number;
  clientNxt: number;
  clientAck: number | undefined;
  /** From the service. */
  serverIss: number | undefined;
  serverShift: number;
  serverEdge: number | undefined;
  serverNxt: number | undefined;
  tsVal: number | undefined;
  readonly hasScale: boolean;
  /** One beyond the FIN of each side, once it was seen, and whether the other side acknowledged it. */
  clientFin: number | undefined;
  clientFinAcked: boolean;
  serverFin: number | undefined;
  serverFinAcked: boolean;
  serverFinFirst: boolean;
  /** When both sides' FINs had been acknowledged. */
  overUs: number | undefined;
  /** The first listed cause for a RST. */
  resetAllowed: string | undefined;
}

type Object = (invariant: string, what: string) => void;

export class Oracle {
  readonly violations: Violation[] = [];
  packets = 0;
  /** By client address and port. */
  readonly #flows = new Map<string, Flow>();
  /**
   * Connections that a node out of the forwarder's reach may still have while a newer one runs on their ports:
   * PROTOCOL section 10, accepted (1). They are judged by their own numbers.
   */
  readonly #ghosts = new Map<string, Flow[]>();
  /** Connections whose SYN was sent on ports of a flow that was not told to be over. */
  readonly #candidates = new Map<string, Flow>();
  readonly #services: ReadonlySet<string>;

  /**
   * @param services       the service addresses, in text form
   * @param isUnreachable  a forwarder that began anew has not heard from this node
   * @param isInDoubt      a move of this client's connection has begun, and may end without an answer
   * @param clockSlackMs   how far the clocks of two nodes may have come apart
   */
  constructor(
    services: Iterable<string>,
    private readonly isUnreachable: (node: string) => boolean = () => false,
    private readonly clockSlackMs: () => number = () => 0,
    private readonly isInDoubt: (address: string, port: number) => boolean = () => false,
  ) {
    this.#services = new Set(services);
  }

  /** From now on a RST to this client is legitimate, for its connection and for one it has begun. */
  allowReset(address: string, port: number, cause: string): void {
    const key = `${address} ${port}`;
    for (const flow of [this.#flows.get(key), this.#candidates.get(key)]) {
      if (flow) flow.resetAllowed ??= cause;
    }
  }

  /** A node has infused the connection: its time begins anew, whoever had it before. */
  arrived(address: string, port: number, node: Pick<Emitter, "name" | "life">): void {
    const owners = this.#flows.get(`${address} ${port}`)?.owners;
    const at = owners?.indexOf(markOf({ ...node, isForwarder: false, opens: false })) ?? -1;
    if (at >= 0) owners?.splice(at, 1);
  }

  /** A backend's process ended: what its stack had is gone, TIME-WAIT too. */
  nodeLost(name: string, cause: string): void {
    for (const flow of this.#flows.values()) {
      if (flow.owners.at(-1)?.startsWith(`${name}#`)) flow.resetAllowed ??= cause;
    }
  }

  /** The forwarder's process ended: what its own stack had is gone. Its clients' keys. */
  forwarderLost(): string[] {
    const lost: string[] = [];
    for (const [key, flow] of [...this.#flows, ...this.#candidates]) {
      const last = flow.owners.at(-1);
      if (last !== undefined && !last.startsWith(FORWARDER_MARK)) continue;
      flow.isLost = true;
      flow.resetAllowed ??= "the forwarder crashed before the handoff";
      lost.push(key);
    }
    return lost;
  }

  /** Watches one packet as it is emitted; `node` is undefined for a client. */
  watch(node: Emitter | undefined, bytes: Uint8Array, atUs: number): void {
    this.packets++;
    let segment: TcpPacket;
    try {
      segment = viewTcp(bytes);
    } catch {
      return;
    }
    if (!node) {
      if (this.#services.has(segment.destination)) this.#fromClient(segment);
    } else if (this.#services.has(segment.source)) this.#fromService(node, segment, atUs);
  }

  #fromClient(segment: TcpPacket): void {
    const key = `${segment.source} ${segment.sourcePort}`;
    const flow = this.#flows.get(key);
    if (segment.flags & SYN) {
      if (!flow) this.#flows.set(key, newFlow(segment));
      else if (flow.iss !== segment.seq && this.#candidates.get(key)?.iss !== segment.seq) {
        this.#candidates.set(key, newFlow(segment));
      }
      return;
    }
    if (!flow) return;
    if (segment.flags & RST) {
      flow.resetAllowed ??= "the client sent a RST";
      return;
    }
    const end = add(segment.seq, segment.payload.length + (segment.flags & FIN ? 1 : 0));
    if (after(end, flow.clientNxt)) flow.clientNxt = end;
    if (segment.flags & FIN) flow.clientFin = end;
    if (segment.ack === flow.serverFin) flow.serverFinAcked = true;
    if (flow.clientAck === undefined || after(segment.ack, flow.clientAck)) {
      flow.clientAck = segment.ack;
    }
    const edge = add(segment.ack, segment.window << flow.clientShift);
    if (flow.clientEdge === undefined || after(edge, flow.clientEdge)) flow.clientEdge = edge;
  }

  #fromService(node: Emitter, segment: TcpPacket, atUs: number): void {
    const key = `${segment.destination} ${segment.destinationPort}`;
    const object: Object = (invariant, what) => {
      const { flags, seq, ack, payload } = segment;
      const numbers = `${flagText(flags)} seq ${seq} ack ${ack} len ${payload.length}`;
      const text = `${markOf(node)} to ${key}: ${numbers}: ${what}`;
      this.violations.push({ invariant, what: text, atUs });
    };
    if (!segment.ipChecksumOk || !segment.tcpChecksumOk) object("wire", "wrong checksum");
    const flow = this.#flows.get(key);
    if (!flow) return object("I6", "segment to a client that never sent a SYN");
    if (segment.flags & RST) {
      if (!this.#ghostOf(key, node)) this.#reset(key, flow, segment, atUs, object);
      return;
    }
    if (isProbe(node, flow, segment)) return;
    if (segment.flags & SYN) return this.#synAck(key, flow, node, segment, object);
    const ghost = this.#ghostOf(key, node);
    if (ghost) {
      timestamps(ghost, segment, object);
      return numbers(ghost, segment, object);
    }
    if (flow.owners.length === 0) return object("I2", "segment before the SYN-ACK");
    owner(flow, node, object);
    timestamps(flow, segment, object);
    numbers(flow, segment, object);
    if (isOver(flow)) flow.overUs ??= atUs;
  }

  #reset(key: string, flow: Flow, segment: TcpPacket, atUs: number, object: Object): void {
    const next = this.#candidates.get(key);
    const isForNext = next !== undefined && segment.ack === add(next.iss, 1);
    const about = isForNext && segment.flags & ACK ? next : flow;
    // The answer to a late segment of the port's last connection (RFC 9293 3.10.7.4, SYN-RECEIVED, fifth):
    // its number is an old one, and the client must ignore it (RFC 5961 3.2).
    if (about.clientAck === undefined && !(segment.flags & ACK)) return;
    // The same, when the segment had a longer way: by several nodes that knew nothing of it.
    const isOld = about.serverIss !== undefined && after(about.serverIss, segment.seq);
    if (isOld && !(segment.flags & ACK)) return;
    // RFC 9293 3.10.7.1: what comes late for a connection that is over gets a RST from anybody.
    if (this.isInDoubt(segment.destination, segment.destinationPort)) {
      about.resetAllowed ??= "nobody knows how a move ended";
    }
    if (about.resetAllowed !== undefined) return;
    if (!isOver(about)) return object("I3", "RST without a cause");
    about.overUs ??= atUs;
    // RFC 9293 3.6.1: who sent the first FIN answers in TIME-WAIT, and nobody resets before the next SYN.
    const isWaiting = about.serverFinFirst && !next && atUs - about.overUs < TIME_WAIT_US;
    if (isWaiting) object("I3", "RST for a connection in TIME-WAIT");
  }

  #synAck(key: string, flow: Flow, node: Emitter, segment: TcpPacket, object: Object): void {
    if (!node.opens) return object("I1", "a backend's stack opens a connection (R18)");
    const next = this.#candidates.get(key);
    if (next && segment.ack === add(next.iss, 1)) {
      this.#follow(flow, segment, object);
      this.#haunt(key, flow);
      this.#candidates.delete(key);
      this.#flows.set(key, next);
      begin(next, node, segment, object);
      return;
    }
    if (segment.ack !== add(flow.iss, 1)) return object("I2", "SYN-ACK of a SYN never sent");
    if (flow.owners.at(-1) === markOf(node)) return timestamps(flow, segment, object);
    if (flow.owners.length > 0 && !flow.isLost) {
      return object("I1", `${flow.owners.at(-1) ?? ""} has taken over from it`);
    }
    begin(flow, node, segment, object);
  }

  /** The old connection's owner may not have heard that it is over, and the forwarder not of the owner. */
  #haunt(key: string, old: Flow): void {
    const last = old.owners.at(-1) ?? FORWARDER_MARK;
    const name = last.split("#")[0] ?? "";
    if (last.startsWith(FORWARDER_MARK) || !this.isUnreachable(name)) return;
    this.#ghosts.set(key, [...(this.#ghosts.get(key) ?? []), old]);
  }

  #ghostOf(key: string, node: Emitter): Flow | undefined {
    return this.#ghosts.get(key)?.find(({ owners }) => owners.at(-1) === markOf(node));
  }

  /** RFC 6191, PROTOCOL section 4: after TIME-WAIT the ISS is above, and the TSval not below, the old one's. */
  #follow(old: Flow, segment: TcpPacket, object: Object): void {
    if (old.serverFinFirst && old.serverNxt !== undefined && !after(segment.seq, old.serverNxt)) {
      const lost = old.isLost || old.resetAllowed !== undefined;
      if (!lost) object("I2", `ISS ${segment.seq} is not above SND.NXT ${old.serverNxt}`);
    }
    // TIME-WAIT tells the forwarder the last TSval; after other ends it has its own clock only.
    const slackMs = old.serverFinFirst ? 0 : this.clockSlackMs();
    const tsVal = timestampOf(segment);
    if (old.tsVal === undefined || tsVal === undefined) return;
    if (after(old.tsVal, add(tsVal, slackMs))) {
      object("I2", `TSval ${tsVal} of the next connection after ${old.tsVal}`);
    }
  }
}

/** A little less than it lasts: clocks differ, and the last FIN is counted when it leaves. */
const TIME_WAIT_US = 55_000_000;
const FORWARDER_MARK = "forwarder ";

function markOf(node: Emitter): string {
  return `${node.isForwarder ? FORWARDER_MARK : ""}${node.name}#${node.life}`;
}

/** Both sides have sent their FIN and know that it arrived. */
function isOver(flow: Flow): boolean {
  return flow.clientFinAcked && flow.serverFinAcked;
}

/** R20: the forwarder makes a silent client speak. The probe is no stack's. */
function isProbe(node: Emitter, flow: Flow, segment: TcpPacket): boolean {
  if (!node.isForwarder || (flow.resetAllowed === undefined && !isOver(flow))) return false;
  if (segment.flags !== ACK || segment.payload.length > 0) return false;
  return flow.clientAck !== undefined && after(flow.clientAck, segment.seq);
}

function begin(flow: Flow, node: Emitter, segment: TcpPacket, object: Object): void {
  flow.owners.push(markOf(node));
  const scale = segment.options.find(({ kind }) => kind === 3);
  flow.serverShift = flow.hasScale ? (scale?.bytes[0] ?? 0) : 0;
  if (!scale) flow.clientShift = 0;
  flow.serverEdge = undefined;
  flow.serverIss = segment.seq;
  flow.serverNxt = add(segment.seq, 1);
  timestamps(flow, segment, object);
}

function owner(flow: Flow, node: Emitter, object: Object): void {
  const mark = markOf(node);
  const last = flow.owners.at(-1);
  if (last === mark) return;
  if (flow.owners.includes(mark)) object("I1", `${last ?? "nobody"} has taken over from it`);
  else if (node.opens) object("I1", "a classifier's stack that never accepted it");
  else flow.owners.push(mark);
}

function timestampOf(segment: TcpPacket): number | undefined {
  const found = segment.options.find(({ kind }) => kind === 8);
  return found && word32(found.bytes);
}

function timestamps(flow: Flow, segment: TcpPacket, object: Object): void {
  const tsVal = timestampOf(segment);
  if (tsVal === undefined) {
    if (flow.tsVal !== undefined) object("I2", "segment without timestamps");
    return;
  }
  if (flow.tsVal !== undefined && after(flow.tsVal, tsVal)) {
    object("I2", `TSval ${tsVal} after ${flow.tsVal}`);
  }
  flow.tsVal = tsVal;
}

/** Sequence numbers, acknowledgement and windows of a segment in a synchronised state. */
function numbers(flow: Flow, segment: TcpPacket, object: Object): void {
  if (!(segment.flags & ACK)) return object("I2", "segment without ACK");
  if (after(segment.ack, flow.clientNxt)) {
    object("I2", `acknowledges ${segment.ack}, the client sent up to ${flow.clientNxt}`);
  }
  const end = add(segment.seq, segment.payload.length);
  const next = segment.flags & FIN ? add(end, 1) : end;
  if (flow.serverNxt === undefined || after(next, flow.serverNxt)) flow.serverNxt = next;
  if (segment.flags & FIN && flow.serverFin === undefined) {
    flow.serverFin = next;
    flow.serverFinFirst = flow.clientFin === undefined;
  }
  if (flow.serverFin !== undefined && after(next, flow.serverFin)) object("I2", "beyond its FIN");
  if (segment.ack === flow.clientFin) flow.clientFinAcked = true;
  const isWindowProbe = segment.payload.length <= 1;
  if (flow.clientEdge !== undefined && after(end, flow.clientEdge) && !isWindowProbe) {
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

function newFlow(segment: TcpPacket): Flow {
  const scale = segment.options.find(({ kind }) => kind === 3);
  return {
    iss: segment.seq,
    owners: [],
    isLost: false,
    clientEdge: undefined,
    clientShift: scale?.bytes[0] ?? 0,
    clientNxt: add(segment.seq, 1),
    clientAck: undefined,
    serverIss: undefined,
    serverShift: 0,
    serverEdge: undefined,
    serverNxt: undefined,
    tsVal: undefined,
    hasScale: scale !== undefined,
    clientFin: undefined,
    clientFinAcked: false,
    serverFin: undefined,
    serverFinAcked: false,
    serverFinFirst: false,
    overUs: undefined,
    resetAllowed: undefined,
  };
}
